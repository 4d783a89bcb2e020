//! The path into Cassandra and back, on one real node that shares the machine with all else.

mod database;
mod outage;
mod raw;
mod read;
mod write;

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use xtask::load::{self, Plan, Report};
use xtask::server::{Launch, Server, wait_for};

use super::context::{Context, Ours};
use super::report::Row;
use super::{Options, Printer};
use database::Database;

/// Longest wait for a server to reach the database, or to write what it has accepted.
const WAIT_MAX: Duration = Duration::from_secs(600);
/// Between two looks at a server: each costs it a page of metrics.
const LOOK: Duration = Duration::from_millis(50);
/// A connection that is refused because the log is full comes back after this.
const REST: Duration = Duration::from_millis(50);
/// Pulses that are written before a measurement: connections, caches and the node's compiler.
const WARM_UP_PULSES: u64 = 20_000;

/// A case of the Cassandra store.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) name: &'static str,
    run: fn(&mut Context, &Database) -> Result<Vec<Row>>,
    /// It stops the node, which must be our own for that.
    stops: bool,
}

/// Every case, in the order in which they run.
pub(super) const CASES: [Case; 4] = [
    Case { name: "cassandra-write", run: write::run, stops: false },
    Case { name: "cassandra-down", run: outage::down, stops: true },
    Case { name: "cassandra-catch-up", run: outage::catch_up, stops: true },
    Case { name: "cassandra-read", run: read::run, stops: false },
];

/// Starts the node, then measures what is wanted.
pub(super) fn measure(
    context: &mut Context,
    options: &Options,
    printer: &mut Printer,
) -> Result<()> {
    let database = match &options.node {
        Some(node) => Database::attach(node)?,
        None => Database::start(&context.dir)?,
    };
    for case in CASES.iter().filter(|case| options.wants(case.name)) {
        let rows = match (case.stops && options.node.is_some(), options.cases.is_empty()) {
            (false, _) => (case.run)(context, &database),
            (true, true) => continue,
            (true, false) => bail!("{} stops the node, which is not ours", case.name),
        };
        printer.print(case.name, rows)?;
    }
    Ok(())
}

/// Our server on a fresh directory, connected to the database and warm.
fn connected(
    context: &Context,
    database: &Database,
    more: impl FnOnce(Launch) -> Launch,
) -> Result<Ours> {
    let ours = context.ours(|launch| more(database.flags(launch, database::OURS)))?;
    wait_connected(&ours.server)?;
    send(context, &ours.server, WARM_UP_PULSES)?;
    Ok(ours)
}

fn wait_connected(server: &Server) -> Result<()> {
    wait_for(WAIT_MAX, "a connection to the database", || {
        std::thread::sleep(LOOK);
        Ok(server.samples()?.sum("pulsemesh_cassandra_connected", &[]) >= 1.0)
    })
}

/// Pulses that were accepted and stored.
#[derive(Debug)]
struct Sent {
    pulses: u64,
    /// From the first request until the last pulse was stored.
    took: Duration,
    report: Report,
}

/// Sends batches as fast as they are taken until at least so many pulses are accepted, and waits
/// until all are stored.
fn send(context: &Context, server: &Server, pulses: u64) -> Result<Sent> {
    send_plan(server, &context.batches(server, "/pulse"), super::context::BATCH_PULSES, pulses)
}

/// The same with other requests, each of `each` pulses.
fn send_plan(server: &Server, plan: &Plan, each: usize, pulses: u64) -> Result<Sent> {
    let before = stored(server)?;
    let accepted_before = accepted(server)?;
    let started = Instant::now();
    let running = load::start(&Plan { duration: WAIT_MAX, rest: REST, ..plan.clone() })?;
    let enough = wait_for(WAIT_MAX, "enough to be accepted", || {
        std::thread::sleep(LOOK);
        Ok(accepted(server)? - accepted_before >= pulses)
    });
    running.stop();
    let report = running.wait()?;
    enough?;
    let pulses = report.accepted() * each as u64;
    wait_for(WAIT_MAX, "all to be stored", || {
        std::thread::sleep(LOOK);
        Ok(stored(server)? - before >= pulses)
    })?;
    let took = started.elapsed();
    let written = stored(server)? - before;
    ensure!(written == pulses, "{written} were stored of {pulses} accepted");
    Ok(Sent { pulses, took, report })
}

fn accepted(server: &Server) -> Result<u64> {
    Ok(server.samples()?.sum("pulsemesh_pulses_accepted_total", &[]) as u64)
}

fn stored(server: &Server) -> Result<u64> {
    Ok(server.samples()?.sum("pulsemesh_pulses_stored_total", &[]) as u64)
}
