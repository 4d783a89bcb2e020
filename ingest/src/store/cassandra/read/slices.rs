//! Where rows of a time lie: a service's time cut into slices, newest first, each with the
//! partitions that together hold all rows of it.

use std::collections::VecDeque;

use scylla::response::PagingState;

use crate::store::cassandra::layout::bucket_of;

use super::order::Range;
use super::source::{Laid, Part, ReadError, Source};

/// Rows of the table of buckets read first, of which a bucket of a hot service has one for each
/// slice, and any other has one: a page of a hot service needs two, and most of all others do with
/// so many. Then so many at once, some 20 KiB.
const BUCKETS_FIRST: usize = 32;
const BUCKETS_NEXT: usize = 1_000;

/// A range of time; its parts together hold all rows of it, none twice but for a row that was
/// written twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slice {
    pub(super) parts: Vec<Part>,
    /// Whether rows came so fast that a bucket was cut: one slice alone most likely fills a page.
    pub(super) hot: bool,
}

/// The slices of a range, newest first: cut wherever the partitions change that have rows. What
/// has rows is read when it is needed.
#[derive(Debug)]
pub(super) struct Slices {
    range: Range,
    /// What was read and ends before the time that the next slice begins behind.
    laid: VecDeque<Laid>,
    /// What has rows just before that time.
    covering: Vec<Laid>,
    /// All from here on was given.
    given_ms: i64,
    /// Where to read on; `None`: all was read.
    rest: Option<PagingState>,
    asked: usize,
}

impl Slices {
    pub(super) fn new(range: Range) -> Self {
        Self {
            range,
            laid: VecDeque::new(),
            covering: Vec::new(),
            given_ms: range.until.event_time_ms.saturating_add(1),
            rest: Some(PagingState::start()),
            asked: BUCKETS_FIRST,
        }
    }

    /// The next older slice that is in the range.
    pub(super) async fn next(&mut self, source: &impl Source) -> Result<Option<Slice>, ReadError> {
        while self.given_ms > self.range.from_ms {
            self.cover(source).await?;
            let next_ms = self.laid.front().map(|laid| laid.ends_ms());
            let Some(first_ms) = self.covering.iter().map(|laid| laid.begins_ms()).max() else {
                match next_ms {
                    Some(next_ms) => self.given_ms = next_ms,
                    None => return Ok(None),
                }
                continue;
            };
            let from_ms = next_ms.map_or(first_ms, |next_ms| next_ms.max(first_ms));
            let range = Range::new(from_ms, self.given_ms).and(self.range);
            self.given_ms = from_ms;
            if !range.is_empty() {
                return Ok(Some(slice(&self.covering, range)));
            }
        }
        Ok(None)
    }

    /// Brings what has rows just before `given_ms`, and what ends next before that.
    async fn cover(&mut self, source: &impl Source) -> Result<(), ReadError> {
        let given_ms = self.given_ms;
        self.covering.retain(|laid| laid.begins_ms() < given_ms);
        loop {
            match self.laid.front().copied() {
                Some(laid) if laid.ends_ms() < given_ms => return Ok(()),
                Some(laid) => {
                    self.laid.pop_front();
                    if laid.begins_ms() < given_ms {
                        self.covering.push(laid);
                    }
                }
                None if self.rest.is_some() => self.read(source).await?,
                None => return Ok(()),
            }
        }
    }

    /// Reads further of what has rows.
    async fn read(&mut self, source: &impl Source) -> Result<(), ReadError> {
        let Some(from) = self.rest.take() else { return Ok(()) };
        let newest_ms = bucket_of(self.range.until.event_time_ms);
        let oldest_ms = bucket_of(self.range.from_ms);
        let answer = source.buckets((oldest_ms, newest_ms), self.asked, from).await?;
        self.asked = BUCKETS_NEXT;
        self.laid.extend(answer.items);
        self.rest = answer.rest;
        Ok(())
    }
}

/// All that covers a range lies in one bucket: none reaches over its end.
fn slice(covering: &[Laid], range: Range) -> Slice {
    let parts = covering.iter().flat_map(|laid| laid.shards().map(|shard| (laid.bucket_ms, shard)));
    let mut parts: Vec<(i64, i32)> = parts.collect();
    parts.sort_unstable();
    parts.dedup();
    Slice {
        parts: parts
            .into_iter()
            .map(|(bucket_ms, shard)| Part { bucket_ms, shard, range })
            .collect(),
        hot: covering.iter().any(|laid| laid.layout.slices() > 1),
    }
}
