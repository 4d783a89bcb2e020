//! The memory store: the newest rows within bounds of rows and bytes, for trying things out and
//! for tests. Nothing survives the process; when it is full the oldest events make room.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::{BoxFuture, ready};
use uuid::Uuid;

use crate::log::frame::Record;
use crate::sink::{Batch, Sink, SinkError, Written};

use super::bars::Bars;
use super::newest::{Newest, Place};
use super::packed::PackedRow;
use super::{
    COUNTS_MAX, Count, CountQuery, Erased, Erasure, Page, Position, PulseQuery, QueryError, Row,
    Store,
};

const MINUTE_MS: i64 = 60_000;
/// What a row costs in the indexes besides its own bytes, in bytes: two tree entries, a hash
/// entry and an allocation, rounded up.
const ROW_OVERHEAD_BYTES: usize = 256;
/// Rows written under one lock, so that a query waits a fraction of a millisecond.
const ROWS_PER_LOCK: usize = 256;

/// How much a memory store holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryStoreLimits {
    /// Most rows.
    pub rows_max: usize,
    /// Most bytes, indexes included.
    pub bytes_max: usize,
}

/// The memory store.
#[derive(Debug)]
pub struct MemoryStore {
    limits: MemoryStoreLimits,
    rows: Mutex<Rows>,
    bars: Bars,
}

/// A service of a tenant.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Series {
    tenant: String,
    service: String,
}

#[derive(Debug, Default)]
struct Rows {
    by_series: HashMap<Arc<Series>, BTreeMap<Place, PackedRow>>,
    by_time: BTreeSet<(Place, Arc<Series>)>,
    /// Mostly one place; a client may use its id again outside the window of repeats.
    by_id: HashMap<Uuid, Vec<(i64, Arc<Series>)>>,
    counts: BTreeMap<(String, i64, String), u64>,
    bytes: usize,
}

impl MemoryStore {
    /// Makes an empty store that holds at most `limits`.
    pub fn new(limits: MemoryStoreLimits) -> Self {
        Self { limits, rows: Mutex::default(), bars: Bars::default() }
    }

