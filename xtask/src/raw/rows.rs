//! The rows of the loop: the same content as the pulses that a load sends, made for next to
//! nothing and bound cell by cell.

use scylla::serialize::SerializationError;
use scylla::serialize::row::{RowSerializationContext, SerializeRow};
use scylla::serialize::writers::{CellOverflowError, RowWriter};
use xtask::events::SERVICES;

pub(super) const TENANT: &str = "default";
pub(super) const KIND: &str = "pulse";
/// Of a row, in seconds.
pub(super) const TTL_SECONDS: i32 = 7 * 24 * 3600;
const BUCKET_MS: u64 = 10 * 60 * 1000;
const HOUR_MS: u64 = 3_600_000;
/// Slices of a bucket, as a power of two: a partition grows for some seconds only.
const SLICES_LOG2: u32 = 6;
/// Partitions of the ids of one second.
const ID_SPREAD: u64 = 4;
/// The values of the one entry of `metadata`, `zone`.
pub(super) const ZONES: [&str; 3] = ["eu-0", "eu-1", "eu-2"];
/// One entry, `zone`, as a `map<text, text>` is written.
const METADATA: [&[u8]; 3] = [
    b"\0\0\0\x01\0\0\0\x04zone\0\0\0\x04eu-0",
    b"\0\0\0\x01\0\0\0\x04zone\0\0\0\x04eu-1",
    b"\0\0\0\x01\0\0\0\x04zone\0\0\0\x04eu-2",
];

/// Over how many partitions rows of one time are spread.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spread {
    log2: u32,
}

impl Spread {
    /// At least this many partitions for each service.
    pub(super) fn new(partitions: u16) -> Self {
        Self { log2: partitions.next_power_of_two().ilog2() }
    }

    /// The rows that the list of buckets has of such a time.
    pub(super) fn buckets(self, time_ms: u64) -> impl Iterator<Item = BucketRow> {
        let layout = (SLICES_LOG2 << 4 | self.log2) as i16;
        let bucket_ms = time_ms / BUCKET_MS * BUCKET_MS;
        SERVICES.into_iter().map(move |service| BucketRow { service, bucket_ms, layout })
    }

    /// The partition, out of all of this time, that is written in this turn.
    pub(super) fn partition(self, time_ms: u64, turn: u64) -> Partition {
        let services = SERVICES.len() as u64;
        let slice = (time_ms % BUCKET_MS) / (BUCKET_MS >> SLICES_LOG2);
        let place = (turn / services) % (1 << self.log2);
        Partition {
            service: SERVICES[(turn % services) as usize],
            bucket_ms: time_ms / BUCKET_MS * BUCKET_MS,
            shard: ((slice << self.log2) + place) as i32,
        }
    }
}

/// Where a row lies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Partition {
    pub(super) service: &'static str,
    pub(super) bucket_ms: u64,
    pub(super) shard: i32,
}

/// A row of `pulse_events_by_service`.
#[derive(Debug, Clone, Copy)]
pub(super) struct EventRow {
    pub(super) partition: Partition,
    pub(super) time_ms: u64,
    pub(super) id: [u8; 16],
    pub(super) received_ms: u64,
    pub(super) number: u64,
}

impl EventRow {
    /// A row whose values `number` varies; `time_ms` is when its run began.
    pub(super) fn new(partition: Partition, time_ms: u64, received_ms: u64, number: u64) -> Self {
        let id = id(received_ms, number);
        Self { partition, time_ms: time_ms + number % 1000, id, received_ms, number }
    }

    /// Where its id leads from, with the ids of the same turn.
    pub(super) fn indexed(&self, turn: u64) -> IdRow {
        let second = (self.received_ms % HOUR_MS) / 1000;
        IdRow {
            id: self.id,
            partition: self.partition,
            time_ms: self.time_ms,
            received_ms: self.received_ms,
            id_shard: (second * ID_SPREAD + turn % ID_SPREAD) as i32,
        }
    }

    pub(super) fn latency_ms(&self) -> f64 {
        (self.number % 90) as f64 + 5.5
    }

    pub(super) fn status(&self) -> &'static str {
        if self.number % 50 == 7 { "error" } else { "ok" }
    }
}

/// A row of `pulse_ids`.
#[derive(Debug, Clone, Copy)]
pub(super) struct IdRow {
    pub(super) id: [u8; 16],
    pub(super) partition: Partition,
    pub(super) time_ms: u64,
    pub(super) received_ms: u64,
    pub(super) id_shard: i32,
}

