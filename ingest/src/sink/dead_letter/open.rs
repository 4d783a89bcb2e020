//! Reads what earlier runs have left: segments, their marks, and the totals of what was removed.
//! Cuts what was not written to its end; deletes nothing that is damaged.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, RwLock};

use crate::fs::Fs;

use super::compact::Forgotten;
use super::letter::Letter;
use super::marks::{self, LeftOf, Marks};
use super::sealed::SealedError;
use super::segment::{self, FILE_HEADER_BYTES, Piece, number_of, open_name, pieces, sealed_name};
use super::{DeadLetters, LogId, OpenError, SEGMENT_READ_BYTES_MAX, Segment, SeqSet, State};

/// Which numbers of a log are or were dead letters of a sink.
pub(crate) type Known = HashMap<(String, LogId), SeqSet>;

impl DeadLetters {
    /// Opens the letters in `dir`, which is made if it is not there; cuts what was not written
    /// to its end. `budget_bytes` bounds all of them.
    pub(crate) fn open(
        fs: Arc<dyn Fs>,
        dir: PathBuf,
        budget_bytes: u64,
    ) -> Result<(Self, Known), OpenError> {
        let mut found = Found::new(&*fs, &dir);
        let names = found.prepare().map_err(|source| at(&dir, source))?;
        let forgotten = Forgotten::read(&*fs, &dir).map_err(|error| sealed_error(&dir, error))?;
        let mut segments: BTreeMap<u64, bool> = BTreeMap::new();
        for (number, open) in names.iter().filter_map(|name| number_of(name)) {
            // With both names it was sealed, and may have lost something under the open one.
            *segments.entry(number).or_insert(open) &= open;
        }
        found.state.next =
            segments.last_key_value().map_or(0, |(last, _)| last + 1).max(forgotten.next);
        found.finish_removals(&names, &mut segments, &forgotten)?;
        found.state.add_left(&forgotten.left);
        // From the newest on: of a letter that was appended twice the later copy counts.
        for (number, open) in segments.into_iter().rev() {
            found.add_segment(number, open)?;
        }
        let Found { bytes, count, damaged, known, state, .. } = found;
        if damaged > 0 {
            tracing::warn!(records = damaged, "dead letters are damaged; left as they are");
        }
        let letters = Self {
            fs,
            dir,
            budget_bytes,
            bytes: AtomicU64::new(bytes),
            count: AtomicU64::new(count),
            damaged,
            full: AtomicBool::new(false),
            state: Mutex::new(state),
            files: RwLock::new(()),
        };
        Ok((letters, known))
    }
}

#[derive(Debug)]
struct Found<'a> {
    fs: &'a dyn Fs,
    dir: &'a Path,
    bytes: u64,
    count: u64,
    damaged: u64,
    known: Known,
    state: State,
}

impl<'a> Found<'a> {
    fn new(fs: &'a dyn Fs, dir: &'a Path) -> Self {
        let (known, state) = (Known::new(), State::default());
        Self { fs, dir, bytes: 0, count: 0, damaged: 0, known, state }
    }

    fn prepare(&self) -> io::Result<Vec<String>> {
        self.fs.create_dir_all(self.dir)?;
        self.dir.parent().map_or(Ok(()), |parent| self.fs.sync_dir(parent))?;
        let names = self.fs.list(self.dir)?;
        // A name may have been given just before a kill.
        self.fs.sync_dir(self.dir)?;
        Ok(names)
    }

