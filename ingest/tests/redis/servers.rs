//! The real servers with one Redis: their tenants share a limit, one of them is killed.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tempfile::TempDir;
use xtask::flags;
use xtask::load::{self, Model, Plan, Report};
use xtask::redis::Redis;
use xtask::server::{Launch, Server, wait_for};
use xtask::tenants::{self, HOT};

use crate::support::SOON;

const LIMIT: u64 = 6_000;
/// A third of ten times the limit, to each of three servers.
const OFFERED_PER_SECOND: f64 = 333.0;
const WINDOW: Duration = Duration::from_secs(5);

fn server(redis: &Redis, dir: &TempDir) -> Result<Server> {
    let file = tenants::write_file(dir.path(), &[(HOT, LIMIT)])?.display().to_string();
    let server = Launch::new(env!("CARGO_BIN_EXE_pulsemesh-ingest"), dir.path())
        .flag(flags::TENANTS, &file)
        .flag(flags::REDIS_URL, &redis.url())
        .start()?;
    wait_for(SOON, "the shared count", || {
        let shared = [("mode", "shared")];
        Ok(server.samples()?.sum("pulsemesh_limits_mode", &shared) == 1.0)
    })?;
    Ok(server)
}

fn plan(server: &Server) -> Plan {
    Plan {
        address: server.listen(),
        connections: 8,
        threads: 1,
        requests: Arc::from(tenants::singles(HOT, 8)),
        model: Model::Paced { per_second: OFFERED_PER_SECOND },
        duration: WINDOW,
        rest: Duration::ZERO,
    }
}

/// What all of them accept of the load; nothing but 202 and 429 is answered.
fn accepted(servers: &[Server]) -> Result<(f64, f64)> {
    let running =
        servers.iter().map(|server| load::start(&plan(server))).collect::<Result<Vec<_>>>()?;
    let reports = running.into_iter().map(load::Running::wait).collect::<Result<Vec<Report>>>()?;
    for report in &reports {
        let answered: u64 = report.statuses.values().sum();
        assert_eq!(report.count(202) + report.count(429), answered, "{report:?}");
        assert!(report.errors == 0 && report.count(429) > 0, "{report:?}");
    }
    let total = reports.iter().map(Report::accepted).sum::<u64>() as f64;
    let longest = reports.iter().map(|report| report.elapsed).max().unwrap_or_default();
    Ok((total, longest.as_secs_f64() * LIMIT as f64 / 60.0))
}

#[test]
#[ignore = "needs a redis-server"]
fn three_servers_accept_what_one_may_and_so_do_those_that_a_killed_one_leaves() -> Result<()> {
    let redis = Redis::start()?;
    let dirs = [TempDir::new()?, TempDir::new()?, TempDir::new()?];
    let mut servers = Vec::new();
    for dir in &dirs {
        servers.push(server(&redis, dir)?);
    }
    for round in 0..3 {
        let (total, given) = accepted(&servers)?;
        let range = given - 90.0..=given + 160.0;
        assert!(range.contains(&total), "round {round}: {total} of {given:.0}");
        if round == 1 {
            // Killed by its guard.
            servers.truncate(2);
        }
    }
    Ok(())
}
