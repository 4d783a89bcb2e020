//! `query`: the pulses of a service, newest first, page by page.

use std::num::NonZeroU64;

use clap::Args;
use jiff::Timestamp;
use serde_json::Value;

use crate::client::Client;
use crate::output::{Output, Table, pairs, text};
use crate::pages::{Pages, parse};
use crate::target::Target;
use crate::{EXIT_OK, time};

const COLUMNS: &[&str] = &["TIME", "KIND", "STATUS", "LATENCY", "ID", "METADATA"];

const EXAMPLES: &str = "\
Examples:
  pulsemesh query checkout --from 15m
  pulsemesh query checkout --from 2026-01-31T00:00:00Z --to 2026-02-01T00:00:00Z --all --json
  pulsemesh query checkout --kind payment --limit 20

With --json each pulse is a line, as the server gives it.";

/// What is asked for.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct QueryArguments {
    /// The service
    #[arg(value_name = "SERVICE")]
    service: String,
    /// Event times from here on: RFC 3339, or how long ago
    #[arg(long, value_name = "TIME", value_parser = time::point)]
    from: Option<Timestamp>,
    /// Event times before this
    #[arg(long, value_name = "TIME", value_parser = time::point)]
    to: Option<Timestamp>,
    /// Only of this kind
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// Most pulses
    #[arg(long, value_name = "NUMBER", default_value = "100")]
    limit: NonZeroU64,
    /// All there are, however many
    #[arg(long, conflicts_with = "limit")]
    all: bool,
}

/// Prints them.
///
/// # Errors
/// When the server refuses, or the output can't be written.
pub(crate) fn run(
    client: &Client,
    arguments: &QueryArguments,
    out: &mut Output,
) -> anyhow::Result<u8> {
    let mut left = if arguments.all { u64::MAX } else { arguments.limit.get() };
    let target = Target::new("/v1/pulses")
        .with("service", &arguments.service)
        .with_some("kind", arguments.kind.as_ref())
        .with_some("from", arguments.from)
        .with_some("to", arguments.to);
    let mut pages = Pages::new(client, target);
    let mut table = Table::new(COLUMNS);
    loop {
        let Some(page) = pages.next(left)? else { return Ok(EXIT_OK) };
        for row in page.rows("pulses") {
            left = left.saturating_sub(1);
            if out.json { out.row(&row)? } else { table.row(cells(&parse(&row))) }
        }
        table.print(out)?;
    }
}

/// A pulse as cells of [`COLUMNS`].
pub(crate) fn cells(pulse: &Value) -> [String; 6] {
    let latency = pulse["latency_ms"].as_f64().map(|latency| format!("{latency} ms"));
    [
        text(&pulse["event_time"]),
        text(&pulse["kind"]),
        text(&pulse["status"]),
        latency.unwrap_or_default(),
        text(&pulse["id"]),
        pairs(&pulse["metadata"]),
    ]
}
