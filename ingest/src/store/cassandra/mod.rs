//! The store in Cassandra or Scylla. Rows lie in partitions by tenant, service, ten minutes of
//! event time and shard; every key is made from the log's record alone, so that a row written
//! twice is one row. A database that is slow, half gone or gone costs no pulse: the log keeps
//! what is not written yet.

#![allow(dead_code, reason = "its parts come one by one")]

mod connect;
mod counts;
mod credentials;
mod error;
pub mod layout;
mod link;
mod live;
mod mend;
pub mod metrics;
mod pace;
mod read;
mod reason;
mod schema;
pub mod settings;
pub mod sharder;
mod statements;
mod tls;
mod write;
mod writers;

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use futures_util::future::BoxFuture;
use thiserror::Error;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::fs::{Fs, OsFs};
use crate::sink::{Batch, LogId, Progress, Sink, SinkError, SinkState, Written};

use super::{Count, CountQuery, Page, PulseQuery, QueryError, Row, Store};
use counts::Sums;
use link::Link;
use metrics::CassandraMetrics;
use pace::Pace;
use settings::CassandraSettings;
use sharder::Sharder;
use write::Writer;

/// How often sums that changed are written: counts are this far behind the rows.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);
/// Longest time of one such write; the next takes up what it left.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a store was not opened. A database that is away is no reason: it is waited for.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The threads of the driver could not be started.
    #[error("start of the database's threads failed")]
    Threads(#[source] io::Error),
    /// What was counted before could not be read.
    #[error("open of the counts failed")]
    Counts(#[source] anyhow::Error),
}

/// The store. Its connection is made and mended in the background, and closed when dropped.
#[derive(Debug)]
pub struct CassandraStore {
    link: Arc<Link>,
    sharder: Sharder,
    sums: Arc<Sums>,
    writer: Writer,
    settings: Arc<CassandraSettings>,
    /// The log that is written from, once the drain has told.
    log: Mutex<Option<LogId>>,
    /// Ends with the store.
    _flusher: JoinSet<()>,
}

impl CassandraStore {
    /// Opens the store at once, and begins to connect. Blocking: reads what was counted.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(
        settings: CassandraSettings,
        metrics: CassandraMetrics,
    ) -> Result<Arc<Self>, OpenError> {
        let settings = Arc::new(settings);
        let fs: Arc<dyn Fs> = Arc::new(OsFs);
        let sums = Sums::open(fs, &settings, metrics.clone())
            .map_err(|error| OpenError::Counts(error.into()))?;
        let sums = Arc::new(sums);
        let link = Link::open(Arc::clone(&settings), metrics.clone());
        let link = Arc::new(link.map_err(OpenError::Threads)?);
        let pace = Pace::new(settings.requests_max, &metrics);
        let writer = Writer::new(Arc::clone(&link), pace, Arc::clone(&sums), &settings, &metrics);
        let mut flusher = JoinSet::new();
        if let Some(handle) = link.handle() {
            flusher.spawn_on(flush_for_ever(Arc::clone(&link), Arc::clone(&sums)), handle);
        }
        let sharder = Sharder::new(Arc::clone(&settings.clock));
        let log = Mutex::default();
        Ok(Arc::new(Self { link, sharder, sums, writer, settings, log, _flusher: flusher }))
    }

    /// Says that this process writes; until the drain has told which log, nobody does.
    async fn count_writers(&self) -> anyhow::Result<()> {
        let log = *self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some(log), Ok(live)) = (log, self.link.live()) else { return Ok(()) };
        let now_ms = (self.settings.clock)() / 1000;
        let writers = writers::count(&live, log, now_ms).await.context("count writers failed")?;
        self.sharder.set_writers(writers);
        Ok(())
    }
}

async fn flush_for_ever(link: Arc<Link>, sums: Arc<Sums>) {
    loop {
        tokio::time::sleep(FLUSH_INTERVAL).await;
        let Ok(live) = link.live() else { continue };
        let flushed = tokio::time::timeout(FLUSH_TIMEOUT, sums.flush(&live)).await;
        if let Ok(Err(error)) = flushed {
            // The path of the rows tells of the same outage; here it only delays counts.
            tracing::debug!(error = format!("{:#}", anyhow::Error::from(error)), "counts wait");
        }
    }
}

impl Sink for CassandraStore {
    fn write<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<Written, SinkError>> {
        Box::pin(self.writer.write(batch))
    }

    fn progress(&self, log: LogId) -> Option<Progress> {
        *self.log.lock().unwrap_or_else(PoisonError::into_inner) = Some(log);
        None
    }

    /// What is counted survives in a file of its own: the database need not be asked.
    fn sync(&self) -> BoxFuture<'_, anyhow::Result<()>> {
        Box::pin(async { self.sums.keep().await.context("keep counts failed") })
    }

    /// The last sums: the directory may go with the process.
    fn close(&self) -> BoxFuture<'_, anyhow::Result<()>> {
        Box::pin(async {
            if let Ok(live) = self.link.live() {
                self.sums.flush(&live).await.context("write counts failed")?;
            }
            self.sync().await
        })
    }

    fn maintain(&self) -> BoxFuture<'_, anyhow::Result<()>> {
        Box::pin(self.count_writers())
    }

    fn state(&self) -> SinkState {
        self.link.state()
    }
}

impl Store for CassandraStore {
    fn shard_of(&self, tenant: &str, service: &str, event_time_ms: i64, bytes: usize) -> u16 {
        self.sharder.layout(tenant, service, event_time_ms, bytes).code()
    }

    fn pulses<'a>(&'a self, _query: &'a PulseQuery) -> BoxFuture<'a, Result<Page, QueryError>> {
        Box::pin(async move {
            self.link.live().map_err(|down| QueryError::Unavailable(down.into()))?;
            Ok(Page::default())
        })
    }

    fn pulse<'a>(
        &'a self,
        _tenant: &'a str,
        _id: Uuid,
    ) -> BoxFuture<'a, Result<Option<Row>, QueryError>> {
        Box::pin(async move {
            self.link.live().map_err(|down| QueryError::Unavailable(down.into()))?;
            Ok(None)
        })
    }

    fn counts<'a>(
        &'a self,
        _query: &'a CountQuery,
    ) -> BoxFuture<'a, Result<Vec<Count>, QueryError>> {
        Box::pin(async move {
            self.link.live().map_err(|down| QueryError::Unavailable(down.into()))?;
            Ok(Vec::new())
        })
    }
}
