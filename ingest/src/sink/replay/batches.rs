//! Makes batches of letters, which share the bytes that their pulses lie in. Writes nothing.

use bytes::Bytes;

use crate::log::frame::Frame;
use crate::sink::batch::{Batch, RowRef};
use crate::sink::progress::LogId;

/// Letters of a batch, and bytes that end one: a batch from the log at its usual size.
const BATCH_LETTERS_MAX: usize = 5_000;
const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Where a letter's pulse lies: its frame, in bytes that others may share.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<'a> {
    pub(super) seq: u64,
    pub(super) chunk: &'a Bytes,
    pub(super) frame: u32,
    /// Bytes of the frame.
    pub(super) bytes: usize,
}

impl<'a> Row<'a> {
    /// That of a frame that lies alone.
    pub(super) fn of(seq: u64, chunk: &'a Bytes) -> Self {
        Self { seq, chunk, frame: 0, bytes: chunk.len() }
    }
}

/// The letters in batches as a sink has them from the log, without those that can't be read.
/// Nothing is copied.
pub(super) fn batches_of<'a>(
    log: LogId,
    rows: impl Iterator<Item = Row<'a>>,
    below: u64,
) -> Vec<Batch> {
    let mut batches = Vec::new();
    let mut rows = rows.peekable();
    while rows.peek().is_some() {
        let (mut chunks, mut refs, mut bytes) = (Vec::<Bytes>::new(), Vec::new(), 0);
        while refs.len() < BATCH_LETTERS_MAX
            && bytes < BATCH_BYTES_MAX
            && let Some(Row { seq, chunk, frame, bytes: frame_bytes }) = rows.next()
        {
            let Some(entry) = chunk.get(frame as usize..).and_then(entry_of) else { continue };
            if chunks.last().is_none_or(|last| last.as_ptr() != chunk.as_ptr()) {
                chunks.push(chunk.clone());
            }
            refs.push(RowRef { seq, chunk: chunks.len() as u32 - 1, frame, entry });
            bytes += frame_bytes;
        }
        batches.push(Batch::new(chunks.into(), refs, Some(log), below, bytes).replayed());
    }
    batches
}

/// Where the pulse lies in its frame, if it can be read.
pub(super) fn entry_of(frame: &[u8]) -> Option<u32> {
    let frame = Frame::read_proven(frame).ok()?;
    frame.entries().next().map(|(offset, _)| offset as u32)
}
