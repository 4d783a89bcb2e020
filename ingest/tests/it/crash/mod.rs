//! Killed under load, again and again, on one data directory: no acknowledged pulse is lost,
//! none is there twice, and the ledger is equal. Run by `cargo xtask test`; alone with
//! `cargo test --profile ci --test it -- --ignored crash`.
//!
//! `PULSEMESH_SEED` replays the settings of a run, `PULSEMESH_CRASH_ROUNDS` says how many.

mod client;
mod plan;
mod verdict;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use tempfile::TempDir;
use xtask::ledger::drained;
use xtask::server::Server;

use crate::support::{binary, printed, say, setting, tool};

use client::Sent;
use plan::Round;
use verdict::Verdict;

const ROUNDS: u64 = 100;
/// Rounds between two full comparisons: a loss is found near the round that caused it.
const ROUNDS_TO_VERDICT: u64 = 50;
/// Longest start on a directory that a killed process left.
const START_MAX: Duration = Duration::from_secs(10);
/// Longest drain of what all rounds left.
const DRAIN_MAX: Duration = Duration::from_secs(120);

#[test]
#[ignore = "takes a minute or more: a step of its own in cargo xtask test"]
fn rounds() -> Result<()> {
    let seed = setting("PULSEMESH_SEED").unwrap_or_else(rand::random);
    let rounds = setting("PULSEMESH_CRASH_ROUNDS").unwrap_or(ROUNDS);
    say(&format!("crash rounds: PULSEMESH_SEED={seed} PULSEMESH_CRASH_ROUNDS={rounds}"));
    let dir = TempDir::new().context("make a directory")?;
    let mut sent = Sent::new(seed);
    let outcome = all_rounds(&dir, seed, rounds, &mut sent);
    if outcome.is_err() {
        say(&format!("the data directory is kept: {}", dir.keep().display()));
    }
    outcome.with_context(|| format!("with PULSEMESH_SEED={seed}"))
}

fn all_rounds(dir: &TempDir, seed: u64, rounds: u64, sent: &mut Sent) -> Result<()> {
    let (began, mut judging) = (Instant::now(), Duration::ZERO);
    let mut slowest = Duration::ZERO;
    for number in 0..rounds {
        let round = Round::new(seed, number);
        let context = || format!("round {number}: {round:?}");
        slowest = slowest.max(one_round(dir, &round, sent).with_context(context)?);
        if (number + 1) % ROUNDS_TO_VERDICT == 0 || number + 1 == rounds {
            let asked = Instant::now();
            let verdict = judge(dir, sent).with_context(context)?;
            judging += asked.elapsed();
            say(&format!(
                "after {} rounds: {verdict}; slowest start {slowest:.1?}, {judging:.1?} of {:.1?} \
                 for comparing",
                number + 1,
                began.elapsed(),
            ));
        }
    }
    ensure!(sent.acknowledged() > rounds as usize, "hardly anything was acknowledged");
    let verify = tool(&["log", "verify", &dir.path().display().to_string()])?;
    ensure!(verify.status.success(), "log verify: {}", printed(&verify));
    Ok(())
}

/// Starts the server, loads it and kills it at the round's moment; says how long it took to
/// listen.
fn one_round(dir: &TempDir, round: &Round, sent: &mut Sent) -> Result<Duration> {
    let started = Instant::now();
    let mut server = round.launch(binary(), dir.path()).spawn()?;
    if let Some(before_ready) = round.kill_in_start {
        thread::sleep(before_ready);
        server.kill()?;
        return Ok(Duration::ZERO);
    }
    server.wait_listening(START_MAX)?;
    let took = started.elapsed();
    load_and_kill(server, round, sent)?;
    Ok(took)
}

fn load_and_kill(mut server: Server, round: &Round, sent: &mut Sent) -> Result<()> {
    let killed = AtomicBool::new(false);
    let lanes = sent.lanes(round);
    let address = server.listen();
    let lanes = thread::scope(|scope| {
        let run = |lane: client::Lane| {
            thread::Builder::new()
                .name(format!("lane-{}", lane.number()))
                .spawn_scoped(scope, || lane.run(address, &killed))
                .context("start a thread")
        };
        let threads = lanes.into_iter().map(run).collect::<Result<Vec<_>>>()?;
        thread::sleep(round.kill_after);
        killed.store(true, Ordering::SeqCst);
        server.kill()?;
        let join = |thread: thread::ScopedJoinHandle<'_, Result<client::Lane>>| {
            thread.join().map_err(|_| anyhow!("a lane panicked"))?
        };
        threads.into_iter().map(join).collect::<Result<Vec<_>>>()
    })?;
    sent.take_back(lanes);
    Ok(())
}

/// Lets everything drain and compares what is there with what was promised.
fn judge(dir: &TempDir, sent: &Sent) -> Result<Verdict> {
    let mut server = crate::support::launch(dir.path()).spawn()?;
    server.wait_listening(START_MAX)?;
    let samples = drained(&server, DRAIN_MAX)?;
    let verdict = verdict::compare(&server, &samples, sent)?;
    server.stop(START_MAX)?;
    Ok(verdict)
}
