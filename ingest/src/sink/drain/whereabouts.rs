//! Looks for a pulse that sinks have not finished, in what they have yet to read. Blocks; reads a
//! bounded part of the log, the newest, and changes nothing.

use std::io;
use std::sync::Arc;

use uuid::Uuid;

use crate::log::frame::{Frame, Record};
use crate::sink::dead_letter::Letter;
use crate::sink::source::Source;

use super::board::Board;
use super::view::View;

/// Bytes of the log that one question reads: some tenths of a second, and more than waits while
/// the store keeps up.
const READ_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Bytes that are read at once.
const CHUNK_BYTES: usize = 1024 * 1024;

/// A pulse that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Underway {
    /// The pulse as a frame of its own.
    frame: Vec<u8>,
    /// Whether it is in the log; else only memory holds it.
    pub is_logged: bool,
    /// The sinks, and whether each has finished it.
    pub sinks: Vec<(String, bool)>,
}

impl Underway {
    /// The pulse.
    pub fn record(&self) -> Option<Record<'_>> {
        let frame = Frame::read_proven(&self.frame).ok()?;
        frame.entries().next().map(|(_, record)| record)
    }
}

/// What was found, and whether all was looked at that waits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Looked {
    /// The pulse, where it is there.
    pub found: Option<Underway>,
    /// Whether older pulses wait that were not looked at.
    pub cut: bool,
}

/// Knows where pulses are that are on their way. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Whereabouts {
    view: Arc<View>,
}

impl Whereabouts {
    pub(crate) fn new(view: Arc<View>) -> Self {
        Self { view }
    }

    /// Looks for a tenant's pulse among those that some sink has not finished. Blocks.
    ///
    /// # Errors
    /// When the log can't be read.
    pub fn of(&self, tenant: &str, id: Uuid) -> io::Result<Looked> {
        let mut looked = Looked::default();
        for board in self.view.boards() {
            let (from, cut) = self.begin(board);
            looked.cut |= cut;
            if looked.found.is_none() {
                looked.found = self.look(board, from, (tenant, id))?;
            }
        }
        looked.cut &= looked.found.is_none();
        Ok(looked)
    }

    /// From which number on to look, and whether what waits is more.
    fn begin(&self, board: &Board) -> (u64, bool) {
        let low = self.view.sinks.iter().map(|sink| board.low(sink.index)).min();
        let end = board.source.end_seq();
        let low = low.unwrap_or(end).max(board.source.start_seq());
        if board.source.bytes_from(low) <= READ_BYTES_MAX {
            return (low, false);
        }
        let (mut from, mut until) = (low, end);
        while from < until {
            let middle = from + (until - from) / 2;
            match board.source.bytes_from(middle) > READ_BYTES_MAX {
                true => from = middle + 1,
                false => until = middle,
            }
        }
        (from, true)
    }

    fn look(
        &self,
        board: &Board,
        from: u64,
        (tenant, id): (&str, Uuid),
    ) -> io::Result<Option<Underway>> {
        let end = board.source.end_seq();
        let mut reader = board.source.reader(from);
        let mut read = 0;
        // The end as it was: whoever sends much must not keep a question going.
        while let Some(chunk) = reader.read(CHUNK_BYTES)?.filter(|chunk| chunk.first_seq < end) {
            let mut at = 0;
            while let Ok(frame) = Frame::read_proven(chunk.bytes.get(at..).unwrap_or_default()) {
                at += frame.header().frame_bytes();
                if frame.envelope().tenant != tenant {
                    continue;
                }
                let is_it = |record: &Record<'_>| record.entry.id == id;
                if let Some(record) = frame.entries().map(|(_, record)| record).find(is_it) {
                    return Ok(Some(self.underway(board, &record)));
                }
            }
            read += chunk.bytes.len() as u64;
            if read > 2 * READ_BYTES_MAX {
                break;
            }
        }
        Ok(None)
    }

    fn underway(&self, board: &Board, record: &Record<'_>) -> Underway {
        let sinks = self.view.sinks.iter();
        Underway {
            frame: Letter::frame_of(record),
            is_logged: board.kind == Source::Log,
            sinks: sinks
                .map(|sink| (sink.name.clone(), board.has_finished(sink.index, record.seq)))
                .collect(),
        }
    }
}
