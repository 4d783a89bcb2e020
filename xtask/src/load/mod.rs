//! Load on one address: many connections on few threads, requests built before, answers read
//! just far enough to count them. It shares the machine with the server that it measures, so
//! it costs about two system calls a request and next to nothing else.

mod connection;
mod pace;
mod report;
#[cfg(test)]
mod tests;
mod worker;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

pub use report::Report;

/// What is sent, where to and how.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The server.
    pub address: SocketAddr,
    /// How many connections; each has at most one request under way.
    pub connections: usize,
    /// How many threads drive them.
    pub threads: usize,
    /// Whole requests, sent in turn.
    pub requests: Arc<[Vec<u8>]>,
    /// When the next one is sent.
    pub model: Model,
    /// For how long requests are started.
    pub duration: Duration,
    /// How long a connection rests after a refusal (a status of 429 or 503).
    pub rest: Duration,
}

/// When a connection sends its next request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Model {
    /// As soon as the last one is answered.
    Closed,
    /// At a fixed rate over all connections. Latency counts from the time at which a request
    /// was due, so a server that stalls is charged for every request that had to wait.
    Paced {
        /// Requests a second.
        per_second: f64,
    },
}

/// Sends the load and waits until it is over.
pub fn run(plan: &Plan) -> Result<Report> {
    start(plan)?.wait()
}

/// Starts a load that goes on by itself.
pub fn start(plan: &Plan) -> Result<Running> {
    ensure!(plan.threads > 0 && plan.connections >= plan.threads, "fewer connections than threads");
    ensure!(!plan.requests.is_empty(), "a load without requests");
    let stop = Arc::new(AtomicBool::new(false));
    let started = Instant::now();
    let workers = (0..plan.threads)
        .map(|index| {
            let share = worker::Share { index, of: plan.threads };
            let (plan, stop) = (plan.clone(), Arc::clone(&stop));
            thread::Builder::new()
                .name(format!("load-{index}"))
                .spawn(move || worker::run(&plan, share, started, &stop))
                .context("start a thread")
        })
        .collect::<Result<_>>()?;
    Ok(Running { workers, stop })
}

/// A load under way.
#[derive(Debug)]
pub struct Running {
    workers: Vec<thread::JoinHandle<Result<Report>>>,
    stop: Arc<AtomicBool>,
}

impl Running {
    /// Starts no more requests from now on.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Waits until every request is answered or given up.
    pub fn wait(self) -> Result<Report> {
        let mut total = Report::new()?;
        for worker in self.workers {
            let part = worker.join().map_err(|_| anyhow!("a load thread panicked"))??;
            total.add(&part)?;
        }
        Ok(total)
    }
}
