//! Rows as they are bound to statements: straight from the log's record into the request's
//! buffer. The order of values is that of the INSERTs in [`super::super::statements`].

use scylla::serialize::SerializationError;
use scylla::serialize::batch::{BatchValues, BatchValuesIterator};
use scylla::serialize::row::RowSerializationContext;
use scylla::serialize::writers::{CellOverflowError, RowWriter};
use thiserror::Error;
use uuid::Uuid;

use crate::decode::decode_event;
use crate::pulse::{Pulse, Shape, Usage};

/// Values of a row of `pulse_events_by_service`, and of one of `pulse_ids`.
const EVENT_VALUES: usize = 19;
const ID_VALUES: usize = 9;

/// One row to be written, as views into its record. Its original bytes are decoded when they are
/// sent, into the buffer that is sent: nothing lies between.
#[derive(Debug, Clone, Copy)]
pub(super) struct PlannedRow<'a> {
    pub(super) seq: u64,
    pub(super) tenant: &'a str,
    pub(super) service: &'a str,
    pub(super) kind: &'a str,
    pub(super) raw: &'a [u8],
    pub(super) id: Uuid,
    pub(super) bucket_ms: i64,
    pub(super) event_time_ms: i64,
    pub(super) received_at_us: i64,
    pub(super) id_hour_ms: i64,
    pub(super) id_shard: i32,
    pub(super) ttl_s: i32,
    /// Which row of the batch, from 0.
    pub(super) index: u32,
    pub(super) shard: i32,
    pub(super) shape: Shape,
}

/// Which table a request writes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Table {
    /// `pulse_events_by_service`
    Events,
    /// `pulse_ids`
    Ids,
}

/// The rows of one request, in the order in which they are sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Values<'a> {
    pub(super) table: Table,
    pub(super) rows: &'a [PlannedRow<'a>],
    /// Indexes into `rows`.
    pub(super) order: &'a [u32],
}

/// Why a row's values can't be made.
#[derive(Debug, Error)]
enum ValueError {
    #[error("original bytes are no event")]
    Undecodable,
    #[error("statement has other values than these")]
    Statement,
    #[error("row is not in the plan")]
    NoRow,
    #[error(transparent)]
    Overflow(#[from] CellOverflowError),
}

type Bound = Result<(), ValueError>;

impl<'a> Values<'a> {
    /// The rows in the order in which they are sent.
    pub(super) fn iter(self) -> impl Iterator<Item = &'a PlannedRow<'a>> {
        self.order.iter().filter_map(move |row| self.rows.get(*row as usize))
    }
}

impl BatchValues for Values<'_> {
    type BatchValuesIter<'r>
        = Iter<'r>
    where
        Self: 'r;

    fn batch_values_iter(&self) -> Iter<'_> {
        Iter(*self)
    }
}

/// Gives the values of one row after the other.
#[derive(Debug)]
pub(super) struct Iter<'a>(Values<'a>);

impl<'a> Iter<'a> {
    fn next(&mut self) -> Option<Option<&'a PlannedRow<'a>>> {
        let (&first, rest) = self.0.order.split_first()?;
        self.0.order = rest;
        Some(self.0.rows.get(first as usize))
    }
}

impl<'a> BatchValuesIterator<'a> for Iter<'a> {
    fn serialize_next(
        &mut self,
        context: &RowSerializationContext<'_>,
        writer: &mut RowWriter<'_>,
    ) -> Option<Result<(), SerializationError>> {
        let row = self.next()?;
        let bound = match (row, self.0.table, context.columns().len()) {
            (Some(row), Table::Events, EVENT_VALUES) => row.bind_event(writer),
            (Some(row), Table::Ids, ID_VALUES) => row.bind_id(writer),
            (Some(_), _, _) => Err(ValueError::Statement),
            (None, _, _) => Err(ValueError::NoRow),
        };
        Some(bound.map_err(SerializationError::new))
    }

    fn is_empty_next(&mut self) -> Option<bool> {
        self.next().map(|_| false)
    }

    fn skip_next(&mut self) -> Option<()> {
        self.next().map(drop)
    }

    fn count(self) -> usize {
        self.0.order.len()
    }
}

