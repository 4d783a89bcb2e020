//! Queries. All reads of one query see the same state between two commits.

use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use fjall::{Iter, Readable, Snapshot};
use uuid::Uuid;

use crate::store::newest::Newest;
use crate::store::packed::PackedRow;
use crate::store::{COUNTS_MAX, Count, CountQuery, Page, PulseQuery, Row};

use super::block::Block;
use super::codec::take_varint;
use super::commit::read_count;
use super::database::{Database, DatabaseError, Window};
use super::keys::{self, BLOCK_KEY_BYTES, Span};
use super::prepare::{ID_TIME_SLACK_MS, id_end, id_time_ms, slice_of};
use super::untimed::{self, Hasher};

const MINUTE_MS: i64 = 60_000;

/// One query's view of the store.
pub(super) struct Reader {
    store: Uuid,
    snapshot: Snapshot,
    windows: Vec<Arc<Window>>,
}

/// Blocks of one span in one window, newest first, and the next of them.
struct BlockSource<'r> {
    window: &'r Window,
    keys: Iter,
    next: NextBlock,
}

struct NextBlock {
    event_time_ms_max: i64,
    event_time_ms_min: i64,
    key: [u8; BLOCK_KEY_BYTES],
}

impl Reader {
    pub(super) fn new(database: &Database) -> Self {
        // The snapshot comes first: every window that it has rows of is then in the list.
        let snapshot = database.snapshot();
        Self { store: database.store, snapshot, windows: database.windows() }
    }

    /// The page that a query asks for. Blocks are read in the order of their newest rows, until
    /// none can hold a row that belongs to the page.
    pub(super) fn page(&self, query: &PulseQuery) -> Result<Page, DatabaseError> {
        let mut page = Newest::new(query);
        let Some((from_ms, until_ms)) = page.range() else { return Ok(Page::default()) };
        let mut sources = self.sources(query, from_ms, until_ms)?;
        let mut order: BinaryHeap<_> = (sources.iter().enumerate())
            .filter_map(|(at, source)| Some((source.as_ref()?.next.event_time_ms_max, at)))
            .collect();
        while let Some((newest_ms, at)) = order.pop() {
            if page.is_settled_above(newest_ms) {
                break;
            }
            let Some(mut source) = sources.get_mut(at).and_then(Option::take) else { continue };
            if source.next.event_time_ms_min <= until_ms {
                let block = self.block(source.window, &source.next.key)?;
                offer_rows(&mut page, &block);
            }
            if let Some(next) = next_block(&mut source.keys)? {
                order.push((next.event_time_ms_max, at));
                source.next = next;
                sources[at] = Some(source);
            }
        }
        Ok(page.into_page())
    }

