//! Stopping: what is promised stays, and it takes no longer than it must.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::Signal;
use xtask::client::{Client, Request, connect};
use xtask::ledger::{drained, in_place};
use xtask::server::wait_for;
use xtask::{events, flags, load};

use crate::support::{Fixture, SOON, launch, printed, tool};

const PULSE: &str = r#"{"service_name":"stop"}"#;

#[test]
fn behind_a_load_balancer_it_goes_unready_and_serves_on() -> Result<()> {
    let mut fixture = Fixture::with(|launch| launch.flag(flags::STOP_DELAY, "1500ms"))?;
    let mut client = fixture.server.client();
    let mut admin = Client::new(fixture.server.admin());
    assert_eq!(client.send(&Request::json("/pulse", PULSE))?.header("connection"), None);
    let asked = Instant::now();
    fixture.server.signal(Signal::TERM)?;
    wait_for(SOON, "/readyz to answer 503", || Ok(admin.get("/readyz")?.status == 503))?;
    // Each serving thread hears of it by itself.
    wait_for(SOON, "answers that send clients elsewhere", || {
        let response = client.send(&Request::json("/pulse", PULSE))?;
        assert_eq!(response.status, 202, "{}", response.text());
        Ok(response.header("connection") == Some("close"))
    })?;
    assert_eq!(fixture.post("/pulse", PULSE, 202)?["ack"], "durable");
    let status = fixture.server.wait(SOON)?;
    assert!(status.success(), "{status}: {}", fixture.server.log());
    let took = asked.elapsed();
    assert!(took >= Duration::from_millis(1400) && took < Duration::from_secs(5), "{took:?}");
    Ok(())
}

#[test]
fn without_a_delay_it_ends_at_once_and_keeps_what_it_promised() -> Result<()> {
    let mut fixture = Fixture::start()?;
    let running = load::start(&load::Plan {
        address: fixture.server.listen(),
        connections: 16,
        threads: 1,
        requests: Arc::from(events::singles("/pulse", 64)),
        model: load::Model::Closed,
        duration: Duration::from_secs(20),
        rest: Duration::ZERO,
    })?;
    let samples = || fixture.server.samples();
    wait_for(SOON, "some load", || Ok(in_place(&samples()?, "accepted") > 500.0))?;
    let asked = Instant::now();
    fixture.server.signal(Signal::TERM)?;
    let status = fixture.server.wait(SOON)?;
    let took = asked.elapsed();
    assert!(status.success(), "{status}: {}", fixture.server.log());
    assert!(took < Duration::from_secs(2), "{took:?}");
    let report = running.wait()?;

    let server = launch(fixture.dir.path()).start()?;
    let samples = drained(&server, SOON)?;
    let stored = in_place(&samples, "stored");
    assert!(stored >= report.accepted() as f64, "{stored} rows of {} accepted", report.accepted());
    Ok(())
}

#[test]
fn a_body_under_way_is_finished() -> Result<()> {
    let mut fixture = Fixture::start()?;
    let request = Request::json("/pulse", PULSE).to_bytes();
    let (first, second) = request.split_at(request.len() - 5);
    let mut stream = connect(fixture.server.listen())?;
    stream.write_all(first)?;
    wait_for(SOON, "room for the body", || {
        let held = fixture.server.samples()?.sum("pulsemesh_request_bytes_in_flight", &[]);
        Ok(held > 0.0)
    })?;
    fixture.server.signal(Signal::TERM)?;
    wait_for(SOON, "no new connections", || Ok(fixture.server.client().get("/health").is_err()))?;
    stream.write_all(second)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("read the answer")?;
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    assert!(fixture.server.wait(SOON)?.success());
    Ok(())
}

#[test]
fn a_second_signal_ends_it_at_once_and_says_what_is_left() -> Result<()> {
    let mut fixture = Fixture::with(|launch| launch.flag(flags::STOP_DELAY, "60s"))?;
    fixture.server.signal(Signal::TERM)?;
    let mut admin = Client::new(fixture.server.admin());
    wait_for(SOON, "/readyz to answer 503", || Ok(admin.get("/readyz")?.status == 503))?;
    let asked = Instant::now();
    fixture.server.signal(Signal::TERM)?;
    fixture.server.wait(SOON)?;
    assert!(asked.elapsed() < Duration::from_secs(2));
    assert!(fixture.server.log().contains("left"), "{}", fixture.server.log());
    Ok(())
}

#[test]
fn with_drain_it_ends_when_the_log_is_empty() -> Result<()> {
    let mut fixture = Fixture::with(|launch| {
        launch.argument(flags::STOP_DRAIN).flag(flags::FLUSH_INTERVAL, "10s")
    })?;
    for _ in 0..100 {
        fixture.post("/pulse", PULSE, 202)?;
    }
    fixture.server.stop(SOON)?;
    let verify = tool(&["log", "verify", &fixture.dir.path().display().to_string()])?;
    assert!(verify.status.success(), "{}", printed(&verify));
    // Were anything left, it would wait for its batch longer than this test waits.
    let server = launch(fixture.dir.path()).flag(flags::FLUSH_INTERVAL, "60s").start()?;
    let samples = drained(&server, SOON)?;
    assert_eq!((in_place(&samples, "in_log"), in_place(&samples, "stored")), (0.0, 100.0));
    Ok(())
}
