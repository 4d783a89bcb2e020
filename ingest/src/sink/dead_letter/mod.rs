//! Dead letters: pulses that a sink can never take, kept on disk with the reason, the original
//! bytes and what was tried. Append-only; nothing here is ever overwritten or removed.

mod letter;
mod segment;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use thiserror::Error;

use crate::fs::{File, Fs, Open};

use super::progress::{LogId, SeqSet};

pub use letter::{Attempt, Letter};
pub(crate) use letter::{HISTORY_MAX, MESSAGE_BYTES_MAX};
use segment::{
    FILE_HEADER_BYTES, Piece, file_header, number_of, open_name, pieces, put_record, sealed_name,
};

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
}

#[derive(Debug, Default)]
struct State {
    /// Never one of an earlier run: what is behind its end is not known then.
    active: Option<Active>,
    segments: Vec<u64>,
}

#[derive(Debug)]
struct Active {
    file: Arc<dyn File>,
    bytes: u64,
}

/// Which numbers of a log are dead letters of a sink.
pub(crate) type Known = HashMap<(String, LogId), SeqSet>;

impl DeadLetters {
    /// Opens the letters in `dir`, which is made if it is not there; cuts what was not written
    /// to its end. `budget_bytes` bounds all of them.
    pub(crate) fn open(
        fs: Arc<dyn Fs>,
        dir: PathBuf,
        budget_bytes: u64,
    ) -> Result<(Self, Known), OpenError> {
        let io = |source| OpenError::Io { path: dir.clone(), source };
        fs.create_dir_all(&dir).map_err(io)?;
        dir.parent().map_or(Ok(()), |parent| fs.sync_dir(parent)).map_err(io)?;
        let names = fs.list(&dir).map_err(io)?;
        let mut found = Found::default();
        let mut segments: BTreeMap<u64, bool> = BTreeMap::new();
        for (number, open) in names.iter().filter_map(|name| number_of(name)) {
            // With both names it was sealed, and may have lost something under the open one.
            *segments.entry(number).or_insert(open) &= open;
        }
        // A sealed segment's name may have been given just before a kill.
        fs.sync_dir(&dir).map_err(io)?;
        for (number, open) in &segments {
            found.add_segment(&*fs, &dir, *number, *open)?;
        }
        let segments = segments.into_keys().collect();
        if found.damaged > 0 {
            tracing::warn!(records = found.damaged, "dead letters are damaged; left as they are");
        }
        let letters = Self {
            fs,
            dir,
            budget_bytes,
            bytes: AtomicU64::new(found.bytes),
            count: AtomicU64::new(found.count),
            damaged: found.damaged,
            full: AtomicBool::new(false),
            state: Mutex::new(State { active: None, segments }),
        };
        Ok((letters, found.known))
    }

