//! The key-value store below: fjall, its settings, and the keyspaces of each window of receive
//! time and retention class, so that what is past retention goes away as whole files.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use fjall::compaction::Leveled;
use fjall::config::{CompressionPolicy, FilterPolicy};
use fjall::{
    AbstractTree, CompressionType, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode,
    Snapshot,
};
use thiserror::Error;
use uuid::Uuid;

use super::prepare::Bounds;
use super::untimed::RootLimits;
use crate::retention::ClassNumber;

/// Block cache of all keyspaces: index blocks and a few blocks of rows; the page cache of the
/// operating system holds the rest.
const CACHE_BYTES: u64 = 8 * 1024 * 1024;
/// Journals at which fjall flushes what keeps the oldest; 64 MiB is the least it takes. The
/// journals on disk stay below about three times this.
const JOURNAL_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// One thread flushes and compacts. With two, fjall's first spins while the second compacts.
const WORKER_THREADS: usize = 1;
/// Open files that are kept: every read of a table needs one.
const OPEN_FILES_MAX: usize = 256;
/// Memtables; each keyspace that is written to has one, and at most two more wait to be flushed.
const ROWS_MEMTABLE_BYTES: u64 = 8 * 1024 * 1024;
const INDEX_MEMTABLE_BYTES: u64 = 4 * 1024 * 1024;
const META_MEMTABLE_BYTES: u64 = 1024 * 1024;
/// Size of the index's tables: small, so that one compaction rewrites little.
const INDEX_TABLE_BYTES: u64 = 16 * 1024 * 1024;
/// Memtables that wait for their flush, and tables that wait for their compaction, at which a
/// commit waits. Both are far below where fjall itself waits inside of a commit, which it does
/// without end if its worker has failed.
const SEALED_MEMTABLES_MAX: usize = 1;
const LEVEL_0_TABLES_MAX: usize = 16;
/// How long a commit waits for them.
const ROOM_WAIT: Duration = Duration::from_secs(5);
const ROOM_POLL: Duration = Duration::from_millis(2);

const META: &str = "meta";
const ROWS: &str = "rows";
const INDEX: &str = "index";
const IDS: &str = "ids";

