//! What tenants cost: a key, a limit and an idempotency key on each request against none of them,
//! and ten thousand tenants in memory and read again under load.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::process::Signal;
use xtask::client::Request;
use xtask::load::{self, Model, Plan, Report};
use xtask::server::{Server, wait_for};
use xtask::tenants::{self, HOT, QUIET, Tenant};
use xtask::{events, flags};

use super::context::{Context, SINGLE_CONNECTIONS};
use super::report::{Row, Target, grouped, median};

/// Requests that each have a name of their own, for a second of load: twice what is answered.
const NAMES_PER_SECOND: usize = 250_000;
/// Those of the warm-up, which is half a second.
const WARM_UP: Duration = Duration::from_millis(500);
/// A limit that is counted and never met.
const NEVER_MET: u64 = 1_000_000_000;

/// Beside the two that are known: ten thousand in all, the most that there may be.
const OTHERS: usize = 9_998;
/// What is sent while tenants are read again: far below what two cores answer.
const PACED_PER_SECOND: f64 = 10_000.0;
/// Reloads of a round, and the pause between two.
const RELOADS: usize = 8;
const PAUSE: Duration = Duration::from_millis(250);
/// Longest reload that is waited for.
const RELOAD_MAX: Duration = Duration::from_secs(10);
const MIB: f64 = 1024.0 * 1024.0;

/// One pulse a request, synced before its answer, with everything on against with nothing.
pub(super) fn cost(context: &mut Context) -> Result<Vec<Row>> {
    let dir = context.data_dir()?;
    let limits = [(QUIET, NEVER_MET)];
    let file = tenants::write_file(dir.path(), &limits)?.display().to_string();
    let count = NAMES_PER_SECOND * context.load.as_secs() as usize;
    let warm_up = NAMES_PER_SECOND / 2;
    // As many different ones on both sides: the load then costs as much.
    let mut plain = events::singles("/pulse", count + warm_up);
    let mut keyed = tenants::singles(QUIET, count + warm_up);
    let mut named = tenants::named_singles(QUIET, count + warm_up);
    let plain = [plain.split_off(count), plain].map(Arc::from);
    let keyed = [keyed.split_off(count), keyed].map(Arc::from);
    let named = [named.split_off(count), named].map(Arc::from);
    let (mut without, mut some, mut with) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..context.rounds {
        without.push(round(context, &plain, None)?);
        some.push(round(context, &keyed, Some(&file))?);
        with.push(round(context, &named, Some(&file))?);
    }
    let rates = |rounds: &[Round]| -> Vec<f64> {
        rounds.iter().map(|round| round.report.accepted_per_second()).collect()
    };
    let (on, off) = (rates(&with), rates(&without));
    let all = || with.iter().chain(&some).chain(&without).map(|round| &round.report);
    let keyed = grouped(median(&mut rates(&some)));
    let beside = format!(
        "{}; {keyed}/s with a key and a limit alone, {}; without, {}",
        told(&with),
        told(&some),
        told(&without)
    );
    let refused: u64 = all().map(Report::refused).sum();
    let errors: u64 = all().map(|report| report.errors).sum();
    Ok(vec![
        Row::new("tenants-cost", median(&mut on.clone()), "requests/s", Target::RatioAtLeast(0.8))
            .compared(&on, &off)
            .beside(beside)
            .unless(refused == 0, &format!("{refused} refused"))
            .unless(errors == 0, &format!("{errors} broken connections")),
    ])
}

/// What one load saw, and the server's processor time for each of its requests.
#[derive(Debug)]
struct Round {
    report: Report,
    cpu_us: f64,
}

fn told(rounds: &[Round]) -> String {
    let of = |figure: fn(&Round) -> f64| median(&mut rounds.iter().map(figure).collect::<Vec<_>>());
    let p99 = of(|round| round.report.latency_ms(0.99));
    format!("p99 {p99:.2} ms, {:.1} µs of the server's processor time", of(|round| round.cpu_us))
}

/// A fresh server under requests of which none comes twice: for the warm-up, then for the load.
fn round(context: &Context, both: &[Arc<[Vec<u8>]>; 2], file: Option<&str>) -> Result<Round> {
    let ours = context.ours(|launch| {
        let launch = launch.flag(flags::ACK, "durable");
        if let Some(file) = file { launch.flag(flags::TENANTS, file) } else { launch }
    })?;
    let plan = |requests: &Arc<[Vec<u8>]>, duration| Plan {
        address: ours.server.listen(),
        connections: SINGLE_CONNECTIONS,
        threads: context.threads,
        requests: Arc::clone(requests),
        model: Model::Closed,
        duration,
        rest: Duration::ZERO,
    };
    load::run(&plan(&both[0], WARM_UP))?;
    let before = ours.server.cpu_time()?;
    let report = load::run(&plan(&both[1], context.load))?;
    let used = ours.server.cpu_time()?.saturating_sub(before);
    let cpu_us = used.as_secs_f64() * 1e6 / report.accepted().max(1) as f64;
    Ok(Round { report, cpu_us })
}