    /// How many there are.
    pub fn len(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of all segments.
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

    /// All letters, oldest first; those whose file can't be read are passed over with an error.
    pub fn iter(&self) -> impl Iterator<Item = io::Result<Letter>> + use<> {
        let segments = self.state.lock().unwrap_or_else(PoisonError::into_inner).segments.clone();
        let (fs, dir) = (Arc::clone(&self.fs), self.dir.clone());
        let mut known = Known::new();
        segments
            .into_iter()
            .flat_map(move |number| match read_segment(&*fs, &dir, number) {
                Ok(bytes) => letters_in(&bytes).into_iter().map(Ok).collect(),
                Err(error) => vec![Err(error)],
            })
            .filter(move |letter| letter.as_ref().map_or(true, |letter| is_new(&mut known, letter)))
    }

    /// Keeps letters; returns when they survive a power loss. After an error it is not known
    /// which are kept; appending them again is harmless. Blocks.
    pub(crate) fn append(&self, letters: &[Letter]) -> Result<(), AppendError> {
        let mut records = Vec::new();
        for letter in letters {
            put_record(&mut records, letter).map_err(AppendError::Io)?;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = self.bytes() + records.len() as u64 + FILE_HEADER_BYTES as u64;
        let full = bytes > self.budget_bytes;
        if self.full.swap(full, Ordering::Relaxed) != full {
            tracing::warn!(full, budget_bytes = self.budget_bytes, "dead letters' budget");
        }
        if full {
            return Err(AppendError::Full { budget_bytes: self.budget_bytes });
        }
        let written = self.write(&mut state, &records);
        if written.is_err() {
            // What a failed sync left behind is unknown; the next append takes a new segment.
            state.active = None;
        }
        written.map_err(AppendError::Io)?;
        self.count.fetch_add(letters.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    fn write(&self, state: &mut State, records: &[u8]) -> io::Result<()> {
        if state.active.as_ref().is_none_or(|active| active.bytes >= SEGMENT_BYTES) {
            self.seal_active(state)?;
            let number = state.segments.last().map_or(0, |last| last + 1);
            let path = self.dir.join(open_name(number));
            let file = match self.fs.open(&path, Open::CreateNew) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    state.segments.push(number);
                    return Err(error);
                }
                opened => opened?,
            };
            let first = self.write_first(&*file, records);
            if first.is_err() {
                // Else a disk that stays broken would collect one with each attempt.
                let _left = self.fs.remove(&path);
                // A name is taken once, whether it could be removed or not.
                state.segments.push(number);
                return first;
            }
            state.segments.push(number);
            let bytes = (FILE_HEADER_BYTES + records.len()) as u64;
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
            state.active = Some(Active { file, bytes });
            return Ok(());
        }
        if let Some(active) = &mut state.active {
            self.bytes.fetch_add(records.len() as u64, Ordering::Relaxed);
            active.file.write_at(records, active.bytes)?;
            active.file.sync()?;
            active.bytes += records.len() as u64;
        }
        Ok(())
    }

    /// All syncs of the segment that is full have succeeded: it is on disk as it reads.
    fn seal_active(&self, state: &mut State) -> io::Result<()> {
        if let (Some(_), Some(number)) = (state.active.take(), state.segments.last()) {
            let (open, sealed) = (open_name(*number), sealed_name(*number));
            self.fs.rename(&self.dir.join(open), &self.dir.join(sealed))?;
            self.fs.sync_dir(&self.dir)?;
        }
        Ok(())
    }

    fn write_first(&self, file: &dyn File, records: &[u8]) -> io::Result<()> {
        file.write_at(&file_header(), 0)?;
        file.write_at(records, FILE_HEADER_BYTES as u64)?;
        file.sync()?;
        self.fs.sync_dir(&self.dir)
    }
}

#[derive(Debug, Default)]
struct Found {
    bytes: u64,
    count: u64,
    damaged: u64,
    known: Known,
}

impl Found {
    fn add_segment(
        &mut self,
        fs: &dyn Fs,
        dir: &Path,
        number: u64,
        open: bool,
    ) -> Result<(), OpenError> {
        let path = dir.join(if open { open_name(number) } else { sealed_name(number) });
        let io = |source| OpenError::Io { path: path.clone(), source };
        let bytes = crate::fs::read_file(fs, &path, SEGMENT_READ_BYTES_MAX).map_err(io)?;
        let version = segment::version(&bytes);
        if let Some(version) = version
            && version > segment::VERSION
        {
            return Err(OpenError::Newer { path, version });
        }
        let mut end = bytes.len();
        for piece in pieces(&bytes) {
            match piece {
                Piece::Record(body) => match Letter::decode(body) {
                    Some(letter) => self.count += u64::from(is_new(&mut self.known, &letter)),
                    None => self.damaged += 1,
                },
                Piece::Torn(at) if open => end = at,
                Piece::Torn(_) | Piece::Damaged => self.damaged += 1,
            }
        }
        if open {
            seal(fs, dir, number, &bytes, end).map_err(io)?;
        } else {
            match fs.remove(&dir.join(open_name(number))) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
                _ => {}
            }
        }
        if end > FILE_HEADER_BYTES {
            self.bytes += end as u64;
        }
        Ok(())
    }
}

/// Writes an open segment anew under its sealed name, up to `end`. Only a file that is written
/// and synced from the start is known to be on disk: a sync that failed before may have left
/// bytes that are read and never written, and no later sync tells.
fn seal(fs: &dyn Fs, dir: &Path, number: u64, bytes: &[u8], end: usize) -> io::Result<()> {
    let (path, open) = (dir.join(sealed_name(number)), dir.join(open_name(number)));
    if bytes[end..].iter().any(|byte| *byte != 0) {
        // If it is damage and no torn write, a person can still read it.
        let aside = path.with_extension(format!("cut-{end}"));
        tracing::info!(path = %aside.display(), "cut the unwritten end of dead letters");
        crate::fs::replace_file(fs, &aside, &bytes[end..])?;
    }
    if end > FILE_HEADER_BYTES {
        crate::fs::replace_file(fs, &path, &bytes[..end])?;
    }
    fs.remove(&open)?;
    fs.sync_dir(dir)
}

fn is_new(known: &mut Known, letter: &Letter) -> bool {
    let seqs = known.entry((letter.sink.clone(), letter.log)).or_default();
    let new = !seqs.contains(letter.seq);
    seqs.insert(letter.seq, letter.seq + 1);
    new
}

fn letters_in(bytes: &[u8]) -> Vec<Letter> {
    pieces(bytes)
        .filter_map(|piece| match piece {
            Piece::Record(body) => Letter::decode(body),
            Piece::Damaged | Piece::Torn(_) => None,
        })
        .collect()
}

fn read_segment(fs: &dyn Fs, dir: &Path, number: u64) -> io::Result<Vec<u8>> {
    // It may be sealed between two looks.
    for name in [sealed_name(number), open_name(number), sealed_name(number)] {
        match crate::fs::read_file(fs, &dir.join(name), SEGMENT_READ_BYTES_MAX) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            read => return read,
        }
    }
    // One whose first write failed leaves its number behind.
    Ok(Vec::new())
}

#[cfg(test)]
mod tests;
