//! What the running server exports: documented names, bounded labels, an equal ledger.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use xtask::client::Request;
use xtask::ledger::{drained, in_place};
use xtask::samples::Samples;

use crate::support::{Fixture, SOON};

const DOCUMENT: &str = include_str!("../../../docs/metrics.md");

/// The family that a sample belongs to.
fn family<'a>(sample: &'a str, samples: &Samples) -> &'a str {
    let histogram = ["_bucket", "_sum", "_count"].into_iter().find_map(|part| {
        let base = sample.strip_suffix(part)?;
        samples.0.iter().any(|other| other.name == format!("{base}_bucket")).then_some(base)
    });
    histogram.unwrap_or(sample)
}

#[test]
fn every_exported_name_is_documented_and_those_of_the_process_are_exported() -> Result<()> {
    let fixture = Fixture::start()?;
    fixture.post("/pulse?ack=stored", r#"{"service_name":"a"}"#, 200)?;
    fixture.post("/pulse", "{}", 400)?;
    let samples = fixture.server.samples()?;
    let names: BTreeSet<&str> =
        samples.0.iter().map(|sample| family(&sample.name, &samples)).collect();
    assert!(names.len() > 15, "{names:?}");
    for name in &names {
        assert!(DOCUMENT.contains(&format!("| `{name}` |")), "{name} is not in docs/metrics.md");
    }
    let (_, process) = DOCUMENT.split_once("\n## The process\n").context("the section")?;
    for line in process.lines().filter(|line| line.starts_with("| `")) {
        let name = line.split('`').nth(1).unwrap_or_default();
        assert!(names.contains(name), "{name} is not exported");
    }
    Ok(())
}

#[test]
fn no_request_can_make_a_label() -> Result<()> {
    let fixture = Fixture::start()?;
    let count = || Ok::<_, anyhow::Error>(fixture.server.samples()?.0.len());
    let send = |number: usize| -> Result<()> {
        let body = format!(r#"{{"service_name":"s{number}","kind":"k{number}"}}"#);
        let header = format!("key-{number}");
        let target = format!("/x{number}?y={number}");
        fixture.send(&Request::get(&target))?;
        fixture.send(&Request::json("/pulse", body).header("idempotency-key", &header))?;
        Ok(())
    };
    send(0)?;
    drained(&fixture.server, SOON)?;
    let before = count()?;
    for number in 1..50 {
        send(number)?;
    }
    drained(&fixture.server, SOON)?;
    assert_eq!(count()?, before);
    Ok(())
}

#[test]
fn requests_and_pulses_are_counted_once() -> Result<()> {
    let fixture = Fixture::start()?;
    for _ in 0..5 {
        fixture.post("/pulse", r#"[{"service_name":"a"},{}]"#, 202)?;
    }
    let samples = drained(&fixture.server, SOON)?;
    let sum = |name: &str, labels: &[(&str, &str)]| samples.sum(name, labels);
    let endpoint = ("endpoint", "/pulse");
    assert_eq!(sum("pulsemesh_requests_total", &[endpoint, ("code", "202")]), 5.0);
    assert_eq!(sum("pulsemesh_request_latency_seconds_count", &[endpoint]), 5.0);
    assert_eq!(sum("pulsemesh_pulses_accepted_total", &[("ack", "durable")]), 5.0);
    assert_eq!(sum("pulsemesh_pulses_rejected_total", &[("code", "missing_field")]), 5.0);
    assert_eq!(sum("pulsemesh_pulses_stored_total", &[]), 5.0);
    assert_eq!(in_place(&samples, "stored"), 5.0);
    Ok(())
}
