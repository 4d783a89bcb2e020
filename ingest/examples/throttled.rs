//! A server whose store takes only so many rows a second: what a slow database does to the log
//! and to clients can be seen with it. Takes the flags of `pulsemesh-ingest`, and
//! `--rows-per-second N`; 0 is a store that is stuck.

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use pulsemesh_ingest::cli;
use pulsemesh_ingest::sink::{Batch, LogId, Progress, Sink, SinkError, SinkState, Written};
use pulsemesh_ingest::store::{
    Count, CountQuery, Erased, Erasure, Page, PulseQuery, QueryError, Row, Store,
};
use tokio::time::Instant;
use uuid::Uuid;

const FLAG: &str = "--rows-per-second";

/// As in the binary: memory is compared between the two.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let mut arguments: Vec<OsString> = std::env::args_os().collect();
    let mut rows_per_second = 20_000;
    if let Some(at) = arguments.iter().position(|argument| argument == FLAG) {
        let value = arguments.get(at + 1).and_then(|value| value.to_str()?.parse().ok());
        let Some(value) = value else { return ExitCode::from(2) };
        rows_per_second = value;
        arguments.drain(at..at + 2);
    }
    cli::main_with(arguments, move |inner| {
        Arc::new(Throttled { inner, rows_per_second, free_at: Mutex::new(None) })
    })
}

/// A store that lets rows through at a steady rate.
#[derive(Debug)]
struct Throttled {
    inner: Arc<dyn Store>,
    rows_per_second: u32,
    free_at: Mutex<Option<Instant>>,
}

impl Throttled {
    /// When `rows` more have had their time.
    fn turn(&self, rows: usize) -> Instant {
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let time = Duration::from_secs_f64(rows as f64 / f64::from(self.rows_per_second));
        let turn = free_at.map_or_else(Instant::now, |free| free.max(Instant::now())) + time;
        *free_at = Some(turn);
        turn
    }
}

impl Sink for Throttled {
    fn write<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<Written, SinkError>> {
        Box::pin(async move {
            if self.rows_per_second == 0 {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep_until(self.turn(batch.len())).await;
            self.inner.write(batch).await
        })
    }

    fn progress(&self, log: LogId) -> Option<Progress> {
        self.inner.progress(log)
    }

    fn sync(&self) -> BoxFuture<'_, anyhow::Result<()>> {
        self.inner.sync()
    }

    fn maintain(&self) -> BoxFuture<'_, anyhow::Result<()>> {
        self.inner.maintain()
    }

    fn state(&self) -> SinkState {
        self.inner.state()
    }
}

impl Store for Throttled {
    fn shard_of(&self, tenant: &str, service: &str, event_time_ms: i64, bytes: usize) -> u16 {
        self.inner.shard_of(tenant, service, event_time_ms, bytes)
    }

    fn pulses<'a>(&'a self, query: &'a PulseQuery) -> BoxFuture<'a, Result<Page, QueryError>> {
        self.inner.pulses(query)
    }

    fn pulse<'a>(
        &'a self,
        tenant: &'a str,
        id: Uuid,
    ) -> BoxFuture<'a, Result<Option<Row>, QueryError>> {
        self.inner.pulse(tenant, id)
    }

    fn counts<'a>(
        &'a self,
        query: &'a CountQuery,
    ) -> BoxFuture<'a, Result<Vec<Count>, QueryError>> {
        self.inner.counts(query)
    }

    fn bar(&self, tenant: &str, until_us: Option<i64>) {
        self.inner.bar(tenant, until_us);
    }

    fn erase<'a>(
        &'a self,
        erasure: &'a Erasure,
        position: Option<&'a str>,
    ) -> BoxFuture<'a, anyhow::Result<Erased>> {
        self.inner.erase(erasure, position)
    }
}
