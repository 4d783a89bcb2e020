//! Dead letters written to their store again, against the same pulses on their way from a client.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use xtask::client::Request;
use xtask::ledger::{drained, in_place};
use xtask::load::{self, Plan};
use xtask::server::{Launch, Server, wait_for};
use xtask::{events, flags};

use super::context::{BATCH_PULSES, Context};
use super::report::{Row, Target, grouped, median};

/// A connection that is refused because the log is full comes back after this.
const REST: Duration = Duration::from_millis(50);
/// How long pulses are sent that become letters: some hundred thousand of them.
const LETTERS_LOAD: Duration = Duration::from_secs(2);
/// Longest wait for the store to catch up, and for a replay to end.
const END_MAX: Duration = Duration::from_secs(600);
const ROUNDS_MAX: usize = 3;
/// Different requests of a load.
const VARIANTS: usize = 16;
/// Room for the letters of all rounds.
const LETTERS_BUDGET: &str = "4GiB";

/// Letters a second that a replay writes, against pulses a second from HTTP until stored.
pub(super) fn run(context: &mut Context) -> Result<Vec<Row>> {
    let (mut normal, mut replayed) = (Vec::new(), Vec::new());
    let mut letters = 0;
    for _ in 0..context.rounds.min(ROUNDS_MAX) {
        let dir = context.data_dir()?;
        let refuse = dir.path().join("refuse");
        let server = launch(context, dir.path(), &refuse)?.start()?;
        server.wait_ready(END_MAX)?;
        normal.push(written(&server, &plan(context, &server, context.load))?);
        letters = make_letters(&server, &plan(context, &server, LETTERS_LOAD), &refuse)?;
        replayed.push(letters as f64 / replay_all(&server, letters)?.as_secs_f64());
    }
    let beside = format!("{} letters in the last round", grouped(letters as f64));
    let row =
        Row::new("replay", median(&mut replayed.clone()), "letters/s", Target::RatioAtLeast(0.5));
    Ok(vec![row.compared(&replayed, &normal).beside(beside)])
}

fn launch(context: &Context, dir: &Path, refuse: &Path) -> Result<Launch> {
    let data = dir.join("data");
    fs::create_dir(&data)?;
    let launch = Launch::new(context.built.join("examples/refusing"), &data);
    Ok(launch
        .flag(flags::REFUSE_WHILE, &refuse.display().to_string())
        .flag(flags::DEAD_LETTER_BUDGET, LETTERS_BUDGET))
}

/// Batches of pulses of the kind that is refused while there is the file.
fn plan(context: &Context, server: &Server, duration: Duration) -> Plan {
    let now = events::now_ms();
    let line = |number: usize| {
        let pulse = events::pulse(number, now + (number % 1000) as u64);
        format!("{{\"kind\":\"refused\",{}\n", pulse.trim_start_matches('{'))
    };
    let body = |variant: usize| {
        (0..BATCH_PULSES).map(|place| line(variant * BATCH_PULSES + place)).collect::<String>()
    };
    let request = |variant| Request::lines("/pulse", body(variant)).to_bytes();
    Plan {
        requests: (0..VARIANTS).map(request).collect(),
        rest: REST,
        duration: if context.smoke { Duration::from_millis(200) } else { duration },
        ..context.batches(server, "/pulse")
    }
}

/// Pulses a second from the first request until all are stored.
fn written(server: &Server, plan: &Plan) -> Result<f64> {
    let begun = Instant::now();
    let accepted = load::run(plan)?.accepted() * BATCH_PULSES as u64;
    drained(server, END_MAX)?;
    Ok(accepted as f64 / begun.elapsed().as_secs_f64())
}

fn make_letters(server: &Server, plan: &Plan, refuse: &PathBuf) -> Result<u64> {
    fs::write(refuse, "").context("have the store refuse")?;
    load::run(plan)?;
    let letters = in_place(&drained(server, END_MAX)?, "dead_lettered");
    fs::remove_file(refuse).context("have the store take all")?;
    ensure!(letters > 0.0, "no pulse became a letter");
    Ok(letters as u64)
}

/// Replays all letters; how long it took.
fn replay_all(server: &Server, letters: u64) -> Result<Duration> {
    let mut client = server.client();
    let begun = Instant::now();
    let replay = client.send(&Request::json("/v1/replays", "{}"))?.json()?;
    let target = format!("/v1/replays/{}", replay["id"].as_str().context("a replay has no id")?);
    wait_for(END_MAX, "the end of the replay", || {
        Ok(client.get_json(&target)?["state"] == "completed")
    })?;
    let took = begun.elapsed();
    let replay = client.get_json(&target)?;
    ensure!(replay["counts"]["stored"] == letters, "{letters} letters, but {replay}");
    Ok(took)
}
