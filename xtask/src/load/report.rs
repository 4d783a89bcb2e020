//! What a load saw.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result};
use hdrhistogram::Histogram;

/// Longest latency that is told apart, in microseconds: ten minutes.
const LATENCY_US_MAX: u64 = 600_000_000;

/// Answers and latencies of one load.
#[derive(Clone)]
pub struct Report {
    /// How many answers had which status.
    pub statuses: BTreeMap<u16, u64>,
    /// Of all answers with a status below 300, in microseconds.
    pub latency_us: Histogram<u64>,
    /// Bytes that were sent.
    pub bytes_sent: u64,
    /// Connections that broke or were refused, and requests left without an answer.
    pub errors: u64,
    /// From the first request to the last answer.
    pub elapsed: Duration,
}

impl Report {
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            statuses: BTreeMap::new(),
            latency_us: Histogram::new_with_max(LATENCY_US_MAX, 3)
                .context("make a latency histogram")?,
            bytes_sent: 0,
            errors: 0,
            elapsed: Duration::ZERO,
        })
    }

    pub(super) fn answered(&mut self, status: u16, latency: Duration) {
        *self.statuses.entry(status).or_default() += 1;
        if status < 300 {
            self.latency_us.saturating_record(latency.as_micros() as u64);
        }
    }

    pub(super) fn add(&mut self, other: &Self) -> Result<()> {
        for (status, count) in &other.statuses {
            *self.statuses.entry(*status).or_default() += count;
        }
        self.latency_us.add(&other.latency_us).context("add latencies")?;
        self.bytes_sent += other.bytes_sent;
        self.errors += other.errors;
        self.elapsed = self.elapsed.max(other.elapsed);
        Ok(())
    }

    /// How many answers had this status.
    pub fn count(&self, status: u16) -> u64 {
        self.statuses.get(&status).copied().unwrap_or_default()
    }

    /// How many answers had a status below 300.
    pub fn accepted(&self) -> u64 {
        self.statuses.range(..300).map(|(_, count)| count).sum()
    }

    /// How many answers had a status from 300 on.
    pub fn refused(&self) -> u64 {
        self.statuses.range(300..).map(|(_, count)| count).sum()
    }

    /// Answers with a status below 300 a second.
    pub fn accepted_per_second(&self) -> f64 {
        self.accepted() as f64 / self.elapsed.as_secs_f64().max(f64::EPSILON)
    }

    /// The latency that this part of the accepted requests kept, in milliseconds.
    pub fn latency_ms(&self, quantile: f64) -> f64 {
        self.latency_us.value_at_quantile(quantile) as f64 / 1000.0
    }
}

impl fmt::Debug for Report {
    /// The histogram has thousands of counters: its quantiles say more.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Report")
            .field("statuses", &self.statuses)
            .field("p50_ms", &self.latency_ms(0.5))
            .field("p99_ms", &self.latency_ms(0.99))
            .field("bytes_sent", &self.bytes_sent)
            .field("errors", &self.errors)
            .field("elapsed", &self.elapsed)
            .finish()
    }
}
