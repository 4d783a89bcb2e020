//! Reading the log behind its writer: whole proven frames, in order, up to the synced end. What
//! can't be read is skipped and counted by its numbers; nothing is changed but a damaged
//! segment's name.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use crate::fs::{File, Open};

use super::chain::{Chain, Place};
use super::frame::{self, Frame, FrameError};
use super::scan::{Window, read_full, read_salvaging};
use super::segment::HEADER_BYTES;

/// How many reads in a row may fail before what can't be read counts as lost. The caller pauses
/// between them, so a disk that is away for a while costs nothing.
const READ_FAILURES_MAX: u32 = 100;

/// Consecutive frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadChunk {
    /// Whole frames, proven by their checksums and without a gap in their numbers. Empty where
    /// only a loss at the log's end is to be told.
    pub bytes: Bytes,
    /// The first pulse's number. The very first chunk of a reader may begin before the number
    /// that was asked for, within the frame that holds it.
    pub first_seq: u64,
    /// The number behind the last pulse's.
    pub end_seq: u64,
    /// How many numbers just before `first_seq` can't be read any more.
    pub damaged: u64,
    /// How many numbers just before these were forgotten while this reader was behind.
    pub forgotten: u64,
    /// Where the chunk ends, in bytes of frames since the log was opened (approximately behind
    /// damage); compare with [`super::Log::end_position`].
    pub end_position: u64,
}

/// Reads the log from one number on. Has its own file handles. Blocking.
#[derive(Debug)]
pub struct LogReader {
    chain: Arc<Chain>,
    /// The next number that is to be accounted for.
    seq: u64,
    open: Option<OpenSegment>,
    damaged: u64,
    forgotten: u64,
    failures: u32,
}

#[derive(Debug)]
struct OpenSegment {
    ordinal: u64,
    /// `None`: the file is gone.
    file: Option<Arc<dyn File>>,
    at: u64,
}

/// What a look at a segment's bytes gave.
#[derive(Debug)]
enum Look {
    Chunk(ReadChunk),
    /// Go on looking in the same segment.
    Again,
    /// The segment has no more.
    Ended,
}

/// Frames at the front of a buffer.
#[derive(Debug, Default)]
struct Run {
    /// Bytes before the first frame that is wanted.
    skipped: usize,
    /// Where the last frame of the run ends.
    end: usize,
    first_seq: u64,
    end_seq: u64,
    stop: Stop,
}

/// Why a run ended.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// The buffer ended, within a frame of so many bytes or before its header.
    #[default]
    Short,
    Needs(usize),
    /// The next frame leaves numbers out.
    Gap,
    /// The next frame is numbered beyond the segment's limit.
    Beyond,
    /// No sound frame follows; the next can be so many bytes further on.
    Damage(usize),
}

impl LogReader {
    pub(crate) fn new(chain: Arc<Chain>, seq: u64) -> Self {
        Self { chain, seq, open: None, damaged: 0, forgotten: 0, failures: 0 }
    }

    /// The number that the next chunk begins at, unless it is lost.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Reads about `bytes_max` bytes of frames, and at least one frame; `None` when there is no
    /// more now. What it says was damaged or forgotten is said once.
    ///
    /// # Errors
    /// What the file system says; the same call again goes on.
    pub fn read(&mut self, bytes_max: usize) -> io::Result<Option<ReadChunk>> {
        loop {
            let Some(place) = self.chain.place(self.seq) else {
                return Ok(self.loss_alone());
            };
            if self.seq < place.segment.name.first_seq {
                self.lose_to(place.segment.name.first_seq, place.forgotten_below);
            }
            let ordinal = place.segment.name.ordinal;
            if self.open.as_ref().is_none_or(|open| open.ordinal != ordinal)
                && !self.open(&place)?
            {
                continue;
            }
            match self.look(&place, bytes_max)? {
                Look::Chunk(chunk) => return Ok(Some(chunk)),
                Look::Again => {}
                Look::Ended => self.lose_to(place.limit_seq, place.forgotten_below),
            }
        }
    }

    /// Numbers up to `seq` are not there.
    fn lose_to(&mut self, seq: u64, forgotten_below: u64) {
        let forgotten = seq.min(forgotten_below).saturating_sub(self.seq);
        self.forgotten += forgotten;
        self.damaged += seq.saturating_sub(self.seq) - forgotten;
        self.seq = self.seq.max(seq);
    }

    /// A loss at the log's end, of which no later chunk tells yet.
    fn loss_alone(&mut self) -> Option<ReadChunk> {
        if self.damaged == 0 && self.forgotten == 0 {
            return None;
        }
        let end_position = self.chain.end_position();
        Some(self.chunk(Bytes::new(), self.seq, self.seq, end_position))
    }

    fn chunk(&mut self, bytes: Bytes, first_seq: u64, end_seq: u64, position: u64) -> ReadChunk {
        self.seq = end_seq;
        ReadChunk {
            bytes,
            first_seq,
            end_seq,
            damaged: std::mem::take(&mut self.damaged),
            forgotten: std::mem::take(&mut self.forgotten),
            end_position: position,
        }
    }

