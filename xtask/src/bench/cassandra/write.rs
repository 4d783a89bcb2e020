//! From HTTP until stored, against the loop that does nothing but write, in alternating rounds:
//! rows a second, and the processor time of both clients.

use anyhow::Result;

use super::super::context::Context;
use super::super::report::{Row, Target, grouped, median};
use super::database::Database;
use super::raw::{self, Run, Settings};
use super::{Sent, connected, send};

/// Rows of one side of a round: some seconds, in which the node also writes tables to disk.
const ROWS: u64 = 1_000_000;
const ROWS_SMOKE: u64 = 30_000;

/// What all rounds saw.
#[derive(Debug, Default)]
struct Rounds {
    ours: Vec<Ours>,
    raw: Vec<Run>,
    /// The loop with values as the driver's documentation shows.
    typed: Vec<Run>,
    /// The loop with one table alone.
    events: Vec<Run>,
}

/// Our server in one round.
#[derive(Debug)]
struct Ours {
    sent: Sent,
    /// Processor seconds of the server for 100,000 rows.
    cpu_per_100_000: f64,
    resident_bytes: u64,
}

/// Pulses stored a second, and what they cost.
pub(super) fn run(context: &mut Context, database: &Database) -> Result<Vec<Row>> {
    let rows = if context.smoke { ROWS_SMOKE } else { ROWS };
    database.renew(context)?;
    let settings = raw::calibrate(context, database)?;
    let mut rounds = Rounds::default();
    for round in 0..context.rounds {
        database.renew(context)?;
        // What the node still has to do after one side meets each side as often.
        if round % 2 == 0 {
            rounds.ours.push(ours(context, database, rows)?);
            rounds.raw.push(settings.run(context, database, "all", rows)?);
        } else {
            rounds.raw.push(settings.run(context, database, "all", rows)?);
            rounds.ours.push(ours(context, database, rows)?);
        }
        rounds.typed.push(settings.typed().run(context, database, "all", rows)?);
        rounds.events.push(settings.run(context, database, "events", rows)?);
    }
    Ok(vec![rounds.write_row(&settings), rounds.cpu_row()])
}

fn ours(context: &Context, database: &Database, rows: u64) -> Result<Ours> {
    let ours = connected(context, database, |launch| launch)?;
    let before = ours.server.cpu_time()?;
    let sent = send(context, &ours.server, rows)?;
    let used = (ours.server.cpu_time()? - before).as_secs_f64();
    Ok(Ours {
        cpu_per_100_000: used / (sent.pulses as f64 / 100_000.0),
        resident_bytes: ours.server.resident_bytes()?,
        sent,
    })
}

impl Rounds {
    fn write_row(&self, settings: &Settings) -> Row {
        let ours = self.of_ours(|ours| ours.sent.pulses as f64 / ours.sent.took.as_secs_f64());
        let raw: Vec<f64> = self.raw.iter().map(Run::rows_per_second).collect();
        let mut events: Vec<f64> = self.events.iter().map(Run::rows_per_second).collect();
        let mut p99 = self.of_ours(|ours| ours.sent.report.latency_ms(0.99));
        let timeouts: u64 = self.raw.iter().map(|run| run.timeouts).sum();
        let beside = format!(
            "p99 of requests {:.1} ms, {:.0} MiB resident; raw loop: {}, {timeouts} timeouts; one \
             table alone {} rows/s",
            median(&mut p99),
            median(&mut self.of_ours(|ours| ours.resident_bytes as f64 / 1_048_576.0)),
            settings.told(),
            grouped(median(&mut events)),
        );
        let errors: u64 = self.ours.iter().map(|ours| ours.sent.report.errors).sum();
        let target = Target::RatioAtLeast(0.85);
        Row::new("cassandra-write", median(&mut ours.clone()), "pulses/s", target)
            .compared(&ours, &raw)
            .beside(beside)
            .unless(errors == 0, &format!("{errors} broken connections"))
    }

    fn cpu_row(&self) -> Row {
        let ours = self.of_ours(|ours| ours.cpu_per_100_000);
        let mut cells: Vec<f64> = self.raw.iter().map(Run::cpu_per_100_000).collect();
        let typed: Vec<f64> = self.typed.iter().map(Run::cpu_per_100_000).collect();
        let target = Target::RatioAtMost(2.5);
        Row::new("cassandra-cpu", median(&mut ours.clone()), "s for 100,000 rows", target)
            .compared(&ours, &typed)
            .beside(format!(
                "processor time of the process; the load's is not in it. The loop binds Rust \
                 values as the driver's documentation shows; with bytes of cells made by hand, \
                 {:.2} s",
                median(&mut cells)
            ))
    }

    fn of_ours(&self, figure: impl Fn(&Ours) -> f64) -> Vec<f64> {
        self.ours.iter().map(figure).collect()
    }
}