    /// How many rows it holds.
    pub fn len(&self) -> usize {
        self.lock().by_time.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn put(&self, batch: &Batch) -> Written {
        let mut records = batch.rows().peekable();
        let mut written = Written::default();
        while records.peek().is_some() {
            let mut rows = self.lock();
            for record in records.by_ref().take(ROWS_PER_LOCK) {
                // Asked under the lock: an erasure that comes later finds what was let in.
                if self.bars.has(record.envelope.tenant, record.envelope.received_at_us) {
                    written.expired += 1;
                    continue;
                }
                written.rows += 1;
                rows.insert(&record);
                rows.shrink(self.limits);
            }
        }
        written
    }

    fn erase_some(&self, erasure: &Erasure) -> Erased {
        let mut rows = self.lock();
        let erased = rows.erase(erasure, ROWS_PER_LOCK);
        let next = (erased == ROWS_PER_LOCK).then(String::new);
        Erased { rows: erased as u64, next, ..Erased::default() }
    }

    fn page(&self, query: &PulseQuery) -> Page {
        let mut page = Newest::new(query);
        let Some((from_ms, until_ms)) = page.range() else { return Page::default() };
        let series = Series { tenant: query.tenant.clone(), service: query.service.clone() };
        let rows = self.lock();
        let Some(of_series) = rows.by_series.get(&series) else { return Page::default() };
        for (place, row) in of_series.range((from_ms, Uuid::nil())..=(until_ms, Uuid::max())).rev()
        {
            if !page.wants_below(*place) {
                break;
            }
            if page.wants(*place) {
                page.insert(*place, row.clone());
            }
        }
        drop(rows);
        page.into_page()
    }

    fn row(&self, tenant: &str, id: Uuid) -> Option<Row> {
        let rows = self.lock();
        let mut places = rows.by_id.get(&id)?.iter().rev();
        let (time, series) = places.find(|(_, series)| series.tenant == tenant)?;
        let row = rows.by_series.get(series)?.get(&(*time, id))?;
        Some(row.row(tenant, &series.service, Position { event_time_ms: *time, id }))
    }

    fn count(&self, query: &CountQuery) -> Result<Vec<Count>, QueryError> {
        let from_ms = minute_of(query.from_ms);
        if from_ms >= query.to_ms {
            return Ok(Vec::new());
        }
        let bound = |time_ms| (query.tenant.clone(), time_ms, String::new());
        let rows = self.lock();
        let counts = rows.counts.range(bound(from_ms)..bound(query.to_ms));
        let count = |((_, minute_ms, kind), pulses): (&(String, i64, String), &u64)| Count {
            minute_ms: *minute_ms,
            kind: kind.clone(),
            pulses: *pulses,
        };
        let counts: Vec<_> = counts.map(count).take(COUNTS_MAX + 1).collect();
        if counts.len() > COUNTS_MAX { Err(QueryError::TooManyCounts) } else { Ok(counts) }
    }

    fn lock(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rows {
    fn insert(&mut self, record: &Record<'_>) {
        let (tenant, entry) = (record.envelope.tenant, &record.entry);
        let series = Series { tenant: tenant.to_owned(), service: entry.service.to_owned() };
        let series = match self.by_series.get_key_value(&series) {
            Some((known, _)) => Arc::clone(known),
            None => Arc::new(series),
        };
        let place = (entry.event_time_ms, entry.id);
        let row = PackedRow::new(record);
        let bytes = row.len() + ROW_OVERHEAD_BYTES;
        let of_series = self.by_series.entry(Arc::clone(&series)).or_default();
        if of_series.contains_key(&place) {
            // The same row again: written once, counted once.
            return;
        }
        of_series.insert(place, row);
        self.bytes += bytes;
        self.by_id.entry(entry.id).or_default().push((place.0, Arc::clone(&series)));
        self.by_time.insert((place, series));
        let minute = (tenant.to_owned(), minute_of(place.0), entry.kind.to_owned());
        *self.counts.entry(minute).or_default() += 1;
    }

    fn shrink(&mut self, limits: MemoryStoreLimits) {
        while self.by_time.len() > limits.rows_max || self.bytes > limits.bytes_max {
            let Some((place, series)) = self.by_time.pop_first() else { break };
            self.remove(place, &series);
        }
    }

    /// Removes up to `most` rows of an erasure; returns how many.
    fn erase(&mut self, erasure: &Erasure, most: usize) -> usize {
        let mut found = Vec::new();
        let of_tenant = |series: &Series| series.tenant == erasure.tenant;
        for (series, rows) in self.by_series.iter().filter(|(series, _)| of_tenant(series)) {
            let old = rows.iter().filter(|(_, row)| row.received_at_us() <= erasure.until_us);
            found.extend(
                old.take(most - found.len()).map(|(place, _)| (*place, Arc::clone(series))),
            );
        }
        for entry in &found {
            self.by_time.remove(entry);
            self.remove(entry.0, &entry.1);
        }
        found.len()
    }

    /// Removes a row that is not in the order of times any more.
    fn remove(&mut self, place: Place, series: &Arc<Series>) {
        let (time, id) = place;
        if let Some(places) = self.by_id.get_mut(&id) {
            places.retain(|known| *known != (time, Arc::clone(series)));
            if places.is_empty() {
                self.by_id.remove(&id);
            }
        }
        let Some(of_series) = self.by_series.get_mut(series) else { return };
        let Some(row) = of_series.remove(&place) else { return };
        if of_series.is_empty() {
            self.by_series.remove(series);
        }
        self.bytes -= row.len() + ROW_OVERHEAD_BYTES;
        let minute = (series.tenant.clone(), minute_of(time), row.kind().to_owned());
        if let Some(count) = self.counts.get_mut(&minute) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&minute);
            }
        }
    }
}

fn minute_of(time_ms: i64) -> i64 {
    time_ms.div_euclid(MINUTE_MS).saturating_mul(MINUTE_MS)
}

impl Sink for MemoryStore {
    fn write<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<Written, SinkError>> {
        Box::pin(async move { Ok(self.put(batch)) })
    }
}

impl Store for MemoryStore {
    fn pulses<'a>(&'a self, query: &'a PulseQuery) -> BoxFuture<'a, Result<Page, QueryError>> {
        Box::pin(ready(Ok(self.page(query))))
    }

    fn pulse<'a>(
        &'a self,
        tenant: &'a str,
        id: Uuid,
    ) -> BoxFuture<'a, Result<Option<Row>, QueryError>> {
        Box::pin(ready(Ok(self.row(tenant, id))))
    }

    fn counts<'a>(
        &'a self,
        query: &'a CountQuery,
    ) -> BoxFuture<'a, Result<Vec<Count>, QueryError>> {
        Box::pin(ready(self.count(query)))
    }
    fn bar(&self, tenant: &str, until_us: Option<i64>) {
        self.bars.set(tenant, until_us);
    }

    fn erase<'a>(
        &'a self,
        erasure: &'a Erasure,
        _position: Option<&'a str>,
    ) -> BoxFuture<'a, anyhow::Result<Erased>> {
        Box::pin(ready(Ok(self.erase_some(erasure))))
    }
}
