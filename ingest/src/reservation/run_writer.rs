//! Writes runs: from the sealed table, from other runs that become one, and from what is left
//! of a damaged one. Every run is written beside its name, synced, and then given it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::format::{ReadError, run_path};
use super::key::{Entry, ReservationKey};
use super::run::{
    HEADER_BYTES, Run, RunIndex, RunMeta, SLOT_BYTES, read_meta, read_slot, write_slot,
};
use crate::fs::{File, Fs, Open};

/// Bytes of one write or read: large enough that the calls cost little beside the copying.
const BUFFER_BYTES: usize = SLOT_BYTES * 1024;

/// A run that is being written. Dropped unfinished, it leaves a file that the next start removes.
#[derive(Debug)]
pub(super) struct RunWriter {
    fs: Arc<dyn Fs>,
    file: Arc<dyn File>,
    directory: PathBuf,
    unfinished: PathBuf,
    meta: RunMeta,
    index: RunIndex,
    buffer: Vec<u8>,
    written: u64,
    last: Option<ReservationKey>,
}

impl RunWriter {
    /// Starts a run of at most `keys_max` entries.
    pub(super) fn create(
        fs: &Arc<dyn Fs>,
        directory: &Path,
        meta: RunMeta,
        keys_max: usize,
    ) -> io::Result<Self> {
        let mut unfinished = run_path(directory, meta.first, meta.last).into_os_string();
        unfinished.push(".tmp");
        let unfinished = PathBuf::from(unfinished);
        remove_if_there(&**fs, &unfinished)?;
        let file = fs.open(&unfinished, Open::CreateNew)?;
        Ok(Self {
            fs: Arc::clone(fs),
            file,
            directory: directory.to_path_buf(),
            unfinished,
            meta,
            index: RunIndex::with_capacity(keys_max),
            buffer: Vec::with_capacity(BUFFER_BYTES),
            written: HEADER_BYTES as u64,
            last: None,
        })
    }

    /// Adds the next entry in the order of keys; one with the key of the last is left out.
    pub(super) fn push(&mut self, entry: &Entry) -> io::Result<()> {
        if self.last.is_some_and(|last| entry.key <= last) {
            return Ok(());
        }
        self.last = Some(entry.key);
        self.index.push(entry.key);
        self.buffer.extend_from_slice(&write_slot(entry));
        if self.buffer.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    /// Completes the run and makes it durable under its name.
    pub(super) fn finish(mut self) -> io::Result<Run> {
        self.flush()?;
        self.index.finish();
        let index = self.index.encode();
        let header = self.meta.encode(
            (self.written as usize - HEADER_BYTES) / SLOT_BYTES,
            &self.index,
            crc32c::crc32c(&index),
        );
        self.file.write_at(&index, self.written)?;
        self.file.write_at(&header, 0)?;
        self.file.sync()?;
        let path = run_path(&self.directory, self.meta.first, self.meta.last);
        self.fs.rename(&self.unfinished, &path)?;
        self.fs.sync_dir(&self.directory)?;
        Ok(Run::new(self.file, path, self.meta, self.index))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_at(&self.buffer, self.written)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

/// Reads a run's entries in order, leaving out damaged ones.
#[derive(Debug)]
pub(super) struct RunCursor {
    file: Arc<dyn File>,
    next: u64,
    end: u64,
    buffer: Vec<u8>,
    at: usize,
    damaged: u64,
}

impl RunCursor {
    /// Over the first `count` entries of a run's file.
    pub(super) fn new(file: Arc<dyn File>, count: usize) -> Self {
        let next = HEADER_BYTES as u64;
        let end = next + (count * SLOT_BYTES) as u64;
        Self { file, next, end, buffer: Vec::new(), at: 0, damaged: 0 }
    }

    /// The next sound entry.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, ReadError> {
        loop {
            let (slots, _) = self.buffer[self.at..].as_chunks::<SLOT_BYTES>();
            match slots.first() {
                Some(slot) => {
                    let entry = read_slot(slot);
                    self.at += SLOT_BYTES;
                    match entry {
                        Some(entry) => return Ok(Some(entry)),
                        None => self.damaged += 1,
                    }
                }
                None if self.next < self.end => self.fill()?,
                None => return Ok(None),
            }
        }
    }

    /// How many entries were left out.
    pub(super) fn damaged(&self) -> u64 {
        self.damaged
    }

    fn fill(&mut self) -> Result<(), ReadError> {
        let wanted = (self.end - self.next).min(BUFFER_BYTES as u64);
        self.buffer.resize(wanted as usize, 0);
        self.at = 0;
        super::format::read_exact(&*self.file, &mut self.buffer, self.next)?;
        self.next += wanted;
        Ok(())
    }
}

/// Writes anew what is sound in a run whose index or header is not. `unknown` is what to say
/// of it where its header is the damage. Returns the run and about how many entries were lost.
pub(super) fn rebuild(
    fs: &Arc<dyn Fs>,
    directory: &Path,
    path: &Path,
    unknown: RunMeta,
) -> Result<(Run, u64), ReadError> {
    let file = fs.open(path, Open::Read)?;
    let meta = read_meta(&*file).map_or(unknown, |(meta, _)| meta);
    let count = (file.len()?.saturating_sub(HEADER_BYTES as u64) as usize) / SLOT_BYTES;
    let mut cursor = RunCursor::new(file, count);
    let mut writer = RunWriter::create(fs, directory, meta, count)?;
    while let Some(entry) = cursor.next()? {
        writer.push(&entry)?;
    }
    // The index looks like damaged entries here: 3 bytes for every 70.
    let run = writer.finish()?;
    let index_slots = (count * 3 / SLOT_BYTES) as u64 + 1;
    Ok((run, cursor.damaged().saturating_sub(index_slots)))
}

pub(super) fn remove_if_there(fs: &dyn Fs, path: &Path) -> io::Result<()> {
    match fs.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
