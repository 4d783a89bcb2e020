//! The log's writer: numbers a group, writes it, syncs it, and only then says that it is there.
//! Synchronous and without threads or clocks that decide anything, so that the crash model can
//! drive it call by call. Removes nothing that was ever acknowledged.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use crate::fs::{File, Open};

use super::chain::Chain;
use super::segment::{FORMAT_VERSION, HEADER_BYTES, Header, Kind, Link, Name, SEAL_BYTES, Seal};
use super::{AppendError, frame};

/// The name of the file that is made ready to become the next segment. Whatever has it at start
/// was never part of the log.
pub(crate) const NEXT_NAME: &str = "next.tmp";
/// How often a group is tried in a new segment before it is given up: a disk that refuses two
/// new files in a row is not helped by a third.
const SEGMENT_ATTEMPTS: usize = 2;

/// How much is written ahead at once: as large as some tens of groups of single pulses, and small
/// enough that the sync that takes it along is hardly longer.
const WRITE_AHEAD_BYTES: u64 = 256 * 1024;
/// Written bytes ahead of the frames at which more are written, and the largest group for which
/// that is done: with larger ones the metadata is a small part of a sync.
const WRITTEN_BYTES_MIN: u64 = WRITE_AHEAD_BYTES / 4;

/// What the recovery hands to the writer.
#[derive(Debug, Default)]
pub(crate) struct Start {
    /// The next group's first number.
    pub(crate) next_seq: u64,
    /// The next segment's ordinal.
    pub(crate) next_ordinal: u64,
    /// What the next segment follows.
    pub(crate) previous: Option<Link>,
    /// Frames at the old end that may not be synced, to be written again first.
    pub(crate) carry: Carry,
    /// A segment without a frame, which the next one replaces.
    pub(crate) replaced: Option<Name>,
}

/// Numbered frames that go into the next segment before all others.
#[derive(Debug, Default)]
pub(crate) struct Carry {
    pub(crate) frames: Vec<u8>,
    pub(crate) first_seq: u64,
    pub(crate) end_seq: u64,
}

/// Sizes that the writer keeps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WriterSettings {
    pub(crate) segment_bytes: u64,
    pub(crate) free_bytes_min: u64,
}

/// Appends groups to the log.
#[derive(Debug)]
pub(crate) struct Writer {
    chain: Arc<Chain>,
    settings: WriterSettings,
    active: Option<Active>,
    next_file: Option<Arc<dyn File>>,
    start: Start,
    sealing: Option<(Name, Seal, u64)>,
    refusal: Option<AppendError>,
}

#[derive(Debug)]
struct Active {
    file: Arc<dyn File>,
    name: Name,
    at: u64,
    /// How far it was written with zeros, ahead of the frames.
    written: u64,
    /// The last group was small.
    has_small_groups: bool,
    /// What to follow should this segment stay without a frame.
    before: Option<Link>,
}

impl Writer {
    pub(crate) fn new(chain: Arc<Chain>, settings: WriterSettings, start: Start) -> Self {
        Self { chain, settings, active: None, next_file: None, start, sealing: None, refusal: None }
    }

    /// Why an append would fail now, if it would.
    pub(crate) fn refusal(&self) -> Option<AppendError> {
        self.refusal
    }

    /// The next group's first number.
    #[cfg(test)]
    pub(crate) fn next_seq(&self) -> u64 {
        self.start.next_seq
    }

    /// Numbers below `seq` are never given out from now on.
    pub(crate) fn skip_to(&mut self, seq: u64) {
        self.start.next_seq = self.start.next_seq.max(seq);
    }

    /// Writes the finished frames in `group` and syncs them; returns the first one's number.
    /// After an error nothing of the group counts, and its numbers are given out again.
    pub(crate) fn append(&mut self, group: &mut [u8]) -> Result<u64, AppendError> {
        self.open_first()?;
        let first_seq = self.start.next_seq;
        let pulses = frame::seal(group, first_seq);
        let end_seq = first_seq + pulses;
        if !self.append_to_active(group, end_seq) {
            self.append_to_new(group, first_seq, end_seq)?;
        }
        self.start.next_seq = end_seq;
        self.chain.metrics.group_pulses.observe(pulses as f64);
        Ok(first_seq)
    }

