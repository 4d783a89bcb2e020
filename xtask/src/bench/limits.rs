//! One tenant over its limit: what the others notice, and what several processes let through.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tempfile::TempDir;
use xtask::load::{self, Model, Plan, Report};
use xtask::redis::Redis;
use xtask::server::Server;
use xtask::tenants::{self, HOT, QUIET, Tenant};
use xtask::{flags, server};

use super::context::{Context, Ours};
use super::report::{Row, Target, grouped, median};

/// Rounds of the fairness case: latencies of one round say little.
const ROUNDS: usize = 7;
/// What the limited tenant may send, and what it offers.
const HOT_LIMIT_PER_SECOND: u64 = 1_000;
const HOT_OFFERED_PER_SECOND: f64 = 10_000.0;
/// What the others send: far below what two cores answer beside the load itself.
const QUIET_PER_SECOND: f64 = 2_000.0;
/// Connections of each load.
const CONNECTIONS: usize = 32;
/// Different requests of a load.
const VARIANTS: usize = 64;

/// Requests a minute that three processes may let through together, and what is offered.
const SHARED_LIMIT: u64 = 6_000;
const SHARED_OFFERED_PER_SECOND: f64 = 1_000.0;
/// Each process must hold a connection to the shared count by then.
const SHARED_MAX: Duration = Duration::from_secs(30);

/// Latency of the others while a limited tenant offers ten times its limit, against while it
/// keeps to it.
pub(super) fn fairness(context: &mut Context) -> Result<Vec<Row>> {
    let dir = context.data_dir()?;
    let limits = [(HOT, 60 * HOT_LIMIT_PER_SECOND), (QUIET, 0)];
    let file = tenants::write_file(dir.path(), &limits)?.display().to_string();
    let ours = context.ours(|launch| launch.flag(flags::TENANTS, &file))?;
    let mut calm = Quiet::default();
    let mut loaded = Quiet::default();
    let mut hot = Vec::new();
    for _ in 0..if context.smoke { 1 } else { ROUNDS.max(context.rounds) } {
        beside(context, &ours, HOT_LIMIT_PER_SECOND as f64 * 0.9, &mut calm)?;
        hot.push(beside(context, &ours, HOT_OFFERED_PER_SECOND, &mut loaded)?);
    }
    let accepted = median(&mut hot.iter().map(Report::accepted_per_second).collect::<Vec<_>>());
    let refused: u64 = hot.iter().map(|report| report.count(429)).sum();
    let errors = calm.errors + loaded.errors + hot.iter().map(|hot| hot.errors).sum::<u64>();
    let beside = format!(
        "the limited tenant: {} accepted a second, {} refused",
        grouped(accepted),
        grouped(refused as f64)
    );
    let row = |quantile: &str, figures: [&Vec<f64>; 2], target| {
        let case = format!("limits-fairness {quantile}");
        Row::new(&case, median(&mut figures[0].clone()), "ms", Target::RatioAtMost(target))
            .compared(figures[0], figures[1])
            .beside(beside.clone())
            .unless(errors == 0, &format!("{errors} broken connections"))
            .unless(refused > 0, "the limited tenant was never refused")
            .unless(calm.refused + loaded.refused == 0, "others were refused")
    };
    Ok(vec![row("p50", [&loaded.p50, &calm.p50], 1.2), row("p99", [&loaded.p99, &calm.p99], 1.5)])
}

/// What the others saw in all rounds.
#[derive(Debug, Default)]
struct Quiet {
    p50: Vec<f64>,
    p99: Vec<f64>,
    refused: u64,
    errors: u64,
}

/// Both tenants at once; gives what the limited one saw.
fn beside(context: &Context, ours: &Ours, hot: f64, quiet: &mut Quiet) -> Result<Report> {
    let running = load::start(&plan(context, &ours.server, HOT, hot))?;
    let report = context.measure(&plan(context, &ours.server, QUIET, QUIET_PER_SECOND))?;
    running.stop();
    quiet.p50.push(report.latency_ms(0.5));
    quiet.p99.push(report.latency_ms(0.99));
    quiet.refused += report.refused();
    quiet.errors += report.errors;
    running.wait()
}

fn plan(context: &Context, server: &Server, tenant: Tenant, per_second: f64) -> Plan {
    Plan {
        address: server.listen(),
        connections: CONNECTIONS,
        threads: 1,
        requests: Arc::from(tenants::singles(tenant, VARIANTS)),
        model: Model::Paced { per_second },
        // One that runs beside another is stopped with it.
        duration: context.load + if tenant.name == HOT.name { SHARED_MAX } else { Duration::ZERO },
        rest: Duration::ZERO,
    }
}

/// Requests that three processes with one Redis accept in each minute.
pub(super) fn shared(context: &mut Context) -> Result<Vec<Row>> {
    let redis = Redis::start()?;
    let dir = context.data_dir()?;
    let file = tenants::write_file(dir.path(), &[(HOT, SHARED_LIMIT)])?.display().to_string();
    let servers = (0..3)
        .map(|_| process(context, &redis, &file))
        .collect::<Result<Vec<(Server, TempDir)>>>()?;
    let (windows, window) =
        if context.smoke { (1, Duration::from_secs(6)) } else { (3, Duration::from_secs(60)) };
    let mut rows = Vec::new();
    for minute in 1..=windows {
        let running = servers
            .iter()
            .map(|(server, _)| {
                let hot = plan(context, server, HOT, SHARED_OFFERED_PER_SECOND / 3.0);
                load::start(&Plan { duration: window, connections: 8, ..hot })
            })
            .collect::<Result<Vec<_>>>()?;
        let reports =
            running.into_iter().map(load::Running::wait).collect::<Result<Vec<Report>>>()?;
        rows.push(shared_row(minute, &reports));
    }
    Ok(rows)
}

fn process(context: &Context, redis: &Redis, tenants: &str) -> Result<(Server, TempDir)> {
    let dir = context.data_dir()?;
    let launch = context.launch(dir.path());
    let launch = launch.flag(flags::TENANTS, tenants).flag(flags::REDIS_URL, &redis.url());
    let server = launch.start()?;
    server::wait_for(SHARED_MAX, "the shared count", || {
        let shared = [("mode", "shared")];
        Ok(server.samples()?.sum("pulsemesh_limits_mode", &shared) == 1.0)
    })
    .context("is Redis reached?")?;
    Ok((server, dir))
}

fn shared_row(minute: usize, reports: &[Report]) -> Row {
    let accepted: u64 = reports.iter().map(Report::accepted).sum();
    let each: Vec<String> = reports.iter().map(|report| report.accepted().to_string()).collect();
    let refused: u64 = reports.iter().map(|report| report.count(429)).sum();
    let errors: u64 = reports.iter().map(|report| report.errors).sum();
    let case = format!("limits-shared minute {minute}");
    Row::new(&case, accepted as f64, "accepted", Target::Within(5_900.0, 6_100.0))
        .beside(format!("by process {}; {} refused", each.join(", "), grouped(refused as f64)))
        .unless(errors == 0, &format!("{errors} broken connections"))
}