    /// Opens the place's segment; false if it was forgotten meanwhile.
    fn open(&mut self, place: &Place) -> io::Result<bool> {
        let name = place.segment.name;
        let file = match self.chain.fs.open(&self.chain.path(name), Open::Read) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let now = self.chain.place(self.seq).map(|place| place.segment.name);
                if now != Some(name) {
                    return Ok(false);
                }
                tracing::error!(segment = %name, "a segment of the log is missing");
                None
            }
            Err(error) => return Err(error),
        };
        self.open = Some(OpenSegment { ordinal: name.ordinal, file, at: HEADER_BYTES as u64 });
        Ok(true)
    }

    fn look(&mut self, place: &Place, bytes_max: usize) -> io::Result<Look> {
        let Some((file, at)) =
            self.open.as_ref().and_then(|open| Some((Arc::clone(open.file.as_ref()?), open.at)))
        else {
            return Ok(Look::Ended);
        };
        let there = place.segment.bytes.saturating_sub(at);
        if there == 0 {
            return Ok(Look::Ended);
        }
        let mut size = there.min(bytes_max.max(frame::HEADER_BYTES) as u64) as usize;
        loop {
            let bytes = self.read_bytes(&*file, at, size)?;
            let run = run(&bytes, self.seq, place.limit_seq);
            if run.end > run.skipped {
                return Ok(Look::Chunk(self.take(place, bytes, &run, at)));
            }
            match run.stop {
                // All of it lies before the number that is wanted.
                Stop::Short | Stop::Needs(_) if run.end > 0 => {
                    self.move_to(at + run.end as u64);
                    return Ok(Look::Again);
                }
                Stop::Needs(more) if more > size && more as u64 <= there => size = more,
                stop => return Ok(self.get_past(place, &*file, at + run.end as u64, stop)),
            }
        }
    }

    fn take(&mut self, place: &Place, bytes: Vec<u8>, run: &Run, at: u64) -> ReadChunk {
        let end = at + run.end as u64;
        self.move_to(end);
        let position = place.segment.base + end - HEADER_BYTES as u64;
        let frames = Bytes::from(bytes).slice(run.skipped..run.end);
        self.chunk(frames, run.first_seq, run.end_seq, position)
    }

    /// At `at` there is no frame that can be given out: finds the next one.
    fn get_past(&mut self, place: &Place, file: &dyn File, at: u64, stop: Stop) -> Look {
        let (seq, limit_seq) = (self.seq, place.limit_seq);
        let from = match stop {
            Stop::Beyond => return Look::Ended,
            // The frame is sound; the numbers before it are lost, and it is next.
            Stop::Gap => return self.cross_gap(place, file, at),
            Stop::Damage(skip) => at + skip as u64,
            Stop::Short | Stop::Needs(_) => at + 1,
        };
        let mut window = Window::new(file, place.segment.bytes);
        let next = window.find(from, place.segment.bytes, |header| {
            header.first_seq >= seq && header.first_seq < limit_seq
        });
        match next {
            Some(next) => {
                self.chain.mark_damaged(place.segment.name.ordinal);
                self.move_to(next);
                self.cross_gap(place, file, next)
            }
            None => {
                if seq < limit_seq {
                    self.chain.mark_damaged(place.segment.name.ordinal);
                }
                Look::Ended
            }
        }
    }

    fn cross_gap(&mut self, place: &Place, file: &dyn File, at: u64) -> Look {
        self.move_to(at);
        if let Some(header) = Window::new(file, place.segment.bytes).frame(at) {
            self.lose_to(header.first_seq, place.forgotten_below);
        }
        Look::Again
    }

    fn move_to(&mut self, at: u64) {
        if let Some(open) = &mut self.open {
            open.at = at;
        }
    }

    fn read_bytes(&mut self, file: &dyn File, at: u64, size: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; size];
        let read = match read_full(file, &mut bytes, at) {
            Ok(read) => {
                self.failures = 0;
                read
            }
            Err(error) if self.failures < READ_FAILURES_MAX => {
                self.failures += 1;
                return Err(error);
            }
            Err(error) => {
                tracing::error!(%error, "read the log failed for long; what can be read is taken");
                read_salvaging(file, &mut bytes, at)
            }
        };
        bytes.truncate(read);
        Ok(bytes)
    }
}

/// The frames at the front of `bytes` that hold numbers from `seq` on, below `limit_seq`.
fn run(bytes: &[u8], seq: u64, limit_seq: u64) -> Run {
    let mut run = Run::default();
    loop {
        let rest = &bytes[run.end..];
        let header = match Frame::read(rest) {
            Ok(frame) => frame.header(),
            Err(error) => {
                run.stop = stop_at(rest, error);
                return run;
            }
        };
        let has_frames = run.end > run.skipped;
        let expected = if has_frames { run.end_seq } else { seq };
        if header.first_seq >= limit_seq {
            run.stop = Stop::Beyond;
            return run;
        }
        if header.first_seq > expected {
            run.stop = Stop::Gap;
            return run;
        }
        run.end += header.frame_bytes();
        if has_frames {
            run.end_seq = header.end_seq();
        } else if header.end_seq() <= seq {
            run.skipped = run.end;
        } else {
            run.first_seq = header.first_seq;
            run.end_seq = header.end_seq();
        }
    }
}

fn stop_at(rest: &[u8], error: FrameError) -> Stop {
    match (error, frame::Header::read(rest)) {
        (FrameError::Short, Ok(header)) => Stop::Needs(header.frame_bytes()),
        (FrameError::Short, Err(_)) => Stop::Short,
        // A sound header says where the next frame begins.
        (_, Ok(header)) => Stop::Damage(header.frame_bytes()),
        (_, Err(_)) => Stop::Damage(1),
    }
}