/// Why the database could not do what it was asked.
#[derive(Debug, Error)]
pub(super) enum DatabaseError {
    /// fjall failed; whether it can go on without being opened again is for it to say.
    #[error("use of the database failed")]
    Fjall(#[from] fjall::Error),
    /// Flushes or compactions did not catch up in time.
    #[error("flushes and compactions are behind")]
    Behind,
    /// A keyspace has a name that this program never gives.
    #[error("keyspace {0:?} is none of this store's")]
    UnknownKeyspace(String),
    /// A value is not laid out as it should be.
    #[error("{0} is damaged")]
    Damaged(&'static str),
}

/// The keyspaces of one window.
pub(super) struct Window {
    pub(super) bounds: Bounds,
    pub(super) rows: Keyspace,
    pub(super) index: Keyspace,
    pub(super) ids: Keyspace,
}

impl Window {
    fn keyspaces(&self) -> [&Keyspace; 3] {
        [&self.rows, &self.index, &self.ids]
    }
}

type WindowKey = (i64, ClassNumber);

/// fjall, opened, with its windows.
pub(super) struct Database {
    fjall: fjall::Database,
    pub(super) meta: Keyspace,
    /// The id of the store.
    pub(super) store: Uuid,
    pub(super) root_limits: RootLimits,
    /// By their start and class.
    windows: RwLock<BTreeMap<WindowKey, Arc<Window>>>,
}

impl Database {
    /// Opens or makes the database in `directory`. Blocking, replays the journals.
    pub(super) fn open(
        directory: &Path,
        store: Uuid,
        root_limits: RootLimits,
    ) -> Result<Self, DatabaseError> {
        let fjall = fjall::Database::builder(directory)
            .cache_size(CACHE_BYTES)
            .max_journaling_size(JOURNAL_BYTES_MAX)
            // Blocks are compressed; the rest is small.
            .journal_compression(CompressionType::None)
            .max_cached_files(Some(OPEN_FILES_MAX))
            .worker_threads(WORKER_THREADS)
            .open()?;
        let meta = fjall.keyspace(META, || {
            KeyspaceCreateOptions::default().max_memtable_size(META_MEMTABLE_BYTES)
        })?;
        let database = Self { fjall, meta, store, root_limits, windows: RwLock::default() };
        for name in database.fjall.list_keyspace_names() {
            if *name != *META {
                let bounds = read_name(&name)
                    .ok_or_else(|| DatabaseError::UnknownKeyspace(name.to_string()))?;
                database.window(bounds)?;
            }
        }
        Ok(database)
    }

    /// The bounds of the window that rows of `class` received at `received_ms` belong to: one
    /// that exists, else the one of `width_ms` that would be made, cut so that windows of a class
    /// never overlap, also where an earlier run had another width.
    pub(super) fn bounds(&self, class: ClassNumber, received_ms: i64, width_ms: i64) -> Bounds {
        let windows = self.read_windows();
        let of_class = |(_, window): (_, &Arc<Window>)| {
            (window.bounds.class == class).then_some(window.bounds)
        };
        // Those of other classes are passed over: there are few of each.
        let first = (received_ms, ClassNumber::DEFAULT);
        let at_last = (received_ms, ClassNumber::from_number(u8::MAX));
        let below = windows.range(..=at_last).rev().find_map(of_class);
        if let Some(bounds) = below.filter(|bounds| bounds.contains(received_ms)) {
            return bounds;
        }
        let above = windows.range(first..).find_map(of_class).map(|bounds| bounds.start_ms);
        let start_ms = received_ms.div_euclid(width_ms).saturating_mul(width_ms);
        let end_ms = start_ms.saturating_add(width_ms);
        Bounds {
            class,
            start_ms: below.map_or(start_ms, |below| below.end_ms.max(start_ms)),
            end_ms: above.map_or(end_ms, |above| above.min(end_ms)),
        }
    }

    /// The window of these bounds, made if it is not there.
    pub(super) fn window(&self, bounds: Bounds) -> Result<Arc<Window>, DatabaseError> {
        let key = (bounds.start_ms, bounds.class);
        if let Some(window) = self.read_windows().get(&key) {
            return Ok(Arc::clone(window));
        }
        let rows = self.fjall.keyspace(&name(ROWS, bounds), rows_options)?;
        let index = self.fjall.keyspace(&name(INDEX, bounds), index_options)?;
        let ids = self.fjall.keyspace(&name(IDS, bounds), ids_options)?;
        let window = Arc::new(Window { bounds, rows, index, ids });
        Ok(Arc::clone(self.write_windows().entry(key).or_insert(window)))
    }

    /// All windows, newest first.
    pub(super) fn windows(&self) -> Vec<Arc<Window>> {
        self.read_windows().values().rev().cloned().collect()
    }

    /// A state of all keyspaces between two commits.
    pub(super) fn snapshot(&self) -> Snapshot {
        self.fjall.snapshot()
    }

    /// An empty batch; its commit is atomic over all keyspaces and survives the process.
    pub(super) fn batch(&self, items: usize) -> OwnedWriteBatch {
        OwnedWriteBatch::with_capacity(self.fjall.clone(), items)
            .durability(Some(PersistMode::Buffer))
    }

    /// Makes all that was committed survive a power loss.
    pub(super) fn sync(&self) -> Result<(), DatabaseError> {
        Ok(self.fjall.persist(PersistMode::SyncAll)?)
    }

    /// Waits until flushes and compactions leave room for a commit to `windows`.
    pub(super) fn wait_for_room(&self, windows: &[Arc<Window>]) -> Result<(), DatabaseError> {
        let deadline = Instant::now() + ROOM_WAIT;
        let has_room = |keyspace: &Keyspace| {
            keyspace.sealed_memtable_count() <= SEALED_MEMTABLES_MAX
                && keyspace.l0_table_count() <= LEVEL_0_TABLES_MAX
        };
        loop {
            // Tells whether a flush or a compaction has failed since.
            self.fjall.persist(PersistMode::Buffer)?;
            let mut keyspaces =
                windows.iter().flat_map(|window| window.keyspaces()).chain([&self.meta]);
            if keyspaces.all(has_room) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(DatabaseError::Behind);
            }
            std::thread::sleep(ROOM_POLL);
        }
    }

    /// Drops every window that ends at or before what `end_ms` says of its class; returns how
    /// many. Their space is free once the last query that reads them has ended, and the journals
    /// that have data of them are gone, which fjall keeps about two of.
    pub(super) fn drop_windows(
        &self,
        end_ms: impl Fn(ClassNumber) -> i64,
    ) -> Result<usize, DatabaseError> {
        let mut dropped = 0;
        for window in self.windows() {
            let Bounds { class, start_ms, end_ms: window_end_ms } = window.bounds;
            if window_end_ms > end_ms(class) {
                continue;
            }
            self.write_windows().remove(&(start_ms, class));
            for keyspace in window.keyspaces() {
                // Deleting a keyspace alone leaves its tables' files open in the table of
                // descriptors, and so on the disk. Tables that were dropped are closed.
                keyspace.tree.drop_range::<&[u8], _>(..).map_err(fjall::Error::from)?;
                self.fjall.delete_keyspace(keyspace.clone())?;
            }
            dropped += 1;
        }
        Ok(dropped)
    }

    fn read_windows(&self) -> RwLockReadGuard<'_, BTreeMap<WindowKey, Arc<Window>>> {
        self.windows.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_windows(&self) -> RwLockWriteGuard<'_, BTreeMap<WindowKey, Arc<Window>>> {
        self.windows.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Blocks of rows have ascending keys, so their tables never overlap: compaction moves them and
/// never rewrites them, and a filter would tell nothing.
fn rows_options() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default()
        .max_memtable_size(ROWS_MEMTABLE_BYTES)
        .data_block_compression_policy(CompressionPolicy::disabled())
        .filter_policy(FilterPolicy::disabled())
        .expect_point_read_hits(true)
}

fn index_options() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default()
        .max_memtable_size(INDEX_MEMTABLE_BYTES)
        .compaction_strategy(Arc::new(Leveled::default().with_table_target_size(INDEX_TABLE_BYTES)))
}

/// Pieces of hashes, which no compression shortens, read node by node.
fn ids_options() -> KeyspaceCreateOptions {
    index_options()
        .data_block_compression_policy(CompressionPolicy::disabled())
        .filter_policy(FilterPolicy::disabled())
}

/// The name of a window's keyspace.
fn name(kind: &str, Bounds { class, start_ms, end_ms }: Bounds) -> String {
    match class {
        ClassNumber::DEFAULT => format!("{kind}.{start_ms}.{end_ms}"),
        _ => format!("{kind}.{start_ms}.{end_ms}.{}", class.number()),
    }
}

fn read_name(name: &str) -> Option<Bounds> {
    let mut parts = name.split('.');
    let kind = parts.next()?;
    let (start_ms, end_ms) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let class = match parts.next() {
        Some(number) => ClassNumber::from_number(number.parse().ok()?),
        None => ClassNumber::DEFAULT,
    };
    let known = [ROWS, INDEX, IDS].contains(&kind) && parts.next().is_none();
    known.then_some(Bounds { class, start_ms, end_ms })
}