impl IdRow {
    pub(super) fn hour_ms(&self) -> u64 {
        self.received_ms / HOUR_MS * HOUR_MS
    }
}

/// A row of `pulse_buckets`.
#[derive(Debug, Clone, Copy)]
pub(super) struct BucketRow {
    service: &'static str,
    bucket_ms: u64,
    layout: i16,
}

/// A UUIDv7 that no other row of the run has.
fn id(received_ms: u64, number: u64) -> [u8; 16] {
    // An odd factor maps no two numbers to one; the bits above it only look random.
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let high = received_ms << 16 | 0x7000 | (mixed >> 52);
    let low = 1 << 63 | (number & ((1 << 62) - 1));
    (u128::from(high) << 64 | u128::from(low)).to_be_bytes()
}

/// Writes cells in the order of the statement; the types are known, so none is looked up.
struct Cells<'a, 'buf>(&'a mut RowWriter<'buf>);

impl Cells<'_, '_> {
    fn put(&mut self, bytes: &[u8]) -> Result<&mut Self, SerializationError> {
        let written = self.0.make_cell_writer().set_value(bytes);
        written.map_err(|error: CellOverflowError| SerializationError::new(error))?;
        Ok(self)
    }

    fn time(&mut self, ms: u64) -> Result<&mut Self, SerializationError> {
        self.put(&ms.to_be_bytes())
    }

    fn unset(&mut self, count: usize) -> &mut Self {
        for _ in 0..count {
            self.0.make_cell_writer().set_unset();
        }
        self
    }
}

impl SerializeRow for EventRow {
    fn serialize(
        &self,
        _: &RowSerializationContext<'_>,
        writer: &mut RowWriter<'_>,
    ) -> Result<(), SerializationError> {
        let Partition { service, bucket_ms, shard } = self.partition;
        Cells(writer)
            .put(TENANT.as_bytes())?
            .put(service.as_bytes())?
            .time(bucket_ms)?
            .put(&shard.to_be_bytes())?
            .time(self.time_ms)?
            .put(&self.id)?
            .time(self.received_ms)?
            .put(KIND.as_bytes())?
            .put(&self.latency_ms().to_be_bytes())?
            .put(self.status().as_bytes())?
            .unset(5)
            .put(METADATA[(self.number % 3) as usize])?
            .unset(1)
            .put(&TTL_SECONDS.to_be_bytes())?
            .time(self.received_ms * 1000)?;
        Ok(())
    }

    fn is_empty(&self) -> bool {
        false
    }
}

impl SerializeRow for IdRow {
    fn serialize(
        &self,
        _: &RowSerializationContext<'_>,
        writer: &mut RowWriter<'_>,
    ) -> Result<(), SerializationError> {
        Cells(writer)
            .put(TENANT.as_bytes())?
            .time(self.hour_ms())?
            .put(&self.id_shard.to_be_bytes())?
            .put(&self.id)?
            .put(self.partition.service.as_bytes())?
            .time(self.time_ms)?
            .put(&self.partition.shard.to_be_bytes())?
            .put(&TTL_SECONDS.to_be_bytes())?
            .time(self.received_ms * 1000)?;
        Ok(())
    }

    fn is_empty(&self) -> bool {
        false
    }
}

impl SerializeRow for BucketRow {
    fn serialize(
        &self,
        _: &RowSerializationContext<'_>,
        writer: &mut RowWriter<'_>,
    ) -> Result<(), SerializationError> {
        Cells(writer)
            .put(TENANT.as_bytes())?
            .put(self.service.as_bytes())?
            .time(self.bucket_ms)?
            .put(&self.layout.to_be_bytes())?
            .put(&TTL_SECONDS.to_be_bytes())?;
        Ok(())
    }

    fn is_empty(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_rows_have_one_id_and_all_are_version_7() {
        let ids: HashSet<_> = (0..10_000).map(|number| id(1_750_000_000_000, number)).collect();
        assert_eq!(ids.len(), 10_000);
        assert!(ids.iter().all(|id| id[6] >> 4 == 7 && id[8] >> 6 == 2));
    }

    #[test]
    fn turns_go_over_all_services_and_partitions() {
        let spread = Spread::new(4);
        let places: HashSet<_> = (0..16)
            .map(|turn| spread.partition(1_750_000_000_000, turn))
            .map(|partition| (partition.service, partition.shard))
            .collect();
        assert_eq!(places.len(), 16);
        assert_eq!(spread.buckets(0).next().map(|row| row.layout), Some(6 << 4 | 2));
    }
}
