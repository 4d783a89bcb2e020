//! Erases a tenant's rows: a bounded number of blocks at a time, each with its place in the index
//! of times and with its share of the counts, in one atomic step. What is left of its ids are
//! hashes and two bytes of each, which tell nobody anything and go with their window. A block with
//! rows that stay is written anew without the others. A window that has lost rows is compacted at
//! its end, so that its files do not hold them any more.

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use fjall::{Keyspace, Readable};

use crate::store::{Erased, Erasure};

use super::block::{Block, BlockWriter};
use super::commit::{Committer, read_count};
use super::database::{Database, DatabaseError, Window};
use super::keys::{self, BLOCK_KEY_BYTES};

/// Blocks of one step: some thousand rows, so that a commit that waits behind it waits for some
/// ten milliseconds.
const BLOCKS_MAX: usize = 16;
/// Blocks that one step looks at, most of which may be of later rows.
const LOOKED_AT_MAX: usize = 256;
const MINUTE_MS: i64 = 60_000;
/// Longest wait for a flush before a window's files are written anew; it is asked again.
const FLUSH_WAIT: Duration = Duration::from_secs(30);
const FLUSH_POLL: Duration = Duration::from_millis(5);
/// A key of the keyspace of progress that nothing has: its removal is a commit without effect.
const NOTHING: &[u8] = b"e";

/// How far an erasure has come: windows from the oldest on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Reached {
    /// The window's start and the number of its class; `None`: none was begun.
    window: Option<(i64, u16)>,
    /// The last key of it that was looked at.
    key: Vec<u8>,
    /// What has been done to the window, and is to be.
    work: Work,
}

/// What becomes of a window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Work {
    /// Nothing was found in it.
    #[default]
    Looked = 0,
    /// It loses rows, so it is compacted at its end. Said before its first row goes.
    Loses = 1,
    /// It has lost all, and is to be compacted.
    Compact = 2,
}

impl Reached {
    /// Reads a position; `None` where it is none.
    pub(super) fn read(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let window = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let work = match parts.next()? {
            "0" => Work::Looked,
            "1" => Work::Loses,
            "2" => Work::Compact,
            _ => return None,
        };
        let hex = parts.next()?;
        let byte = |at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
        let key = (0..hex.len()).step_by(2).map(byte).collect::<Option<_>>()?;
        Some(Self { window: Some(window), key, work })
    }

    /// Whether no query may be reading when the next step begins.
    pub(super) fn wants_quiet(&self) -> bool {
        self.work == Work::Compact
    }

    /// The same as text; `None` where none was begun.
    pub(super) fn write(&self) -> Option<String> {
        use std::fmt::Write;
        let (start_ms, class) = self.window?;
        let mut text = format!("{start_ms}:{class}:{}:", self.work as u8);
        for byte in &self.key {
            write!(text, "{byte:02x}").ok()?;
        }
        Some(text)
    }
}

impl Reached {
    /// Behind its window.
    fn behind(&self) -> Self {
        Self {
            window: self.window.map(|(start_ms, class)| (start_ms, class + 1)),
            ..Self::default()
        }
    }
}

/// Erases from one database.
pub(super) struct Eraser<'a> {
    pub(super) database: &'a Database,
    pub(super) erasure: &'a Erasure,
}

/// A block that loses rows.
struct Doomed {
    time_key: Vec<u8>,
    block_key: [u8; BLOCK_KEY_BYTES],
    /// What takes its place, if some of its rows stay.
    stays: Option<Vec<u8>>,
    rows: u64,
    counts: HashMap<Vec<u8>, u64>,
}

/// What one look at a window has found.
struct Found {
    doomed: Vec<Doomed>,
    /// The last key that was looked at, unless there is no more.
    last: Option<Vec<u8>>,
}

