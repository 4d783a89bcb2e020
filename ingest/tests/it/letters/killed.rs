//! A process killed twice in the middle of a replay at full speed. `PULSEMESH_LETTERS` says how
//! many letters there are.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use xtask::client::Request;
use xtask::flags;
use xtask::ledger::drained;
use xtask::rows::each_page;
use xtask::server::{Server, wait_for};

use super::{REPLAY_MAX, Refusing, refusing};
use crate::support::{SOON, say, setting};

/// Letters, unless it is said: some pieces of a replay.
const LETTERS: usize = 100_000;
/// Pulses of a request.
const BATCH_PULSES: usize = 5_000;
/// Room for a million letters.
const BUDGET: &str = "4GiB";
/// Shares of the letters that are stored when the process is killed, a piece at least apart.
const KILLED_AT: [f64; 2] = [0.25, 0.5];
/// It is killed within this after that: a part of what a piece takes.
const KILL_WITHIN: Duration = Duration::from_millis(20);
/// Between two looks at it: all of it may take less than a second.
const LOOK: Duration = Duration::from_millis(1);

#[test]
fn a_process_killed_twice_in_a_replay_stores_each_letter_once() -> Result<()> {
    let letters = setting("PULSEMESH_LETTERS").map_or(LETTERS, |letters| letters as usize);
    let mut at = Refusing::start()?;
    restart(&mut at)?;
    let begun = Instant::now();
    refuse(&at, letters)?;
    let made = begun.elapsed();
    assert_eq!(at.letters()?, letters as f64);
    at.accept()?;
    let begun = Instant::now();
    let replay = at.send("POST", "/v1/replays", "{}", 202)?;
    let target = format!("/v1/replays/{}", replay["id"].as_str().context("an id")?);
    let mut stored_at_kill = Vec::new();
    for share in KILLED_AT {
        let stored = wait_for_stored(&at.server, &target, (letters as f64 * share) as u64)?;
        thread::sleep(rand::random_range(Duration::ZERO..KILL_WITHIN));
        restart(&mut at)?;
        at.check_ledger()?;
        stored_at_kill.push(stored);
    }
    wait_for(REPLAY_MAX, "the end of the replay", || Ok(at.get(&target)?["state"] == "completed"))?;
    let replayed = begun.elapsed();
    let replay = at.get(&target)?;
    assert_eq!(replay["counts"]["stored"], json!(letters), "{replay}");
    let begun = Instant::now();
    check_rows(&at.server, letters)?;
    say(&format!(
        "{letters} letters made in {made:?}, replayed in {replayed:?} with two kills, at \
         {stored_at_kill:?}; looked at in {:?}",
        begun.elapsed()
    ));
    let counts = at.get("/v1/counts?window=24h")?;
    assert_eq!(counts["total"], json!(letters), "no row is counted twice");
    assert_eq!(at.letters()?, 0.0);
    at.check_ledger()?;
    wait_for(SOON, "the room", || {
        Ok(at.server.samples()?.sum("pulsemesh_dead_letter_bytes", &[]) == 0.0)
    })
}

/// Kills the process and starts it again.
fn restart(at: &mut Refusing) -> Result<()> {
    at.server.kill()?;
    let launch = refusing(at.dir.path())?.flag(flags::DEAD_LETTER_BUDGET, BUDGET);
    at.server = launch.start()?;
    at.server.wait_ready(REPLAY_MAX)?;
    Ok(())
}

/// Makes letters, each with a number.
fn refuse(at: &Refusing, letters: usize) -> Result<()> {
    let mut client = at.server.client();
    let numbers: Vec<_> = (0..letters).collect();
    for numbers in numbers.chunks(BATCH_PULSES) {
        let line = |number| {
            format!("{{\"service\":\"replayed\",\"kind\":\"refused\",\"value\":{number}}}\n")
        };
        let body = numbers.iter().map(line).collect::<String>();
        let response = client.send(&Request::lines("/pulse", body))?;
        ensure!(response.status == 202, "{}", response.text());
    }
    drained(&at.server, REPLAY_MAX)?;
    Ok(())
}

/// Waits until so many letters are stored, but not all; returns how many are.
fn wait_for_stored(server: &Server, target: &str, wanted: u64) -> Result<u64> {
    let mut client = server.client();
    let begun = Instant::now();
    loop {
        let replay = client.get_json(target)?;
        ensure!(replay["state"] == "running", "it is killed too late: {replay}");
        let stored = replay["counts"]["stored"].as_u64().context("a count")?;
        if stored >= wanted {
            return Ok(stored);
        }
        ensure!(begun.elapsed() < REPLAY_MAX, "the replay gets nowhere: {replay}");
        thread::sleep(LOOK);
    }
}

/// Each letter is a row, once.
fn check_rows(server: &Server, letters: usize) -> Result<()> {
    let mut seen = vec![false; letters];
    each_page(server, "replayed", |page| {
        for row in page {
            let number = number_of(row).with_context(|| format!("{row}"))?;
            let seen = seen.get_mut(number).with_context(|| format!("nobody sent {row}"))?;
            ensure!(!std::mem::replace(seen, true), "twice: {row}");
        }
        Ok(())
    })?;
    let missing = seen.iter().filter(|seen| !**seen).count();
    ensure!(missing == 0, "{missing} letters are no rows");
    Ok(())
}

fn number_of(row: &Value) -> Option<usize> {
    row["value"].as_f64().map(|value| value as usize)
}
