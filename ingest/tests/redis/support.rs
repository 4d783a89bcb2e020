//! What the tests share: the limits of one process as the library has them, and demand on them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use prometheus_client::registry::Registry;
use pulsemesh_ingest::code::Code;
use pulsemesh_ingest::limits::{Allowance, Allowances, Limiter, RedisSettings, WithoutRedis};
use pulsemesh_ingest::metrics::Metrics;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;
use xtask::redis::Redis;
use xtask::samples::Samples;
use xtask::server::wait_for;

/// Longest wait for what takes a second on an idle machine.
pub(crate) const SOON: Duration = Duration::from_secs(30);
/// The tenant of all tests.
pub(crate) const TENANT: &str = "acme";

/// A limit of requests with a burst of a second, which is its sixtieth.
pub(crate) fn requests(per_minute: u64) -> Allowances {
    let requests = Allowance { per_minute, burst: Some(per_minute / 60) };
    Allowances { requests, ..Allowances::default() }
}

/// How a Redis without a login is reached.
pub(crate) fn settings(redis: &Redis) -> RedisSettings {
    RedisSettings {
        host: "127.0.0.1".to_owned(),
        port: redis.port(),
        database: 0,
        username: None,
        password: None,
        tls: false,
        tls_ca: None,
    }
}

/// The limits of one process; what a killed process leaves is left by dropping it.
pub(crate) struct Process {
    pub(crate) limiter: Arc<Limiter>,
    registry: Registry,
    _lender: Runtime,
}

impl Process {
    /// One that is not connected yet.
    pub(crate) fn with(
        settings: RedisSettings,
        without: WithoutRedis,
        allowances: Allowances,
    ) -> Result<Self> {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let (limiter, lender) = Limiter::shared(1, settings, without, metrics.limits);
        limiter.configure([(TENANT, allowances)]);
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let mut tasks = JoinSet::new();
        tasks.spawn_on(lender.run(), runtime.handle());
        // It ends with the runtime.
        tasks.detach_all();
        Ok(Self { limiter, registry, _lender: runtime })
    }

    /// One that shares the limit.
    pub(crate) fn start(redis: &Redis, allowances: Allowances) -> Result<Self> {
        let process = Self::with(settings(redis), WithoutRedis::Local, allowances)?;
        process.wait_mode("shared")?;
        Ok(process)
    }

    /// Waits until limits are counted in this way.
    pub(crate) fn wait_mode(&self, mode: &str) -> Result<()> {
        wait_for(SOON, mode, || {
            let labels = [("mode", mode)];
            Ok(self.samples()?.sum("pulsemesh_limits_mode", &labels) == 1.0)
        })
    }

    pub(crate) fn samples(&self) -> Result<Samples> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Samples::parse(&text)
    }

    /// Asks for one request; whether it is accepted.
    pub(crate) fn admit(&self) -> Result<bool> {
        match self.limiter.admit(TENANT) {
            Ok(()) => Ok(true),
            Err(refusal) if refusal.reject.code == Code::TooManyRequests => Ok(false),
            Err(refusal) => bail!("refused: {refusal}"),
        }
    }

    /// The code of a refusal.
    pub(crate) fn refused(&self) -> Option<Code> {
        self.limiter.admit(TENANT).err().map(|refusal| refusal.reject.code)
    }
}

/// Asks all processes in turn for `per_second` requests over `duration`; gives how many each
/// accepted, and how long it really took.
pub(crate) fn demand(
    processes: &[Process],
    per_second: u64,
    duration: Duration,
) -> Result<(Vec<u64>, Duration)> {
    let accepted: Vec<AtomicU64> = processes.iter().map(|_| AtomicU64::new(0)).collect();
    let gap = Duration::from_secs(1) / u32::try_from(per_second)?;
    let started = Instant::now();
    let mut sent = 0;
    while started.elapsed() < duration {
        while gap * sent > started.elapsed() {
            std::thread::sleep(Duration::from_micros(500));
        }
        let turn = sent as usize % processes.len();
        if processes[turn].admit()? {
            accepted[turn].fetch_add(1, Ordering::Relaxed);
        }
        sent += 1;
    }
    let accepted = accepted.into_iter().map(AtomicU64::into_inner).collect();
    Ok((accepted, started.elapsed()))
}

/// A setting of the test run.
#[allow(clippy::disallowed_methods, reason = "tests have no flags of their own")]
pub(crate) fn setting(name: &str) -> Option<usize> {
    std::env::var(name).ok()?.parse().ok()
}

/// An example of this crate, built beside the binary by `cargo test`.
pub(crate) fn example(name: &str) -> Result<PathBuf> {
    let binary = Path::new(env!("CARGO_BIN_EXE_pulsemesh-ingest"));
    let path = binary.with_file_name("examples").join(name);
    ensure!(path.exists(), "{} is not built: cargo build --examples", path.display());
    Ok(path)
}
