//! A page while it is collected: the newest rows of those offered, in any order, that a query
//! asks for. Bounded in rows and bytes however many are offered.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::packed::PackedRow;
use super::{Page, Position, PulseQuery};

/// Bytes of original events at which a page ends before its limit of rows: with payloads at
/// their bound, a page of the most rows would be half a GiB.
const PAGE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Event time and id of a row.
pub(super) type Place = (i64, Uuid);

/// The newest rows so far.
#[derive(Debug)]
pub(super) struct Newest<'q> {
    query: &'q PulseQuery,
    rows: BTreeMap<Place, PackedRow>,
    /// Rows that are kept at most: one more than a page has, to know whether there is more.
    rows_max: usize,
    bytes: usize,
    /// Whether rows were let go because of their bytes.
    cut: bool,
}

impl<'q> Newest<'q> {
    pub(super) fn new(query: &'q PulseQuery) -> Self {
        let rows_max = query.limit.saturating_add(1);
        Self { query, rows: BTreeMap::new(), rows_max, bytes: 0, cut: false }
    }

    /// The first and last event time that can be in the page; `None` where none can.
    pub(super) fn range(&self) -> Option<(i64, i64)> {
        let mut until_ms = self.query.to_ms.checked_sub(1)?;
        if let Some(after) = self.query.after {
            until_ms = until_ms.min(after.event_time_ms);
        }
        let some = self.query.from_ms <= until_ms && self.query.limit > 0;
        some.then_some((self.query.from_ms, until_ms))
    }

    /// Whether no row at or before `newest_ms` can belong to the page any more.
    pub(super) fn is_settled_above(&self, newest_ms: i64) -> bool {
        newest_ms < self.query.from_ms
            || self.floor().is_some_and(|(floor_ms, _)| newest_ms < floor_ms)
    }

    /// Whether a row at `place` or a later one in the order can belong to the page.
    pub(super) fn wants_below(&self, place: Place) -> bool {
        place.0 >= self.query.from_ms && self.floor().is_none_or(|floor| place > floor)
    }

    /// Whether a row at `place` belongs to the page as far as is known.
    pub(super) fn wants(&self, place: Place) -> bool {
        let behind = |after: Position| place < (after.event_time_ms, after.id);
        place.0 < self.query.to_ms
            && self.query.after.is_none_or(behind)
            && self.wants_below(place)
            && !self.rows.contains_key(&place)
    }

    /// Adds a row that is wanted, and lets the oldest go where there are too many.
    pub(super) fn insert(&mut self, place: Place, row: PackedRow) {
        self.bytes += row.len();
        if let Some(replaced) = self.rows.insert(place, row) {
            self.bytes -= replaced.len();
        }
        while self.rows.len() > self.rows_max
            || (self.bytes > PAGE_BYTES_MAX && self.rows.len() > 1)
        {
            self.cut |= self.rows.len() <= self.rows_max;
            let Some((_, oldest)) = self.rows.pop_first() else { break };
            self.bytes -= oldest.len();
        }
        if self.cut {
            // What was let go is behind the page, and so is all that is older.
            self.rows_max = self.rows.len();
        }
    }

    /// The oldest row, where no older one is kept.
    fn floor(&self) -> Option<Place> {
        let full = self.rows.len() >= self.rows_max;
        full.then(|| self.rows.first_key_value().map(|(place, _)| *place)).flatten()
    }

    /// The page.
    pub(super) fn into_page(mut self) -> Page {
        let more = self.cut || self.rows.len() > self.query.limit;
        while self.rows.len() > self.query.limit {
            self.rows.pop_first();
        }
        let position = |(event_time_ms, id): Place| Position { event_time_ms, id };
        let next = self.rows.first_key_value().filter(|_| more).map(|(place, _)| position(*place));
        let (tenant, service) = (&self.query.tenant, &self.query.service);
        let row = |(place, row): (&Place, &PackedRow)| row.row(tenant, service, position(*place));
        Page { rows: self.rows.iter().rev().map(row).collect(), next }
    }
}
