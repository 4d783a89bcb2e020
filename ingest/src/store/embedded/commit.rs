//! The commit: rows, indexes, counts and progress of one batch in one atomic step, one batch at a
//! time. Short: everything expensive is done before.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fjall::OwnedWriteBatch;
use uuid::Uuid;

use crate::sink::{LogId, SeqSet};

use super::codec::LogProgress;
use super::database::{Database, DatabaseError, Window};
use super::keys;
use super::prepare::{Bounds, Prepared, PreparedWindow};
use super::untimed;

/// Counts that are kept so that they need not be read before they are raised: some minutes of
/// some hundred kinds, about 1 MiB.
const COUNTS_KEPT_MAX: usize = 8192;

/// What was committed of each log. Read while a commit is under way, so it has its own lock.
#[derive(Debug, Default)]
pub(super) struct Logs(Mutex<HashMap<LogId, LogProgress>>);

impl Logs {
    /// Reads what the database says of logs, in place of what is known.
    pub(super) fn read(&self, database: &Database) -> Result<(), DatabaseError> {
        let mut logs = HashMap::new();
        for guard in database.meta.prefix([keys::PROGRESS]) {
            let (key, value) = guard.into_inner()?;
            let id = key.last_chunk().ok_or(DatabaseError::Damaged("a log's id"))?;
            let progress =
                LogProgress::decode(&value).ok_or(DatabaseError::Damaged("a log's progress"))?;
            logs.insert(LogId(Uuid::from_bytes(*id)), progress);
        }
        *self.lock() = logs;
        Ok(())
    }

    /// What was committed of a log.
    pub(super) fn progress(&self, log: LogId) -> Option<LogProgress> {
        self.lock().get(&log).cloned()
    }

    /// Whether one of `seqs` was committed since they were looked up; certain only under the
    /// commit lock.
    pub(super) fn holds_any(&self, log: LogId, seqs: &SeqSet) -> bool {
        self.lock().get(&log).is_some_and(|known| known.progress.finished.intersects(seqs))
    }

