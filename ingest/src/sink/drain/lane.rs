//! One source as one sink reads it: where it is, what it has read, and when its rows are due.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::log::frame::BODY_BYTES_MAX;
use crate::sink::batch::Batch;
use crate::sink::shares::Shares;
use crate::sink::source::{FrameReader, Source, SourceChunk};

use super::Need;
use super::board::{Board, Ending};
use super::job::{Ends, Job};
use super::sink_drain::{NO_TIME, SinkDrain};
use super::window::{TakeLimits, Window, received_at_us};

/// Bytes asked for at once: a few thousand small pulses, and a stuck row keeps no more in memory
/// than this.
const READ_BYTES: usize = 256 * 1024;
/// Bytes that end a batch: a store holds a few batches at once.
const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Chunks whose receive time is remembered: some hundred MiB of small pulses.
const RECEIVED_MAX: usize = 4096;
/// A window is never smaller: the largest frame must fit beside one that is being written.
pub(crate) const WINDOW_BYTES_MIN: usize = 2 * BODY_BYTES_MAX;

/// One sink's reading of one source.
#[derive(Debug)]
pub(crate) struct Lane {
    drain: Arc<SinkDrain>,
    board: Arc<Board>,
    shares: Arc<Shares>,
    reader: Box<dyn FrameReader>,
    /// The number that is read next.
    position: u64,
    window: Window,
    /// First numbers of chunks and when their first pulses were received.
    received: VecDeque<(u64, i64)>,
    failing: bool,
    /// Below this, nothing is left to flush; and whether rows wait that must not.
    flushed_to: u64,
    flushing: bool,
}

impl Lane {
    pub(crate) fn new(drain: Arc<SinkDrain>, board: Arc<Board>, shares: Arc<Shares>) -> Self {
        let finished = board.place(drain.index).finished;
        let position = finished.low();
        Self {
            reader: board.source.reader(position),
            window: Window::new(drain.index, finished),
            received: VecDeque::new(),
            failing: false,
            flushed_to: 0,
            flushing: false,
            position,
            drain,
            board,
            shares,
        }
    }

    pub(crate) fn source(&self) -> Source {
        self.board.kind
    }

    /// Whether there is more to read and room for it.
    pub(crate) fn can_read(&self) -> bool {
        !self.failing && !self.is_full() && self.board.source.end_seq() > self.position
    }

    fn is_full(&self) -> bool {
        self.window.used_bytes() >= self.drain.settings.window_bytes.max(WINDOW_BYTES_MIN)
    }

    /// Reads until the window is full or nothing is left; an error is retried at the next call.
    pub(crate) fn fill(&mut self) {
        self.skip_what_lags();
        while !self.is_full() && self.board.source.end_seq() > self.position {
            match self.reader.read(READ_BYTES) {
                Ok(Some(chunk)) => self.take_in(&chunk),
                Ok(None) => break,
                Err(error) => return self.read_failed(&error),
            }
        }
        self.failing = false;
        self.note_oldest();
        self.note_flush();
    }

    fn note_flush(&mut self) {
        let flush_to = self.drain.flush_to[self.source().index()].load(Ordering::Relaxed);
        self.flushing = flush_to > self.flushed_to && self.window.holds_below(flush_to);
        if !self.flushing && self.position >= flush_to {
            self.flushed_to = flush_to;
        }
    }

    fn read_failed(&mut self, error: &io::Error) {
        if !self.failing {
            let (sink, seq) = (&*self.drain.name, self.position);
            tracing::error!(sink, seq, %error, "read for sink failed; it is tried again");
        }
        self.failing = true;
        self.reader = self.board.source.reader(self.position);
    }

    fn take_in(&mut self, chunk: &SourceChunk) {
        if chunk.first_seq > self.position {
            self.lose(&[(self.position, chunk.first_seq)]);
        }
        if let Some(at_us) = received_at_us(&chunk.bytes) {
            self.received.push_back((chunk.first_seq, at_us));
            if self.received.len() > RECEIVED_MAX {
                // A row that is stuck for long: its own time stays, the others' get coarser.
                let mut index = 0;
                self.received.retain(|_| (index += 1, index % 2 == 1).1);
            }
        }
        let unreadable = self.window.push(chunk, &self.shares);
        self.lose(&unreadable);
        self.position = self.position.max(chunk.end_seq);
    }

    /// These numbers can't be read. What a best-effort sink did not read in time was let go of;
    /// for any other it is damage.
    fn lose(&self, ranges: &[(u64, u64)]) {
        let ending = match self.drain.need {
            Need::Required => Ending::Damaged,
            Need::BestEffort { .. } => Ending::Dropped,
        };
        self.board.finish(self.drain.index, ranges, ending);
    }

    /// A best-effort sink over its budget gives up its oldest unread numbers.
    fn skip_what_lags(&mut self) {
        let Need::BestEffort { lag_bytes_max } = self.drain.need else { return };
        let source = &self.board.source;
        if self.source() == Source::Memory || source.bytes_from(self.position) <= lag_bytes_max {
            return;
        }
        let (mut low, mut high) = (self.position, source.end_seq());
        while low < high {
            let middle = low + (high - low) / 2;
            if source.bytes_from(middle) > lag_bytes_max {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let sink = &*self.drain.name;
        tracing::warn!(sink, pulses = low - self.position, "sink is too far behind; dropped");
        self.board.finish(self.drain.index, &[(self.position, low)], Ending::Dropped);
        self.window.pass_over(self.position, low);
        self.position = low;
        self.reader = source.reader(low);
    }

    fn note_oldest(&mut self) {
        let low = self.board.low(self.drain.index);
        while self.received.get(1).is_some_and(|(first_seq, _)| *first_seq <= low) {
            self.received.pop_front();
        }
        let oldest = match self.received.front() {
            Some((_, at_us)) if low < self.position => *at_us,
            _ => NO_TIME,
        };
        self.drain.oldest_us[self.source().index()].store(oldest, Ordering::Relaxed);
    }

    /// How long until its rows must go, `None` while it has none.
    pub(crate) fn due_in(&self) -> Option<Duration> {
        let rows = self.window.queued_rows();
        if rows == 0 {
            return None;
        }
        if rows >= self.drain.settings.batch_size || self.is_full() || self.must_flush() {
            return Some(Duration::ZERO);
        }
        let waited = self.window.oldest_read_at().map(|at| Instant::now() - at)?;
        Some(self.drain.settings.flush_interval.saturating_sub(waited))
    }

    fn must_flush(&self) -> bool {
        self.flushing || self.drain.sealed.load(Ordering::Relaxed)
    }

    /// Makes a batch of what is queued.
    pub(crate) fn take(&mut self) -> Option<Job> {
        let limits = TakeLimits {
            rows_max: self.drain.settings.batch_size.max(1),
            bytes_max: BATCH_BYTES_MAX,
        };
        let taken = self.window.take(limits);
        self.lose(&taken.damaged);
        let sink = self.drain.index;
        if taken.rows.is_empty() {
            taken.parts.iter().for_each(|(share, bytes)| share.finish(sink, *bytes));
            return None;
        }
        let log = (self.source() == Source::Log).then(|| self.board.source.id());
        let finished_below = self.board.durable_low(sink);
        Some(Job {
            drain: Arc::clone(&self.drain),
            ends: Ends::Board(Arc::clone(&self.board)),
            batch: Batch::new(taken.chunks.into(), taken.rows, log, finished_below, taken.bytes),
            _leases: taken.leases,
            parts: taken.parts,
        })
    }
}
