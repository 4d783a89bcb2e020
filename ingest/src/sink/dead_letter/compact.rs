//! Gives room back: a segment of which all letters are gone is removed, one of which most are
//! gone is written anew without them. Only where no start needs to know of the gone ones: their
//! sink's cursor on disk is past them. Blocks.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};

use crate::fs::{self, Fs};

use super::letter::Letter;
use super::marks::{self, LeftOf};
use super::sealed::{Kind, SealedError};
use super::segment::{
    FILE_HEADER_BYTES, Piece, VERSION, file_header, pieces, put_kept, sealed_name,
};
use super::{DeadLetters, LogId, Segment, State};

const KIND: Kind = Kind { magic: 0x4744_4D50, version: 1, bytes_max: 64 << 20 };
const FILE: &str = "removed";
/// A segment is written anew when this share of its letters is gone: each letter is then written
/// twice more at most while its neighbours go.
const GONE_SHARE_MIN: f64 = 0.5;

/// What is still to be known of segments that were removed.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Forgotten {
    /// Above the number of every one.
    pub(super) next: u64,
    /// Of which some files may still be there.
    pub(super) removed: BTreeSet<u64>,
    pub(super) left: Vec<LeftOf>,
}

impl Forgotten {
    pub(super) fn read(fs: &dyn Fs, dir: &Path) -> Result<Self, SealedError> {
        Ok(KIND.read(fs, &dir.join(FILE))?.unwrap_or_default())
    }

    fn add(&mut self, left: &[LeftOf]) {
        for of in left.iter().filter(|of| !of.in_memory) {
            let known = |known: &&mut LeftOf| known.sink == of.sink && known.log == of.log;
            match self.left.iter_mut().find(known) {
                Some(known) => known.left.add(&of.left),
                None => self.left.push(of.clone()),
            }
        }
    }
}

/// Whether a sink's number is finished for good, so that no start asks for it again.
pub(crate) type IsFinished<'a> = dyn Fn(&str, LogId, u64) -> bool + 'a;

impl DeadLetters {
    /// Gives back what room it can; returns how many bytes. A segment that can't be read or
    /// written is left to the next call.
    pub(crate) fn compact(&self, is_finished: &IsFinished<'_>) -> io::Result<u64> {
        let before = self.bytes();
        let (mut empty, mut half) = (Vec::new(), Vec::new());
        {
            let State { active, broken, segments, scrubbed, .. } = &mut *self.lock();
            let active = active.as_ref().map(|active| active.number);
            let busy = |number: u64| Some(number) == active || Some(number) == *broken;
            for (number, segment) in segments.iter_mut().filter(|(number, _)| !busy(**number)) {
                if segment.is_empty(is_finished) {
                    empty.push(*number);
                } else if segment.is_worth_writing() || scrubbed.contains(number) {
                    half.push(*number);
                }
            }
        }
        self.remove_segments(&empty)?;
        for number in half {
            self.shrink(number, is_finished)?;
        }
        self.lock().end_scrubbing();
        Ok(before.saturating_sub(self.bytes()))
    }

    /// Has every segment written anew that holds a letter which is gone, at the next calls of
    /// [`compact`](Self::compact).
    pub(crate) fn scrub(&self) -> io::Result<()> {
        let mut state = self.lock();
        let with_gone = state.segments.iter().filter(|(_, segment)| segment.gone > 0);
        let numbers: BTreeSet<_> = with_gone.map(|(number, _)| *number).collect();
        let active = state.active.as_ref().map(|active| active.number).or(state.broken);
        if active.is_some_and(|number| numbers.contains(&number)) {
            self.end_active(&mut state)?;
        }
        state.scrubbed.extend(numbers);
        state.end_scrubbing();
        Ok(())
    }

    /// Whether no segment waits for that any more.
    pub(crate) fn is_scrubbed(&self) -> bool {
        self.lock().scrubbed.is_empty()
    }

