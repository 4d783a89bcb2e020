//! A batch: rows for a sink, as views into the frames that hold them. Nothing is copied between
//! the log's read buffer and the sink.

use std::sync::Arc;

use bytes::Bytes;

use crate::log::frame::{Frame, Record};

use super::progress::{LogId, SeqSet};

/// Consecutive whole frames, proven by their checksums.
pub type Chunk = Bytes;

/// Where one row of a batch lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowRef {
    /// Its number in the log or in the memory buffer.
    pub seq: u64,
    /// Which of the batch's chunks.
    pub chunk: u32,
    /// Offset of its frame in the chunk.
    pub frame: u32,
    /// Offset of its entry in the frame.
    pub entry: u32,
}

/// Rows of one or more tenants that are written together.
#[derive(Debug, Clone)]
pub struct Batch {
    chunks: Arc<[Chunk]>,
    rows: Vec<RowRef>,
    log: Option<LogId>,
    finished_below: u64,
    bytes: usize,
    replay: bool,
}

impl Batch {
    /// Makes a batch of `rows`, each of which must lie in `chunks`. `log` is the log that the
    /// sequence numbers belong to, `None` for pulses that only memory holds. All numbers below
    /// `finished_below` are finished for this sink. `bytes` is the frames' size on disk.
    pub fn new(
        chunks: Arc<[Chunk]>,
        rows: Vec<RowRef>,
        log: Option<LogId>,
        finished_below: u64,
        bytes: usize,
    ) -> Self {
        Self { chunks, rows, log, finished_below, bytes, replay: false }
    }

    /// The same as a replay of dead letters: its numbers are those of the replays, which are a
    /// log of their own to a sink that keeps its progress.
    #[must_use]
    pub fn replayed(mut self) -> Self {
        self.replay = true;
        self
    }

    /// Whether it replays dead letters.
    pub fn is_replay(&self) -> bool {
        self.replay
    }

    /// How many rows it has.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Its approximate size in the log, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The log that its sequence numbers belong to; `None` where only memory held the pulses.
    pub fn log(&self) -> Option<LogId> {
        self.log
    }

    /// Every number below this is finished for this sink: a sink that keeps its own progress
    /// may forget ranges below it.
    pub fn finished_below(&self) -> u64 {
        self.finished_below
    }

    /// The row at `index`.
    pub fn row(&self, index: usize) -> Option<Record<'_>> {
        self.view(*self.rows.get(index)?)
    }

    /// Its rows in the order they were read.
    pub fn rows(&self) -> impl Iterator<Item = Record<'_>> {
        self.rows.iter().filter_map(|row| self.view(*row))
    }

    /// Which of its rows were refused when they were accepted. Looks at no row of a frame that has
    /// none.
    pub(crate) fn refused(&self) -> Vec<usize> {
        let holds = |row: &RowRef| {
            let chunk = self.chunks.get(row.chunk as usize)?;
            Some(Frame::read_proven(chunk.get(row.frame as usize..)?).ok()?.holds_refused())
        };
        let (mut frame, mut some) = (None, false);
        let is_refused = |(index, row): (usize, &RowRef)| {
            if frame.replace((row.chunk, row.frame)) != Some((row.chunk, row.frame)) {
                some = holds(row).unwrap_or(false);
            }
            (some && self.row(index)?.entry.refused.is_some()).then_some(index)
        };
        self.rows.iter().enumerate().filter_map(is_refused).collect()
    }

    /// Where its rows lie.
    pub fn row_refs(&self) -> &[RowRef] {
        &self.rows
    }

    /// The numbers of its rows.
    pub fn seqs(&self) -> SeqSet {
        self.rows.iter().map(|row| row.seq).collect()
    }

    /// A batch of some of its rows, given by index, sharing its frames.
    pub fn subset(&self, indexes: impl IntoIterator<Item = usize>) -> Self {
        let rows: Vec<_> =
            indexes.into_iter().filter_map(|index| self.rows.get(index).copied()).collect();
        let bytes = self.bytes * rows.len() / self.rows.len().max(1);
        Self {
            chunks: Arc::clone(&self.chunks),
            rows,
            log: self.log,
            finished_below: self.finished_below,
            bytes,
            replay: self.replay,
        }
    }

    fn view(&self, row: RowRef) -> Option<Record<'_>> {
        let frame = self.chunks.get(row.chunk as usize)?.get(row.frame as usize..)?;
        let frame = Frame::read_proven(frame).ok()?;
        let entry = frame.entry(row.entry as usize)?;
        Some(Record { seq: row.seq, envelope: frame.envelope(), entry })
    }
}
