//! What a walk over a service's rows reads from: its buckets, and pages of parts of partitions.
//! The seam that lets the walk be tested without a database.

use scylla::response::PagingState;
use thiserror::Error;

use crate::store::Row;
use crate::store::cassandra::layout::Layout;

use super::order::Range;

/// Some of what was asked for, and how to ask for the rest.
#[derive(Debug)]
pub(super) struct Answer<T> {
    pub(super) items: Vec<T>,
    /// `None`: there is no more.
    pub(super) rest: Option<PagingState>,
}

/// A range of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) bucket_ms: i64,
    pub(super) shard: i32,
    pub(super) range: Range,
}

/// A layout that rows of a bucket were written with, and one of its slices that has such rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Laid {
    pub(super) bucket_ms: i64,
    pub(super) layout: Layout,
    pub(super) slice: u16,
}

impl Laid {
    /// The first event time of the slice, in milliseconds since 1970.
    pub(super) fn begins_ms(self) -> i64 {
        self.bucket_ms.saturating_add(self.layout.slice_start_ms(self.slice))
    }

    /// Behind its last event time.
    pub(super) fn ends_ms(self) -> i64 {
        self.bucket_ms.saturating_add(self.layout.slice_start_ms(self.slice + 1))
    }

    /// The partitions that have its rows.
    pub(super) fn shards(self) -> std::ops::Range<i32> {
        self.layout.shards_of_slice(self.slice)
    }
}

/// One service of one tenant: neither can be changed between two reads.
pub(super) trait Source: Sync {
    /// Slices that have rows, of buckets that begin in `[oldest_ms, newest_ms]`: what ends latest
    /// first, at most `items`.
    fn buckets(
        &self,
        begin: (i64, i64),
        items: usize,
        from: PagingState,
    ) -> impl Future<Output = Result<Answer<Laid>, ReadError>> + Send;

    /// Rows of a part, newest first, at most `items`.
    fn rows(
        &self,
        part: Part,
        items: usize,
        from: PagingState,
    ) -> impl Future<Output = Result<Answer<Row>, ReadError>> + Send;
}

/// Why something was not read.
#[derive(Debug, Error)]
pub(in super::super) enum ReadError {
    /// The database did not answer, or with an error.
    #[error("request to the database failed")]
    Request(#[source] Box<scylla::errors::ExecutionError>),
    /// It answered something else than the tables hold.
    #[error("answer of the database is not understood")]
    Answer(#[source] anyhow::Error),
    /// There are more counts than one answer may have.
    #[error("query asks for too many counts")]
    TooManyCounts,
}

impl From<scylla::errors::ExecutionError> for ReadError {
    fn from(error: scylla::errors::ExecutionError) -> Self {
        Self::Request(Box::new(error))
    }
}
