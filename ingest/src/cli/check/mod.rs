//! `check URL`: tries a running process as a client would, and says what is wrong and what to
//! do. Works where there is no curl.

mod advice;
mod http;
mod steps;
#[cfg(test)]
mod tests;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;
use uuid::Uuid;

use crate::cli::{EXIT_FAILED, EXIT_OK};
use crate::settings;

use advice::Finding;
use http::Target;

/// Where a process listens that was told nothing.
const DEFAULT_URL: &str = "http://127.0.0.1:8080";

/// What is checked and how long.
#[derive(Debug, Args)]
pub(super) struct CheckArguments {
    /// Where clients send pulses
    #[arg(value_name = "URL", default_value = DEFAULT_URL, value_parser = Target::parse)]
    url: Target,
    /// The admin listener, to ask whether it is ready
    #[arg(long, value_name = "URL", value_parser = Target::parse)]
    admin: Option<Target>,
    /// File that holds an API key of kind both, where tenants are configured
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// Longest time for each answer, and for the pulse to become readable
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = timeout)]
    timeout: Duration,
    /// Print one JSON object instead of lines
    #[arg(long)]
    json: bool,
}

fn timeout(text: &str) -> Result<Duration, String> {
    let time = settings::parse_time(text).filter(|time| !time.is_zero());
    time.ok_or_else(|| "write a whole number with ms, s, m, h or d, such as 10s".to_owned())
}

/// One thing that was tried.
#[derive(Debug, Serialize)]
struct Step {
    name: &'static str,
    ok: bool,
    /// What was found, or what is wrong.
    detail: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
    milliseconds: u64,
}

#[derive(Debug, Serialize)]
struct Report {
    ok: bool,
    url: String,
    /// The id of the pulse that was sent.
    id: String,
    steps: Vec<Step>,
}

/// Tries everything in order and stops at the first that fails; exits with 0 or 1.
///
/// # Errors
/// When `out` can't be written.
pub(super) fn run(arguments: &CheckArguments, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let mut report = Report {
        ok: true,
        url: arguments.url.to_string(),
        id: Uuid::now_v7().to_string(),
        steps: Vec::new(),
    };
    for (name, attempt) in steps::ALL {
        let start = Instant::now();
        let Some(result) = attempt(arguments, &report.id) else { continue };
        let milliseconds = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        let step = Step::new(name, result, milliseconds);
        if !arguments.json {
            step.print(out)?;
        }
        report.ok = step.ok;
        report.steps.push(step);
        if !report.ok {
            break;
        }
    }
    if arguments.json {
        serde_json::to_writer(&mut *out, &report)?;
        writeln!(out)?;
    }
    out.flush()?;
    Ok(ExitCode::from(if report.ok { EXIT_OK } else { EXIT_FAILED }))
}

impl Step {
    fn new(name: &'static str, result: Result<String, Finding>, milliseconds: u64) -> Self {
        match result {
            Ok(detail) => Self { name, ok: true, detail, advice: None, milliseconds },
            Err(Finding { wrong, advice }) => {
                Self { name, ok: false, detail: wrong, advice: Some(advice), milliseconds }
            }
        }
    }

    fn print(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let Self { name, ok, detail, advice, milliseconds } = self;
        let verdict = if *ok { "ok    " } else { "failed" };
        writeln!(out, "{verdict}  {name:9}  {detail} ({milliseconds} ms)")?;
        match advice {
            Some(advice) => writeln!(out, "        what to do: {advice}"),
            None => Ok(()),
        }
    }
}
