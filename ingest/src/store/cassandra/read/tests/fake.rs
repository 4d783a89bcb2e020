//! A service whose rows lie in partitions in memory, and which notes what is asked of it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use scylla::response::PagingState;
use tokio::task::yield_now;
use uuid::Uuid;

use crate::store::cassandra::layout::{Layout, bucket_of};
use crate::store::cassandra::read::order::Place;
use crate::store::cassandra::read::source::{Answer, Laid, Part, ReadError, Source};
use crate::store::{Position, Row};

/// The service.
#[derive(Debug, Default)]
pub(super) struct Fake {
    laid: BTreeMap<(i64, i16, u16), Laid>,
    parts: BTreeMap<(i64, i32), BTreeMap<Place, Row>>,
    /// Whether some answers have fewer rows than were asked for, or none, though there are more.
    pub(super) falters: bool,
    asked: Mutex<Asked>,
}

/// What was asked.
#[derive(Debug, Default, Clone)]
pub(super) struct Asked {
    pub(super) parts: Vec<(Part, usize)>,
    pub(super) bucket_pages: usize,
    /// Rounds of requests, each sent when the one before was answered.
    pub(super) rounds: usize,
    /// Requests and rows under way at once, at most.
    pub(super) requests_max: usize,
    pub(super) rows_max: usize,
    under_way: (usize, usize),
}

/// A row of which only its place and its size matter.
pub(super) fn row(event_time_ms: i64, id: Uuid, payload: usize) -> Row {
    Row {
        id,
        tenant: "t".into(),
        service: "s".into(),
        kind: "k".into(),
        event_time_ms,
        received_at_us: 0,
        latency_ms: None,
        status: None,
        value: None,
        user: None,
        usage: None,
        metadata: Vec::new(),
        payload: (payload > 0).then(|| "x".repeat(payload)),
    }
}

impl Fake {
    /// Writes a row as an ingest does that chose this layout.
    pub(super) fn write(&mut self, layout: Layout, row: Row) {
        let bucket_ms = bucket_of(row.event_time_ms);
        let slice = layout.slice_of(row.event_time_ms);
        let laid = Laid { bucket_ms, layout, slice };
        self.laid.insert((-bucket_ms, -layout.mark_of(slice), layout.code()), laid);
        let shard = layout.shard_of(row.event_time_ms, row.id);
        let place = Place::new(row.event_time_ms, row.id);
        self.parts.entry((bucket_ms, shard)).or_default().insert(place, row);
    }

    /// What was asked since the last time.
    pub(super) fn take_asked(&self) -> Asked {
        std::mem::take(&mut self.lock())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many items are given of those asked for.
    fn given(&self, items: usize, seed: i64) -> usize {
        if self.falters { items.min(seed.rem_euclid(4) as usize) } else { items }
    }
}

fn cut<T: Clone>(all: &[T], given: usize, from: &PagingState) -> Answer<T> {
    let start = from.as_bytes_slice().map_or(0, |bytes| {
        usize::from_be_bytes((**bytes).try_into().expect("a state of this service"))
    });
    let end = all.len().min(start + given);
    let state = || PagingState::new_from_raw_bytes(end.to_be_bytes().to_vec());
    Answer { items: all[start..end].to_vec(), rest: (end < all.len()).then(state) }
}

impl Source for Fake {
    async fn buckets(
        &self,
        (oldest_ms, newest_ms): (i64, i64),
        items: usize,
        from: PagingState,
    ) -> Result<Answer<Laid>, ReadError> {
        let begun = |laid: &&Laid| (oldest_ms..=newest_ms).contains(&laid.bucket_ms);
        let all: Vec<_> = self.laid.values().filter(begun).copied().collect();
        let pages = {
            let mut asked = self.lock();
            asked.bucket_pages += 1;
            asked.bucket_pages
        };
        Ok(cut(&all, self.given(items, pages as i64), &from))
    }

    async fn rows(
        &self,
        part: Part,
        items: usize,
        from: PagingState,
    ) -> Result<Answer<Row>, ReadError> {
        let asked = {
            let mut asked = self.lock();
            asked.parts.push((part, items));
            asked.rounds += usize::from(asked.under_way.0 == 0);
            asked.under_way.0 += 1;
            asked.under_way.1 += items;
            asked.requests_max = asked.requests_max.max(asked.under_way.0);
            asked.rows_max = asked.rows_max.max(asked.under_way.1);
            asked.parts.len()
        };
        yield_now().await;
        {
            let mut asked = self.lock();
            asked.under_way.0 -= 1;
            asked.under_way.1 -= items;
        }
        let Some(rows) = self.parts.get(&(part.bucket_ms, part.shard)) else {
            return Ok(Answer { items: Vec::new(), rest: None });
        };
        let from_ms = part.range.from_ms;
        let first = Place::of(Position { event_time_ms: from_ms, id: Uuid::nil() });
        let rows = rows.range(first..Place::of(part.range.until));
        let all: Vec<_> = rows.rev().map(|(_, row)| row.clone()).collect();
        Ok(cut(&all, self.given(items, asked as i64), &from))
    }
}