impl PlannedRow<'_> {
    fn bind_event(&self, writer: &mut RowWriter<'_>) -> Bound {
        let pulse =
            decode_event(self.shape, self.raw).map_err(|_reject| ValueError::Undecodable)?;
        text(writer, self.tenant)?;
        text(writer, self.service)?;
        value(writer, &self.bucket_ms.to_be_bytes())?;
        value(writer, &self.shard.to_be_bytes())?;
        value(writer, &self.event_time_ms.to_be_bytes())?;
        value(writer, self.id.as_bytes())?;
        value(writer, &self.received_at_us.div_euclid(1000).to_be_bytes())?;
        text(writer, self.kind)?;
        parts(writer, &pulse)?;
        self.bind_using(writer)
    }

    fn bind_id(&self, writer: &mut RowWriter<'_>) -> Bound {
        text(writer, self.tenant)?;
        value(writer, &self.id_hour_ms.to_be_bytes())?;
        value(writer, &self.id_shard.to_be_bytes())?;
        value(writer, self.id.as_bytes())?;
        text(writer, self.service)?;
        value(writer, &self.event_time_ms.to_be_bytes())?;
        value(writer, &self.shard.to_be_bytes())?;
        self.bind_using(writer)
    }

    fn bind_using(&self, writer: &mut RowWriter<'_>) -> Bound {
        value(writer, &self.ttl_s.to_be_bytes())?;
        value(writer, &self.received_at_us.to_be_bytes())
    }
}

/// What only the original bytes tell. What was not said is unset: a null would be a tombstone.
fn parts(writer: &mut RowWriter<'_>, pulse: &Pulse<'_>) -> Bound {
    double(writer, pulse.latency_ms)?;
    optional(writer, pulse.status.as_deref())?;
    double(writer, pulse.value)?;
    optional(writer, pulse.user.as_deref())?;
    let usage = pulse.usage.as_ref();
    optional(writer, usage.map(|usage| &*usage.sku))?;
    optional(writer, usage.map(|usage| &*usage.unit))?;
    amount(writer, usage)?;
    metadata(writer, pulse)?;
    optional(writer, pulse.payload.as_deref())
}

#[inline]
fn value(writer: &mut RowWriter<'_>, bytes: &[u8]) -> Bound {
    writer.make_cell_writer().set_value(bytes)?;
    Ok(())
}

#[inline]
fn text(writer: &mut RowWriter<'_>, text: &str) -> Bound {
    value(writer, text.as_bytes())
}

fn unset(writer: &mut RowWriter<'_>) -> Bound {
    writer.make_cell_writer().set_unset();
    Ok(())
}

fn optional(writer: &mut RowWriter<'_>, part: Option<&str>) -> Bound {
    match part {
        Some(part) => text(writer, part),
        None => unset(writer),
    }
}

fn double(writer: &mut RowWriter<'_>, part: Option<f64>) -> Bound {
    match part {
        Some(part) => value(writer, &part.to_be_bytes()),
        None => unset(writer),
    }
}

/// A `decimal`: its scale, then the unscaled number in the fewest bytes of two's complement.
fn amount(writer: &mut RowWriter<'_>, usage: Option<&Usage<'_>>) -> Bound {
    let Some(usage) = usage else { return unset(writer) };
    let number = usage.amount.mantissa().to_be_bytes();
    let spare = |pair: &[u8]| matches!(*pair, [0, 0..=127] | [255, 128..=255]);
    let skipped = number.windows(2).take_while(|pair| spare(pair)).count();
    let mut bytes = [0; 20];
    bytes[..4].copy_from_slice(&usage.amount.scale().to_be_bytes());
    bytes[4..20 - skipped].copy_from_slice(&number[skipped..]);
    value(writer, &bytes[..20 - skipped])
}

/// A map as it was sent: the database sorts it by key.
fn metadata(writer: &mut RowWriter<'_>, pulse: &Pulse<'_>) -> Bound {
    if pulse.metadata.is_empty() {
        return unset(writer);
    }
    let mut map = writer.make_cell_writer().into_value_builder();
    map.append_bytes(&(pulse.metadata.len() as u32).to_be_bytes());
    for (key, entry) in &pulse.metadata {
        map.make_sub_writer().set_value(key.as_bytes())?;
        map.make_sub_writer().set_value(entry.as_bytes())?;
    }
    map.finish()?;
    Ok(())
}
