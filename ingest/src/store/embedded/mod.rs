//! The embedded store: rows as compressed blocks in a key-value store on the local disk. Rows,
//! indexes, counts and the progress of the log are committed together, so what is handed over
//! again after a crash is written exactly once. Decodes nothing: the original bytes are kept.
//!
//! Rows live in windows of receive time, those of each retention class in windows of their own.
//! A window is dropped whole when its last row is past retention, which frees its disk at once;
//! until then its older rows and counts stay readable, a sixteenth of the retention at most.

mod block;
mod classes;
mod codec;
mod commit;
mod database;
mod erase;
mod format;
mod keys;
mod prepare;
mod read;
mod state;
mod untimed;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures_util::future::BoxFuture;
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use uuid::Uuid;

use crate::clock::{Clock, system_clock};
use crate::retention::RetentionClasses;
use crate::sink::{Batch, LogId, Progress, Sink, SinkError, SinkState, Written};

use super::{Count, CountQuery, Erased, Erasure, Page, PulseQuery, QueryError, Row, Store};

use erase::Reached;
use state::{State, UseError};
pub(crate) use untimed::RootLimits;

/// Batches that are made ready at a time; each holds its blocks, a few MiB, until it is committed.
const WRITES_MAX: usize = 4;
/// Queries that read at a time; more wait. Each holds a page and a block.
const READS_MAX: usize = 4;

/// How long an erasure holds up queries that begin, at most, so that those that read have ended.
const QUIET_WAIT: Duration = Duration::from_secs(1);

/// How an embedded store is kept.
#[derive(Clone)]
pub struct EmbeddedSettings {
    /// How long a row is kept after it was received, at least.
    pub retention: Duration,
    /// The same for rows of other classes.
    pub classes: RetentionClasses,
    /// Bytes that must be free on the disk for a batch to be written: room for what flushes and
    /// compactions write behind it.
    pub free_bytes_min: u64,
    /// Tells the time.
    pub clock: Clock,
    /// When ids that tell no time are moved on; fewer in tests.
    pub(crate) root_limits: RootLimits,
}

impl EmbeddedSettings {
    /// Keeps rows for `retention`, by the system's clock, and leaves 128 MiB of the disk free.
    pub fn new(retention: Duration) -> Self {
        Self {
            retention,
            classes: RetentionClasses::default(),
            free_bytes_min: 128 * 1024 * 1024,
            clock: system_clock(),
            root_limits: RootLimits::default(),
        }
    }
}

impl std::fmt::Debug for EmbeddedSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedSettings")
            .field("retention", &self.retention)
            .field("classes", &self.classes)
            .field("free_bytes_min", &self.free_bytes_min)
            .finish_non_exhaustive()
    }
}

/// Why a store was not opened. Nothing in its directory was changed but what a recovery does.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The directory holds something else.
    #[error("directory is not an embedded store")]
    NotAStore,
    /// The store was written by another version of this program; nothing was touched.
    #[error("store has format {found}, this program knows format {known}")]
    Format {
        /// The store's.
        found: u32,
        /// The program's.
        known: u32,
    },
    /// Another process has it open.
    #[error("store is in use by another process")]
    InUse,
    /// Its files could not be read or made.
    #[error("access to the store's directory failed")]
    Io(#[from] io::Error),
    /// The database in it could not be opened.
    #[error("open of the store's database failed")]
    Database(#[source] anyhow::Error),
}

/// The embedded store. Closed when dropped, after the calls that are under way.
#[derive(Debug)]
pub struct EmbeddedStore {
    state: Arc<State>,
    writes: Arc<Semaphore>,
    reads: Arc<Semaphore>,
}

impl EmbeddedStore {
    /// Opens the store in `directory`, or makes it where there is none. Blocking: replays what
    /// was not flushed, 200 MiB at most.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub fn open(directory: &Path, settings: EmbeddedSettings) -> Result<Arc<Self>, OpenError> {
        let state = Arc::new(State::open(directory, settings)?);
        let (writes, reads) = (Semaphore::new(WRITES_MAX), Semaphore::new(READS_MAX));
        Ok(Arc::new(Self { state, writes: Arc::new(writes), reads: Arc::new(reads) }))
    }

    /// The store's identity, made with it.
    pub fn id(&self) -> Uuid {
        self.state.id()
    }

    /// How many rows of a log had expired before they could be written, over all runs.
    pub fn expired(&self, log: LogId) -> u64 {
        self.state.progress(log).map_or(0, |progress| progress.expired)
    }

    /// Drops the windows that are past retention and gives their disk back; to be called every
    /// minute or so. Returns how many were dropped.
    ///
    /// # Errors
    ///
    /// When the database can't be used now; the next call tries again.
    pub async fn sweep(&self) -> anyhow::Result<usize> {
        let state = Arc::clone(&self.state);
        spawn_blocking(move || state.sweep()).await?.context("drop of expired windows failed")
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&State) -> Result<T, UseError> + Send + 'static,
    ) -> Result<T, QueryError> {
        let state = Arc::clone(&self.state);
        // The permit goes with the thread: a query whose caller went away still counts.
        let permit = Arc::clone(&self.reads).acquire_owned().await;
        let permit = permit.map_err(|error| QueryError::Failed(error.into()))?;
        let done = spawn_blocking(move || {
            let _permit = permit;
            read(&state)
        });
        match done.await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error @ UseError::Down(_))) => Err(QueryError::Unavailable(error.into())),
            Ok(Err(UseError::TooManyCounts)) => Err(QueryError::TooManyCounts),
            Ok(Err(error)) => Err(QueryError::Failed(error.into())),
            Err(error) => Err(QueryError::Failed(error.into())),
        }
    }
}