    /// Opens a segment if there is none, so that appends can go on; writes what was carried over
    /// from before the start.
    pub(crate) fn open_first(&mut self) -> Result<(), AppendError> {
        if self.active.is_some() {
            return Ok(());
        }
        let carry = std::mem::take(&mut self.start.carry);
        let (first_seq, end_seq) = if carry.frames.is_empty() {
            (self.start.next_seq, self.start.next_seq)
        } else {
            (carry.first_seq, carry.end_seq)
        };
        let done = self.append_to_new(&carry.frames, first_seq, end_seq);
        if done.is_err() {
            self.start.carry = carry;
        }
        done
    }

    /// What need not be done before the answer: seals the segment before this one, and makes the
    /// next file ready.
    pub(crate) fn tidy(&mut self) {
        if let Some((name, seal, bytes)) = self.sealing.take()
            && let Err(error) = self.seal(name, seal, bytes)
        {
            // The seal only helps to notice a lost file, the cut only frees room.
            tracing::debug!(%error, segment = %name, "seal segment failed");
        }
        self.write_ahead();
        let half_full =
            self.active.as_ref().is_some_and(|active| active.at > self.settings.segment_bytes / 2);
        if half_full && self.next_file.is_none() {
            // Made ahead so that no append waits for the file system to find room. If it can't
            // be made now, it is made when it is needed.
            self.next_file = self.make_file(self.settings.segment_bytes).ok();
        }
    }

    /// Writes zeros where the next groups will be. The first write of reserved room changes the
    /// file's metadata, and makes a small sync about half as long again; this way one sync of
    /// many does.
    fn write_ahead(&mut self) {
        static ZEROS: [u8; WRITE_AHEAD_BYTES as usize] = [0; WRITE_AHEAD_BYTES as usize];
        let end = self.settings.segment_bytes;
        let Some(active) = self.active.as_mut().filter(|active| active.has_small_groups) else {
            return;
        };
        let written = active.written.max(active.at);
        if written - active.at >= WRITTEN_BYTES_MIN || written >= end {
            return;
        }
        let length = WRITE_AHEAD_BYTES.min(end - written);
        // It only helps. What is wrong with the disk shows at the next group.
        if active.file.write_at(&ZEROS[..length as usize], written).is_ok() {
            active.written = written + length;
        }
    }

    /// Looks whether the log could take pulses, and makes it so if it can: the disk must have
    /// its reserve free, and there must be a segment to write to.
    pub(crate) fn check(&mut self) {
        // First, and even below the reserve, which is there for this: what was acknowledged by
        // the process before can't be read until it is written again.
        let opened = self.open_first().is_ok();
        let free = self.chain.fs.free_bytes(&self.chain.directory);
        if free.is_ok_and(|free| free < self.settings.free_bytes_min) {
            self.refuse(Some(AppendError::DiskFull));
        } else if opened {
            self.refuse(None);
        }
    }

    fn refuse(&mut self, refusal: Option<AppendError>) {
        match (self.refusal, refusal) {
            (None, Some(reason)) => tracing::error!(%reason, "the log refuses pulses"),
            (Some(_), None) => tracing::info!("the log takes pulses again"),
            _ => {}
        }
        self.refusal = refusal;
    }

    /// Whether the group is now synced in the active segment. If not, that segment is either
    /// full or must never be written again.
    fn append_to_active(&mut self, group: &[u8], end_seq: u64) -> bool {
        let Some(active) = &self.active else { return false };
        let end = active.at + group.len() as u64;
        let has_frames = active.at > HEADER_BYTES as u64;
        if end > self.settings.segment_bytes && has_frames {
            return false;
        }
        let (file, at) = (Arc::clone(&active.file), active.at);
        if let Err(error) = self.write_synced(&*file, group, at) {
            tracing::error!(%error, "write or sync the log failed; its segment is closed");
            self.close_active();
            return false;
        }
        if let Some(active) = &mut self.active {
            active.has_small_groups = end - active.at <= WRITTEN_BYTES_MIN;
            active.at = end;
        }
        self.chain.grow(end, end_seq);
        true
    }

