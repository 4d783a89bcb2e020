//! What every case needs: servers on fresh directories, loads, and how long all may take.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tempfile::TempDir;
use xtask::load::{self, Model, Plan, Report};
use xtask::server::{Launch, Server};
use xtask::{events, flags};

use super::report::{grouped, median};

/// Connections of one-pulse requests.
pub(super) const SINGLE_CONNECTIONS: usize = 64;
/// Connections of batches.
pub(super) const BATCH_CONNECTIONS: usize = 8;
/// Pulses of a batch.
pub(super) const BATCH_PULSES: usize = 512;
/// Different requests of a load, so that no cache serves one for all.
const VARIANTS: usize = 64;
/// Before a measurement: connections, caches and the allocator reach their steady state.
const WARM_UP: Duration = Duration::from_millis(500);
/// Longest wait for a server to be ready.
const READY_MAX: Duration = Duration::from_secs(60);
/// Requests a second of bare hyper on the machine that the absolute targets are for.
const REFERENCE_BARE: f64 = 97_000.0;

/// The run's settings.
#[derive(Debug)]
pub(super) struct Context {
    /// Where the programs are.
    pub(super) built: PathBuf,
    /// Where data directories are made.
    pub(super) dir: PathBuf,
    pub(super) rounds: usize,
    /// How long one load lasts.
    pub(super) load: Duration,
    pub(super) threads: usize,
    pub(super) smoke: bool,
    /// Requests of one pulse that bare hyper answers a second, once it is known.
    pub(super) bare_single: Option<f64>,
}

/// A server with a directory that goes with it.
#[derive(Debug)]
pub(super) struct Ours {
    pub(super) server: Server,
    pub(super) dir: TempDir,
}

impl Context {
    pub(super) fn data_dir(&self) -> Result<TempDir> {
        TempDir::new_in(&self.dir).context("make a data directory")
    }

    /// How the server is started on a directory.
    pub(super) fn launch(&self, dir: &Path) -> Launch {
        Launch::new(self.built.join("pulsemesh-ingest"), dir)
    }

    /// How the server is started whose store takes so many rows a second; 0: none.
    pub(super) fn launch_throttled(&self, dir: &Path, rows_per_second: u32) -> Launch {
        Launch::new(self.built.join("examples/throttled"), dir)
            .flag(flags::ROWS_PER_SECOND, &rows_per_second.to_string())
    }

    /// Our server on a fresh directory, ready.
    pub(super) fn ours(&self, more: impl FnOnce(Launch) -> Launch) -> Result<Ours> {
        let dir = self.data_dir()?;
        let server = more(self.launch(dir.path())).start()?;
        server.wait_ready(READY_MAX)?;
        Ok(Ours { server, dir })
    }

    /// Bare hyper in this arrangement.
    pub(super) fn bare(&self, arrangement: &str) -> Result<Server> {
        Launch::plain(self.built.join("xtask")).argument("bare").argument(arrangement).start()
    }

    pub(super) fn singles(&self, server: &Server, target: &str) -> Plan {
        self.plan(server, SINGLE_CONNECTIONS, events::singles(target, VARIANTS))
    }

    pub(super) fn batches(&self, server: &Server, target: &str) -> Plan {
        self.plan(server, BATCH_CONNECTIONS, events::batches(target, BATCH_PULSES, VARIANTS / 4))
    }

    fn plan(&self, server: &Server, connections: usize, requests: Vec<Vec<u8>>) -> Plan {
        Plan {
            address: server.listen(),
            connections,
            threads: self.threads,
            requests: Arc::from(requests),
            model: Model::Closed,
            duration: self.load,
            rest: Duration::ZERO,
        }
    }

    /// Warms up, then measures.
    pub(super) fn measure(&self, plan: &Plan) -> Result<Report> {
        load::run(&Plan { duration: WARM_UP.min(plan.duration), ..plan.clone() })?;
        load::run(plan)
    }

    /// Requests a second of the faster arrangement of bare hyper, and what both did.
    pub(super) fn bare_rate(
        &mut self,
        plan: impl Fn(&Self, &Server) -> Plan,
    ) -> Result<(f64, [f64; 2])> {
        let mut rates = [0.0; 2];
        for (rate, arrangement) in rates.iter_mut().zip(["shared", "per-core"]) {
            let server = self.bare(arrangement)?;
            *rate = self.measure(&plan(self, &server))?.accepted_per_second();
        }
        Ok((rates[0].max(rates[1]), rates))
    }

    /// Bare hyper's rate of one-pulse requests, measured once where no case has.
    pub(super) fn bare_single(&mut self) -> Result<f64> {
        if let Some(rate) = self.bare_single {
            return Ok(rate);
        }
        let (rate, _) = self.bare_rate(|context, server| context.singles(server, "/pulse"))?;
        self.bare_single = Some(rate);
        Ok(rate)
    }

    /// Keeps the rate of rounds that were measured anyway.
    pub(super) fn note_bare_single(&mut self, rates: &[f64]) {
        self.bare_single = Some(median(&mut rates.to_vec()));
    }

    /// What the absolute targets are for.
    pub(super) fn footer(&self) -> String {
        let Some(bare) = self.bare_single else { return String::new() };
        format!(
            "\nBare hyper answers {} one-pulse requests/s here. The targets in pulses/s are for a \
             machine where it answers {}.",
            grouped(bare),
            grouped(REFERENCE_BARE),
        )
    }
}
