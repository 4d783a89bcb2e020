//! `counts`: how many pulses there were in a window, by kind.

use clap::Args;
use jiff::Timestamp;
use serde_json::Value;

use crate::client::{Call, Client};
use crate::output::{Output, Table, number, text};
use crate::pages::rows;
use crate::target::Target;
use crate::{EXIT_OK, time};

const EXAMPLES: &str = "\
Examples:
  pulsemesh counts
  pulsemesh counts --window 1h --step 5m
  pulsemesh counts --from 2026-01-31T00:00:00Z --to 2026-02-01T00:00:00Z --json

With --json it is the server's answer: from, to, counts, total, and series with --step.";

/// What is counted.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CountsArguments {
    /// How far back: a number with m, h or d
    #[arg(long, value_name = "TIME", default_value = "5m", conflicts_with = "from")]
    window: String,
    /// The start, in place of --window: RFC 3339, or how long ago
    #[arg(long, value_name = "TIME", value_parser = time::point)]
    from: Option<Timestamp>,
    /// The end; now unless given
    #[arg(long, value_name = "TIME", value_parser = time::point)]
    to: Option<Timestamp>,
    /// Also for each step of the window
    #[arg(long, value_name = "TIME")]
    step: Option<String>,
}

/// Prints them.
///
/// # Errors
/// When the server refuses, or the output can't be written.
pub(crate) fn run(
    client: &Client,
    arguments: &CountsArguments,
    out: &mut Output,
) -> anyhow::Result<u8> {
    let CountsArguments { window, from, to, step } = arguments;
    let target = Target::new("/v1/counts")
        .with("by", "kind")
        .with_some("window", from.is_none().then_some(window))
        .with_some("from", *from)
        .with_some("to", *to)
        .with_some("step", step.as_ref());
    let counted = client.ask_json(&Call::get(target))?;
    if out.json {
        out.json(&counted)?;
        return Ok(EXIT_OK);
    }
    out.line(&format!("{} to {}", text(&counted["from"]), text(&counted["to"])))?;
    if step.is_some() {
        let mut table = Table::new(&["FROM", "KIND", "PULSES"]);
        for part in rows(&counted, "series") {
            for [kind, pulses] in rows(part, "counts").iter().map(cells) {
                table.row([text(&part["from"]), kind, pulses]);
            }
        }
        table.print(out)?;
    }
    let mut table = Table::new(&["KIND", "PULSES"]);
    rows(&counted, "counts").iter().for_each(|count| table.row(cells(count)));
    table.print(out)?;
    out.line(&format!("{} in all", number(counted["total"].as_u64().unwrap_or_default())))?;
    Ok(EXIT_OK)
}

fn cells(count: &Value) -> [String; 2] {
    [text(&count["kind"]), number(count["pulses"].as_u64().unwrap_or_default())]
}