/// Ten thousand tenants: their memory, and what reading them again does to requests.
pub(super) fn many(context: &mut Context) -> Result<Vec<Row>> {
    let one = resident(context, 0)?;
    let all = resident(context, OTHERS)?;
    let taken = all.saturating_sub(one) as f64 / MIB;
    let memory = Row::new("tenants-memory", taken, "MiB", Target::AtMost(20.0)).beside(format!(
        "{} more tenants; {:.1} MiB resident in all, {:.1} with one",
        grouped(OTHERS as f64),
        all as f64 / MIB,
        one as f64 / MIB
    ));
    let mut rows = vec![memory];
    rows.extend(reload(context)?);
    Ok(rows)
}

/// Resident memory with so many others, some seconds after the start.
fn resident(context: &Context, others: usize) -> Result<u64> {
    let dir = context.data_dir()?;
    let file = tenants::write_file_of_many(dir.path(), &[(QUIET, 0)], others)?;
    let ours = context.ours(|launch| launch.flag(flags::TENANTS, &file.display().to_string()))?;
    thread::sleep(Duration::from_secs(if context.smoke { 1 } else { 3 }));
    ours.server.resident_bytes()
}

fn reload(context: &Context) -> Result<Vec<Row>> {
    let dir = context.data_dir()?;
    let file = tenants::write_file_of_many(dir.path(), &[(QUIET, 0)], OTHERS)?;
    let ours = context.ours(|launch| launch.flag(flags::TENANTS, &file.display().to_string()))?;
    let plan = paced(context, &ours.server);
    let (mut calm, mut loaded, mut times) = (Vec::new(), Vec::new(), Vec::new());
    let (mut errors, mut refused) = (0, 0);
    for _ in 0..context.rounds {
        let report = context.measure(&plan)?;
        calm.push(report.latency_ms(0.999));
        let running = load::start(&plan)?;
        let reloads = if context.smoke { 2 } else { RELOADS };
        for number in 0..reloads {
            let known: &[(Tenant, u64)] =
                if number % 2 == 0 { &[(QUIET, 0), (HOT, 0)] } else { &[(QUIET, 0)] };
            tenants::write_file_of_many(dir.path(), known, OTHERS)?;
            times.push(read_again(&ours.server, known.len() == 2)?);
            thread::sleep(PAUSE);
        }
        let report = running.wait()?;
        loaded.push(report.latency_ms(0.999));
        errors += report.errors;
        refused += report.refused();
    }
    times.sort_by(f64::total_cmp);
    let slowest = times.last().copied().unwrap_or_default();
    let fault = format!("{errors} broken connections, {refused} refused");
    Ok(vec![
        Row::new("tenants-reload", slowest, "ms", Target::AtMost(200.0)).beside(format!(
            "the slowest of {}, median {:.0} ms, from the signal until a new key holds",
            times.len(),
            median(&mut times.clone())
        )),
        Row::new(
            "tenants-reload p99.9",
            median(&mut loaded.clone()),
            "ms",
            Target::RatioAtMost(2.0),
        )
        .compared(&loaded, &calm)
        .beside(format!("of others' requests, {} a second", grouped(PACED_PER_SECOND)))
        .unless(errors + refused == 0, &fault),
    ])
}

fn paced(context: &Context, server: &Server) -> Plan {
    Plan {
        address: server.listen(),
        connections: SINGLE_CONNECTIONS / 2,
        threads: 1,
        requests: Arc::from(tenants::singles(QUIET, 64)),
        model: Model::Paced { per_second: PACED_PER_SECOND },
        duration: context.load,
        rest: Duration::ZERO,
    }
}

/// Milliseconds from the signal until the key holds, or no more.
fn read_again(server: &Server, holds: bool) -> Result<f64> {
    let mut client = server.client();
    let request = Request::json("/pulse", events::pulse(0, events::now_ms()));
    let request = request.header("x-api-key", HOT.key);
    let wanted = if holds { 202 } else { 401 };
    let begun = Instant::now();
    server.signal(Signal::HUP)?;
    wait_for(RELOAD_MAX, "the changed file", || Ok(client.send(&request)?.status == wanted))?;
    Ok(begun.elapsed().as_secs_f64() * 1000.0)
}
