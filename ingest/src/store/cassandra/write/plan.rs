//! Which requests a batch becomes: its rows by partition, in pieces that the database takes at
//! once, and what must be written before them. Pure.

use std::collections::HashMap;
use std::hash::Hash;
use std::ops::Range;

use crate::log::frame::Record;
use crate::sink::{Batch, RowFault};
use crate::store::bars::Bars;

use super::super::layout::{IdPlace, Layout, bucket_of};
use super::super::lifetime::capped;
use super::row::{PlannedRow, Table, Values};

/// Most rows of one request: beyond it a request costs the coordinator more than it saves.
pub(super) const REQUEST_ROWS_MAX: usize = 100;
/// Bytes of one request, by [`PlannedRow::bytes`]; a row beyond it goes alone. A request is one
/// mutation for the database, which warns at 5 KiB by default only where there are several.
pub(super) const REQUEST_BYTES_MAX: usize = 48 * 1024;
/// What an event's values take beside its texts: lengths, numbers, times and the statement's id.
const EVENT_BYTES_FIXED: usize = 160;
/// The same for a row of the index of ids.
const ID_BYTES_FIXED: usize = 128;

/// What decides how a batch is planned, beside its rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct PlanSettings {
    pub(super) now_us: i64,
    pub(super) retention_us: i64,
    pub(super) id_index: bool,
}

/// Rows of one tenant, service, bucket, layout and slice: what `pulse_buckets` has a row of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Series<'a> {
    pub(super) tenant: &'a str,
    pub(super) service: &'a str,
    pub(super) bucket_ms: i64,
    pub(super) layout: Layout,
    pub(super) slice: u16,
}

/// An hour of a tenant with ids that tell no time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NamedHour<'a> {
    pub(super) tenant: &'a str,
    pub(super) hour_ms: i64,
    /// Over how many shards they are spread.
    pub(super) shards: u32,
    /// How many the batch has.
    pub(super) ids: u64,
}

/// Rows of one table in the order of its requests.
#[derive(Debug, Default)]
pub(super) struct Requests {
    pub(super) order: Vec<u32>,
    pub(super) ranges: Vec<Range<u32>>,
}

/// What is to be written.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    pub(super) rows: Vec<PlannedRow<'a>>,
    pub(super) events: Requests,
    pub(super) ids: Requests,
    pub(super) series: Vec<Series<'a>>,
    pub(super) named_hours: Vec<NamedHour<'a>>,
    /// Rows past their retention, which are not written.
    pub(super) expired: u64,
    /// Rows that can't be read again.
    pub(super) faults: Vec<RowFault>,
}

impl<'a> Plan<'a> {
    /// Plans a batch; what is barred counts as expired. `shards` says over how many shards a
    /// tenant's ids of an hour are spread, and is asked once for each.
    pub(super) fn new(
        batch: &'a Batch,
        settings: &PlanSettings,
        bars: &Bars,
        shards: impl FnMut(&str, i64) -> u32,
    ) -> Self {
        let mut planner = Planner::new(batch.len(), *settings, shards);
        for index in 0..batch.len() {
            match batch.row(index) {
                Some(Record { envelope, .. })
                    if bars.has(envelope.tenant, envelope.received_at_us) =>
                {
                    planner.expired += 1;
                }
                Some(record) => planner.add(index, &record),
                None => planner.faults.push(RowFault {
                    index,
                    code: "unreadable",
                    message: "the row can't be read again".to_owned(),
                }),
            }
        }
        planner.finish()
    }

    /// The values of some rows of a table, given as a range of its order.
    pub(super) fn values(&self, table: Table, range: Range<u32>) -> Values<'_> {
        let order = &self.requests(table).order;
        let order = order.get(range.start as usize..range.end as usize).unwrap_or_default();
        Values { table, rows: &self.rows, order }
    }

    pub(super) fn requests(&self, table: Table) -> &Requests {
        match table {
            Table::Events => &self.events,
            Table::Ids => &self.ids,
        }
    }
}

impl PlannedRow<'_> {
    /// About how many bytes the row takes in a request: what JSON spends on names and signs,
    /// the values' lengths spend at most.
    pub(super) fn bytes(&self, table: Table) -> usize {
        match table {
            Table::Events => {
                let names = self.tenant.len() + self.service.len() + self.kind.len();
                EVENT_BYTES_FIXED + names + self.raw.len()
            }
            Table::Ids => ID_BYTES_FIXED + self.tenant.len() + self.service.len(),
        }
    }
}

/// Seconds until a row received then has reached its retention, rounded up; `None`: it has.
pub(super) fn ttl_s(received_at_us: i64, settings: &PlanSettings) -> Option<i32> {
    let end_us = received_at_us.saturating_add(settings.retention_us);
    let left_us = end_us.saturating_sub(settings.now_us);
    let left_s = left_us.div_euclid(1_000_000) + i64::from(left_us.rem_euclid(1_000_000) > 0);
    (left_us > 0).then(|| capped(left_s, settings.now_us))
}

struct Planner<'a, S> {
    settings: PlanSettings,
    shards: S,
    rows: Vec<PlannedRow<'a>>,
    event_groups: Vec<u32>,
    id_groups: Vec<u32>,
    series: Numbers<Series<'a>>,
    events: Numbers<(u32, i32)>,
    hours: Numbers<(&'a str, i64)>,
    ids: Numbers<(u32, i32)>,
    /// Of each hour, in the order of their numbers; without ids that tell no time: no shards.
    named: Vec<NamedHour<'a>>,
    expired: u64,
    faults: Vec<RowFault>,
}

