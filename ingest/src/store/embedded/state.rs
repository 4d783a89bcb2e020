//! The store behind its asynchronous face: the opened database, the commit lock, and how it comes
//! back after a fault. Blocking; called on blocking threads only.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use thiserror::Error;
use uuid::Uuid;

use crate::fs::{Fs, OsFs};
use crate::retention::ClassNumber;
use crate::sink::{Batch, LogId, SeqSet, Written};
use crate::store::bars::Bars;
use crate::store::{Count, CountQuery, Erased, Erasure, Page, PulseQuery, Row};

use super::classes::Classes;
use super::codec::LogProgress;
use super::commit::{Committer, Finishes, Logs};
use super::database::{Database, DatabaseError};
use super::erase::{Eraser, Reached};
use super::prepare::{Bounds, Placement, Prepared, prepare};
use super::read::Reader;
use super::{EmbeddedSettings, OpenError, format};

/// How long after a failed attempt to open the database again the next waits: a full disk stays
/// full for a while, and each attempt reads the journals.
const REOPEN_PAUSE: Duration = Duration::from_secs(2);
/// Where in the store's directory the database is.
const DATABASE: &str = "db";

/// Why the store did not do what it was asked.
#[derive(Debug, Error)]
pub(super) enum UseError {
    /// It can't be used now.
    #[error("embedded store is down: {0}")]
    Down(String),
    /// The disk is too full to write.
    #[error("disk has {free} bytes free and needs {needed}")]
    DiskFull { free: u64, needed: u64 },
    /// The free space could not be asked for.
    #[error("look at the disk's free space failed")]
    Disk(#[source] std::io::Error),
    /// The database failed.
    #[error("embedded store failed")]
    Database(#[from] DatabaseError),
    /// The answer would be too large.
    #[error("too many counts")]
    TooManyCounts,
}

/// The state of one store.
pub(super) struct State {
    id: Uuid,
    directory: PathBuf,
    settings: EmbeddedSettings,
    classes: Classes,
    /// Written only to close and open again; every use holds it shared.
    database: RwLock<Option<Database>>,
    committer: Mutex<Committer>,
    logs: Logs,
    bars: Bars,
    health: Mutex<Health>,
}

/// What keeps batches from being written.
#[derive(Debug, Default)]
struct Health {
    fault: Option<Fault>,
    /// Why the last batch was refused, though the database is sound.
    refusal: Option<String>,
}

/// Why the database is not to be used until it was opened again.
#[derive(Debug)]
struct Fault {
    reason: String,
    retry_at: Instant,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl State {
    pub(super) fn open(directory: &Path, settings: EmbeddedSettings) -> Result<Self, OpenError> {
        let id = format::check_or_create(directory)?;
        let database = Database::open(&directory.join(DATABASE), id, settings.root_limits)
            .map_err(open_error)?;
        let committer = Committer::read(&database).map_err(open_error)?;
        let logs = Logs::default();
        logs.read(&database).map_err(open_error)?;
        Ok(Self {
            id,
            directory: directory.to_owned(),
            classes: Classes::open(&database, &settings).map_err(open_error)?,
            settings,
            database: RwLock::new(Some(database)),
            committer: Mutex::new(committer),
            logs,
            bars: Bars::default(),
            health: Mutex::default(),
        })
    }

    pub(super) fn id(&self) -> Uuid {
        self.id
    }

    pub(super) fn write(&self, batch: &Batch) -> Result<Written, UseError> {
        let written = self
            .reopen_if_down()
            .and_then(|()| self.check_disk())
            .and_then(|()| self.using(|database| self.prepare_and_commit(database, batch)));
        self.note_fault(&written);
        let refusal = written.as_ref().err().map(ToString::to_string);
        self.lock_health().refusal = refusal;
        written
    }

    fn prepare_and_commit(&self, database: &Database, batch: &Batch) -> Result<Written, UseError> {
        let finishes = batch.log().map(|log| Finishes { log, below: batch.finished_below() });
        loop {
            let place = self.place(database, batch.log());
            let prepared = prepare(batch, &place);
            let mut committer = self.lock_committer();
            // The same rows may be under way twice, where a caller gave one write up.
            if finishes.is_some_and(|finishes| self.logs.holds_any(finishes.log, &prepared.fresh)) {
                continue;
            }
            let Prepared { rows, held, expired, .. } = prepared;
            committer.commit(database, &self.logs, prepared, finishes)?;
            return Ok(Written { rows: rows + held, expired });
        }
    }

    fn place<'d>(&'d self, database: &'d Database, log: Option<LogId>) -> Place<'d> {
        let held = log.and_then(|log| self.progress(log));
        Place {
            database,
            held: held.map(|known| known.progress.finished).unwrap_or_default(),
            classes: &self.classes,
            now_ms: self.now_ms(),
            bars: &self.bars,
        }
    }

    fn now_ms(&self) -> i64 {
        (self.settings.clock)() / 1000
    }

    pub(super) fn progress(&self, log: LogId) -> Option<LogProgress> {
        self.logs.progress(log)
    }

    pub(super) fn sync(&self) -> Result<(), UseError> {
        let synced = self.using(|database| Ok(database.sync()?));
        self.note_fault(&synced);
        synced
    }

    pub(super) fn sweep(&self) -> Result<usize, UseError> {
        let now_ms = self.now_ms();
        let swept = self.using(|database| {
            let mut committer = self.lock_committer();
            committer.forget_counts();
            Ok(database.drop_windows(|class| self.classes.expired_ms(class, now_ms))?)
        });
        self.note_fault(&swept);
        swept
    }

    pub(super) fn bar(&self, tenant: &str, until_us: Option<i64>) {
        self.bars.set(tenant, until_us);
    }

    /// Does a step of an erasure; `quiet` is let go as soon as queries may read again.
    pub(super) fn erase(
        &self,
        erasure: &Erasure,
        from: &Reached,
        quiet: impl Sized,
    ) -> Result<Erased, UseError> {
        let erased = self.reopen_if_down().and_then(|()| self.check_disk()).and_then(|()| {
            self.using(|database| {
                let eraser = Eraser { database, erasure };
                self.check_room(eraser.bytes_written(from))?;
                Ok(eraser.step(from, || self.lock_committer(), quiet)?)
            })
        });
        self.note_fault(&erased);
        erased
    }

    pub(super) fn page(&self, query: &PulseQuery) -> Result<Page, UseError> {
        self.using(|database| Ok(Reader::new(database).page(query)?))
    }

    pub(super) fn row(&self, tenant: &str, id: Uuid) -> Result<Option<Row>, UseError> {
        self.using(|database| Ok(Reader::new(database).row(tenant, id)?))
    }

    pub(super) fn counts(&self, query: &CountQuery) -> Result<Vec<Count>, UseError> {
        self.using(|database| Reader::new(database).counts(query)?.ok_or(UseError::TooManyCounts))
    }

    /// Why it can't be written to now, if it can't.
    pub(super) fn down(&self) -> Option<String> {
        let health = self.lock_health();
        health.fault.as_ref().map(|fault| fault.reason.clone()).or_else(|| health.refusal.clone())
    }

    fn using<T>(&self, f: impl FnOnce(&Database) -> Result<T, UseError>) -> Result<T, UseError> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let Some(database) = database.as_ref() else {
            return Err(UseError::Down(self.down().unwrap_or_default()));
        };
        f(database)
    }

    /// Remembers a failure of the database: what it holds in memory may differ from its files
    /// now, and fjall refuses all writes until it is opened again.
    fn note_fault<T>(&self, outcome: &Result<T, UseError>) {
        let Err(UseError::Database(error)) = outcome else { return };
        let mut health = self.lock_health();
        if matches!(error, DatabaseError::Behind) || health.fault.is_some() {
            return;
        }
        let reason = describe(error);
        tracing::error!(%reason, "embedded store failed, it will be opened again");
        health.fault = Some(Fault { reason, retry_at: Instant::now() });
    }

    /// Closes and opens the database after a fault, which reads back what was really written.
    fn reopen_if_down(&self) -> Result<(), UseError> {
        if !self.is_reopen_due()? {
            return Ok(());
        }
        self.check_disk()?;
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        // Closed first: the directory is locked while it is open.
        *database = None;
        let limits = self.settings.root_limits;
        let opened = Database::open(&self.directory.join(DATABASE), self.id, limits);
        let opened = opened.and_then(|opened| {
            self.logs.read(&opened)?;
            Ok((Committer::read(&opened)?, opened))
        });
        match opened {
            Ok((committer, opened)) => {
                *self.lock_committer() = committer;
                *database = Some(opened);
                self.lock_health().fault = None;
                tracing::info!("embedded store was opened again");
                Ok(())
            }
            Err(error) => {
                let reason = describe(&error);
                if let Some(fault) = self.lock_health().fault.as_mut() {
                    fault.reason.clone_from(&reason);
                }
                Err(UseError::Down(reason))
            }
        }
    }

    /// Whether there was a fault and it is this caller's turn to open the database again.
    fn is_reopen_due(&self) -> Result<bool, UseError> {
        let mut health = self.lock_health();
        let Some(fault) = health.fault.as_mut() else { return Ok(false) };
        if Instant::now() < fault.retry_at {
            return Err(UseError::Down(fault.reason.clone()));
        }
        fault.retry_at = Instant::now() + REOPEN_PAUSE;
        Ok(true)
    }

    /// fjall does not survive a full disk without being opened again, so it is not driven there.
    fn check_disk(&self) -> Result<(), UseError> {
        self.check_room(0)
    }

    /// The same with room for so many bytes more.
    fn check_room(&self, more: u64) -> Result<(), UseError> {
        let needed = self.settings.free_bytes_min.saturating_add(more);
        let free = OsFs.free_bytes(&self.directory).map_err(UseError::Disk)?;
        if free < needed { Err(UseError::DiskFull { free, needed }) } else { Ok(()) }
    }

    fn lock_committer(&self) -> MutexGuard<'_, Committer> {
        self.committer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the rows of one batch go.
struct Place<'d> {
    database: &'d Database,
    held: SeqSet,
    classes: &'d Classes,
    now_ms: i64,
    bars: &'d Bars,
}

impl Placement for Place<'_> {
    fn is_held(&self, seq: u64) -> bool {
        self.held.contains(seq)
    }

    fn is_expired(&self, class: ClassNumber, received_ms: i64) -> bool {
        received_ms <= self.classes.expired_ms(class, self.now_ms)
    }

    fn is_barred(&self, tenant: &str, received_at_us: i64) -> bool {
        self.bars.has(tenant, received_at_us)
    }

    fn window(&self, class: ClassNumber, received_ms: i64) -> Bounds {
        self.database.bounds(class, received_ms, self.classes.window_ms(class))
    }

    fn store(&self) -> Uuid {
        self.database.store
    }
}

fn open_error(error: DatabaseError) -> OpenError {
    match error {
        DatabaseError::Fjall(fjall::Error::Locked) => OpenError::InUse,
        DatabaseError::Fjall(fjall::Error::Io(error)) => OpenError::Io(error),
        error => OpenError::Database(error.into()),
    }
}

fn describe(error: &DatabaseError) -> String {
    match error {
        DatabaseError::Fjall(source) => format!("{error}: {source}"),
        error => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::Progress;
    use crate::store::embedded::untimed::{self, Hasher};
    use crate::store::tests::fixture::{NOW_MS, Spec, TestLog, query, settings, v5};
    use std::sync::Arc;
    use std::sync::atomic::AtomicI64;

    #[test]
    fn after_a_fault_the_database_is_opened_again_and_keeps_its_word() {
        let directory = tempfile::tempdir().expect("a directory");
        let now_ms = Arc::new(AtomicI64::new(NOW_MS));
        let state = State::open(directory.path(), settings(&now_ms)).expect("a store");
        let specs: Vec<_> = (0..100).map(|number| Spec::new(number, NOW_MS)).collect();
        let log = TestLog::new(&specs);
        state.write(&log.batch(Some(log.id), 0..60)).expect("a write");
        // What a failed commit leaves behind: memory that knows more than the files.
        let finished = SeqSet::below(100);
        let progress = Progress { finished, rows: 100 };
        state.logs.set(log.id, LogProgress { progress, expired: 0 });
        state.note_fault::<()>(&Err(UseError::Database(DatabaseError::Damaged("a test"))));
        assert_eq!(state.down().as_deref(), Some("a test is damaged"));
        let again = log.batch(Some(log.id), 50..100);
        assert_eq!(state.write(&again).expect("a write"), Written { rows: 50, expired: 0 });
        assert_eq!(state.down(), None);
        assert_eq!(state.page(&query("checkout", 1000)).expect("a page").rows.len(), 100);
        let finished = state.progress(log.id).expect("progress").progress.finished;
        assert_eq!(finished, SeqSet::below(100));
    }

    #[test]
    fn a_database_that_does_not_open_again_is_down_until_it_does() {
        let directory = tempfile::tempdir().expect("a directory");
        let now_ms = Arc::new(AtomicI64::new(NOW_MS));
        let state = State::open(directory.path(), settings(&now_ms)).expect("a store");
        let log = TestLog::new(&[Spec::new(1, NOW_MS)]);
        state.write(&log.all()).expect("a write");
        let (marker, aside) = (directory.path().join("db/version"), directory.path().join("v"));
        std::fs::copy(&marker, &aside).expect("a copied marker");
        std::fs::write(&marker, b"from another time").expect("a damaged marker");
        state.note_fault::<()>(&Err(UseError::Database(DatabaseError::Damaged("a test"))));
        assert!(matches!(state.write(&log.all()), Err(UseError::Down(_))));
        assert!(state.down().is_some_and(|reason| reason.contains("InvalidVersion")));
        assert!(matches!(state.page(&query("checkout", 10)), Err(UseError::Down(_))));
        // Not each write tries.
        assert!(matches!(state.write(&log.all()), Err(UseError::Down(_))));
        std::fs::rename(&aside, &marker).expect("the marker restored");
        state.forget_pause();
        assert_eq!(state.write(&log.all()).expect("a write").rows, 1);
        assert_eq!(state.page(&query("checkout", 10)).expect("a page").rows.len(), 1);
    }

    #[test]
    fn a_hash_that_leads_to_a_wrong_batch_costs_a_look_and_no_answer() {
        let directory = tempfile::tempdir().expect("a directory");
        let now_ms = Arc::new(AtomicI64::new(NOW_MS));
        let state = State::open(directory.path(), settings(&now_ms)).expect("a store");
        let named = |number| Spec { id: v5(number), ..Spec::new(number, NOW_MS) };
        let specs: Vec<_> = (0..40).map(named).collect();
        let log = TestLog::new(&specs);
        for start in [0, 20] {
            state.write(&log.batch(Some(log.id), start..start + 20)).expect("a write");
        }
        // As if ids of the first batch, and one that is nowhere, had hashes of the second's: in
        // the place of its own piece.
        state
            .using(|database| {
                let hasher = Hasher::new(state.id, "default");
                let ids = (0..40).chain([99]);
                let mut hashes: Vec<_> = ids.map(|id| hasher.hash(v5(id))).collect();
                hashes.sort_unstable();
                let mut writes = database.batch(2);
                let window = &database.windows()[0];
                untimed::add(&mut writes, &window.ids, (1, &hashes), database.root_limits)?;
                Ok(writes.commit().map_err(DatabaseError::from)?)
            })
            .expect("more hashes");
        for (number, spec) in specs.iter().enumerate() {
            let found = state.row("default", v5(number as u64)).expect("a lookup");
            assert_eq!(found, Some(spec.row()));
        }
        assert_eq!(state.row("default", v5(99)).expect("a lookup"), None);
    }

    impl State {
        fn forget_pause(&self) {
            if let Some(fault) = self.lock_health().fault.as_mut() {
                fault.retry_at = Instant::now();
            }
        }
    }
}
