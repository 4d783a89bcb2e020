//! Dead letters: pulses that a sink can never take, kept on disk with the reason, the original
//! bytes and what was tried, until their sink takes them after all or a person gives them up.
//! Appended to segments; what becomes of a letter later is said in marks beside its segment,
//! and a segment whose letters are gone gives its room back. Holds no letter in memory.

mod compact;
mod filter;
mod head;
mod letter;
mod marks;
mod open;
mod place;
mod read;
pub(crate) mod sealed;
mod segment;
mod settle;
mod shared;
mod slip;
pub(crate) mod uuid_text;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use thiserror::Error;

use crate::fs::{File, Fs, Open};

use super::progress::{LogId, SeqSet};

pub use filter::Filter;
pub use letter::{Attempt, Letter};
pub(crate) use letter::{HISTORY_MAX, MESSAGE_BYTES_MAX, shortened};
pub(crate) use marks::Leaving;
pub use marks::Left;
use marks::Marks;
pub(crate) use open::Known;
pub(crate) use place::place_of;
pub use place::{Held, LetterPlace};
pub(crate) use read::Wanted;
pub use read::{Group, LetterPage};
use segment::{
    FILE_HEADER_BYTES, VERSION_APPENDED, file_header, open_name, put_record, sealed_name,
};
pub(crate) use settle::{FailedAgain, Fate, Settled};
pub use shared::{
    LettersOfPulse, SharedError, SharedLetter, SharedLetters, SharedPage, SharedPlace, day_of,
    time_and_group,
};
pub(crate) use shared::{group_of, shared_id};
pub(crate) use slip::{Origin, Slip, Slips};

/// Bytes at which another segment is begun; one is read into memory as a whole.
const SEGMENT_BYTES: u64 = 8 * 1024 * 1024;
/// A segment, and one append beyond its end: a batch of rows at their largest.
const SEGMENT_READ_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Why dead letters can't be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// A file could not be read or cut.
    #[error("read dead letters {path} failed")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A newer version of this program wrote it; it is untouched.
    #[error("dead letters {path} have format version {version}, which is newer than this program")]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
}