impl Sink for EmbeddedStore {
    fn write<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<Written, SinkError>> {
        let (state, batch) = (Arc::clone(&self.state), batch.clone());
        Box::pin(async move {
            let permit = Arc::clone(&self.writes).acquire_owned().await;
            let permit = permit.map_err(|error| SinkError::Unavailable(error.into()))?;
            let done = spawn_blocking(move || {
                let _permit = permit;
                state.write(&batch)
            });
            match done.await {
                Ok(written) => written.map_err(|error| SinkError::Unavailable(error.into())),
                Err(error) if error.is_panic() => Err(SinkError::Unknown(error.into())),
                Err(error) => Err(SinkError::Unavailable(error.into())),
            }
        })
    }

    fn progress(&self, log: LogId) -> Option<Progress> {
        Some(self.state.progress(log).map(|known| known.progress).unwrap_or_default())
    }

    fn sync(&self) -> BoxFuture<'_, anyhow::Result<()>> {
        let state = Arc::clone(&self.state);
        Box::pin(async move { Ok(spawn_blocking(move || state.sync()).await??) })
    }

    fn maintain(&self) -> BoxFuture<'_, anyhow::Result<()>> {
        Box::pin(async move { self.sweep().await.map(drop) })
    }

    fn state(&self) -> SinkState {
        self.state.down().map_or(SinkState::Up, SinkState::Down)
    }
}

impl Store for EmbeddedStore {
    fn pulses<'a>(&'a self, query: &'a PulseQuery) -> BoxFuture<'a, Result<Page, QueryError>> {
        let query = query.clone();
        Box::pin(self.read(move |state| state.page(&query)))
    }

    fn pulse<'a>(
        &'a self,
        tenant: &'a str,
        id: Uuid,
    ) -> BoxFuture<'a, Result<Option<Row>, QueryError>> {
        let tenant = tenant.to_owned();
        Box::pin(self.read(move |state| state.row(&tenant, id)))
    }

    fn counts<'a>(
        &'a self,
        query: &'a CountQuery,
    ) -> BoxFuture<'a, Result<Vec<Count>, QueryError>> {
        let query = query.clone();
        Box::pin(self.read(move |state| state.counts(&query)))
    }

    fn bar(&self, tenant: &str, until_us: Option<i64>) {
        self.state.bar(tenant, until_us);
    }

    fn erase<'a>(
        &'a self,
        erasure: &'a Erasure,
        position: Option<&'a str>,
    ) -> BoxFuture<'a, anyhow::Result<Erased>> {
        Box::pin(async move {
            let from = position.and_then(Reached::read).unwrap_or_default();
            if position.is_none() {
                // Batches that were made ready before the bar are committed behind this.
                drop(self.writes.acquire_many(WRITES_MAX as u32).await?);
            }
            let quiet = if from.wants_quiet() {
                let reads = Arc::clone(&self.reads).acquire_many_owned(READS_MAX as u32);
                match timeout(QUIET_WAIT, reads).await {
                    Ok(permits) => Some(permits?),
                    // Queries go on meanwhile.
                    Err(_late) => {
                        return Ok(Erased {
                            next: from.write(),
                            wait: QUIET_WAIT,
                            ..Erased::default()
                        });
                    }
                }
            } else {
                None
            };
            let (state, erasure) = (Arc::clone(&self.state), erasure.clone());
            Ok(spawn_blocking(move || state.erase(&erasure, &from, quiet)).await??)
        })
    }
}
