//! The database is away: what is still accepted, and how soon all is stored once it is back.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use xtask::ledger::in_place;
use xtask::load::{self, Model, Plan, Report, Running};
use xtask::server::{Server, wait_for};
use xtask::{events, flags};

use super::super::context::Context;
use super::super::report::{Row, Target, grouped};
use super::super::throughput::{rounds, singles};
use super::database::Database;
use super::{LOOK, WAIT_MAX, accepted, connected, stored};

/// Room for all that is accepted while nothing is stored.
const LOG_BUDGET: &str = "8GiB";
/// Pulses a second that are offered all the time.
const OFFERED_PER_SECOND: f64 = 20_000.0;
/// Pulses of one request.
const REQUEST_PULSES: usize = 100;
const CONNECTIONS: usize = 8;
/// Age of the oldest pulse below which the store has caught up: the figure is up to half a
/// second old, and batches wait for more rows.
const CAUGHT_UP_SECONDS: f64 = 1.0;

/// One pulse a request, synced before its answer, by a server that lost its database.
pub(super) fn down(context: &mut Context, database: &Database) -> Result<Vec<Row>> {
    let ours = connected(context, database, |launch| {
        launch.flag(flags::ACK, "durable").flag(flags::LOG_BUDGET, LOG_BUDGET)
    })?;
    database.node()?.kill()?;
    let measured =
        rounds(context, singles, |context| context.measure(&singles(context, &ours.server)));
    let waiting = in_log(&ours.server);
    drop(ours);
    database.start_again()?;
    let rounds = measured?;
    context.note_bare_single(&rounds.bare);
    let row = rounds.row("cassandra-down", 1.0, Target::RatioAtLeast(0.65));
    Ok(vec![row.unless(waiting? > 0.0, "the database was not away")])
}

/// From the first answer of the database until all that waited is stored, while as much goes on
/// coming.
pub(super) fn catch_up(context: &mut Context, database: &Database) -> Result<Vec<Row>> {
    let ours = connected(context, database, |launch| launch.flag(flags::LOG_BUDGET, LOG_BUDGET))?;
    let server = &ours.server;
    let warm = [accepted(server)?, stored(server)?];
    let outage = Duration::from_secs(if context.smoke { 3 } else { 60 });
    let load = offer(server)?;
    let measured = lose_and_catch_up(server, database, outage);
    load.stop();
    let report = load.wait()?;
    let caught_up = measured?;
    wait_for(WAIT_MAX, "the rest to be stored", || {
        thread::sleep(LOOK);
        Ok(stored(server)? - warm[1] >= accepted(server)? - warm[0])
    })?;
    let lost = (accepted(server)? - warm[0]).abs_diff(stored(server)? - warm[1]);
    Ok(vec![caught_up.row(&report, lost)])
}

/// Sends at a fixed rate until it is told to stop.
fn offer(server: &Server) -> Result<Running> {
    load::start(&Plan {
        address: server.listen(),
        connections: CONNECTIONS,
        threads: 1,
        requests: Arc::from(events::live_batches(&events::SERVICES, REQUEST_PULSES, 16)),
        model: Model::Paced { per_second: OFFERED_PER_SECOND / REQUEST_PULSES as f64 },
        duration: WAIT_MAX * 2,
        rest: Duration::ZERO,
    })
}

fn lose_and_catch_up(server: &Server, database: &Database, outage: Duration) -> Result<CaughtUp> {
    thread::sleep(outage / 10);
    database.node()?.kill()?;
    thread::sleep(outage);
    let node_start = database.start_again()?;
    let back = Instant::now();
    let backlog = in_log(server)?;
    wait_for(WAIT_MAX, "the backlog to be stored", || {
        thread::sleep(LOOK);
        let samples = server.samples()?;
        let age = samples.sum("pulsemesh_sink_oldest_unstored_age_seconds", &[]);
        Ok(age < CAUGHT_UP_SECONDS && in_place(&samples, "in_log") < OFFERED_PER_SECOND)
    })?;
    let took = back.elapsed();
    // The load goes on, so that its end is no part of what is judged.
    thread::sleep(outage / 10);
    Ok(CaughtUp { outage, node_start, backlog, took })
}

fn in_log(server: &Server) -> Result<f64> {
    // The ledger is read about once a second: what it says now must be of now.
    thread::sleep(Duration::from_secs(1));
    Ok(in_place(&server.samples()?, "in_log"))
}

/// How an outage ended.
#[derive(Debug)]
struct CaughtUp {
    outage: Duration,
    /// From the start of the node's process until it answered.
    node_start: Duration,
    /// Pulses that waited when it answered.
    backlog: f64,
    took: Duration,
}

impl CaughtUp {
    fn row(&self, load: &Report, lost: u64) -> Row {
        let took = self.took.as_secs_f64();
        let beside = format!(
            "{} waited after {} s and {:.1} s of the node's start, which is not counted; load of \
             {}/s: p50 {:.1} ms, p99 {:.1} ms",
            grouped(self.backlog),
            self.outage.as_secs(),
            self.node_start.as_secs_f64(),
            grouped(load.accepted_per_second() * REQUEST_PULSES as f64),
            load.latency_ms(0.5),
            load.latency_ms(0.99),
        );
        Row::new("cassandra-catch-up", took, "s", Target::AtMost(60.0))
            .beside(beside)
            .unless(load.refused() == 0, &format!("{} refused", load.refused()))
            .unless(load.errors == 0, &format!("{} broken connections", load.errors))
            .unless(lost == 0, &format!("{lost} pulses are not stored"))
    }
}
