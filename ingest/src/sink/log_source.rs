//! The log as drains read it.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::log::{Log, LogReader};

use super::bell::Bell;
use super::progress::LogId;
use super::source::{FrameReader, FrameSource, SourceChunk};

/// Least distance of two marks. Between two of them all pulses count as equally large.
const MARK_BYTES: u64 = 256 * 1024;

/// A number and the bytes before it.
type Mark = (u64, u64);

/// The log, and at which byte which number lies, for sinks that lag behind the others.
#[derive(Debug)]
pub(crate) struct LogSource {
    log: Log,
    start_seq: u64,
    /// Both parts ascend.
    marks: Mutex<VecDeque<Mark>>,
}

impl LogSource {
    /// Looks for the first number that is still there. Blocking.
    pub(crate) fn new(log: Log) -> io::Result<Self> {
        let first = log.reader(log.start_seq()).read(1)?;
        let start_seq = first.map_or(log.end_seq(), |chunk| chunk.first_seq);
        let marks = VecDeque::from([(start_seq, 0), (log.end_seq(), log.end_position())]);
        Ok(Self { log, start_seq, marks: Mutex::new(marks) })
    }

    fn marks(&self) -> MutexGuard<'_, VecDeque<Mark>> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Marks the log's end, which is asked for at least as often as a sink ends a batch.
    fn mark_end(&self, marks: &mut VecDeque<Mark>) -> Mark {
        let end = (self.log.end_seq(), self.log.end_position());
        let last = marks.back().copied().unwrap_or_default();
        if end.0 > last.0 && end.1 >= last.1 + MARK_BYTES {
            marks.push_back(end);
        }
        end
    }
}

impl FrameSource for LogSource {
    fn id(&self) -> LogId {
        self.log.id()
    }

    fn start_seq(&self) -> u64 {
        self.start_seq
    }

    fn end_seq(&self) -> u64 {
        self.log.end_seq()
    }

    fn bytes_from(&self, seq: u64) -> u64 {
        let mut marks = self.marks();
        let (end_seq, end) = self.mark_end(&mut marks);
        let next = marks.partition_point(|mark| mark.0 <= seq);
        let before = next.checked_sub(1).and_then(|index| marks.get(index)).copied();
        let (from_seq, from) = before.unwrap_or_else(|| marks.front().copied().unwrap_or_default());
        let (to_seq, to) = marks.get(next).copied().unwrap_or((end_seq, end));
        let part = u128::from(seq.saturating_sub(from_seq)) * u128::from(to.saturating_sub(from));
        let inside = (part / u128::from(to_seq.saturating_sub(from_seq)).max(1)) as u64;
        end.saturating_sub((from + inside).min(to.max(from)))
    }

    fn reader(&self, seq: u64) -> Box<dyn FrameReader> {
        Box::new(self.log.reader(seq))
    }

    fn tell(&self, bells: Box<[Arc<Bell>]>) {
        self.log.on_growth(move || bells.iter().for_each(|bell| bell.ring()));
    }

    fn finished(&self, _sink: usize, _ranges: &[(u64, u64)]) {}

    fn set_low(&self, seq: u64) {
        self.log.release(seq);
        self.mark_end(&mut self.marks());
    }

    fn skip_to(&self, seq: u64) {
        self.log.skip_to(seq);
    }

    fn forget(&self, seq: u64) -> io::Result<()> {
        self.log.forget(seq)?;
        let mut marks = self.marks();
        while marks.get(1).is_some_and(|mark| mark.0 <= seq) {
            marks.pop_front();
        }
        Ok(())
    }
}

impl FrameReader for LogReader {
    fn read(&mut self, bytes_max: usize) -> io::Result<Option<SourceChunk>> {
        let chunk = Self::read(self, bytes_max)?;
        Ok(chunk.map(|chunk| SourceChunk {
            bytes: chunk.bytes,
            first_seq: chunk.first_seq,
            end_seq: chunk.end_seq,
        }))
    }
}