    /// Claims that this was committed of a log.
    pub(super) fn set(&self, log: LogId, progress: LogProgress) {
        self.lock().insert(log, progress);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<LogId, LogProgress>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is written next; one per opened database, behind the commit lock.
#[derive(Debug, Default)]
pub(super) struct Committer {
    next_batch: u64,
    counts: HashMap<(Bounds, Vec<u8>), u64>,
}

/// What a batch finishes of a log.
#[derive(Debug, Clone, Copy)]
pub(super) struct Finishes {
    pub(super) log: LogId,
    /// All numbers below it are finished.
    pub(super) below: u64,
}

impl Committer {
    /// Reads which batch comes next.
    pub(super) fn read(database: &Database) -> Result<Self, DatabaseError> {
        let mut committer = Self::default();
        if let Some(value) = database.meta.get(keys::NEXT_BATCH)? {
            let number = value.first_chunk().ok_or(DatabaseError::Damaged("the batch number"))?;
            committer.next_batch = u64::from_be_bytes(*number);
        }
        Ok(committer)
    }

    /// Lets kept counts go, some of which may be of windows that are dropped.
    pub(super) fn forget_counts(&mut self) {
        self.counts.clear();
    }

    /// Commits a batch.
    ///
    /// # Errors
    ///
    /// [`DatabaseError::Behind`]: nothing was written. Any other: nothing is known of the batch,
    /// and the database is to be opened again.
    pub(super) fn commit(
        &mut self,
        database: &Database,
        logs: &Logs,
        prepared: Prepared,
        finishes: Option<Finishes>,
    ) -> Result<(), DatabaseError> {
        let windows: Vec<_> = (prepared.windows.iter())
            .map(|window| database.window(window.bounds))
            .collect::<Result<_, _>>()?;
        database.wait_for_room(&windows)?;
        let progress = finishes.map(|finishes| (finishes.log, advanced(logs, finishes, &prepared)));
        let committed = self.write(database, &windows, prepared, progress.as_ref());
        match committed {
            Ok(()) => {
                self.next_batch += 1;
                if let Some((log, progress)) = progress {
                    logs.set(log, progress);
                }
            }
            // What is kept of the counts ran ahead.
            Err(_) => self.counts.clear(),
        }
        committed
    }

    fn write(
        &mut self,
        database: &Database,
        windows: &[Arc<Window>],
        prepared: Prepared,
        progress: Option<&(LogId, LogProgress)>,
    ) -> Result<(), DatabaseError> {
        let number = self.next_batch;
        let mut batch = database.batch(2 + prepared.windows.iter().map(items).sum::<usize>());
        batch.insert(&database.meta, keys::NEXT_BATCH, (number + 1).to_be_bytes());
        if let Some((log, progress)) = progress {
            batch.insert(&database.meta, keys::progress(log.0), progress.encode());
        }
        for (window, prepared) in windows.iter().zip(prepared.windows) {
            self.add_counts(&mut batch, window, &prepared)?;
            let ids = (number, prepared.untimed.as_slice());
            untimed::add(&mut batch, &window.ids, ids, database.root_limits)?;
            add_window(&mut batch, window, prepared, number);
        }
        Ok(batch.commit()?)
    }

    /// Adds the raised sums of a window.
    fn add_counts(
        &mut self,
        batch: &mut OwnedWriteBatch,
        window: &Window,
        prepared: &PreparedWindow,
    ) -> Result<(), DatabaseError> {
        if self.counts.len() + prepared.counts.len() > COUNTS_KEPT_MAX {
            self.counts.clear();
        }
        for (key, rows) in &prepared.counts {
            let kept = (window.bounds, key.clone());
            let sum = match self.counts.get(&kept) {
                Some(sum) => *sum,
                None => read_sum(window, key)?,
            } + rows;
            batch.insert(&window.index, key.as_slice(), sum.to_be_bytes());
            self.counts.insert(kept, sum);
        }
        Ok(())
    }
}

/// The progress of a log with a batch.
fn advanced(logs: &Logs, finishes: Finishes, prepared: &Prepared) -> LogProgress {
    let mut next = logs.progress(finishes.log).unwrap_or_default();
    next.progress.finished.union(&prepared.fresh);
    next.progress.finished.raise(finishes.below);
    next.progress.rows += prepared.rows;
    next.expired += prepared.expired;
    next
}

fn read_sum(window: &Window, key: &[u8]) -> Result<u64, DatabaseError> {
    let Some(value) = window.index.get(key)? else { return Ok(0) };
    read_count(&value).ok_or(DatabaseError::Damaged("a count"))
}

/// The number of rows that a count's value says.
pub(super) fn read_count(value: &[u8]) -> Option<u64> {
    value.first_chunk().map(|bytes| u64::from_be_bytes(*bytes))
}

fn items(window: &PreparedWindow) -> usize {
    1 + 2 * window.blocks.len() + window.slices.len() + window.counts.len()
}

fn add_window(
    batch: &mut OwnedWriteBatch,
    window: &Arc<Window>,
    prepared: PreparedWindow,
    number: u64,
) {
    for (block, at) in prepared.blocks.into_iter().zip(0..) {
        let place = keys::block(number, at);
        let mut time_key = block.time_key;
        time_key.extend_from_slice(&place);
        batch.insert(&window.index, time_key, block.event_time_ms_min.to_be_bytes());
        batch.insert(&window.rows, place, block.bytes);
    }
    batch.insert(&window.rows, keys::block(number, keys::ID_TABLE), prepared.id_table);
    for (slice, (first, last)) in prepared.slices {
        let mut key = keys::slice(slice).to_vec();
        key.extend_from_slice(&number.to_be_bytes());
        let offsets = [first.to_be_bytes(), last.to_be_bytes()].concat();
        batch.insert(&window.index, key, offsets);
    }
}
