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

use anyhow::Context;
use futures_util::future::BoxFuture;
use thiserror::Error;
use uuid::Uuid;

use crate::sink::{Batch, LogId, Progress, Sink, SinkError, SinkState, Written};

use super::{Count, CountQuery, Page, PulseQuery, QueryError, Row, Store};
use link::Link;
use metrics::CassandraMetrics;
use settings::CassandraSettings;
use sharder::Sharder;

/// Why a store was not opened. A database that is away is no reason: it is waited for.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The threads of the driver could not be started.
    #[error("start of the database's threads failed")]
    Threads(#[source] io::Error),
}

/// The store. Its connection is made and mended in the background, and closed when dropped.
#[derive(Debug)]
pub struct CassandraStore {
    link: Arc<Link>,
    sharder: Sharder,
    settings: Arc<CassandraSettings>,
    /// The log that is written from, once the drain has told.
    log: Mutex<Option<LogId>>,
}

impl CassandraStore {
    /// Opens the store at once, and begins to connect.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(
        settings: CassandraSettings,
        metrics: CassandraMetrics,
    ) -> Result<Arc<Self>, OpenError> {
        let settings = Arc::new(settings);
        let link = Link::open(Arc::clone(&settings), metrics).map_err(OpenError::Threads)?;
        let sharder = Sharder::default();
        Ok(Arc::new(Self { link: Arc::new(link), sharder, settings, log: Mutex::default() }))
    }

    /// Says that this process writes; until the drain has told which log, nobody does.
    async fn count_writers(&self) -> anyhow::Result<()> {
        let log = *self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some(log), Ok(live)) = (log, self.link.live()) else { return Ok(()) };
        let now_ms = (self.settings.clock)() / 1000;
        let _writers = writers::count(&live, log, now_ms).await.context("count writers failed")?;
        Ok(())
    }
}

impl Sink for CassandraStore {
    fn write<'a>(&'a self, _batch: &'a Batch) -> BoxFuture<'a, Result<Written, SinkError>> {
        Box::pin(async move {
            self.link.live().map_err(|down| SinkError::Unavailable(down.into()))?;
            Err(SinkError::Unavailable(anyhow::anyhow!("nothing is written yet")))
        })
    }

    fn progress(&self, log: LogId) -> Option<Progress> {
        *self.log.lock().unwrap_or_else(PoisonError::into_inner) = Some(log);
        None
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
