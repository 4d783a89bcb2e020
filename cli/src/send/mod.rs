//! `send`: one pulse from arguments, or any number from a file or standard input. Everything has
//! an idempotency key, so that what is sent again is never stored twice.

mod batch;
mod file;
mod one;
mod report;
mod source;
#[cfg(test)]
mod source_tests;

pub(crate) use report::notice;

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, ValueEnum};
use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

use crate::client::Client;
use crate::failure::Usage;
use crate::output::Output;
use crate::time;

/// Longest key that may be typed: numbers are put behind it, and 128 bytes are the most.
const KEY_BYTES_MAX: usize = 100;

/// Longest time for one request to be tried: what is sent again behind the server's window of
/// repeats, 30 minutes unless set, would be stored again.
const RETRY_MAX: Duration = Duration::from_secs(25 * 60);

const EXAMPLES: &str = "\
Examples:
  pulsemesh send --service checkout --latency-ms 12.5 --status ok --metadata region=eu
  pulsemesh send --service checkout --kind order --id order-1 --payload '{\"total\": 3}'
  pulsemesh send --file pulses.ndjson --rejected refused.ndjson
  zcat pulses.ndjson.gz | pulsemesh send --file -

A file has one JSON object a line, or an array, or objects one behind the other; it is read as it
is sent, and may be of any size. What can't be sent now is sent again, in the order of the file.
A run that fails says how to go on. One that was killed goes on without doubling when it is started
again with the same file, --batch and --idempotency-key, within 30 minutes of its beginning (the
server's window of repeats).

Exits with 3 when all was sent and some of it was refused.";

/// What is sent.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
#[command(group(ArgGroup::new("sent").required(true).args(["file", "service"])))]
pub(crate) struct SendArguments {
    /// File of pulses; - is standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    pulse: PulseArguments,
    /// Names this sending: the same key again is a repeat; made up unless given
    #[arg(long, value_name = "KEY", value_parser = key)]
    idempotency_key: Option<String>,
    /// When it is answered: in memory, on disk, in the store; the server's default unless given
    #[arg(long, value_name = "LEVEL", value_parser = ["memory", "durable", "stored"])]
    ack: Option<String>,
    /// In which shape a file's events are
    #[arg(long, value_name = "SHAPE", default_value = "pulse", requires = "file")]
    shape: Shape,
    /// Most events of one request
    #[arg(long, value_name = "NUMBER", default_value = "1000", requires = "file")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000))]
    batch: u32,
    /// Write what is refused there, as JSON: line, code, message and text of each event
    #[arg(long, value_name = "FILE", requires = "file")]
    rejected: Option<PathBuf>,
    /// Leave out so many events at the beginning: an earlier run has sent them
    #[arg(long, value_name = "NUMBER", default_value = "0", requires = "file")]
    skip: u64,
    /// How long to go on trying while the server is away, full or over a limit
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = retry_for)]
    retry_for: Duration,
}

/// A pulse from arguments.
#[derive(Debug, Args)]
#[command(next_help_heading = "One pulse")]
struct PulseArguments {
    /// The service; sends one pulse
    #[arg(long, value_name = "SERVICE")]
    service: Option<String>,
    /// What kind of event it is
    #[arg(long, value_name = "KIND", conflicts_with = "file")]
    kind: Option<String>,
    /// When it happened: RFC 3339, or how long ago; now unless given
    #[arg(long, value_name = "TIME", value_parser = time::point, conflicts_with = "file")]
    event_time: Option<Timestamp>,
    /// An id of your own, by which it is found
    #[arg(long, value_name = "ID", conflicts_with = "file")]
    id: Option<String>,
    /// How long it took, in milliseconds
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true, conflicts_with = "file")]
    latency_ms: Option<f64>,
    /// How it went
    #[arg(long, value_name = "TEXT", conflicts_with = "file")]
    status: Option<String>,
    /// A measured value
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true, conflicts_with = "file")]
    value: Option<f64>,
    /// Who it was about
    #[arg(long, value_name = "TEXT", conflicts_with = "file")]
    user: Option<String>,
    /// An entry of the metadata; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair, conflicts_with = "file")]
    metadata: Vec<(String, String)>,
    /// Any JSON, kept as it is
    #[arg(long, value_name = "JSON", value_parser = json, conflicts_with = "file")]
    payload: Option<Value>,
}

/// The path that events are posted to.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Shape {
    Pulse,
    Ingest,
    Events,
}

impl Shape {
    fn path(self) -> &'static str {
        match self {
            Self::Pulse => "/pulse",
            Self::Ingest => "/ingest",
            Self::Events => "/events",
        }
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

fn key(text: &str) -> Result<String, String> {
    let sound = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    if sound && text.len() <= KEY_BYTES_MAX {
        return Ok(text.to_owned());
    }
    Err(format!("write 1 to {KEY_BYTES_MAX} visible ASCII characters"))
}

fn retry_for(text: &str) -> Result<Duration, String> {
    let span = time::span(text)?;
    if span <= RETRY_MAX {
        return Ok(span);
    }
    Err("at most 25m: a server knows a repeat for 30 minutes, unless it is told otherwise".into())
}

/// Sends it.
///
/// # Errors
/// When the server refuses all of it, is away for too long, or a file can't be used.
pub(crate) fn run(
    client: &Client,
    arguments: &SendArguments,
    out: &mut Output,
) -> anyhow::Result<u8> {
    let made_up = || Uuid::new_v4().to_string();
    let key = arguments.idempotency_key.clone().unwrap_or_else(made_up);
    match (&arguments.file, &arguments.pulse.service) {
        (Some(path), _) => file::send(client, arguments, (path, &key), out),
        (None, Some(service)) => one::send(client, arguments, (service, &key), out),
        (None, None) => Err(Usage("give --service, or --file".to_owned()).into()),
    }
}