    /// Writes the group as the first of a new segment.
    fn append_to_new(
        &mut self,
        group: &[u8],
        first_seq: u64,
        end_seq: u64,
    ) -> Result<(), AppendError> {
        self.close_active();
        let mut refusal = AppendError::Failed;
        for _ in 0..SEGMENT_ATTEMPTS {
            match self.open_segment(group, first_seq) {
                Ok(active) => {
                    let (name, at) = (active.name, active.at);
                    self.adopt(active, first_seq);
                    let disk_bytes = at.max(self.settings.segment_bytes);
                    self.chain.push(name, at, end_seq, disk_bytes);
                    self.refuse(None);
                    return Ok(());
                }
                Err(error) => {
                    tracing::error!(%error, "make a segment of the log failed");
                    refusal = AppendError::of(&error);
                }
            }
        }
        self.refuse(Some(refusal));
        Err(refusal)
    }

    fn adopt(&mut self, active: Active, first_seq: u64) {
        if let Some(name) = self.start.replaced.take() {
            // Its successor is on disk and says that it is void; if it stays, the next start
            // removes it.
            let _ = self.chain.fs.remove(&self.chain.path(name));
        }
        let previous = self.start.previous;
        if let Some(link) = previous
            && let Some(name) = self.chain.sealable(link.ordinal)
        {
            let seal = Seal { next_ordinal: active.name.ordinal, next_first_seq: first_seq };
            self.sealing = Some((name, seal, link.bytes));
        }
        self.active = Some(active);
    }

    /// From here on the active segment is done: what follows names how far it was synced.
    fn close_active(&mut self) {
        let Some(active) = self.active.take() else { return };
        if active.at > HEADER_BYTES as u64 {
            let (ordinal, bytes) = (active.name.ordinal, active.at);
            self.start.previous = Some(Link { ordinal, bytes });
        } else {
            self.start.previous = active.before;
            self.chain.drop_empty(active.name.ordinal);
            self.start.replaced = Some(active.name);
        }
    }

    fn open_segment(&mut self, group: &[u8], first_seq: u64) -> io::Result<Active> {
        let ordinal = self.start.next_ordinal;
        let name = Name { ordinal, first_seq, kind: Kind::Live };
        let at = (HEADER_BYTES + group.len()) as u64;
        let file = match self.next_file.take() {
            Some(file) if at <= self.settings.segment_bytes => file,
            _ => self.make_file(at.max(self.settings.segment_bytes))?,
        };
        // An ordinal is used once, whatever becomes of its file.
        self.start.next_ordinal += 1;
        let before = self.start.previous;
        let header = Header {
            version: FORMAT_VERSION,
            log: self.chain.id,
            ordinal,
            first_seq,
            previous: before,
        };
        file.write_at(&header.encode(), 0)?;
        self.write_synced(&*file, group, HEADER_BYTES as u64)?;
        // The file gets its name only now: a named segment always has its first group, so the
        // numbers that its header takes over from its predecessor are never lost between the two.
        let path = self.chain.path(name);
        let named = self
            .chain
            .fs
            .rename(&self.next_path(), &path)
            .and_then(|()| self.chain.fs.sync_dir(&self.chain.directory));
        if let Err(error) = named {
            // Should it come back after a crash, its successor's header declares it void.
            let _ = self.chain.fs.remove(&path);
            return Err(error);
        }
        Ok(Active { file, name, at, written: at, has_small_groups: false, before })
    }

    fn make_file(&self, bytes: u64) -> io::Result<Arc<dyn File>> {
        let path = self.next_path();
        match self.chain.fs.remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = self.chain.fs.open(&path, Open::CreateNew)?;
        file.allocate(bytes)?;
        Ok(file)
    }

    fn next_path(&self) -> PathBuf {
        self.chain.directory.join(NEXT_NAME)
    }

    fn write_synced(&self, file: &dyn File, bytes: &[u8], at: u64) -> io::Result<()> {
        if !bytes.is_empty() {
            file.write_at(bytes, at)?;
        }
        let start = Instant::now();
        let synced = file.sync();
        self.chain.metrics.sync.observe(start.elapsed().as_secs_f64());
        if synced.is_err() {
            self.chain.metrics.sync_failures.inc();
        }
        synced
    }

    fn seal(&self, name: Name, seal: Seal, bytes: u64) -> io::Result<()> {
        let file = self.chain.fs.open(&self.chain.path(name), Open::Write)?;
        file.write_at(&seal.encode(), bytes)?;
        let end = bytes + SEAL_BYTES as u64;
        file.set_len(end)?;
        self.chain.set_disk_bytes(name.ordinal, end);
        Ok(())
    }
}
