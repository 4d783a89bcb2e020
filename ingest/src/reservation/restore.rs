//! From files and log to a table that serves: nothing can be reserved before all is restored.

use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use std::{io, mem};

use tokio::sync::Notify;
use tracing::warn;
use uuid::Uuid;

use super::clock::{Clock, micros, oldest_us};
use super::journal::BLOCK_ENTRIES_MAX;
use super::keeper::Keeper;
use super::key::{Entry, Fixed, KeyMaker, Wanted};
use super::load::{Loaded, OpenError};
use super::table::Table;
use super::thread::Progress;
use super::{Reservations, Shared, claims};
use crate::fs::Fs;
use crate::log::frame::Record;
use crate::metrics::HeldMetrics;
use crate::pulse::id_from_key;
use crate::sink::LogId;

/// How long and how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How long a key counts.
    pub window: Duration,
    /// Most keys at once; 73 bytes of disk and 3.3 of memory each.
    pub keys_max: usize,
    /// The log whose records hold reservations; `None` where there is none, and what is held
    /// then survives a crash only from the last journaling on.
    pub log: Option<LogId>,
}

impl KeyMaker {
    /// What a pulse reserves: `own_id` is whether its client named its id, `key` its idempotency
    /// key. `None` when it has neither.
    pub fn wanted(
        &self,
        tenant: &str,
        own_id: bool,
        key: Option<&str>,
        fixed: Fixed,
    ) -> Option<Wanted> {
        let by_id = own_id.then(|| self.of_id(tenant, fixed.id));
        let by_key = key.map(|key| self.of_key(tenant, key));
        let key = by_id.or(by_key)?;
        Some(Wanted { key, other: by_id.and(by_key), fixed })
    }

    /// What the pulse of a record in the log had reserved.
    pub fn wanted_of(&self, record: &Record<'_>) -> Option<Wanted> {
        let (tenant, entry) = (record.envelope.tenant, &record.entry);
        let fixed = Fixed {
            id: entry.id,
            event_time_ms: entry.event_time_ms,
            received_at_us: record.envelope.received_at_us,
            body_hash: entry.body_hash?,
            shard: entry.shard,
        };
        // An id that was made from the key is not the client's own.
        let own_id = entry.key.is_none_or(|key| id_from_key(tenant, key) != entry.id);
        self.wanted(tenant, own_id, entry.key, fixed)
    }
}

/// Reservations that are being restored. Blocking.
#[derive(Debug)]
pub struct Restoring {
    pub(super) keeper: Keeper,
    /// Age time of the newest file: what the files lack is not older.
    files_until_us: i64,
}

impl Restoring {
    /// Reads the files in `directory`. Damage is skipped, counted and logged; an error only
    /// where a newer program wrote a file or the directory can't be used.
    pub fn open(
        directory: &Path,
        fs: Arc<dyn Fs>,
        settings: Settings,
        clock: Arc<dyn Clock>,
        metrics: HeldMetrics,
    ) -> Result<Self, OpenError> {
        let log = settings.log.map_or(Uuid::nil(), |log| log.0);
        let Loaded { ages, mut content } = Loaded::read(&fs, directory, log, clock)?;
        let window_us = micros(settings.window);
        let now = ages.now().age_us;
        let (active, slice) = content.take_active(oldest_us(now, window_us));
        let aged = active.len();
        let newest_us = content.newest.map_or(i64::MIN, |stamp| stamp.age_us);
        // Without a number up to which the files reach, only the wall clock tells an age.
        let files_until_us = if content.covered > 0 { newest_us } else { i64::MIN };
        let shared = Shared {
            table: Mutex::new(Table::new(settings.keys_max, active, content.runs)),
            progress: Progress::default(),
            resolved: Notify::new(),
            keys: KeyMaker::new(content.seed),
            window_us,
            fs,
            directory: directory.to_path_buf(),
            damaged: AtomicU64::new(content.damaged),
            metrics,
        };
        let mut keeper = Keeper {
            shared: Arc::new(shared),
            ages,
            log,
            slice: slice.unwrap_or(now),
            newest_us,
            first_number: content.next_number,
            next_number: content.next_number,
            journal: None,
            journaled: 0,
            block_entries: BLOCK_ENTRIES_MAX,
            aged,
            old_journals: mem::take(&mut content.old_journals),
            sealing: None,
            merge: None,
            stamped_us: i64::MIN,
            covered: content.covered,
            synced: 0,
        };
        keeper.expire();
        Ok(Self { keeper, files_until_us })
    }

    /// From which number of the log on every record must be given to
    /// [`restore`](Self::restore); what the log has forgotten of that need not.
    pub fn restore_from_seq(&self) -> u64 {
        self.keeper.covered
    }

    /// Takes over what a record of the log had reserved, if it had and is within the window.
    /// Records come in the order of the log.
    pub fn restore(&mut self, record: &Record<'_>) {
        let Some(wanted) = self.keeper.shared.keys.wanted_of(record) else { return };
        let now = self.keeper.ages.now();
        let wall_age_us = now.wall_us.saturating_sub(wanted.fixed.received_at_us).max(0);
        // The files reach up to this record, so it can't be older than they are: a wall clock
        // that was wrong then or is wrong now ends no key early.
        let age_us = now.age_us.saturating_sub(wall_age_us).max(self.files_until_us);
        if age_us < oldest_us(now.age_us, self.keeper.shared.window_us) {
            return;
        }
        self.keeper.newest_us = self.keeper.newest_us.max(age_us.min(now.age_us));
        let runs = Arc::clone(self.keeper.shared.table().runs());
        for key in wanted.keys() {
            // Twice does no harm. A record in the log was new when it was accepted: where
            // something else is known of its key, that is older.
            if claims::find(&runs, key) != Ok(Some(wanted.fixed)) {
                self.keeper.shared.table().restore(Entry { key, fixed: wanted.fixed });
            }
        }
        self.keeper.aged = self.keeper.shared.table().active().len();
        self.seal_if_large();
    }

    fn seal_if_large(&mut self) {
        if !self.keeper.shared.table().wants_seal() {
            return;
        }
        self.keeper.rotate();
        if let Err(error) = self.keeper.write_sealed() {
            warn!(error = ?error, "write run of reservations failed; it stays in memory");
        }
    }

    /// All is restored: serves from now on. Starts the thread that keeps the table on disk;
    /// `end_seq` gives it the log's durable end.
    pub fn start(self, end_seq: impl Fn() -> u64 + Send + 'static) -> io::Result<Reservations> {
        let (reservations, keeper) = self.into_parts();
        reservations.shared.spawn(keeper, end_seq)?;
        Ok(reservations)
    }

    /// The table, and its keeper to be driven by hand.
    pub(super) fn into_parts(self) -> (Reservations, Keeper) {
        (Reservations::new(Arc::clone(&self.keeper.shared)), self.keeper)
    }
}