/// Why letters were not kept. Until they are, their pulses are not finished.
#[derive(Debug, Error)]
pub enum AppendError {
    /// The byte budget is used up.
    #[error("dead letters are at their budget of {budget_bytes} bytes")]
    Full {
        /// The budget in bytes.
        budget_bytes: u64,
    },
    /// They could not be written or synced.
    #[error("write dead letters failed")]
    Io(#[source] io::Error),
}

/// All dead letters of a data directory.
#[derive(Debug)]
pub struct DeadLetters {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    budget_bytes: u64,
    bytes: AtomicU64,
    count: AtomicU64,
    damaged: u64,
    full: AtomicBool,
    state: Mutex<State>,
    /// Held shared while a segment and its marks are read, so that both are of one moment; taken
    /// before the state where both are needed.
    files: RwLock<()>,
}

#[derive(Debug, Default)]
struct State {
    /// Never one of an earlier run: what is behind its end is not known then.
    active: Option<Active>,
    /// A segment whose last append failed, which must be brought to its end before the next
    /// begins: what the append left behind would be read as letters.
    broken: Option<u64>,
    segments: BTreeMap<u64, Segment>,
    /// The number of the next segment; none is used twice.
    next: u64,
    /// Segments that are to be written anew though few of their letters are gone: these were
    /// erased.
    scrubbed: BTreeSet<u64>,
    /// Letters that are there, by tenant and reason.
    groups: BTreeMap<(String, String), u64>,
    left: HashMap<(String, LogId), Left>,
    /// Marks as they were before a write that failed, of which it is not known whether it has
    /// replaced them: the next write begins from these.
    doubted: HashMap<u64, Marks>,
}

#[derive(Debug)]
struct Active {
    number: u64,
    file: Arc<dyn File>,
}

/// What is known of a segment without reading it.
#[derive(Debug, Clone, Default)]
struct Segment {
    /// How far it is letters.
    bytes: u64,
    marks_bytes: u64,
    /// Letters that are there.
    live: u64,
    /// Letters in the file that are gone.
    gone: u64,
    /// Of these, when room was last looked for.
    gone_before: u64,
    /// Whether some of it can't be read.
    is_damaged: bool,
    /// The highest number of each sink and log, gone or not.
    highest: Vec<((String, LogId), u64)>,
}

impl DeadLetters {
    /// How many there are.
    pub fn len(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of all segments and what is said of them.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Damaged records that were found at start and passed over.
    pub fn damaged(&self) -> u64 {
        self.damaged
    }

    /// Whether the last letters found no room: their sink waits.
    pub fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// How many letters of a tenant there are.
    pub fn len_of(&self, tenant: &str) -> u64 {
        let state = self.lock();
        let from = (tenant.to_owned(), String::new());
        state.groups.range(from..).take_while(|((of, _), _)| of == tenant).map(|(_, n)| n).sum()
    }

    /// How many letters of a sink and log have ever left.
    pub(crate) fn left(&self, sink: &str, log: LogId) -> Left {
        self.lock().left.get(&(sink.to_owned(), log)).copied().unwrap_or_default()
    }

    /// Keeps letters; returns when they survive a power loss. After an error it is not known
    /// which are kept; appending them again is harmless. Blocks.
    pub(crate) fn append(&self, letters: &[Letter]) -> Result<(), AppendError> {
        let mut records = Vec::new();
        for letter in letters {
            put_record(&mut records, letter);
        }
        let mut state = self.lock();
        let bytes = self.bytes() + records.len() as u64 + FILE_HEADER_BYTES as u64;
        let full = bytes > self.budget_bytes;
        if self.full.swap(full, Ordering::Relaxed) != full {
            tracing::warn!(full, budget_bytes = self.budget_bytes, "dead letters' budget");
        }
        if full {
            return Err(AppendError::Full { budget_bytes: self.budget_bytes });
        }
        let number = self.write(&mut state, &records).map_err(AppendError::Io)?;
        for letter in letters {
            state.count((&letter.tenant, &letter.code), 1);
        }
        if let Some(segment) = state.segments.get_mut(&number) {
            segment.live += letters.len() as u64;
            letters.iter().for_each(|letter| segment.note(letter));
        }
        self.count.fetch_add(letters.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Writes to the active segment, or a new one; returns its number.
    fn write(&self, state: &mut State, records: &[u8]) -> io::Result<u64> {
        if let Some((number, bytes)) = state.active() {
            let written = match &state.active {
                Some(active) => append_to(&*active.file, records, bytes),
                None => Ok(()),
            };
            if written.is_err() {
                // What a failed sync left behind is unknown; the next append takes a new one.
                state.active = None;
                state.broken = Some(number);
            }
            written?;
            self.grow(state, number, records.len() as u64);
            return Ok(number);
        }
        self.end_active(state)?;
        let number = state.next;
        // A name is taken once, whether its file comes to be or not.
        state.next += 1;
        let file = self.fs.open(&self.dir.join(open_name(number)), Open::CreateNew)?;
        state.broken = Some(number);
        file.write_at(&file_header(VERSION_APPENDED), 0)?;
        append_to(&*file, records, FILE_HEADER_BYTES as u64)?;
        self.fs.sync_dir(&self.dir)?;
        state.broken = None;
        self.grow(state, number, (FILE_HEADER_BYTES + records.len()) as u64);
        state.active = Some(Active { number, file });
        Ok(number)
    }

    fn grow(&self, state: &mut State, number: u64, bytes: u64) {
        state.segments.entry(number).or_default().bytes += bytes;
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Brings the segment before the next one to its end: on disk as it reads.
    fn end_active(&self, state: &mut State) -> io::Result<()> {
        if let Some(Active { number, .. }) = state.active.as_ref() {
            // All its syncs have succeeded.
            let (open, sealed) = (open_name(*number), sealed_name(*number));
            self.fs.rename(&self.dir.join(open), &self.dir.join(sealed))?;
            self.fs.sync_dir(&self.dir)?;
            state.active = None;
        }
        let Some(number) = state.broken else { return Ok(()) };
        let open = self.dir.join(open_name(number));
        if let Some(segment) = state.segments.get(&number) {
            let mut bytes = crate::fs::read_file(&*self.fs, &open, SEGMENT_READ_BYTES_MAX)?;
            bytes.truncate(segment.bytes as usize);
            crate::fs::replace_file(&*self.fs, &self.dir.join(sealed_name(number)), &bytes)?;
        }
        match self.fs.remove(&open) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => self.fs.sync_dir(&self.dir)?,
        }
        state.broken = None;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Segment {
    /// Takes in whose letter it has.
    fn note(&mut self, letter: &Letter) {
        let is = |((sink, log), _): &&mut ((String, LogId), u64)| {
            *sink == letter.sink && *log == letter.log
        };
        match self.highest.iter_mut().find(is) {
            Some((_, seq)) => *seq = letter.seq.max(*seq),
            None => self.highest.push(((letter.sink.clone(), letter.log), letter.seq)),
        }
    }
}

impl State {
    /// The segment that is appended to, unless it is full, and its length.
    fn active(&self) -> Option<(u64, u64)> {
        let number = self.active.as_ref()?.number;
        let bytes = self.segments.get(&number)?.bytes;
        (bytes < SEGMENT_BYTES).then_some((number, bytes))
    }

    /// Counts letters of a tenant and reason that are there (1) or not any more (-1).
    fn count(&mut self, (tenant, code): (&str, &str), by: i64) {
        let key = (tenant.to_owned(), code.to_owned());
        let count = self.groups.entry(key.clone()).or_default();
        *count = count.saturating_add_signed(by);
        if *count == 0 {
            self.groups.remove(&key);
        }
    }
}

fn append_to(file: &dyn File, records: &[u8], at: u64) -> io::Result<()> {
    file.write_at(records, at)?;
    file.sync()
}

#[cfg(test)]
pub(crate) mod tests;
