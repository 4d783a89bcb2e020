//! Reservations: a client's own id or idempotency key counts once within a window, across
//! restarts and `kill -9`. Knows neither HTTP nor how a pulse is decoded or logged.
//!
//! **Life of a key.** A request *holds* its keys while its pulses are on their way into the log,
//! *commits* them once their records are synced, or frees them by failing. A committed key is
//! *active* (in memory, and journaled within about a second), then *sealed* into a run: sorted
//! on disk, with three bytes of fingerprint in memory. A run is dropped whole when its newest key
//! is older than the window, so a key counts for the window and at most a sixth of it longer.
//!
//! **Crash.** A record carries its keys' text, its body hash and what was fixed, so files need
//! not be synced before an answer. Each sync of the journal says up to which number of the log
//! everything is contained; a start loads the files and restores the rest from the log, about a
//! second of it. The log must not forget a record before [`Reservations::sync_up_to`].
//!
//! **Cost of a key.** On disk 73.3 bytes in a run (twice that while runs are merged) and, until
//! it is sealed, 66 bytes in a journal. In memory 3.3 bytes once it is sealed; before that up to
//! 180 bytes, which the bound of 262,144 unsealed keys keeps below 48 MiB. A new key costs no
//! system call.
//!
//! **Full.** At `keys_max` keys, and when the disk falls four runs behind, new keys are refused.

mod active;
mod claims;
mod clock;
mod epochs;
mod format;
mod journal;
mod keeper;
mod key;
mod load;
mod merge;
mod restore;
mod run;
mod run_writer;
mod table;
mod thread;

#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

pub use claims::{Claim, Reserved};
pub use clock::{Clock, SystemClock};
pub use key::{Fixed, KeyMaker, ReservationKey, Wanted};
pub use load::OpenError;
pub use restore::{Restoring, Settings};

use crate::fs::Fs;
use crate::metrics::HeldMetrics;
use table::Table;
use thread::Progress;

/// The table of reserved keys. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Reservations {
    shared: Arc<Shared>,
    _owner: Arc<Owner>,
}

/// Ends the thread with the last clone of the table.
#[derive(Debug)]
struct Owner(Arc<Shared>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.ask_to_stop();
    }
}

/// What is there to be seen of the table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReservationStats {
    /// Keys, the held ones included.
    pub keys: usize,
    /// Keys whose pulses are on their way into the log.
    pub held: usize,
    /// Sealed runs; each costs a lookup some 10 ns.
    pub runs: usize,
    /// Bytes of memory.
    pub memory_bytes: usize,
    /// Bytes of the runs on disk.
    pub disk_bytes: u64,
    /// Pulses that found the table full.
    pub full: u64,
    /// Stretches of files and entries that were damaged and skipped.
    pub damaged: u64,
}

impl Reservations {
    fn new(shared: Arc<Shared>) -> Self {
        shared.publish_level();
        Self { _owner: Arc::new(Owner(Arc::clone(&shared))), shared }
    }

    /// Makes the keys of this table.
    pub fn keys(&self) -> KeyMaker {
        self.shared.keys
    }

    /// Reserves the keys of all pulses of a request, each pulse for itself: all of its keys or
    /// none. Sees repeats within the request. Never touches the disk or waits.
    ///
    /// Must be called before the pulses are given to the log.
    pub fn reserve(&self, wanted: &[Wanted]) -> Reserved {
        Reserved::reserve(&self.shared, wanted)
    }

    /// What a committed key leads to, if it is within the window and its disk can be read. Must
    /// be called within a tokio runtime.
    pub async fn find(&self, key: ReservationKey) -> Option<Fixed> {
        let runs = {
            let table = self.shared.table();
            match table.committed(key) {
                Some(fixed) => return Some(fixed),
                None => Arc::clone(table.runs()),
            }
        };
        if !runs.iter().any(|run| run.may_hold(key)) {
            return None;
        }
        let find = move || claims::find(&runs, key);
        tokio::task::spawn_blocking(find).await.ok()?.ok().flatten()
    }

    /// Waits until nobody holds `key`; `false` when that took longer than `timeout`.
    pub async fn wait(&self, key: ReservationKey, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        loop {
            let resolved = self.shared.resolved.notified();
            tokio::pin!(resolved);
            // Before looking: what is resolved after the look wakes us.
            resolved.as_mut().enable();
            if !self.shared.table().mark_waited(key) {
                return true;
            }
            if timeout_at(deadline, resolved).await.is_err() {
                return false;
            }
        }
    }

    /// Returns once every reservation of a record below `seq` lies in synced files, so that the
    /// log may forget these records. Blocks for a sync, and until requests that reserved before
    /// have been resolved; an error after five seconds.
    pub fn sync_up_to(&self, seq: u64) -> io::Result<()> {
        self.shared.sync_up_to(seq)
    }

    /// Whether the thread that keeps the table on disk has ended unasked: nothing is journaled
    /// or forgotten any more, and the log can't be either.
    pub fn has_died(&self) -> bool {
        self.shared.has_died()
    }

    /// What is there to be seen.
    pub fn stats(&self) -> ReservationStats {
        let table = self.shared.table();
        let runs = table.runs();
        ReservationStats {
            keys: table.keys(),
            held: table.held(),
            runs: runs.len(),
            memory_bytes: table.memory_bytes(),
            disk_bytes: runs.iter().map(|run| run.disk_bytes()).sum(),
            full: table.full(),
            damaged: self.shared.damaged.load(Ordering::Relaxed)
                + runs.iter().map(|run| run.damaged()).sum::<u64>(),
        }
    }

    /// Writes what is committed, syncs it and ends the thread. Blocks for at most a few syncs.
    pub fn close(&self) -> io::Result<()> {
        self.shared.stop()
    }
}

/// What requests and the keeper share.
#[derive(Debug)]
struct Shared {
    table: Mutex<Table>,
    progress: Progress,
    /// Told when a key that somebody waits for is resolved.
    resolved: Notify,
    keys: KeyMaker,
    window_us: i64,
    fs: Arc<dyn Fs>,
    directory: PathBuf,
    damaged: AtomicU64,
    metrics: HeldMetrics,
}

impl Shared {
    /// The lock is held for microseconds and never while a file is read or written.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake_waiters(&self, waited: bool) {
        if waited {
            self.resolved.notify_waiters();
        }
    }

    fn count_damaged(&self, more: u64) {
        self.damaged.fetch_add(more, Ordering::Relaxed);
    }

    fn publish_level(&self) {
        let keys = self.table().keys();
        self.metrics.reservations.set(i64::try_from(keys).unwrap_or(i64::MAX));
    }
}
