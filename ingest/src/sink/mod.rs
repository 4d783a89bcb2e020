//! Where batches are written. A sink writes and says how it went; it decides nothing: retries,
//! splitting, dead letters and cursors are the drain's.

pub mod batch;
mod bell;
pub mod buffer;
mod cursor;
pub mod dead_letter;
pub mod drain;
mod log_source;
pub mod progress;
mod registry;
pub mod replay;
pub mod shares;
pub mod source;

use std::fmt::Debug;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use thiserror::Error;

use dead_letter::SharedLetters;

pub use batch::{Batch, Chunk, RowRef};
pub use progress::{LogId, Progress, SeqSet};

/// What a sink did with a batch that it took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    /// Rows that it now holds.
    pub rows: u64,
    /// Rows that were older than its retention and were not written.
    pub expired: u64,
}

/// One row that a sink can never take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowFault {
    /// Which row of the batch, from 0.
    pub index: usize,
    /// A stable word for the reason, such as `value_too_large`; bounded, so it may be a label.
    pub code: &'static str,
    /// The reason for a person.
    pub message: String,
}

/// Why a batch was not written. In each case nothing of it may be counted as written, and
/// writing it again must be harmless.
#[derive(Debug, Error)]
pub enum SinkError {
    /// The sink can't be reached or is overloaded: the same rows are tried again for ever, those
    /// of a write that was given up for want of an answer in halves.
    #[error("sink is unavailable")]
    Unavailable(#[source] anyhow::Error),
    /// The batch is more than the sink takes at once: it is split.
    #[error("batch is too large for the sink")]
    TooLarge,
    /// These rows can never be written: they become dead letters, the rest is tried again.
    #[error("rows can't be written")]
    RowFaults(Vec<RowFault>),
    /// The sink does not know: bisected; a row that fails alone ten times while its neighbours
    /// succeed becomes a dead letter.
    #[error("write failed")]
    Unknown(#[source] anyhow::Error),
}

/// Whether a sink could write now, for readiness and status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SinkState {
    /// It could.
    Up,
    /// It could not; why, for a person.
    Down(String),
}

/// A place that batches are written to.
pub trait Sink: Send + Sync + Debug + 'static {
    /// Writes the whole batch or nothing that counts.
    ///
    /// Called by several workers at once. Must be idempotent by the rows' ids: the same rows
    /// may come again, in other batches, after a crash, after a write that was given up for
    /// want of an answer (its future is dropped), and to see whether the sink still works while
    /// another row fails. A sink that [keeps its own
    /// progress](Sink::progress) commits the batch's sequence numbers with its rows.
    fn write<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<Written, SinkError>>;

    /// What this sink itself has committed of the log `log`, if it commits its progress together
    /// with its rows; `None` leaves progress to the drain's cursor file, and writing at least
    /// once to the drain.
    fn progress(&self, _log: LogId) -> Option<Progress> {
        None
    }

    /// Makes all that was written survive a power loss. Called before the log forgets it.
    fn sync(&self) -> BoxFuture<'_, anyhow::Result<()>> {
        Box::pin(async { Ok(()) })
    }

    /// Brings what it holds back to its end. Called once, after the last write, when the process
    /// stops in order; given up after some seconds.
    fn close(&self) -> BoxFuture<'_, anyhow::Result<()>> {
        Box::pin(async { Ok(()) })
    }

    /// Puts its house in order, such as letting go of what is older than it keeps. Called about
    /// once a minute.
    fn maintain(&self) -> BoxFuture<'_, anyhow::Result<()>> {
        Box::pin(async { Ok(()) })
    }

    /// The dead letters that it keeps beside its rows for all processes, if it keeps any.
    fn letters(&self) -> Option<Arc<dyn SharedLetters>> {
        None
    }

    /// Whether it could write now; must not block.
    fn state(&self) -> SinkState {
        SinkState::Up
    }
}
