//! Resident memory: of a server that nobody uses, and of one whose store can't keep up.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use xtask::client::Request;
use xtask::load::{self, Model, Plan};
use xtask::server::{Server, wait_for};
use xtask::{events, flags};

use super::context::Context;
use super::report::{Row, Target};

const MIB: u64 = 1024 * 1024;
/// Budgets in memory that the throttled server is given: buffer, bodies in flight, read window.
const BUFFER_MIB: u64 = 16;
const IN_FLIGHT_MIB: u64 = 64;
const WINDOW_MIB: u64 = 16;
/// What a server may use beside its budgets.
const BESIDE_MIB: u64 = 64;
/// Rows a second that the throttled store takes.
const STORED_PER_SECOND: u32 = 20_000;
/// Pulses a second that are offered to it.
const OFFERED_PER_SECOND: f64 = 40_000.0;
/// Pulses of one request: refusals are spread evenly.
const REQUEST_PULSES: usize = 100;
/// Longest wait for the log to be full.
const FULL_MAX: Duration = Duration::from_secs(120);
/// How much higher memory may be at the end of the load than at its start, and be called flat.
const FLAT_MIB: u64 = 16;

/// Some seconds after the start.
pub(super) fn idle(context: &mut Context) -> Result<Vec<Row>> {
    let ours = context.ours(|launch| launch)?;
    let settle = Duration::from_secs(if context.smoke { 1 } else { 5 });
    let peak = highest_resident(&ours.server, settle)?;
    Ok(vec![Row::new("memory-idle", mib(peak), "MiB", Target::AtMost(25.0))])
}

/// A full log, twice as much offered as the store takes.
pub(super) fn throttled(context: &mut Context) -> Result<Vec<Row>> {
    let dir = context.data_dir()?;
    let size = |mib: u64| format!("{mib}MiB");
    let server = context
        .launch_throttled(dir.path(), STORED_PER_SECOND)
        .flag(flags::LOG_BUDGET, &size(if context.smoke { 64 } else { 256 }))
        .flag(flags::BUFFER_BYTES, &size(BUFFER_MIB))
        .flag(flags::BYTES_IN_FLIGHT, &size(IN_FLIGHT_MIB))
        .flag(flags::WINDOW_BYTES, &size(WINDOW_MIB))
        .start()?;
    fill(context, &server)?;
    let duration = Duration::from_secs(if context.smoke { 5 } else { 60 });
    let running = load::start(&Plan {
        address: server.listen(),
        connections: 8,
        threads: 1,
        requests: Arc::from(events::batches("/pulse", REQUEST_PULSES, 16)),
        model: Model::Paced { per_second: OFFERED_PER_SECOND / REQUEST_PULSES as f64 },
        duration,
        rest: Duration::ZERO,
    })?;
    let at_start = highest_resident(&server, duration / 5)?;
    check_refusal(&server)?;
    let peak = highest_resident(&server, duration * 3 / 5)?.max(at_start);
    let at_end = highest_resident(&server, duration / 5)?;
    let report = running.wait()?;

    let seconds = report.elapsed.as_secs_f64();
    let accepted = report.accepted() as f64 * REQUEST_PULSES as f64 / seconds;
    let others: Vec<u16> =
        report.statuses.keys().copied().filter(|status| !matches!(status, 202 | 503)).collect();
    let wanted = f64::from(STORED_PER_SECOND);
    let budgets = BUFFER_MIB + IN_FLIGHT_MIB + WINDOW_MIB;
    let beside = format!(
        "{:.0} MiB at the start, {:.0} at the end; {} of budgets",
        mib(at_start),
        mib(at_end),
        budgets,
    );
    let most = (budgets + BESIDE_MIB) as f64;
    let rate = Target::Within(wanted * 0.9, wanted * 1.1);
    Ok(vec![
        Row::new("memory-throttled", mib(peak.max(at_end)), "MiB", Target::AtMost(most))
            .beside(beside)
            .unless(at_end <= at_start + FLAT_MIB * MIB, "memory grew"),
        Row::new("accepted-throttled", accepted, "pulses/s", rate)
            .beside(format!(
                "{} refused with 503, p99 {:.1} ms",
                report.count(503),
                report.latency_ms(0.99)
            ))
            .unless(others.is_empty(), &format!("other answers: {others:?}"))
            .unless(report.errors == 0, &format!("{} broken connections", report.errors)),
    ])
}

/// Sends as fast as it can until the log is full.
fn fill(context: &Context, server: &Server) -> Result<()> {
    let plan = Plan { duration: FULL_MAX, ..context.batches(server, "/pulse") };
    let running = load::start(&plan)?;
    let mut client = server.client();
    let probe = Request::json("/pulse", r#"{"service_name":"probe"}"#);
    let full = wait_for(FULL_MAX, "a full log", || Ok(client.send(&probe)?.status == 503));
    running.stop();
    running.wait()?;
    full
}

/// A refusal says when to come back.
fn check_refusal(server: &Server) -> Result<()> {
    let mut client = server.client();
    let body = vec![r#"{"service_name":"probe"}"#; 100].join("\n");
    wait_for(Duration::from_secs(10), "a refusal", || {
        let response = client.send(&Request::lines("/pulse", body.clone()))?;
        if response.status == 202 {
            return Ok(false);
        }
        ensure!(response.status == 503, "answered {}", response.status);
        let seconds = response.header("retry-after").and_then(|text| text.parse::<u32>().ok());
        ensure!(seconds.is_some(), "a 503 without Retry-After");
        Ok(true)
    })
}

/// The highest resident memory during this time, in bytes.
fn highest_resident(server: &Server, during: Duration) -> Result<u64> {
    let end = Instant::now() + during;
    let mut highest = server.resident_bytes()?;
    while Instant::now() < end {
        thread::sleep(Duration::from_millis(100));
        highest = highest.max(server.resident_bytes()?);
    }
    Ok(highest)
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / MIB as f64
}