impl<'a, S: FnMut(&str, i64) -> u32> Planner<'a, S> {
    fn new(rows: usize, settings: PlanSettings, shards: S) -> Self {
        Self {
            settings,
            shards,
            rows: Vec::with_capacity(rows),
            event_groups: Vec::with_capacity(rows),
            id_groups: Vec::with_capacity(if settings.id_index { rows } else { 0 }),
            series: Numbers::default(),
            events: Numbers::default(),
            hours: Numbers::default(),
            ids: Numbers::default(),
            named: Vec::new(),
            expired: 0,
            faults: Vec::new(),
        }
    }

    fn add(&mut self, index: usize, record: &Record<'a>) {
        let (envelope, entry) = (&record.envelope, &record.entry);
        let Some(ttl_s) = ttl_s(envelope.received_at_us, &self.settings) else {
            self.expired += 1;
            return;
        };
        let layout = Layout::from_code(entry.shard);
        let bucket_ms = bucket_of(entry.event_time_ms);
        let shard = layout.shard_of(entry.event_time_ms, entry.id);
        let slice = layout.slice_of(entry.event_time_ms);
        let (tenant, service) = (envelope.tenant, entry.service);
        let series = Series { tenant, service, bucket_ms, layout, slice };
        let series = self.series.number(series);
        self.event_groups.push(self.events.number((series, shard)));
        let id_place = if self.settings.id_index { Some(self.add_id(record)) } else { None };
        self.rows.push(PlannedRow {
            seq: record.seq,
            tenant: envelope.tenant,
            service: entry.service,
            kind: entry.kind,
            raw: entry.raw,
            id: entry.id,
            bucket_ms,
            event_time_ms: entry.event_time_ms,
            received_at_us: envelope.received_at_us,
            id_hour_ms: id_place.map_or(0, |place| place.hour_ms),
            id_shard: id_place.map_or(0, |place| place.shard),
            ttl_s,
            index: index as u32,
            shard,
            shape: envelope.shape,
        });
    }

    fn add_id(&mut self, record: &Record<'a>) -> IdPlace {
        let (tenant, id) = (record.envelope.tenant, record.entry.id);
        let received_at_us = record.envelope.received_at_us;
        let hour_ms = IdPlace::named(received_at_us, id, 1).hour_ms;
        let hour = self.hours.number((tenant, hour_ms));
        if self.named.len() <= hour as usize {
            self.named.push(NamedHour { tenant, hour_ms, shards: 0, ids: 0 });
        }
        let place = IdPlace::of(received_at_us, id, || {
            let Some(named) = self.named.get_mut(hour as usize) else { return 1 };
            if named.shards == 0 {
                named.shards = (self.shards)(tenant, hour_ms);
            }
            named.ids += 1;
            named.shards
        });
        self.id_groups.push(self.ids.number((hour, place.shard)));
        place
    }

    fn finish(self) -> Plan<'a> {
        let order = |groups: &[u32], count, table| Requests::new(&self.rows, groups, count, table);
        let events = order(&self.event_groups, self.events.len(), Table::Events);
        let ids = order(&self.id_groups, self.ids.len(), Table::Ids);
        let mut named_hours = self.named;
        named_hours.retain(|named| named.ids > 0);
        Plan {
            events,
            ids,
            rows: self.rows,
            series: self.series.all,
            named_hours,
            expired: self.expired,
            faults: self.faults,
        }
    }
}

impl Requests {
    /// Orders rows by their groups, of which there are `count`, and cuts each group.
    fn new(rows: &[PlannedRow<'_>], groups: &[u32], count: usize, table: Table) -> Self {
        let mut ends = vec![0_u32; count + 1];
        for &group in groups {
            ends[group as usize + 1] += 1;
        }
        for group in 0..count {
            ends[group + 1] += ends[group];
        }
        // Each start moves on to its group's end as the rows are put down.
        let mut order = vec![0; groups.len()];
        for (row, &group) in groups.iter().enumerate() {
            let at = &mut ends[group as usize];
            order[*at as usize] = row as u32;
            *at += 1;
        }
        let mut requests = Self { order, ranges: Vec::with_capacity(count) };
        let mut start = 0;
        for &end in ends.iter().take(count) {
            requests.cut(rows, start..end, table);
            start = end;
        }
        requests
    }

    fn cut(&mut self, rows: &[PlannedRow<'_>], group: Range<u32>, table: Table) {
        let (mut start, mut bytes) = (group.start, 0);
        for at in group.clone() {
            let row = rows.get(self.order[at as usize] as usize);
            let row_bytes = row.map_or(0, |row| row.bytes(table));
            let full = (at - start) as usize == REQUEST_ROWS_MAX;
            if at > start && (full || bytes + row_bytes > REQUEST_BYTES_MAX) {
                self.ranges.push(start..at);
                (start, bytes) = (at, 0);
            }
            bytes += row_bytes;
        }
        if start < group.end {
            self.ranges.push(start..group.end);
        }
    }
}

/// Numbers for keys in the order in which they are seen. Neighbours often share theirs.
struct Numbers<K> {
    all: Vec<K>,
    by_key: HashMap<K, u32>,
    last: u32,
}

impl<K> Default for Numbers<K> {
    fn default() -> Self {
        Self { all: Vec::new(), by_key: HashMap::new(), last: 0 }
    }
}

impl<K: Copy + Eq + Hash> Numbers<K> {
    fn number(&mut self, key: K) -> u32 {
        if self.all.get(self.last as usize) != Some(&key) {
            let next = self.all.len() as u32;
            self.last = *self.by_key.entry(key).or_insert(next);
            if self.last == next {
                self.all.push(key);
            }
        }
        self.last
    }

    fn len(&self) -> usize {
        self.all.len()
    }
}
