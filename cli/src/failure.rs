//! Tells why a command failed: what, where, and what to do. Decides the exit code.

use std::io::{self, Write};

use serde::Serialize;
use thiserror::Error;

use crate::client::CallError;
use crate::output::plain;
use crate::{EXIT_FAILED, EXIT_NOTHING, EXIT_OK, EXIT_USAGE};

/// Arguments that do not fit together.
#[derive(Debug, Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

#[derive(Debug, Serialize)]
struct Report {
    what: String,
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    place: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    what_to_do: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
}

/// Writes it to `err`; gives the exit code.
pub(crate) fn tell(error: &anyhow::Error, json: bool, err: &mut dyn Write) -> u8 {
    // Whoever read our output has enough of it (`| head`).
    let closed = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
    let is_call = error.chain().any(|cause| cause.is::<CallError>());
    if !is_call && error.chain().filter_map(|cause| cause.downcast_ref()).any(closed) {
        return EXIT_OK;
    }
    let report = report(error);
    let code = match &report {
        Report { status: Some(404), code: Some(_), .. } => EXIT_NOTHING,
        _ if error.is::<Usage>() => EXIT_USAGE,
        _ => EXIT_FAILED,
    };
    // With nobody to read, the exit code still tells.
    let _ = if json { tell_json(&report, err) } else { tell_person(&report, err) };
    code
}

fn report(error: &anyhow::Error) -> Report {
    let call = error.chain().find_map(|cause| cause.downcast_ref::<CallError>());
    let Some(call) = call else {
        let what = format!("{error:#}");
        return Report { what, place: None, what_to_do: None, status: None, code: None };
    };
    let (status, code) = match call {
        CallError::Refused { status, problem, .. } => (Some(*status), problem.code.clone()),
        _ => (None, None),
    };
    // What was being done stands in front of what the call says.
    let before = error.chain().take_while(|cause| !cause.is::<CallError>());
    let mut what: String = before.map(|cause| format!("{cause}: ")).collect();
    what.push_str(&call.what());
    let place = Some(call.place().to_owned());
    Report { what, place, what_to_do: Some(call.advice()), status, code }
}

fn tell_json(report: &Report, err: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer(&mut *err, &serde_json::json!({ "error": report }))?;
    writeln!(err)
}

fn tell_person(report: &Report, err: &mut dyn Write) -> io::Result<()> {
    // It may quote an answer, and with it what others have sent.
    writeln!(err, "pulsemesh: {}", report.what.lines().map(plain).collect::<Vec<_>>().join("\n"))?;
    if let Some(place) = &report.place {
        writeln!(err, "  where:      {}", plain(place))?;
    }
    if let Some(advice) = &report.what_to_do {
        writeln!(err, "  what to do: {advice}")?;
    }
    Ok(())
}
