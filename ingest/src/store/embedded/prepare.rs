//! A batch made ready to be committed: rows sorted into blocks, and what the indexes say of them.
//! The expensive part of a write; pure, done outside the commit lock.

use std::collections::hash_map::Entry as MapEntry;
use std::collections::{BTreeMap, HashMap};

use uuid::Uuid;

use crate::log::frame::{Envelope, Record};
use crate::retention::ClassNumber;
use crate::sink::{Batch, SeqSet};

use super::block::{BlockWriter, RAW_BYTES_SOFT, ROWS_MAX};
use super::codec::put_varint;
use super::keys::{self, Span};
use super::untimed::Hasher;

/// How far the time in a UUIDv7 may lie from the receive time for the id to be found by it, in
/// milliseconds. Ids made here differ by nothing; a client's own may be of any time, and those
/// beyond are indexed one by one.
pub(super) const ID_TIME_SLACK_MS: i64 = 60_000;
/// Rows of a tight block at which a row that would widen it starts a block of its own.
const TIGHT_ROWS_MIN: usize = 64;
const MINUTE_MS: i64 = 60_000;

/// A range of receive times whose rows of one class are kept and dropped together: from, and up
/// to but not including, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Bounds {
    pub(super) class: ClassNumber,
    pub(super) start_ms: i64,
    pub(super) end_ms: i64,
}

impl Bounds {
    pub(super) fn contains(&self, time_ms: i64) -> bool {
        (self.start_ms..self.end_ms).contains(&time_ms)
    }
}

/// What a batch writes to one window.
#[derive(Debug)]
pub(super) struct PreparedWindow {
    pub(super) bounds: Bounds,
    pub(super) blocks: Vec<PreparedBlock>,
    /// Two bytes of each id in the order of the blocks, behind the number of rows of each block.
    pub(super) id_table: Vec<u8>,
    /// First and last offset of UUIDv7 times within each slice.
    pub(super) slices: BTreeMap<u64, (u16, u16)>,
    /// Hashes of ids that tell no time, sorted.
    pub(super) untimed: Vec<u64>,
    /// Rows by the key of their count.
    pub(super) counts: HashMap<Vec<u8>, u64>,
}

/// One block, and its time key but for batch and block number.
#[derive(Debug)]
pub(super) struct PreparedBlock {
    pub(super) time_key: Vec<u8>,
    pub(super) event_time_ms_min: i64,
    pub(super) bytes: Vec<u8>,
}

/// What a batch writes.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    pub(super) windows: Vec<PreparedWindow>,
    /// The numbers of all rows but those that the store holds already.
    pub(super) fresh: SeqSet,
    /// Rows that will be written.
    pub(super) rows: u64,
    /// Rows that are too old to be written.
    pub(super) expired: u64,
    /// Rows that the store holds already.
    pub(super) held: u64,
}

/// What decides where a row goes, if anywhere.
pub(super) trait Placement {
    /// Whether the store holds the row of this sequence number already.
    fn is_held(&self, seq: u64) -> bool;
    /// Whether a row of a class that was received then is past retention.
    fn is_expired(&self, class: ClassNumber, received_ms: i64) -> bool;
    /// Whether a tenant's rows received then are being erased.
    fn is_barred(&self, tenant: &str, received_at_us: i64) -> bool;
    /// The window of a receive time.
    fn window(&self, class: ClassNumber, received_ms: i64) -> Bounds;
    /// The id of the store, under which ids are hashed.
    fn store(&self) -> Uuid;
}

/// One row and its place in the order that blocks are made in.
struct Sorted<'r, 'b> {
    series: u32,
    event_time_ms: i64,
    id: Uuid,
    record: &'r Record<'b>,
}

/// A service of a tenant in a window.
type Series<'b> = (Bounds, &'b str, &'b str);

