//! Reading back: order, ranges, and pages that stay put while rows arrive.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use serde_json::Value;
use xtask::client::Request;
use xtask::events::{now_ms, rfc3339};
use xtask::ledger::drained;

use crate::support::{Fixture, SOON, rows};

fn post(fixture: &Fixture, times: impl Iterator<Item = u64>) -> Result<()> {
    let body: String = times
        .map(|ms| format!("{{\"service_name\":\"q\",\"event_time\":\"{}\"}}\n", rfc3339(ms)))
        .collect();
    let response = fixture.send(&Request::lines("/pulse", body))?;
    assert_eq!(response.status, 202, "{}", response.text());
    drained(&fixture.server, SOON)?;
    Ok(())
}

fn key(row: &Value) -> (String, String) {
    let text = |name: &str| row[name].as_str().unwrap_or("").to_owned();
    (text("event_time"), text("id"))
}

#[test]
fn rows_come_newest_first_also_within_one_millisecond() -> Result<()> {
    let fixture = Fixture::start()?;
    let now = now_ms();
    post(&fixture, (0..500).map(|n| now - (n * 7919) % 100))?;
    let keys: Vec<_> = rows(&fixture.server, "q")?.iter().map(key).collect();
    assert_eq!(keys.len(), 500);
    assert!(keys.windows(2).all(|pair| pair[0] > pair[1]), "{keys:?}");
    Ok(())
}

#[test]
fn pages_neither_skip_nor_repeat_while_rows_arrive() -> Result<()> {
    let fixture = Fixture::start()?;
    let now = now_ms();
    post(&fixture, (0..100).map(|n| now - 1000 - n))?;
    let expected: BTreeSet<_> = rows(&fixture.server, "q")?.iter().map(key).collect();
    let mut seen = BTreeSet::new();
    let mut target = "/v1/pulses?service=q&limit=7".to_owned();
    loop {
        let page = fixture.get(&target)?;
        for row in page["pulses"].as_array().context("a page has pulses")? {
            assert!(seen.insert(key(row)), "{row} came twice");
        }
        // Newer rows than any page has shown, and older ones that are still to come.
        post(&fixture, [now, now - 2000].into_iter())?;
        let Some(next) = page["next"].as_str() else { break };
        target = format!("/v1/pulses?service=q&limit=7&cursor={next}");
    }
    assert!(expected.is_subset(&seen), "rows were skipped");
    assert!(seen.len() > expected.len(), "older rows that arrived are on later pages");
    Ok(())
}

#[test]
fn a_range_holds_its_start_and_not_its_end() -> Result<()> {
    let fixture = Fixture::start()?;
    let now = now_ms();
    post(&fixture, (0..10).map(|n| now - n * 1000))?;
    let (from, to) = (rfc3339(now - 5000), rfc3339(now - 2000));
    for (range, expected) in [
        (format!("&from={from}&to={to}"), 3),
        (format!("&from={from}"), 6),
        (format!("&to={to}"), 7),
        (format!("&from={}&to={}", now - 5000, now - 2000), 3),
        (format!("&from={to}&to={to}"), 0),
    ] {
        let page = fixture.get(&format!("/v1/pulses?service=q{range}"))?;
        assert_eq!(page["pulses"].as_array().map(Vec::len), Some(expected), "{range}");
    }
    Ok(())
}

#[test]
fn what_was_never_sent_is_not_there() -> Result<()> {
    let fixture = Fixture::start()?;
    let page = fixture.get("/v1/pulses?service=nobody")?;
    assert_eq!(page["pulses"], Value::Array(vec![]));
    assert_eq!(page["next"], Value::Null);
    Ok(())
}