    /// Writes a segment anew without what is gone.
    fn shrink(&self, number: u64, is_finished: &IsFinished<'_>) -> io::Result<()> {
        let _alone = self.files.write().unwrap_or_else(PoisonError::into_inner);
        let (bytes, marks) = (self.segment_bytes(number)?, self.marks(number)?);
        let mut kept = file_header(VERSION).to_vec();
        let mut stays = Segment::default();
        for piece in pieces(&bytes) {
            // What is damaged is kept until all that can be read is gone.
            let Piece::Record(offset, body) = piece else { return self.keep_damaged(number) };
            let Some(letter) = Letter::decode(body) else { return self.keep_damaged(number) };
            if !marks.gone.contains(offset) {
                put_kept(&mut kept, offset, body);
                stays.live += 1;
            } else if !is_finished(&letter.sink, letter.log, letter.seq) {
                return Ok(());
            }
        }
        if stays.live == 0 {
            return Ok(());
        }
        fs::replace_file(&*self.fs, &self.dir.join(sealed_name(number)), &kept)?;
        self.recount(number, kept.len() as u64);
        Ok(())
    }

    /// No more is tried with a segment that has something to be looked at by a person.
    fn keep_damaged(&self, number: u64) -> io::Result<()> {
        if let Some(segment) = self.lock().segments.get_mut(&number) {
            segment.is_damaged = true;
        }
        Ok(())
    }

    fn recount(&self, number: u64, bytes: u64) {
        if let Some(segment) = self.lock().segments.get_mut(&number) {
            self.bytes.fetch_sub(segment.bytes.saturating_sub(bytes), Ordering::Relaxed);
            segment.bytes = bytes;
            segment.gone = 0;
        }
    }

    /// Removes segments of which nothing is left.
    fn remove_segments(&self, numbers: &[u64]) -> io::Result<()> {
        if numbers.is_empty() {
            return Ok(());
        }
        let _alone = self.files.write().unwrap_or_else(PoisonError::into_inner);
        // First what counts of it: a crash from here on removes the rest at the next start.
        let mut forgotten = Forgotten::read(&*self.fs, &self.dir).map_err(io::Error::other)?;
        for number in numbers {
            if !forgotten.removed.contains(number) {
                forgotten.add(&self.marks(*number)?.left);
                forgotten.next = forgotten.next.max(number + 1);
            }
        }
        // Those before are gone, or their removal failed and is tried again.
        let mut removed: BTreeSet<u64> = numbers.iter().copied().collect();
        for earlier in &forgotten.removed {
            if self.lock().segments.contains_key(earlier) {
                removed.insert(*earlier);
            }
        }
        forgotten.removed = removed;
        KIND.write(&*self.fs, &self.dir.join(FILE), &forgotten)?;
        for number in numbers {
            for path in [self.dir.join(sealed_name(*number)), marks::path(&self.dir, *number)] {
                match self.fs.remove(&path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
        }
        self.fs.sync_dir(&self.dir)?;
        let mut state = self.lock();
        for segment in numbers.iter().filter_map(|number| state.segments.remove(number)) {
            self.bytes.fetch_sub(segment.bytes + segment.marks_bytes, Ordering::Relaxed);
        }
        Ok(())
    }
}

impl State {
    /// Forgets segments that need not be written anew: nothing of them is gone, or some of it can't
    /// be read, which is kept for a person.
    fn end_scrubbing(&mut self) {
        let Self { scrubbed, segments, .. } = self;
        scrubbed.retain(|number| {
            let segment = segments.get(number);
            segment.is_some_and(|segment| segment.gone > 0 && !segment.is_damaged)
        });
    }
}

impl Segment {
    /// Whether all of its letters are gone for good.
    fn is_empty(&self, is_finished: &IsFinished<'_>) -> bool {
        self.live == 0
            && !self.is_damaged
            && self.highest.iter().all(|((sink, log), seq)| is_finished(sink, *log, *seq))
    }

    /// Whether most of its letters are gone. One of which some have gone since it was last asked
    /// may soon be empty.
    fn is_worth_writing(&mut self) -> bool {
        if std::mem::replace(&mut self.gone_before, self.gone) != self.gone || self.is_damaged {
            return false;
        }
        let all = self.live + self.gone;
        self.bytes > FILE_HEADER_BYTES as u64
            && self.gone > 0
            && self.live > 0
            && self.gone as f64 >= all as f64 * GONE_SHARE_MIN
    }
}