/// Sorts a batch's rows into blocks.
pub(super) fn prepare(batch: &Batch, placement: &impl Placement) -> Prepared {
    let mut prepared = Prepared::default();
    let mut series = SeriesNumbers::default();
    let mut records = Vec::with_capacity(batch.len());
    let mut fresh = Vec::with_capacity(batch.len());
    for record in batch.rows() {
        if placement.is_held(record.seq) {
            prepared.held += 1;
            continue;
        }
        fresh.push(record.seq);
        let received_ms = record.envelope.received_at_us.div_euclid(1000);
        let class = ClassNumber::of_shard(record.entry.shard);
        let Envelope { tenant, received_at_us, .. } = record.envelope;
        if placement.is_expired(class, received_ms) || placement.is_barred(tenant, received_at_us) {
            prepared.expired += 1;
            continue;
        }
        let bounds = series.bounds(class, received_ms, placement);
        let number = series.number((bounds, record.envelope.tenant, record.entry.service));
        records.push((number, record));
    }
    prepared.fresh = fresh.into_iter().collect();
    prepared.rows = records.len() as u64;
    prepared.windows = Windows::of(placement.store()).build(&sort(&records), &series.all);
    prepared
}

fn sort<'r, 'b>(records: &'r [(u32, Record<'b>)]) -> Vec<Sorted<'r, 'b>> {
    let place = |(series, record): &'r (u32, Record<'b>)| Sorted {
        series: *series,
        event_time_ms: record.entry.event_time_ms,
        id: record.entry.id,
        record,
    };
    let mut rows: Vec<_> = records.iter().map(place).collect();
    rows.sort_unstable_by(|a, b| {
        (a.series.cmp(&b.series))
            .then_with(|| b.event_time_ms.cmp(&a.event_time_ms))
            .then_with(|| b.id.cmp(&a.id))
    });
    rows
}

/// Numbers for the series of a batch. Neighbours mostly share theirs, so the last is kept.
#[derive(Default)]
struct SeriesNumbers<'b> {
    all: Vec<Series<'b>>,
    by_name: HashMap<Series<'b>, u32>,
    last: u32,
    last_bounds: Option<Bounds>,
}

impl<'b> SeriesNumbers<'b> {
    fn number(&mut self, series: Series<'b>) -> u32 {
        if self.all.get(self.last as usize) != Some(&series) {
            let next = self.all.len() as u32;
            self.last = match self.by_name.entry(series) {
                MapEntry::Occupied(found) => *found.get(),
                MapEntry::Vacant(vacant) => {
                    self.all.push(series);
                    *vacant.insert(next)
                }
            };
        }
        self.last
    }

    fn bounds(
        &mut self,
        class: ClassNumber,
        received_ms: i64,
        placement: &impl Placement,
    ) -> Bounds {
        match self.last_bounds {
            Some(bounds) if bounds.class == class && bounds.contains(received_ms) => bounds,
            _ => *self.last_bounds.insert(placement.window(class, received_ms)),
        }
    }
}

/// Builds the windows of one batch.
struct Windows {
    store: Uuid,
    windows: BTreeMap<Bounds, WindowBuilder>,
    writer: BlockWriter,
}

#[derive(Default)]
struct WindowBuilder {
    blocks: Vec<PreparedBlock>,
    block_rows: Vec<u8>,
    id_ends: Vec<u8>,
    slices: BTreeMap<u64, (u16, u16)>,
    untimed: Vec<u64>,
    counts: HashMap<Vec<u8>, u64>,
}

impl Windows {
    fn of(store: Uuid) -> Self {
        Self { store, windows: BTreeMap::new(), writer: BlockWriter::default() }
    }