    /// Removes the rest of segments that were counted as removed, and marks without a segment.
    fn finish_removals(
        &self,
        names: &[String],
        segments: &mut BTreeMap<u64, bool>,
        forgotten: &Forgotten,
    ) -> Result<(), OpenError> {
        for number in &forgotten.removed {
            segments.remove(number);
            for name in [sealed_name(*number), open_name(*number)] {
                self.remove(&self.dir.join(name))?;
            }
        }
        for number in names.iter().filter_map(|name| marks::number_of(name)) {
            if !segments.contains_key(&number) {
                self.remove(&marks::path(self.dir, number))?;
            }
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<(), OpenError> {
        match self.fs.remove(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(path, error)),
            _ => Ok(()),
        }
    }

    fn add_segment(&mut self, number: u64, open: bool) -> Result<(), OpenError> {
        let path = self.dir.join(if open { open_name(number) } else { sealed_name(number) });
        let bytes = crate::fs::read_file(self.fs, &path, SEGMENT_READ_BYTES_MAX)
            .map_err(|source| at(&path, source))?;
        if let Some(version) = segment::version(&bytes)
            && version > segment::VERSION
        {
            return Err(OpenError::Newer { path, version });
        }
        let marks_path = marks::path(self.dir, number);
        let marks: Option<Marks> = marks::KIND
            .read(self.fs, &marks_path)
            .map_err(|error| sealed_error(&marks_path, error))?;
        let had_marks = marks.is_some();
        let mut marks = marks.unwrap_or_default();
        let mut segment = Segment::default();
        let mut end = bytes.len();
        let mut again = false;
        for piece in pieces(&bytes) {
            match piece {
                Piece::Record(offset, body) => match Letter::decode(body) {
                    Some(letter) => again |= self.add(&mut segment, &mut marks, (offset, letter)),
                    None => self.damage(&mut segment),
                },
                Piece::Torn(torn) if open => end = torn,
                Piece::Torn(_) | Piece::Damaged => self.damage(&mut segment),
            }
        }
        if open {
            seal(self.fs, self.dir, number, &bytes[..end], &bytes[end..])
                .map_err(|source| at(&path, source))?;
        } else {
            self.remove(&self.dir.join(open_name(number)))?;
        }
        if again || had_marks {
            let written = marks::KIND.write(self.fs, &marks_path, &marks);
            segment.marks_bytes = written.map_err(|source| at(&marks_path, source))?;
        }
        self.state.add_left(&marks.left);
        if end > FILE_HEADER_BYTES {
            segment.bytes = end as u64;
            self.bytes += segment.bytes + segment.marks_bytes;
            self.count += segment.live;
            self.state.segments.insert(number, segment);
        }
        Ok(())
    }

    fn damage(&mut self, segment: &mut Segment) {
        self.damaged += 1;
        segment.is_damaged = true;
    }

    /// Takes a letter in; whether it is there a second time, which the marks say then.
    fn add(
        &mut self,
        segment: &mut Segment,
        marks: &mut Marks,
        (offset, mut letter): (u32, Letter),
    ) -> bool {
        let seqs = self.known.entry((letter.sink.clone(), letter.log)).or_default();
        let new = seqs.missing(letter.seq, letter.seq + 1) > 0;
        seqs.insert(letter.seq, letter.seq + 1);
        segment.note(&letter);
        let is_gone = marks.gone.contains(offset);
        if new && !is_gone {
            marks.apply(offset, &mut letter);
            self.state.count((&letter.tenant, &letter.code), 1);
            segment.live += 1;
            return false;
        }
        segment.gone += 1;
        !is_gone && marks.gone.insert(offset)
    }
}

impl State {
    fn add_left(&mut self, left: &[LeftOf]) {
        for of in left {
            self.left.entry((of.sink.clone(), LogId(of.log))).or_default().add(&of.left);
        }
    }
}

/// Writes an open segment anew under its sealed name, without its `tail`. Only a file that is
/// written and synced from the start is known to be on disk: a sync that failed before may have
/// left bytes that are read and never written, and no later sync tells.
fn seal(fs: &dyn Fs, dir: &Path, number: u64, kept: &[u8], tail: &[u8]) -> io::Result<()> {
    let (path, open) = (dir.join(sealed_name(number)), dir.join(open_name(number)));
    if tail.iter().any(|byte| *byte != 0) {
        // If it is damage and no torn write, a person can still read it.
        let aside = path.with_extension(format!("cut-{}", kept.len()));
        tracing::info!(path = %aside.display(), "cut the unwritten end of dead letters");
        crate::fs::replace_file(fs, &aside, tail)?;
    }
    if kept.len() > FILE_HEADER_BYTES {
        crate::fs::replace_file(fs, &path, kept)?;
    }
    fs.remove(&open)?;
    fs.sync_dir(dir)
}

fn at(path: &Path, source: io::Error) -> OpenError {
    OpenError::Io { path: path.to_owned(), source }
}

fn sealed_error(path: &Path, error: SealedError) -> OpenError {
    match error {
        SealedError::Io(source) => at(path, source),
        SealedError::Newer(version) => OpenError::Newer { path: path.to_owned(), version },
    }
}
