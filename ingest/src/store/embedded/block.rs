//! Blocks: up to some hundred rows of one service, newest first, laid out by column and
//! compressed. Pure: records in, bytes out, and back.
//!
//! ```text
//! varint rows, varint bytes of the columns before compression
//! rows × 10 bytes: the random end of each id, which no compression shortens
//! the columns, LZ4:
//!   u8 length, tenant   u8 length, service
//!   varint heads, per head: u8 shape, u8 length, kind
//!   per row: varint event time before the row's above (the first: since 1970), zigzag
//!   per row: varint receive time after the row's above, µs, zigzag
//!   per row: varint the first 6 bytes of the id (of a UUIDv7 its time), less receive time, zigzag
//!   per row: varint head, where there is more than one
//!   per row: varint length of the original bytes
//!   the original bytes
//! ```

use std::ops::Range;

use lz4_flex::block::{CompressTable, compress_into_with_table, get_maximum_output_size};
use uuid::Uuid;

use crate::log::frame::{Entry, Envelope, Record};
use crate::pulse::Shape;

use super::codec::{put_varint, take, take_varint, unzigzag, zigzag};

/// Rows at which a block ends: a page of the usual 100 rows reads one or two.
pub(super) const ROWS_MAX: usize = 512;
/// Original bytes at which a block ends: what LZ4 can look back, and a bound on what one lookup
/// decompresses.
pub(super) const RAW_BYTES_SOFT: usize = 64 * 1024;
/// Most bytes of columns that are believed: the soft bound, and what one more row and its
/// columns can add.
const COLUMN_BYTES_MAX: usize = 4 * 1024 * 1024;
const ID_TAIL_BYTES: usize = 10;

/// The part of an id that is stored as it is, and the part that is stored as a difference.
fn split_id(id: Uuid) -> (i64, [u8; ID_TAIL_BYTES]) {
    let bits = id.as_u128();
    let mut tail = [0; ID_TAIL_BYTES];
    tail.copy_from_slice(&id.as_bytes()[6..]);
    ((bits >> 80) as i64, tail)
}

fn join_id(front: i64, tail: &[u8]) -> Uuid {
    let mut bytes = [0; 16];
    bytes[..6].copy_from_slice(&(front as u64).to_be_bytes()[2..]);
    bytes[6..].copy_from_slice(tail);
    Uuid::from_bytes(bytes)
}

/// Makes blocks; keeps its buffers between them.
#[derive(Default)]
pub(super) struct BlockWriter {
    columns: Vec<u8>,
    heads: Vec<u8>,
    table: CompressTable,
}

