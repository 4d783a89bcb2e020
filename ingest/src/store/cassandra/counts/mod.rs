//! Counts as absolute sums: written twice, they are the same. Each row of a log is counted once,
//! whatever is tried again, replayed or cut off by a crash; [`state`] says why.

mod classes;
#[cfg(test)]
mod crash_tests;
mod file;
mod part;
mod send;
mod state;
mod tally;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use scylla::errors::ExecutionError;
use thiserror::Error;
use tokio::sync::Semaphore;

use crate::clock::Clock;
use crate::fs::{self, Fs};

use super::error::classify;
use super::lifetime::capped_span;
use super::live::Live;
use super::metrics::{CassandraMetrics, ClassLabels, TableLabels};
use super::settings::CassandraSettings;

pub(crate) use self::classes::ClassSums;
pub(crate) use self::file::SumsError;
use self::part::SumRow;
pub(crate) use self::state::Origin;
#[cfg(test)]
pub(crate) use self::state::SUMS_MAX;
use self::state::{Flush, State};
pub(crate) use self::tally::Counted;
use self::tally::Tally;

/// Name of the file in the store's directory.
const FILE: &str = "counts";
/// Requests at once: sums are few beside rows and must not crowd them out.
const SENDS_MAX: usize = 8;

/// Why sums are not written. They stay to be written.
#[derive(Debug, Error)]
pub(crate) enum FlushError<E = ExecutionError> {
    /// What the file must know before them could not be kept.
    #[error("keep counts failed")]
    Keep(#[source] io::Error),
    /// The database did not answer for some.
    #[error("write counts failed")]
    Write(#[source] E),
}

/// The counts of this process.
#[derive(Debug)]
pub(crate) struct Sums {
    state: Mutex<State>,
    file: Mutex<File>,
    /// One flush at a time: an older sum is never sent after a newer one.
    flushing: Semaphore,
    clock: OpaqueClock,
    retention: Duration,
    metrics: CassandraMetrics,
}

/// The file; its lock is held from the look at the state to the end of the write, so that an
/// older one never replaces a newer.
#[derive(Debug)]
struct File {
    fs: Arc<dyn Fs>,
    path: PathBuf,
    /// The changes that the file on disk has.
    kept: u64,
}

struct OpaqueClock(Clock);

impl Sums {
    /// Goes on with what the last run has kept. Blocking.
    ///
    /// # Errors
    ///
    /// When the file can't be read or is of a newer version; it is left as it is.
    pub(crate) fn open(
        fs: Arc<dyn Fs>,
        settings: &CassandraSettings,
        metrics: CassandraMetrics,
    ) -> Result<Self, SumsError> {
        let directory = &settings.directory;
        let parent = directory.parent().unwrap_or(directory);
        let made = fs.create_dir_all(directory).and_then(|()| fs.sync_dir(parent));
        // A file that was replaced just before a kill is acted upon from now on.
        made.and_then(|()| fs.sync_dir(directory)).map_err(SumsError::Io)?;
        let path = directory.join(FILE);
        let state = file::read(&*fs, &path)?;
        let kept = state.changes;
        Ok(Self {
            state: Mutex::new(state),
            file: Mutex::new(File { fs, path, kept }),
            flushing: Semaphore::new(1),
            clock: OpaqueClock(Arc::clone(&settings.clock)),
            retention: settings.retention,
            metrics,
        })
    }

    /// Counts rows that were written; those that were counted before change nothing.
    pub(crate) fn add<'a>(&self, origin: Origin, rows: impl Iterator<Item = Counted<'a>>) {
        let tally = Tally::of(rows);
        let now_us = self.now_us();
        self.state().add(origin, &tally, now_us);
    }

    /// Whether more rows may be written: not while very many sums can't be. A full memory of
    /// sums refuses the write, never the count of what was written.
    pub(crate) fn has_room(&self) -> bool {
        self.state().has_room()
    }

    /// Writes the sums that the database does not have as they are. May be given up at any
    /// await: what has not been answered for is written by the next.
    ///
    /// # Errors
    ///
    /// When some were not written.
    pub(crate) async fn flush(self: &Arc<Self>, live: &Live) -> Result<(), FlushError> {
        let sums = &**self;
        let ttl_s = capped_span(sums.retention, sums.now_us());
        self.flush_with(move |rows: Vec<SumRow>, stamp_us| async move {
            let start = Instant::now();
            let sent = send::send(live, &rows, (ttl_s, stamp_us)).await;
            sums.measure(rows.len(), start.elapsed(), sent.as_ref().err());
            (rows, sent)
        })
        .await
    }

    fn measure(&self, rows: usize, took: Duration, error: Option<&ExecutionError>) {
        let (metrics, table) = (&self.metrics, TableLabels { table: "counts" });
        metrics.latency.get_or_create(&table).observe(took.as_secs_f64());
        if let Some(error) = error {
            let class = classify(error).as_str();
            metrics.failures.get_or_create(&ClassLabels { class }).inc();
        } else {
            metrics.requests.get_or_create(&table).inc();
            metrics.rows.get_or_create(&table).inc_by(rows as u64);
        }
    }

    async fn flush_with<F, A, E>(self: &Arc<Self>, send: F) -> Result<(), FlushError<E>>
    where
        F: Fn(Vec<SumRow>, i64) -> A,
        A: Future<Output = (Vec<SumRow>, Result<(), E>)>,
    {
        // Never closed.
        let Ok(_one) = self.flushing.acquire().await else { return Ok(()) };
        if self.state().is_written() {
            return Ok(());
        }
        let flush = self.blocking(Self::begin_flush).await.map_err(FlushError::Keep)?;
        let batches = futures_util::stream::iter(send::batches(flush.rows));
        let mut sent = batches.map(|rows| send(rows, flush.stamp_us)).buffer_unordered(SENDS_MAX);
        while let Some((rows, answer)) = sent.next().await {
            // The rest would most likely fail alike, each after its timeout.
            answer.map_err(FlushError::Write)?;
            self.state().answered(&rows);
        }
        Ok(())
    }

    /// Makes all that is counted survive a crash. Before the drain's cursor on disk moves past
    /// rows, this must have succeeded after they were counted.
    ///
    /// # Errors
    ///
    /// When the file could not be written: the cursor must not move.
    pub(crate) async fn keep(self: &Arc<Self>) -> io::Result<()> {
        self.blocking(Self::keep_changes).await
    }

    /// Lets a tenant's sums begin at nothing, here and in the file; returns the last write time
    /// that any sum before has, in microseconds since 1970.
    ///
    /// # Errors
    ///
    /// When the file could not be written; it may be asked again.
    pub(crate) async fn erase(self: &Arc<Self>, tenant: &str) -> io::Result<i64> {
        // Never closed. No sum of before is on its way behind this.
        let _one = self.flushing.acquire().await.map_err(io::Error::other)?;
        let stamp_us = {
            let mut state = self.state();
            state.erase(tenant);
            state.stamp_us
        };
        self.keep().await?;
        Ok(stamp_us)
    }

    async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: fn(&Self) -> io::Result<T>,
    ) -> io::Result<T> {
        let sums = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || work(&sums)).await;
        done.map_err(io::Error::other)?
    }

    /// What the database is to be sent, once the file has it.
    fn begin_flush(&self) -> io::Result<Flush> {
        let mut file = self.file();
        let (flush, bytes, changes) = {
            let (now_us, mut state) = (self.now_us(), self.state());
            state.roll(now_us);
            let flush = state.flush(now_us);
            (flush, file::encode(&state), state.changes)
        };
        file.write(&bytes, changes)?;
        Ok(flush)
    }

    fn keep_changes(&self) -> io::Result<()> {
        let mut file = self.file();
        let (bytes, changes) = {
            let state = self.state();
            if state.changes == file.kept {
                return Ok(());
            }
            (file::encode(&state), state.changes)
        };
        file.write(&bytes, changes)
    }

    fn file(&self) -> MutexGuard<'_, File> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_us(&self) -> i64 {
        (self.clock.0)()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl File {
    fn write(&mut self, bytes: &[u8], changes: u64) -> io::Result<()> {
        fs::replace_file(&*self.fs, &self.path, bytes)?;
        self.kept = changes;
        Ok(())
    }
}

impl std::fmt::Debug for OpaqueClock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}
