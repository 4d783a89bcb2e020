//! A row as the stores keep it while it is in memory: the original bytes and the little that they
//! do not tell, in one allocation. Decoded only when a query asks for it.

use crate::log::frame::{Entry, Envelope, Record};
use crate::pulse::Shape;

use super::{Position, Row};

/// Bytes before the kind: receive time, shape, length of the kind.
const HEAD_BYTES: usize = 10;

/// Receive time, shape, kind and original bytes of one row.
#[derive(Debug, Clone)]
pub(super) struct PackedRow(Box<[u8]>);

impl PackedRow {
    pub(super) fn new(record: &Record<'_>) -> Self {
        let kind = record.entry.kind.as_bytes();
        let mut bytes = Vec::with_capacity(HEAD_BYTES + kind.len() + record.entry.raw.len());
        bytes.extend_from_slice(&record.envelope.received_at_us.to_le_bytes());
        bytes.push(record.envelope.shape as u8);
        // Kinds are bounded to 255 bytes where they are decoded.
        bytes.push(kind.len() as u8);
        bytes.extend_from_slice(kind);
        bytes.extend_from_slice(record.entry.raw);
        Self(bytes.into())
    }

    /// Its size in bytes.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// When it was received, in microseconds since 1970.
    pub(super) fn received_at_us(&self) -> i64 {
        self.0.first_chunk().map_or(0, |bytes| i64::from_le_bytes(*bytes))
    }

    /// Its kind.
    pub(super) fn kind(&self) -> &str {
        let kind = self.0.get(HEAD_BYTES..HEAD_BYTES + usize::from(self.0[9]));
        kind.and_then(|kind| std::str::from_utf8(kind).ok()).unwrap_or_default()
    }

    /// The row that it is, at `position` of a service.
    pub(super) fn row(&self, tenant: &str, service: &str, position: Position) -> Row {
        let received_at_us = self.received_at_us();
        let shape = Shape::from_number(self.0[8]).unwrap_or(Shape::Pulse);
        let raw = self.0.get(HEAD_BYTES + usize::from(self.0[9])..).unwrap_or_default();
        Self::row_of(&Record {
            seq: 0,
            envelope: Envelope { tenant, shape, received_at_us, trace: None },
            entry: Entry {
                id: position.id,
                event_time_ms: position.event_time_ms,
                shard: 0,
                service,
                kind: self.kind(),
                key: None,
                body_hash: None,
                refused: None,
                raw,
            },
        })
    }

    /// The row of a stored record. What was accepted is never withheld: where the original bytes
    /// are not understood any more (a decoder that became stricter), the envelope alone is given.
    pub(super) fn row_of(record: &Record<'_>) -> Row {
        Row::from_record(record).unwrap_or_else(|reject| {
            let (id, code) = (record.entry.id, reject.code.as_str());
            tracing::warn!(%id, code, "stored event is not understood, its envelope is given");
            Row::of_envelope(record)
        })
    }
}
