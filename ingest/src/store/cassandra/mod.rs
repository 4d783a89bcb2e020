//! The store in Cassandra or Scylla. Rows lie in partitions by tenant, service, ten minutes of
//! event time and shard; every key is made from the log's record alone, so that a row written
//! twice is one row. Each retention class has tables of its own. A database that is slow, half
//! gone or gone costs no pulse: the log keeps what is not written yet.

mod connect;
mod counts;
mod credentials;
mod erase;
mod error;
#[cfg(test)]
mod error_tests;
pub mod layout;
mod letters;
mod lifetime;
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
mod shared;
mod statements;
mod tls;
mod write;
mod writers;

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use anyhow::Context;
use futures_util::future::BoxFuture;
use thiserror::Error;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use uuid::Uuid;

use crate::sink::dead_letter::SharedLetters;
use crate::sink::{Batch, LogId, Progress, Sink, SinkError, SinkState, Written};

use super::{Count, CountQuery, Erased, Erasure, Page, PulseQuery, QueryError, Row, Store};
use counts::{ClassSums, FlushError};
use erase::ClassErasers;
use error::{Class, classify};
use letters::Letters;
use link::Link;
use metrics::CassandraMetrics;
use pace::Pace;
use read::ClassReaders;
use settings::CassandraSettings;
use sharder::Sharder;
pub use shared::SharedLink;
use write::ClassWriters;

/// Between two times that counts are written: how late they may be.
const COUNTS_INTERVAL: Duration = Duration::from_secs(1);

/// Why a store was not opened. A database that is away is no reason: it is waited for.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The threads of the driver could not be started.
    #[error("start of the database's threads failed")]
    Threads(#[source] io::Error),
    /// The file of counts could not be read, or is of a newer version.
    #[error("open of the counts failed")]
    Counts(#[source] anyhow::Error),
}

/// The store. Its connection is made and mended in the background, and closed when dropped.
pub struct CassandraStore {
    /// First: it ends before the connection that it uses.
    _tasks: JoinSet<()>,
    link: Arc<Link>,
    writers: ClassWriters,
    readers: ClassReaders,
    erasers: ClassErasers,
    sums: Arc<ClassSums>,
    sharder: Sharder,
    letters: Arc<Letters>,
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
        let sums = ClassSums::open(&settings, &metrics);
        let sums = Arc::new(sums.map_err(|error| OpenError::Counts(error.into()))?);
        let link = Link::open(Arc::clone(&settings), metrics.clone());
        let link = Arc::new(link.map_err(OpenError::Threads)?);
        let pace = Pace::new(settings.requests_max, &metrics);
        let writers = ClassWriters::new(&link, &pace, &sums, &settings, &metrics);
        let readers = ClassReaders::new(&link, &settings);
        let erasers = ClassErasers::new(&link, &settings, &sums);
        let mut tasks = JoinSet::new();
        if let Some(runtime) = link.handle() {
            // Not the link itself: the last one to hold it must not be one of its own threads.
            let counting = count_for_ever(Arc::downgrade(&link), Arc::clone(&sums));
            tasks.spawn_on(counting, runtime);
        }
        let sharder = Sharder::new(Arc::clone(&settings.clock));
        let letters = Arc::new(Letters::new(Arc::clone(&link), Arc::clone(&settings)));
        Ok(Arc::new(Self {
            _tasks: tasks,
            link,
            writers,
            readers,
            erasers,
            sums,
            sharder,
            letters,
            settings,
            log: Mutex::default(),
        }))
    }

    /// Its connection, for what processes share beside pulses.
    pub fn shared_link(&self) -> SharedLink {
        SharedLink::new(Arc::clone(&self.link), &self.settings.keyspace)
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

impl fmt::Debug for CassandraStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CassandraStore").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Writes counts again and again. What could not be written stays for the next time, until there
/// is so much of it that rows wait too.
async fn count_for_ever(link: Weak<Link>, sums: Arc<ClassSums>) {
    let mut failures = Failures::default();
    let mut turns = interval(COUNTS_INTERVAL);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        let live = match link.upgrade() {
            Some(link) => link.live(),
            None => return,
        };
        let Ok(live) = live else { continue };
        let flushed = sums.flush(&live).await;
        let told = failures.count(flushed.is_err());
        let Err(error) = flushed else { continue };
        let error = match error {
            FlushError::Write(error) if classify(&error) == Class::Schema => {
                if let Some(link) = link.upgrade() {
                    link.doubt(&live, &error.to_string());
                }
                continue;
            }
            other => anyhow::Error::from(other),
        };
        if let Some(failures) = told {
            tracing::warn!(failures, error = format!("{error:#}"), "write of counts failed");
        }
    }
}

/// How often something has failed in a row.
#[derive(Debug, Default)]
struct Failures(u32);

impl Failures {
    /// Counts one more time; `Some`: it failed and is to be told, at first and ever more rarely.
    fn count(&mut self, failed: bool) -> Option<u32> {
        self.0 = if failed { self.0.saturating_add(1) } else { 0 };
        self.0.is_power_of_two().then_some(self.0)
    }
}

impl Sink for CassandraStore {
    fn write<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<Written, SinkError>> {
        Box::pin(self.writers.write(batch))
    }

    fn progress(&self, log: LogId) -> Option<Progress> {
        *self.log.lock().unwrap_or_else(PoisonError::into_inner) = Some(log);
        None
    }

    /// Rows are the database's matter; counts of them are in their file until it has them.
    fn sync(&self) -> BoxFuture<'_, anyhow::Result<()>> {
        Box::pin(async { self.sums.keep().await.context("keep counts failed") })
    }

    /// The last counts: the directory may go with the process.
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

    fn letters(&self) -> Option<Arc<dyn SharedLetters>> {
        Some(Arc::clone(&self.letters) as _)
    }

    fn state(&self) -> SinkState {
        self.link.state()
    }
}

impl Store for CassandraStore {
    fn shard_of(&self, tenant: &str, service: &str, event_time_ms: i64, bytes: usize) -> u16 {
        self.sharder.layout(tenant, service, event_time_ms, bytes).code()
    }

    fn pulses<'a>(&'a self, query: &'a PulseQuery) -> BoxFuture<'a, Result<Page, QueryError>> {
        Box::pin(self.readers.pulses(query))
    }

    fn pulse<'a>(
        &'a self,
        tenant: &'a str,
        id: Uuid,
    ) -> BoxFuture<'a, Result<Option<Row>, QueryError>> {
        Box::pin(self.readers.pulse(tenant, id))
    }

    fn counts<'a>(
        &'a self,
        query: &'a CountQuery,
    ) -> BoxFuture<'a, Result<Vec<Count>, QueryError>> {
        Box::pin(self.readers.counts(query))
    }

    fn bar(&self, tenant: &str, until_us: Option<i64>) {
        self.writers.bar(tenant, until_us);
    }

    fn erase<'a>(
        &'a self,
        erasure: &'a Erasure,
        position: Option<&'a str>,
    ) -> BoxFuture<'a, anyhow::Result<Erased>> {
        Box::pin(async move {
            match position {
                Some(position) => self.erasers.step(erasure, position).await,
                None => {
                    self.writers.settle().await;
                    self.erasers.begin(erasure).await
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_in_a_row_are_told_at_first_and_ever_more_rarely() {
        let mut failures = Failures::default();
        for _ in 0..2 {
            let told: Vec<_> = (0..20).filter_map(|_| failures.count(true)).collect();
            assert_eq!(told, [1, 2, 4, 8, 16]);
            assert_eq!(failures.count(false), None);
        }
    }
}
