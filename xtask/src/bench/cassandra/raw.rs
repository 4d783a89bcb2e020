//! The best loop that writes the same tables: tried with several settings for some seconds each,
//! then run as often as there are rounds.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use super::super::context::Context;
use super::database::{Database, RAW};

/// Rows of one try.
const TRY_ROWS: u64 = 200_000;
/// How much faster a setting must be to be preferred: less is luck.
const GAIN: f64 = 1.02;

/// How the loop writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Settings {
    batch: u32,
    in_flight: u32,
    spread: u32,
    threads: u32,
    connections: u32,
    compression: bool,
    /// Rust values as the driver's documentation shows, not cells.
    typed: bool,
}

/// A change of one setting.
type Change = fn(&mut Settings);

/// What is tried, one after the other, each upon the best so far.
const TRIES: [Change; 9] = [
    |settings| settings.in_flight = 32,
    |settings| settings.in_flight = 128,
    |settings| settings.in_flight = 16,
    |settings| settings.compression = false,
    |settings| settings.threads = 2,
    |settings| settings.connections = 2,
    |settings| settings.spread = 16,
    |settings| settings.spread = 1,
    |settings| settings.batch = 30,
];
/// Of a smoke run.
const TRIES_SMOKE: usize = 1;

/// What one run of the loop did.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Run {
    rows: f64,
    seconds: f64,
    cpu_seconds: f64,
    /// Batches that the database had no time for, sent again.
    pub(super) timeouts: u64,
}

impl Run {
    pub(super) fn rows_per_second(&self) -> f64 {
        self.rows / self.seconds.max(f64::EPSILON)
    }

    /// Processor seconds of the loop's process for 100,000 rows.
    pub(super) fn cpu_per_100_000(&self) -> f64 {
        self.cpu_seconds / (self.rows / 100_000.0).max(f64::EPSILON)
    }
}

/// Finds the settings with which the loop is fastest here.
pub(super) fn calibrate(context: &Context, database: &Database) -> Result<Settings> {
    let mut best = Settings {
        batch: 100,
        in_flight: 64,
        spread: 4,
        threads: 1,
        connections: 1,
        compression: true,
        typed: false,
    };
    let (rows, tries) =
        if context.smoke { (TRY_ROWS / 20, TRIES_SMOKE) } else { (TRY_ROWS, TRIES.len()) };
    // The node compiles what it is asked for often: the first run is for that alone.
    best.run(context, database, "all", rows)?;
    let mut rate = best.run(context, database, "all", rows)?.rows_per_second();
    for change in TRIES.iter().take(tries) {
        let mut other = best;
        change(&mut other);
        let with_other = other.run(context, database, "all", rows)?.rows_per_second();
        if with_other > rate * GAIN {
            (best, rate) = (other, with_other);
        }
    }
    Ok(best)
}

impl Settings {
    /// Runs the loop in a process of its own; `tables` is `all` or `events`.
    pub(super) fn run(
        &self,
        context: &Context,
        database: &Database,
        tables: &str,
        rows: u64,
    ) -> Result<Run> {
        let output = Command::new(context.built.join("xtask"))
            .arg("raw")
            .args(["--node", database.address(), "--keyspace", RAW, "--tables", tables])
            .args(["--compression", if self.compression { "lz4" } else { "none" }])
            .args(["--values", if self.typed { "typed" } else { "cells" }])
            .args(["--rows", &rows.to_string(), "--batch", &self.batch.to_string()])
            .args(["--in-flight", &self.in_flight.to_string()])
            .args(["--spread", &self.spread.to_string()])
            .args(["--threads", &self.threads.to_string()])
            .args(["--connections", &self.connections.to_string()])
            .stdin(Stdio::null())
            .output()
            .context("run the raw loop")?;
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "the raw loop failed: {told}");
        serde_json::from_slice(&output.stdout).context("read what the raw loop did")
    }

    /// The same with Rust values, as the driver's documentation shows.
    pub(super) fn typed(self) -> Self {
        Self { typed: true, ..self }
    }

    /// For a person.
    pub(super) fn told(&self) -> String {
        let Self { batch, in_flight, spread, threads, connections, compression, .. } = self;
        format!(
            "batches of {batch}, {in_flight} in flight over {connections} connections, {spread} \
             partitions a service, {threads} threads, {}",
            if *compression { "LZ4" } else { "uncompressed" },
        )
    }
}