    fn sources(
        &self,
        query: &PulseQuery,
        from_ms: i64,
        until_ms: i64,
    ) -> Result<Vec<Option<BlockSource<'_>>>, DatabaseError> {
        let series = keys::series(&query.tenant, &query.service);
        let mut sources = Vec::with_capacity(self.windows.len() * Span::ALL.len());
        for window in &self.windows {
            for span in Span::ALL {
                // A block whose newest row is later than this has no row that is early enough.
                let latest_ms = until_ms.saturating_add(span.ms_max());
                let first = keys::time(&series, span, latest_ms);
                let last = keys::time_end(&series, span, from_ms);
                let mut keys = self.snapshot.range(&window.index, first..=last);
                let next = next_block(&mut keys)?;
                sources.push(next.map(|next| BlockSource { window, keys, next }));
            }
        }
        Ok(sources)
    }

    fn block(&self, window: &Window, key: &[u8]) -> Result<Block, DatabaseError> {
        let bytes = self.snapshot.get(&window.rows, key)?;
        bytes.and_then(|bytes| Block::read(&bytes)).ok_or(DatabaseError::Damaged("a block"))
    }

    /// The row of an id, from the newest window that has it.
    pub(super) fn row(&self, tenant: &str, id: Uuid) -> Result<Option<Row>, DatabaseError> {
        for window in &self.windows {
            for batch in self.batches_of(window, tenant, id)? {
                if let Some(row) = self.row_of_batch(window, batch, tenant, id)? {
                    return Ok(Some(row));
                }
            }
        }
        Ok(None)
    }

    /// The batches of a window that may hold an id, the latest first.
    fn batches_of(
        &self,
        window: &Window,
        tenant: &str,
        id: Uuid,
    ) -> Result<Vec<u64>, DatabaseError> {
        let hash = Hasher::new(self.store, tenant).hash(id);
        let mut batches = untimed::batches_of(&self.snapshot, &window.ids, hash)?;
        let Some(time) = id_time_ms(id) else { return Ok(batches) };
        let bounds = window.bounds;
        if time < bounds.start_ms.saturating_sub(ID_TIME_SLACK_MS)
            || time > bounds.end_ms.saturating_add(ID_TIME_SLACK_MS)
        {
            return Ok(batches);
        }
        let (slice, offset) = slice_of(time);
        for guard in self.snapshot.prefix(&window.index, keys::slice(slice)).rev() {
            let (key, value) = guard.into_inner()?;
            let damaged = DatabaseError::Damaged("a slice of ids");
            let (Some(batch), &[a, b, c, d]) = (keys::read_slice(&key), &value[..]) else {
                return Err(damaged);
            };
            let (first, last) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
            if (first..=last).contains(&offset) {
                batches.push(batch);
            }
        }
        Ok(batches)
    }

    fn row_of_batch(
        &self,
        window: &Window,
        batch: u64,
        tenant: &str,
        id: Uuid,
    ) -> Result<Option<Row>, DatabaseError> {
        let table = self.snapshot.get(&window.rows, keys::block(batch, keys::ID_TABLE))?;
        let blocks = table.as_deref().and_then(|table| blocks_of(table, id));
        for number in blocks.ok_or(DatabaseError::Damaged("an id table"))? {
            let key = keys::block(batch, number);
            if !self.snapshot.contains_key(&window.rows, key)? {
                // It was erased; its batch's table still has it.
                continue;
            }
            let block = self.block(window, &key)?;
            if block.tenant() != tenant {
                continue;
            }
            let found = block.places().position(|(_, found)| found == id);
            if let Some(record) = found.and_then(|index| block.record(index)) {
                return Ok(Some(PackedRow::row_of(&record)));
            }
        }
        Ok(None)
    }

    /// Counts of all windows, summed.
    pub(super) fn counts(&self, query: &CountQuery) -> Result<Option<Vec<Count>>, DatabaseError> {
        let from_ms = query.from_ms.div_euclid(MINUTE_MS).saturating_mul(MINUTE_MS);
        if from_ms >= query.to_ms {
            return Ok(Some(Vec::new()));
        }
        let first = keys::count(&query.tenant, from_ms, "");
        // Minutes start on the minute, so the first that is out starts at or after the end.
        let end = keys::count(&query.tenant, query.to_ms, "");
        let mut sums: BTreeMap<(i64, Box<str>), u64> = BTreeMap::new();
        for window in &self.windows {
            for guard in self.snapshot.range(&window.index, first.as_slice()..end.as_slice()) {
                let (key, value) = guard.into_inner()?;
                let (Some((minute_ms, kind)), Some(pulses)) =
                    (keys::read_count(&key, &query.tenant), read_count(&value))
                else {
                    return Err(DatabaseError::Damaged("a count"));
                };
                *sums.entry((minute_ms, kind.into())).or_default() += pulses;
                if sums.len() > COUNTS_MAX {
                    return Ok(None);
                }
            }
        }
        let count = |((minute_ms, kind), pulses): ((i64, Box<str>), u64)| Count {
            minute_ms,
            kind: kind.into(),
            pulses,
        };
        Ok(Some(sums.into_iter().map(count).collect()))
    }
}

fn next_block(keys: &mut Iter) -> Result<Option<NextBlock>, DatabaseError> {
    let Some(guard) = keys.next() else { return Ok(None) };
    let (key, value) = guard.into_inner()?;
    let (Some((event_time_ms_max, key)), Some(min)) = (keys::read_time(&key), value.first_chunk())
    else {
        return Err(DatabaseError::Damaged("a time key"));
    };
    let event_time_ms_min = i64::from_be_bytes(*min);
    Ok(Some(NextBlock { event_time_ms_max, event_time_ms_min, key }))
}

fn offer_rows(page: &mut Newest<'_>, block: &Block) {
    for (index, place) in block.places().enumerate() {
        if !page.wants_below(place) {
            break;
        }
        if page.wants(place)
            && let Some(record) = block.record(index)
        {
            page.insert(place, PackedRow::new(&record));
        }
    }
}

/// The blocks of a batch that may hold an id; `None` where the table is none.
fn blocks_of(mut table: &[u8], id: Uuid) -> Option<Vec<u32>> {
    let table = &mut table;
    let blocks = usize::try_from(take_varint(table)?).ok()?;
    let mut rows = Vec::with_capacity(blocks.min(table.len()));
    for _ in 0..blocks {
        rows.push(usize::try_from(take_varint(table)?).ok()?);
    }
    let (wanted, mut found) = (id_end(id), Vec::new());
    let mut ends = table.chunks_exact(wanted.len());
    for (rows, number) in rows.into_iter().zip(0..) {
        // All rows of the block are gone through, so that the next begins where it should.
        if ends.by_ref().take(rows).filter(|end| **end == wanted).count() > 0 {
            found.push(number);
        }
    }
    Some(found)
}
