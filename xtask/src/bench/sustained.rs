//! Batches for a minute, until every pulse can be queried.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use xtask::load::{self, Plan};
use xtask::server::{Server, wait_for};

use super::context::{BATCH_PULSES, Context};
use super::report::{Row, Target, grouped};

/// A connection that is refused because the log is full comes back after this.
const REST: Duration = Duration::from_millis(50);
/// Longest wait for the store to catch up.
const DRAIN_MAX: Duration = Duration::from_secs(600);

/// Pulses stored and counted by the store a second, from the first request until the last
/// pulse can be queried.
pub(super) fn run(context: &mut Context) -> Result<Vec<Row>> {
    context.bare_single()?;
    let seconds = if context.smoke { 3 } else { 60 };
    let ours = context.ours(|launch| launch)?;
    let plan = Plan {
        duration: Duration::from_secs(seconds),
        rest: REST,
        ..context.batches(&ours.server, "/pulse")
    };
    let started = Instant::now();
    let report = load::run(&plan)?;
    let accepted = report.accepted() * BATCH_PULSES as u64;
    let mut queried = 0;
    wait_for(DRAIN_MAX, "every pulse to be queried", || {
        // Cheap first: a count over all rows would slow down what it waits for.
        if ours.server.samples()?.sum(LEDGER, &[("place", "in_log")]) > 0.0 {
            return Ok(false);
        }
        queried = counted(&ours.server)?;
        Ok(queried >= accepted)
    })?;
    let took = started.elapsed().as_secs_f64();
    let beside = format!(
        "{seconds} s of load, {took:.1} s until all was queried; accepted {}/s, {} refused, \
         p99 {:.1} ms, {} MiB resident",
        grouped(accepted as f64 / report.elapsed.as_secs_f64()),
        report.refused(),
        report.latency_ms(0.99),
        ours.server.resident_bytes()? / (1024 * 1024),
    );
    let row = Row::new("sustained", accepted as f64 / took, "pulses/s", Target::AtLeast(250_000.0))
        .beside(beside)
        .unless(queried == accepted, &format!("{queried} queried of {accepted} accepted"))
        .unless(report.errors == 0, &format!("{} broken connections", report.errors));
    Ok(vec![row])
}

const LEDGER: &str = "pulsemesh_ledger_pulses";

/// All pulses of the last half hour, as the store counts them.
fn counted(server: &Server) -> Result<u64> {
    let answer = server.client().get_json("/v1/counts?window=30m&by=kind")?;
    answer["total"].as_u64().context("the counts have no total")
}
