//! A client in a pod: posts pulses to a Service by its name until it is told to stop, and prints
//! what was answered. Every request counts that did not get a 2xx, whatever the reason.

use std::io::{self, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use xtask::client::Request;
use xtask::events::live_pulse;
use xtask::load::{self, Model, Plan, Report};
use xtask::server::wait_for;

/// A name that was just made becomes known within seconds.
const NAME_MAX: Duration = Duration::from_secs(60);
/// Different requests, so that no two in a row are the same.
const VARIANTS: usize = 64;

/// What is posted where.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The Service and its port, `host:port`.
    #[arg(long)]
    to: String,
    /// The service that the pulses tell of.
    #[arg(long)]
    service: String,
    /// Requests a second.
    #[arg(long, default_value_t = 100.0)]
    per_second: f64,
    /// Connections that are kept open.
    #[arg(long, default_value_t = 8)]
    connections: usize,
    /// For how many seconds at most.
    #[arg(long, default_value_t = 600)]
    seconds: u64,
}

/// Posts until SIGTERM or the time is over; then prints one line of JSON.
pub(crate) fn run(options: &Options) -> Result<()> {
    let requests = (0..VARIANTS)
        .map(|number| Request::json("/pulse", live_pulse(&options.service, number)).to_bytes());
    let plan = Plan {
        address: resolve(&options.to)?,
        connections: options.connections,
        threads: 1,
        requests: requests.collect(),
        model: Model::Paced { per_second: options.per_second },
        duration: Duration::from_secs(options.seconds),
        rest: Duration::ZERO,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let running = load::start(&plan)?;
    // The test waits for this line before it does harm.
    print("posting")?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("listen for signals")?;
        tokio::select! {
            _ = terminate.recv() => {}
            () = tokio::time::sleep(plan.duration) => {}
        }
        anyhow::Ok(())
    })?;
    running.stop();
    print(&summary(&running.wait()?))
}

fn resolve(name: &str) -> Result<SocketAddr> {
    let mut found = None;
    wait_for(NAME_MAX, "the Service's name", || {
        found = name.to_socket_addrs().with_context(|| format!("resolve {name}"))?.next();
        Ok(found.is_some())
    })?;
    found.with_context(|| format!("{name} has no address"))
}

fn summary(report: &Report) -> String {
    let refused: u64 =
        report.statuses.iter().filter(|(status, _)| **status >= 300).map(|(_, count)| count).sum();
    let accepted: u64 = report.statuses.values().sum::<u64>() - refused;
    json!({
        "accepted": accepted,
        "failed": refused + report.errors,
        "statuses": report.statuses,
        "errors": report.errors,
        "milliseconds": report.elapsed.as_millis() as u64,
    })
    .to_string()
}

fn print(line: &str) -> Result<()> {
    writeln!(io::stdout().lock(), "{line}").context("print")
}
