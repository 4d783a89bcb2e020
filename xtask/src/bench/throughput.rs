//! Accepted a second, in alternating rounds with bare hyper.

use anyhow::Result;
use xtask::flags;
use xtask::load::{Plan, Report};
use xtask::server::Server;

use super::context::{BATCH_PULSES, Context};
use super::report::{Row, Target, grouped, median};

/// One pulse a request, queued in memory.
pub(super) fn single_memory(context: &mut Context) -> Result<Vec<Row>> {
    let rounds = rounds(context, singles, |context| fresh(context, "memory", singles))?;
    context.note_bare_single(&rounds.bare);
    Ok(vec![rounds.row("single-memory", 1.0, Target::RatioAtLeast(0.80))])
}

/// One pulse a request, synced before its answer.
pub(super) fn single_durable(context: &mut Context) -> Result<Vec<Row>> {
    let rounds = rounds(context, singles, |context| fresh(context, "durable", singles))?;
    context.note_bare_single(&rounds.bare);
    Ok(vec![rounds.row("single-durable", 1.0, Target::RatioAtLeast(0.65))])
}

/// Batches, synced before their answer.
pub(super) fn ndjson_durable(context: &mut Context) -> Result<Vec<Row>> {
    context.bare_single()?;
    let rounds = rounds(context, batches, |context| fresh(context, "durable", batches))?;
    Ok(vec![rounds.row("ndjson-durable", BATCH_PULSES as f64, Target::AtLeast(600_000.0))])
}

/// Makes a load for a server.
type MakePlan = fn(&Context, &Server) -> Plan;

/// One pulse a request.
pub(super) fn singles(context: &Context, server: &Server) -> Plan {
    context.singles(server, "/pulse")
}

fn batches(context: &Context, server: &Server) -> Plan {
    context.batches(server, "/pulse")
}

/// Our server on a fresh directory under the load.
fn fresh(context: &Context, ack: &str, plan: MakePlan) -> Result<Report> {
    let ours = context.ours(|launch| launch.flag(flags::ACK, ack))?;
    context.measure(&plan(context, &ours.server))
}

/// What all rounds of a case saw.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    ours: Vec<f64>,
    /// The faster arrangement of each round.
    pub(super) bare: Vec<f64>,
    arrangements: [Vec<f64>; 2],
    reports: Vec<Report>,
}

/// Bare hyper and ours under the same load, in turn.
pub(super) fn rounds(
    context: &mut Context,
    plan: MakePlan,
    mut ours: impl FnMut(&Context) -> Result<Report>,
) -> Result<Rounds> {
    let mut rounds = Rounds::default();
    for _ in 0..context.rounds {
        let (best, both) = context.bare_rate(plan)?;
        rounds.bare.push(best);
        for (all, rate) in rounds.arrangements.iter_mut().zip(both) {
            all.push(rate);
        }
        let report = ours(context)?;
        rounds.ours.push(report.accepted_per_second());
        rounds.reports.push(report);
    }
    Ok(rounds)
}

impl Rounds {
    /// The case's row, where each request has so many pulses.
    pub(super) fn row(mut self, case: &str, pulses: f64, target: Target) -> Row {
        let [mut shared, mut per_core] = self.arrangements;
        let latency = |quantile: f64| {
            median(&mut self.reports.iter().map(|r| r.latency_ms(quantile)).collect::<Vec<_>>())
        };
        let beside = format!(
            "p50 {:.2} ms, p99 {:.2} ms; bare shared {}/s, per core {}/s",
            latency(0.5),
            latency(0.99),
            grouped(median(&mut shared)),
            grouped(median(&mut per_core)),
        );
        let refused: u64 = self.reports.iter().map(Report::refused).sum();
        let errors: u64 = self.reports.iter().map(|report| report.errors).sum();
        let scale = |rates: &mut Vec<f64>| rates.iter_mut().for_each(|rate| *rate *= pulses);
        scale(&mut self.ours);
        scale(&mut self.bare);
        let unit = if pulses > 1.0 { "pulses/s" } else { "requests/s" };
        Row::new(case, median(&mut self.ours.clone()), unit, target)
            .compared(&self.ours, &self.bare)
            .beside(beside)
            .unless(refused == 0, &format!("{refused} refused"))
            .unless(errors == 0, &format!("{errors} broken connections"))
    }
}
