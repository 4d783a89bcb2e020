//! Processes that share one limit give it together: no more in any window, no less where there
//! is demand, and each a part of it.

use std::time::Duration;

use anyhow::Result;
use pulsemesh_ingest::limits::{Allowance, Allowances};
use xtask::redis::Redis;
use xtask::server::wait_for;

use crate::support::{Process, SOON, TENANT, demand, requests};

/// Ten times the limit of 6,000 a minute.
const OFFERED: u64 = 1_000;
const LIMIT: u64 = 6_000;
const WINDOW: Duration = Duration::from_secs(4);

/// What a limit gives in a time, with the burst, and what three slices under way may lack.
fn check(accepted: u64, elapsed: Duration) {
    let given = LIMIT as f64 / 60.0 * elapsed.as_secs_f64();
    let (least, most) = (given - 3.0 * 30.0, given + 100.0 + 1.0);
    let accepted = accepted as f64;
    assert!((least..=most).contains(&accepted), "{accepted} of {given:.0} in {elapsed:?}");
}

#[test]
#[ignore = "needs a redis-server"]
fn three_processes_give_one_limit_in_every_window() -> Result<()> {
    let redis = Redis::start()?;
    let start = || Process::start(&redis, requests(LIMIT));
    let processes = [start()?, start()?, start()?];
    for window in 0..3 {
        let (accepted, elapsed) = demand(&processes, OFFERED, WINDOW)?;
        let total: u64 = accepted.iter().sum();
        check(total, elapsed);
        for each in &accepted {
            assert!(*each * 6 > total, "window {window}: {accepted:?}");
        }
    }
    let leases = processes[0].samples()?.sum("pulsemesh_limit_leases_total", &[]);
    assert!(leases < 200.0, "{leases} questions for what 40 slices hold");
    Ok(())
}

#[test]
#[ignore = "needs a redis-server"]
fn what_a_killed_process_gave_is_given_by_the_others() -> Result<()> {
    let redis = Redis::start()?;
    let start = || Process::start(&redis, requests(LIMIT));
    let mut processes = vec![start()?, start()?, start()?];
    demand(&processes, OFFERED, WINDOW)?;
    drop(processes.pop());
    let (accepted, elapsed) = demand(&processes, OFFERED, WINDOW)?;
    check(accepted.iter().sum(), elapsed);
    Ok(())
}

#[test]
#[ignore = "needs a redis-server"]
fn a_tenant_within_its_limit_is_never_refused() -> Result<()> {
    let redis = Redis::start()?;
    let start = || Process::start(&redis, requests(LIMIT));
    let processes = [start()?, start()?, start()?];
    let (accepted, elapsed) = demand(&processes, 80, WINDOW)?;
    let sent = elapsed.as_secs_f64() * 80.0;
    let total = accepted.iter().sum::<u64>() as f64;
    assert!(total >= sent - 2.0, "{total} of {sent:.0}");
    Ok(())
}

#[test]
#[ignore = "needs a redis-server"]
fn a_small_limit_gives_its_burst_to_one_process_and_then_its_rate_to_all() -> Result<()> {
    let redis = Redis::start()?;
    let allowances = Allowances {
        requests: Allowance { per_minute: 300, burst: Some(10) },
        ..Allowances::default()
    };
    let processes = [Process::start(&redis, allowances)?, Process::start(&redis, allowances)?];
    let at_once = (0..20).filter(|_| processes[0].admit().unwrap_or(false)).count();
    assert!((10..=11).contains(&at_once), "{at_once}");
    let (accepted, elapsed) = demand(&processes, 100, WINDOW)?;
    let most = 10.0 + 5.0 * elapsed.as_secs_f64() + 10.0;
    let total = accepted.iter().sum::<u64>() as f64;
    assert!(total <= most && total >= 5.0 * elapsed.as_secs_f64() - 15.0, "{total} of {most:.0}");
    Ok(())
}

#[test]
#[ignore = "needs a redis-server"]
fn pulses_of_one_process_are_owed_by_all_and_the_count_goes_by_itself() -> Result<()> {
    let redis = Redis::start()?;
    let pulses = Allowance { per_minute: 6_000, burst: Some(100) };
    let allowances = Allowances { pulses, ..Allowances::default() };
    let processes = [Process::start(&redis, allowances)?, Process::start(&redis, allowances)?];
    // Three seconds of the limit, of which one is the burst.
    processes[0].limiter.admit(TENANT)?;
    processes[0].limiter.charge(TENANT, 300);
    assert!(processes[0].refused().is_some(), "it owes them at once");
    let key = format!("pulsemesh:limit:pulses:6000:{TENANT}");
    wait_for(SOON, "the count", || Ok(redis.ask(&["EXISTS", &key])? == "1"))?;
    processes[1].limiter.admit(TENANT)?;
    processes[1].limiter.charge(TENANT, 200);
    wait_for(SOON, "the other to owe", || Ok(processes[1].refused().is_some()))?;
    wait_for(SOON, "the debts to be paid", || {
        Ok(processes.iter().all(|process| process.refused().is_none()))
    })?;
    drop(processes);
    wait_for(SOON, "the count to go", || Ok(redis.ask(&["EXISTS", &key])? == "0"))
}
