//! How long a start takes with a long backlog, and a stop under load.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use tempfile::TempDir;
use xtask::flags;
use xtask::load::{self, Plan};
use xtask::server::wait_for;

use super::context::{Context, SINGLE_CONNECTIONS};
use super::report::{Row, Target};

const MIB: u64 = 1024 * 1024;
/// Longest wait for the backlog to be written, and for a start or a stop.
const WAIT_MAX: Duration = Duration::from_secs(300);

/// From the start of the process to its first 200 of `/readyz`, with 2 GiB in the log.
pub(super) fn start(context: &mut Context) -> Result<Vec<Row>> {
    let wanted = if context.smoke { 64 * MIB } else { 2048 * MIB };
    let (dir, bytes) = backlog(context, wanted)?;
    let started = Instant::now();
    let server = context.launch(dir.path()).flag(flags::LOG_BUDGET, "4GiB").start()?;
    server.wait_ready(WAIT_MAX)?;
    let took = started.elapsed();
    let left = server.samples()?.sum("pulsemesh_log_bytes", &[]);
    let row = Row::new("start-backlog", took.as_secs_f64(), "s", Target::AtMost(1.0))
        .beside(format!("{} MiB in the log", bytes / MIB))
        .unless(left > 0.0, "the server knows of no backlog");
    Ok(vec![row])
}

/// A directory whose log holds this much that no store has seen.
fn backlog(context: &Context, bytes: u64) -> Result<(TempDir, u64)> {
    let dir = context.data_dir()?;
    let mut server =
        context.launch_throttled(dir.path(), 0).flag(flags::LOG_BUDGET, "4GiB").start()?;
    let plan = Plan { duration: WAIT_MAX, ..context.batches(&server, "/pulse") };
    let running = load::start(&plan)?;
    let mut written = 0;
    let filled = wait_for(WAIT_MAX, "the backlog", || {
        written = server.samples()?.sum("pulsemesh_log_bytes", &[]) as u64;
        Ok(written >= bytes)
    });
    running.stop();
    let report = running.wait()?;
    filled.with_context(|| format!("{written} bytes are in the log; the load: {report:?}"))?;
    server.kill()?;
    Ok((dir, written))
}

/// From the signal to the end of the process, with no delay and no drain; the slowest round.
pub(super) fn stop(context: &mut Context) -> Result<Vec<Row>> {
    let mut slowest = Duration::ZERO;
    let mut accepted = 0;
    for round in 0..context.rounds {
        let mut ours = context.ours(|launch| launch)?;
        let batches = round % 2 == 0;
        let plan = if batches {
            context.batches(&ours.server, "/pulse")
        } else {
            context.singles(&ours.server, "/pulse")
        };
        let running = load::start(&Plan { duration: WAIT_MAX, ..plan })?;
        let counted = || {
            let samples = ours.server.samples()?;
            Ok(samples.sum("pulsemesh_pulses_accepted_total", &[]) > SINGLE_CONNECTIONS as f64)
        };
        wait_for(WAIT_MAX, "some load", counted)?;
        std::thread::sleep(context.load);
        let asked = Instant::now();
        ours.server.signal(Signal::TERM)?;
        let status = ours.server.wait(WAIT_MAX)?;
        slowest = slowest.max(asked.elapsed());
        ensure!(status.success(), "it ended with {status}; its log:\n{}", ours.server.log());
        running.stop();
        accepted += running.wait()?.accepted();
        ours.dir.close().context("remove the data directory")?;
    }
    let row = Row::new("stop-loaded", slowest.as_secs_f64(), "s", Target::AtMost(2.0))
        .beside(format!("slowest of {} rounds, {accepted} requests accepted", context.rounds));
    Ok(vec![row])
}