impl BlockWriter {
    /// Lays out `rows`, which are of one service and sorted newest first.
    pub(super) fn write(&mut self, rows: &[&Record<'_>]) -> Vec<u8> {
        self.columns.clear();
        let Some(first) = rows.first() else { return Vec::new() };
        put_name(&mut self.columns, first.envelope.tenant);
        put_name(&mut self.columns, first.entry.service);
        self.put_heads(rows);
        put_times(&mut self.columns, rows);
        self.columns.append(&mut self.heads);
        for row in rows {
            put_varint(&mut self.columns, row.entry.raw.len() as u64);
        }
        for row in rows {
            self.columns.extend_from_slice(row.entry.raw);
        }
        self.compress(rows)
    }

    /// Writes the dictionary of shapes and kinds, and collects each row's place in it.
    fn put_heads(&mut self, rows: &[&Record<'_>]) {
        let mut heads: Vec<(Shape, &str)> = Vec::new();
        self.heads.clear();
        let mut last = 0;
        for row in rows {
            let head = (row.envelope.shape, row.entry.kind);
            if heads.get(last) != Some(&head) {
                // The scan is bounded by the rows of a block; most have a handful of kinds.
                last = heads.iter().position(|known| *known == head).unwrap_or_else(|| {
                    heads.push(head);
                    heads.len() - 1
                });
            }
            put_varint(&mut self.heads, last as u64);
        }
        put_varint(&mut self.columns, heads.len() as u64);
        for (shape, kind) in &heads {
            self.columns.push(*shape as u8);
            put_name(&mut self.columns, kind);
        }
        if heads.len() == 1 {
            self.heads.clear();
        }
    }

    fn compress(&mut self, rows: &[&Record<'_>]) -> Vec<u8> {
        let room = get_maximum_output_size(self.columns.len());
        let mut out = Vec::with_capacity(16 + rows.len() * ID_TAIL_BYTES + room);
        put_varint(&mut out, rows.len() as u64);
        put_varint(&mut out, self.columns.len() as u64);
        for row in rows {
            out.extend_from_slice(&split_id(row.entry.id).1);
        }
        let at = out.len();
        out.resize(at + room, 0);
        // The room is what the worst case needs, so this can't fail; it would be noticed as a
        // block of the wrong length when it is read.
        let length = compress_into_with_table(&self.columns, &mut out[at..], &mut self.table);
        out.truncate(at + length.unwrap_or(0));
        out
    }
}

fn put_times(columns: &mut Vec<u8>, rows: &[&Record<'_>]) {
    let mut last = 0i64;
    for row in rows {
        let time = row.entry.event_time_ms;
        put_varint(columns, zigzag(last.wrapping_sub(time)));
        last = time;
    }
    last = 0;
    for row in rows {
        let time = row.envelope.received_at_us;
        put_varint(columns, zigzag(time.wrapping_sub(last)));
        last = time;
    }
    for row in rows {
        let received_ms = row.envelope.received_at_us.div_euclid(1000);
        put_varint(columns, zigzag(split_id(row.entry.id).0.wrapping_sub(received_ms)));
    }
}

fn put_name(out: &mut Vec<u8>, name: &str) {
    // Names are bounded to 255 bytes where they are decoded.
    out.push(name.len() as u8);
    out.extend_from_slice(name.as_bytes());
}

/// A block as it is read.
#[derive(Debug)]
pub(super) struct Block {
    columns: Vec<u8>,
    tenant: Range<usize>,
    service: Range<usize>,
    heads: Vec<(Shape, Range<usize>)>,
    rows: Vec<BlockRow>,
}

#[derive(Debug, Clone, Default)]
struct BlockRow {
    id: Uuid,
    event_time_ms: i64,
    received_at_us: i64,
    head: usize,
    raw: Range<usize>,
}

impl Block {
    /// Reads a block; `None` where the bytes are none.
    pub(super) fn read(mut bytes: &[u8]) -> Option<Self> {
        let bytes = &mut bytes;
        let rows = usize::try_from(take_varint(bytes)?).ok()?;
        let length = usize::try_from(take_varint(bytes)?).ok()?;
        if rows > ROWS_MAX || length > COLUMN_BYTES_MAX {
            return None;
        }
        let tails = take(bytes, rows * ID_TAIL_BYTES)?;
        let columns = lz4_flex::block::decompress(bytes, length).ok()?;
        let mut block = Self {
            tenant: 0..0,
            service: 0..0,
            heads: Vec::new(),
            rows: vec![BlockRow::default(); rows],
            columns: Vec::new(),
        };
        block.read_columns(&columns, tails)?;
        block.columns = columns;
        Some(block)
    }

    fn read_columns(&mut self, columns: &[u8], tails: &[u8]) -> Option<()> {
        let mut at = columns;
        self.tenant = take_name(columns, &mut at)?;
        self.service = take_name(columns, &mut at)?;
        for _ in 0..take_varint(&mut at)? {
            let shape = Shape::from_number(*take(&mut at, 1)?.first()?)?;
            self.heads.push((shape, take_name(columns, &mut at)?));
        }
        self.read_times(&mut at, tails)?;
        if self.heads.len() > 1 {
            for row in &mut self.rows {
                row.head = usize::try_from(take_varint(&mut at)?).ok()?;
            }
        }
        let mut end = 0usize;
        for row in &mut self.rows {
            let start = end;
            end = end.checked_add(usize::try_from(take_varint(&mut at)?).ok()?)?;
            row.raw = start..end;
        }
        let from = columns.len() - at.len();
        for row in &mut self.rows {
            row.raw = from + row.raw.start..from + row.raw.end;
        }
        let heads = self.heads.len();
        (at.len() == end && self.rows.iter().all(|row| row.head < heads)).then_some(())
    }

    fn read_times(&mut self, at: &mut &[u8], tails: &[u8]) -> Option<()> {
        let mut last = 0i64;
        for row in &mut self.rows {
            last = last.wrapping_sub(unzigzag(take_varint(at)?));
            row.event_time_ms = last;
        }
        last = 0;
        for row in &mut self.rows {
            last = last.wrapping_add(unzigzag(take_varint(at)?));
            row.received_at_us = last;
        }
        for (row, tail) in self.rows.iter_mut().zip(tails.chunks_exact(ID_TAIL_BYTES)) {
            let received_ms = row.received_at_us.div_euclid(1000);
            row.id = join_id(received_ms.wrapping_add(unzigzag(take_varint(at)?)), tail);
        }
        Some(())
    }

    /// Whose rows it holds.
    pub(super) fn tenant(&self) -> &str {
        self.text(&self.tenant)
    }

    /// All rows, newest first.
    pub(super) fn records(&self) -> impl Iterator<Item = Record<'_>> + '_ {
        (0..self.rows.len()).filter_map(|index| self.record(index))
    }

    /// Event time and id of each row, newest first.
    pub(super) fn places(&self) -> impl Iterator<Item = (i64, Uuid)> + '_ {
        self.rows.iter().map(|row| (row.event_time_ms, row.id))
    }

    /// The row at `index`, without what only the log knows of it.
    pub(super) fn record(&self, index: usize) -> Option<Record<'_>> {
        let row = self.rows.get(index)?;
        let (shape, kind) = self.heads.get(row.head)?;
        let (tenant, received_at_us) = (self.tenant(), row.received_at_us);
        Some(Record {
            seq: 0,
            envelope: Envelope { tenant, shape: *shape, received_at_us, trace: None },
            entry: Entry {
                id: row.id,
                event_time_ms: row.event_time_ms,
                shard: 0,
                service: self.text(&self.service),
                kind: self.text(kind),
                key: None,
                body_hash: None,
                refused: None,
                raw: self.columns.get(row.raw.clone())?,
            },
        })
    }

    fn text(&self, range: &Range<usize>) -> &str {
        let bytes = self.columns.get(range.clone()).unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }
}

fn take_name(columns: &[u8], at: &mut &[u8]) -> Option<Range<usize>> {
    let length = usize::from(*take(at, 1)?.first()?);
    let start = columns.len() - at.len();
    std::str::from_utf8(take(at, length)?).ok()?;
    Some(start..start + length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Parts = (u128, i64, i64, bool, String, Vec<u8>);

    fn record(parts: &Parts) -> Record<'_> {
        let (id, event_time_ms, received_at_us, ingest, kind, raw) = parts;
        let shape = if *ingest { Shape::Ingest } else { Shape::Events };
        Record {
            seq: 0,
            envelope: Envelope {
                tenant: "default",
                shape,
                received_at_us: *received_at_us,
                trace: None,
            },
            entry: Entry {
                id: Uuid::from_u128(*id),
                event_time_ms: *event_time_ms,
                shard: 0,
                service: "checkout",
                kind,
                key: None,
                body_hash: None,
                refused: None,
                raw,
            },
        }
    }

    fn parts() -> impl Strategy<Value = Parts> {
        let raw = prop::collection::vec(any::<u8>(), 0..60);
        (any::<u128>(), any::<i64>(), any::<i64>(), any::<bool>(), "[a-c]{0,2}", raw)
    }

    proptest! {
        #[test]
        fn a_block_gives_back_its_rows_and_no_damage_panics(
            rows in prop::collection::vec(parts(), 1..40),
            cut in any::<prop::sample::Index>(),
            flip in any::<prop::sample::Index>(),
        ) {
            let records: Vec<_> = rows.iter().map(record).collect();
            let bytes = BlockWriter::default().write(&records.iter().collect::<Vec<_>>());
            let block = Block::read(&bytes).expect("a block");
            for (index, record) in records.iter().enumerate() {
                prop_assert_eq!(block.record(index), Some(*record));
            }
            prop_assert_eq!(block.record(records.len()), None);
            prop_assert!(Block::read(&bytes[..cut.index(bytes.len())]).is_none());
            let mut damaged = bytes.clone();
            damaged[flip.index(bytes.len())] ^= 0x41;
            if let Some(block) = Block::read(&damaged) {
                for index in 0..records.len() {
                    let _ = block.record(index);
                }
            }
        }
    }
}