    fn build(mut self, rows: &[Sorted<'_, '_>], series: &[Series<'_>]) -> Vec<PreparedWindow> {
        for rows in rows.chunk_by(|a, b| a.series == b.series) {
            let Some(first) = rows.first() else { continue };
            let (bounds, tenant, service) = series[first.series as usize];
            let window = self.windows.entry(bounds).or_default();
            window.index_rows(tenant, Hasher::new(self.store, tenant), rows);
            let series_key = keys::series(tenant, service);
            let mut rest = rows;
            while !rest.is_empty() {
                let (block, behind) = rest.split_at(block_rows(rest));
                window.push_block(&series_key, block, &mut self.writer);
                rest = behind;
            }
        }
        self.windows.into_iter().map(|(bounds, window)| window.finish(bounds)).collect()
    }
}

/// How many of `rows`, which are of one series and sorted, make the next block.
fn block_rows(rows: &[Sorted<'_, '_>]) -> usize {
    let newest = rows.first().map_or(0, |row| row.event_time_ms);
    let mut raw_bytes = 0;
    for (count, row) in rows.iter().enumerate().take(ROWS_MAX) {
        let span = newest.saturating_sub(row.event_time_ms);
        let too_wide = span > Span::Wide.ms_max()
            || (span > Span::Tight.ms_max() && count >= TIGHT_ROWS_MIN && {
                let above = rows[count - 1].event_time_ms;
                newest.saturating_sub(above) <= Span::Tight.ms_max()
            });
        if raw_bytes >= RAW_BYTES_SOFT || too_wide {
            return count;
        }
        raw_bytes += row.record.entry.raw.len();
    }
    rows.len().min(ROWS_MAX)
}

impl WindowBuilder {
    fn push_block(&mut self, series: &[u8], rows: &[Sorted<'_, '_>], writer: &mut BlockWriter) {
        let (Some(newest), Some(oldest)) = (rows.first(), rows.last()) else { return };
        let span = Span::of(newest.event_time_ms.saturating_sub(oldest.event_time_ms));
        let records: Vec<_> = rows.iter().map(|row| row.record).collect();
        put_varint(&mut self.block_rows, rows.len() as u64);
        self.blocks.push(PreparedBlock {
            time_key: keys::time(series, span, newest.event_time_ms),
            event_time_ms_min: oldest.event_time_ms,
            bytes: writer.write(&records),
        });
    }

    fn index_rows(&mut self, tenant: &str, hasher: Hasher, rows: &[Sorted<'_, '_>]) {
        let mut run: Option<(i64, &str, u64)> = None;
        for row in rows {
            self.index_id(hasher, row);
            let minute = row.event_time_ms.div_euclid(MINUTE_MS).saturating_mul(MINUTE_MS);
            let kind = row.record.entry.kind;
            match &mut run {
                Some(run) if run.0 == minute && run.1 == kind => run.2 += 1,
                _ => {
                    if let Some(run) = run.replace((minute, kind, 1)) {
                        self.count(tenant, run);
                    }
                }
            }
        }
        if let Some(run) = run {
            self.count(tenant, run);
        }
    }

    fn count(&mut self, tenant: &str, (minute, kind, rows): (i64, &str, u64)) {
        *self.counts.entry(keys::count(tenant, minute, kind)).or_default() += rows;
    }

    fn index_id(&mut self, hasher: Hasher, row: &Sorted<'_, '_>) {
        self.id_ends.extend_from_slice(&id_end(row.id));
        let received_ms = row.record.envelope.received_at_us.div_euclid(1000);
        let time = id_time_ms(row.id)
            .filter(|time| time.abs_diff(received_ms) <= ID_TIME_SLACK_MS.unsigned_abs());
        let Some(time) = time else {
            self.untimed.push(hasher.hash(row.id));
            return;
        };
        let (slice, offset) = slice_of(time);
        let ends = self.slices.entry(slice).or_insert((offset, offset));
        *ends = (ends.0.min(offset), ends.1.max(offset));
    }

    fn finish(mut self, bounds: Bounds) -> PreparedWindow {
        self.untimed.sort_unstable();
        let mut id_table = Vec::with_capacity(8 + self.block_rows.len() + self.id_ends.len());
        put_varint(&mut id_table, self.blocks.len() as u64);
        id_table.extend_from_slice(&self.block_rows);
        id_table.extend_from_slice(&self.id_ends);
        PreparedWindow {
            bounds,
            blocks: self.blocks,
            id_table,
            slices: self.slices,
            untimed: self.untimed,
            counts: self.counts,
        }
    }
}

/// The time that a UUIDv7 begins with, in milliseconds since 1970.
pub(super) fn id_time_ms(id: Uuid) -> Option<i64> {
    (id.get_version_num() == 7).then(|| (id.as_u128() >> 80) as i64)
}

/// The slice that a UUIDv7's time lies in, and where in it.
pub(super) fn slice_of(time_ms: i64) -> (u64, u16) {
    let time = time_ms.unsigned_abs();
    (time >> keys::SLICE_BITS, (time & ((1 << keys::SLICE_BITS) - 1)) as u16)
}

/// The two bytes that an id table keeps of an id; random in every version of UUID that is used.
pub(super) fn id_end(id: Uuid) -> [u8; 2] {
    let bytes = id.as_bytes();
    [bytes[14], bytes[15]]
}
