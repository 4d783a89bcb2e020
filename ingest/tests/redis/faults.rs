//! Redis is killed, begins anew, hangs: what is promised then holds, nobody waits for it, and it
//! is shared again afterwards.

use std::time::{Duration, Instant};

use anyhow::Result;
use pulsemesh_ingest::code::Code;
use pulsemesh_ingest::limits::WithoutRedis;
use xtask::redis::Redis;
use xtask::server::wait_for;

use crate::support::{Process, SOON, demand, requests, settings};

const LIMIT: u64 = 6_000;
const WINDOW: Duration = Duration::from_secs(3);

#[test]
#[ignore = "needs a redis-server"]
fn without_redis_each_process_counts_alone_until_it_is_back() -> Result<()> {
    let mut redis = Redis::start()?;
    let start = || Process::start(&redis, requests(LIMIT));
    let processes = [start()?, start()?];
    for _ in 0..2 {
        redis.kill()?;
        for process in &processes {
            process.wait_mode("local")?;
        }
        let (accepted, elapsed) = demand(&processes, 2_000, WINDOW)?;
        let given = LIMIT as f64 / 60.0 * elapsed.as_secs_f64();
        for each in accepted {
            let range = given * 0.95..=given + 101.0;
            assert!(range.contains(&(each as f64)), "{each} of {given:.0} each");
        }
        redis.start_again()?;
        for process in &processes {
            process.wait_mode("shared")?;
        }
        let (accepted, elapsed) = demand(&processes, 2_000, WINDOW)?;
        let given = LIMIT as f64 / 60.0 * elapsed.as_secs_f64();
        let total = accepted.iter().sum::<u64>() as f64;
        assert!((given - 60.0..=given + 101.0).contains(&total), "{total} of {given:.0}");
    }
    Ok(())
}

#[test]
#[ignore = "needs a redis-server"]
fn a_redis_that_hangs_holds_up_nobody_and_is_noticed_within_a_second() -> Result<()> {
    let redis = Redis::start()?;
    let process = Process::start(&redis, requests(LIMIT))?;
    redis.pause()?;
    let paused = Instant::now();
    // Half of the limit: what is at hand and what is counted alone is enough for nearly all.
    let (accepted, elapsed) = demand(std::slice::from_ref(&process), 50, WINDOW)?;
    let sent = elapsed.as_secs_f64() * 50.0;
    assert!(accepted[0] as f64 >= sent * 0.9, "{} of {sent:.0}", accepted[0]);
    assert!(elapsed < WINDOW + Duration::from_secs(1), "{elapsed:?}");
    process.wait_mode("local")?;
    assert!(paused.elapsed() < WINDOW + Duration::from_secs(2));
    redis.resume()?;
    process.wait_mode("shared")
}

#[test]
#[ignore = "needs a redis-server"]
fn an_idle_process_notices_that_redis_hangs() -> Result<()> {
    let redis = Redis::start()?;
    let process = Process::start(&redis, requests(LIMIT))?;
    redis.pause()?;
    process.wait_mode("local")?;
    redis.resume()?;
    process.wait_mode("shared")
}

#[test]
#[ignore = "needs a redis-server"]
fn who_is_told_to_refuse_refuses_until_redis_answers() -> Result<()> {
    let mut redis = Redis::start()?;
    let process = Process::with(settings(&redis), WithoutRedis::Refuse, requests(LIMIT))?;
    process.wait_mode("shared")?;
    assert_eq!(process.refused(), None);
    redis.kill()?;
    process.wait_mode("refuse")?;
    assert_eq!(process.refused(), Some(Code::LimitsUnavailable));
    assert!(process.limiter.admit("without limits").is_ok());
    redis.start_again()?;
    process.wait_mode("shared")?;
    assert_eq!(process.refused(), None);
    Ok(())
}

#[test]
#[ignore = "needs a redis-server"]
fn a_redis_that_takes_no_writes_is_not_shared() -> Result<()> {
    let redis = Redis::start()?;
    redis.ask(&["REPLICAOF", "127.0.0.1", "1"])?;
    let process = Process::with(settings(&redis), WithoutRedis::Local, requests(LIMIT))?;
    wait_for(SOON, "attempts that fail", || {
        let failed = [("result", "failed")];
        Ok(process.samples()?.sum("pulsemesh_limit_leases_total", &failed) > 2.0)
    })?;
    process.wait_mode("local")?;
    assert_eq!(process.samples()?.sum("pulsemesh_limits_mode", &[("mode", "shared")]), 0.0);
    redis.ask(&["REPLICAOF", "NO", "ONE"])?;
    process.wait_mode("shared")
}