impl Eraser<'_> {
    /// Does the next step. `quiet` is let go as soon as queries may read again.
    pub(super) fn step<'c>(
        &self,
        from: &Reached,
        committer: impl FnOnce() -> MutexGuard<'c, Committer>,
        quiet: impl Sized,
    ) -> Result<Erased, DatabaseError> {
        let mut windows = self.database.windows();
        windows.reverse();
        let is_next =
            |window: &&Arc<Window>| from.window.is_none_or(|from| place_of(window) >= from);
        let Some(window) = windows.iter().find(is_next) else {
            self.database.sync()?;
            return Ok(Erased::default());
        };
        let place = Some(place_of(window));
        let here = if from.window == place { from.clone() } else { Reached::default() };
        let here = Reached { window: place, ..here };
        if here.work == Work::Compact {
            self.compact(window, quiet)?;
            return Ok(next(here.behind(), 0, 0));
        }
        let found = self.find(window, &here.key)?;
        if !found.doomed.is_empty() && here.work == Work::Looked {
            // First it is kept that this window loses rows.
            return Ok(next(Reached { work: Work::Loses, ..here }, 0, 0));
        }
        let blocks = found.doomed.len() as u64;
        let rows = found.doomed.iter().map(|doomed| doomed.rows).sum();
        if blocks > 0 {
            self.commit(window, found.doomed, &mut committer())?;
        }
        let reached = match (found.last, here.work) {
            (Some(key), _) => Reached { key, ..here },
            (None, Work::Looked) => here.behind(),
            (None, _) => Reached { work: Work::Compact, ..here },
        };
        Ok(next(reached, rows, blocks))
    }

    /// Bytes that the next step may write to the disk for a while.
    pub(super) fn bytes_written(&self, from: &Reached) -> u64 {
        if from.work != Work::Compact {
            return 0;
        }
        let windows = self.database.windows();
        let window = windows.iter().find(|window| Some(place_of(window)) == from.window);
        window.map_or(0, |window| window.rows.disk_space() + window.index.disk_space())
    }

    /// Looks for blocks behind `after` that lose rows.
    fn find(&self, window: &Window, after: &[u8]) -> Result<Found, DatabaseError> {
        let snapshot = self.database.snapshot();
        let prefix = keys::series_of(&self.erasure.tenant);
        let mut found = Found { doomed: Vec::new(), last: None };
        let mut writer = BlockWriter::default();
        let begin = if after.is_empty() { prefix.clone() } else { [after, &[0]].concat() };
        for (looked_at, guard) in snapshot.range(&window.index, begin..).enumerate() {
            let (key, _) = guard.into_inner()?;
            if !key.starts_with(&prefix) {
                break;
            }
            if found.doomed.len() == BLOCKS_MAX || looked_at == LOOKED_AT_MAX {
                return Ok(found);
            }
            let (_, block_key) =
                keys::read_time(&key).ok_or(DatabaseError::Damaged("a time key"))?;
            let bytes = snapshot.get(&window.rows, block_key)?;
            let block = bytes.and_then(|bytes| Block::read(&bytes));
            let keys = (key.to_vec(), block_key);
            found.doomed.extend(match block {
                Some(block) => self.doom(&block, keys, &mut writer),
                None => self.doom_unread(window, keys),
            });
            found.last = Some(key.to_vec());
        }
        found.last = None;
        Ok(found)
    }

    /// What becomes of a block, if it loses any row.
    fn doom(
        &self,
        block: &Block,
        (time_key, block_key): (Vec<u8>, [u8; BLOCK_KEY_BYTES]),
        writer: &mut BlockWriter,
    ) -> Option<Doomed> {
        let until_us = self.erasure.until_us;
        let (gone, stay): (Vec<_>, Vec<_>) =
            block.records().partition(|record| record.envelope.received_at_us <= until_us);
        if gone.is_empty() {
            return None;
        }
        let mut counts: HashMap<_, u64> = HashMap::new();
        for record in &gone {
            let minute_ms = record.entry.event_time_ms.div_euclid(MINUTE_MS);
            let minute_ms = minute_ms.saturating_mul(MINUTE_MS);
            let key = keys::count(&self.erasure.tenant, minute_ms, record.entry.kind);
            *counts.entry(key).or_default() += 1;
        }
        let rows = stay.iter().collect::<Vec<_>>();
        Some(Doomed {
            time_key,
            block_key,
            rows: gone.len() as u64,
            counts,
            // Its newest and oldest time, and its batch's table of ids, still hold for it.
            stays: (!rows.is_empty()).then(|| writer.write(&rows)),
        })
    }

    /// A block that can't be read goes without a look where all of its window does; else nobody
    /// knows whether it should.
    fn doom_unread(
        &self,
        window: &Window,
        (time_key, block_key): (Vec<u8>, [u8; BLOCK_KEY_BYTES]),
    ) -> Option<Doomed> {
        let is_old = window.bounds.end_ms.saturating_mul(1000) <= self.erasure.until_us;
        tracing::warn!(erased = is_old, "an erasure met a damaged block");
        let counts = HashMap::new();
        is_old.then_some(Doomed { time_key, block_key, stays: None, rows: 0, counts })
    }

    fn commit(
        &self,
        window: &Arc<Window>,
        doomed: Vec<Doomed>,
        committer: &mut Committer,
    ) -> Result<(), DatabaseError> {
        // Under the lock of commits: a window that is past retention is dropped under it too.
        if !self.database.windows().iter().any(|known| Arc::ptr_eq(known, window)) {
            return Ok(());
        }
        self.database.wait_for_room(std::slice::from_ref(window))?;
        committer.forget_counts();
        let mut batch = self.database.batch(4 * doomed.len());
        let mut counts: HashMap<Vec<u8>, u64> = HashMap::new();
        for Doomed { time_key, block_key, stays, counts: of_block, .. } in doomed {
            match stays {
                Some(bytes) => batch.insert(&window.rows, block_key, bytes),
                None => {
                    batch.remove(&window.index, time_key);
                    batch.remove(&window.rows, block_key);
                }
            }
            for (key, rows) in of_block {
                *counts.entry(key).or_default() += rows;
            }
        }
        for (key, rows) in counts {
            let value = window.index.get(&key)?;
            let sum = value.and_then(|value| read_count(&value)).unwrap_or_default();
            match sum.saturating_sub(rows) {
                0 => batch.remove(&window.index, key),
                sum => batch.insert(&window.index, key, sum.to_be_bytes()),
            }
        }
        Ok(batch.commit()?)
    }

    /// Writes a window's files anew, without what is gone.
    fn compact(&self, window: &Window, quiet: impl Sized) -> Result<(), DatabaseError> {
        for keyspace in [&window.index, &window.rows] {
            flush(keyspace)?;
        }
        // What is older than a commit behind the last removal, and what no query reads that began
        // before, is let go: fjall looks for that when a memtable is sealed.
        let mut batch = self.database.batch(1);
        batch.remove(&self.database.meta, NOTHING);
        batch.commit()?;
        self.database.meta.rotate_memtable()?;
        drop(quiet);
        for keyspace in [&window.index, &window.rows] {
            keyspace.major_compact()?;
        }
        Ok(())
    }
}

/// Windows go by their start, those of the same by their class.
fn place_of(window: &Window) -> (i64, u16) {
    (window.bounds.start_ms, window.bounds.class.number().into())
}

fn next(reached: Reached, rows: u64, partitions: u64) -> Erased {
    Erased { rows, partitions, next: reached.write(), wait: Duration::ZERO }
}

/// Brings what memory holds of a keyspace to its files.
fn flush(keyspace: &Keyspace) -> Result<(), DatabaseError> {
    keyspace.rotate_memtable()?;
    let deadline = Instant::now() + FLUSH_WAIT;
    while keyspace.sealed_memtable_count() > 0 {
        if Instant::now() >= deadline {
            return Err(DatabaseError::Behind);
        }
        std::thread::sleep(FLUSH_POLL);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_reads_back() {
        let reached =
            Reached { window: Some((-60_000, 9)), key: vec![0, 255, 7], work: Work::Loses };
        let text = reached.write().expect("a text");
        assert_eq!(Reached::read(&text), Some(reached));
        for wrong in ["", "x:0:1:00", "1", "1:0:0", "1:0:0:0", "1:0:0:zz", "1:0:3:00"] {
            assert_eq!(Reached::read(wrong), None, "{wrong}");
        }
    }
}
