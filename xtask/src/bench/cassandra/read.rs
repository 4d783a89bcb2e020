//! The newest rows of a service that has millions.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use xtask::client::Client;
use xtask::load::Plan;
use xtask::server::Server;
use xtask::{events, flags};

use super::super::context::{BATCH_PULSES, Context};
use super::super::report::{Row, Target, grouped};
use super::database::Database;
use super::{connected, send_plan};

const ROWS: u64 = 10_000_000;
const ROWS_SMOKE: u64 = 50_000;
const REQUESTS: usize = 1_000;
/// Requests before the measurement.
const REQUESTS_BEFORE: usize = 50;
const PAGE: usize = 100;
const SERVICE: &str = "hot";
/// Small: the rows come at the rate at which they are stored, as they do for hours on end.
const LOG_BUDGET: &str = "256MiB";

/// Milliseconds for a page, one request after the other, once the database has compacted what the
/// load left behind: whoever reads while 60,000 rows a second are written shares its processor.
pub(super) fn run(context: &mut Context, database: &Database) -> Result<Vec<Row>> {
    let rows = if context.smoke { ROWS_SMOKE } else { ROWS };
    database.renew(context)?;
    let ours = connected(context, database, |launch| launch.flag(flags::LOG_BUDGET, LOG_BUDGET))?;
    let server = &ours.server;
    let requests = events::live_batches(&[SERVICE], BATCH_PULSES, 16);
    let plan = Plan { requests: Arc::from(requests), ..context.batches(server, "/pulse") };
    let sent = send_plan(server, &plan, BATCH_PULSES, rows)?;
    database.settle()?;
    let mut times = ask(server)?;
    times.sort_by(f64::total_cmp);
    let quantile = |part: f64| times[((times.len() - 1) as f64 * part).round() as usize];
    let beside = format!(
        "p50 {:.2} ms, longest {:.1} ms of {} requests; {} rows, stored at {}/s",
        quantile(0.5),
        quantile(1.0),
        times.len(),
        grouped(sent.pulses as f64),
        grouped(sent.pulses as f64 / sent.took.as_secs_f64()),
    );
    let row = Row::new("cassandra-read", quantile(0.99), "ms p99", Target::AtMost(20.0));
    Ok(vec![row.beside(beside)])
}

fn ask(server: &Server) -> Result<Vec<f64>> {
    let mut client = server.client();
    for _ in 0..REQUESTS_BEFORE {
        page(&mut client)?;
    }
    (0..REQUESTS).map(|_| page(&mut client)).collect()
}

/// Asks for the newest rows; gives the milliseconds until all bytes were there.
fn page(client: &mut Client) -> Result<f64> {
    let asked = Instant::now();
    let response = client.get(&format!("/v1/pulses?service={SERVICE}&limit={PAGE}"))?;
    let took = asked.elapsed().as_secs_f64() * 1000.0;
    ensure!(response.status == 200, "answered {}: {}", response.status, response.text());
    let answer = response.json()?;
    let rows = answer["pulses"].as_array().context("a page without pulses")?;
    let times: Vec<&str> = rows.iter().filter_map(|row| row["event_time"].as_str()).collect();
    ensure!(times.len() == PAGE, "a page of {} rows", times.len());
    ensure!(times.is_sorted_by(|a, b| a >= b), "a page that is not newest first: {times:?}");
    Ok(took)
}
