//! Where a row lies: its bucket, its shard, and where its id is indexed. Pure, and made from what
//! the log's record holds alone, so that a row written twice is written to the same place.

use std::ops::Range;

use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_64;

/// Length of a bucket, in milliseconds of event time. Never changes: it is part of every key.
pub const BUCKET_MS: i64 = 10 * 60 * 1000;
/// Most slices, as a power of two: about half a second each, in which eight partitions that may
/// hold 50,000 rows get them at 700,000 rows a second.
pub const SLICES_LOG2_MAX: u8 = 10;
/// Most partitions side by side in a slice, as a power of two.
pub const SPREAD_LOG2_MAX: u8 = 8;

/// Hour of the receive time, in milliseconds: the part of an id's place that its time gives.
pub const ID_HOUR_MS: i64 = 3_600_000;
/// Partitions side by side for the ids of one second.
const ID_SPREAD: u64 = 4;

/// Start of the bucket that an event time lies in, in milliseconds since 1970.
pub fn bucket_of(event_time_ms: i64) -> i64 {
    event_time_ms.div_euclid(BUCKET_MS).saturating_mul(BUCKET_MS)
}

/// How one service's rows of one bucket are spread over partitions: by time into slices, and
/// within a slice by a hash of the id. A slice keeps what is read together together: the newest
/// rows of a hot service lie in few partitions, and rows that arrive together fill whole batches.
/// What is written with one layout is found by it for ever; a bucket may have rows of several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Layout {
    slices_log2: u8,
    spread_log2: u8,
}

impl Layout {
    /// All rows of a bucket in one partition.
    pub const ONE: Self = Self { slices_log2: 0, spread_log2: 0 };

    /// The layout of so many slices and partitions side by side, as powers of two; cut to the
    /// most that there can be.
    pub fn new(slices_log2: u8, spread_log2: u8) -> Self {
        Self {
            slices_log2: slices_log2.min(SLICES_LOG2_MAX),
            spread_log2: spread_log2.min(SPREAD_LOG2_MAX),
        }
    }

    /// As the log's record and the table of buckets hold it.
    pub fn code(self) -> u16 {
        u16::from(self.slices_log2) << 4 | u16::from(self.spread_log2)
    }

    /// Reads a code; one that no version has written is cut to what there can be.
    pub fn from_code(code: u16) -> Self {
        Self::new(((code >> 4) & 15) as u8, (code & 15) as u8)
    }

    /// How many slices a bucket has, as a power of two.
    pub fn slices_log2(self) -> u8 {
        self.slices_log2
    }

    /// How many partitions lie side by side, as a power of two.
    pub fn spread_log2(self) -> u8 {
        self.spread_log2
    }

    /// The layout that has as many slices and as many partitions side by side as each of the two.
    pub fn joined(self, other: Self) -> Self {
        Self {
            slices_log2: self.slices_log2.max(other.slices_log2),
            spread_log2: self.spread_log2.max(other.spread_log2),
        }
    }

    /// How many slices a bucket has.
    pub fn slices(self) -> u16 {
        1 << self.slices_log2
    }

    /// How many partitions lie side by side.
    pub fn spread(self) -> u16 {
        1 << self.spread_log2
    }

    /// Where a slice begins, in milliseconds behind the start of its bucket. Of more than 64
    /// slices most begin between two milliseconds: at the first whole one.
    pub fn slice_start_ms(self, slice: u16) -> i64 {
        (i64::from(slice) * BUCKET_MS + i64::from(self.slices()) - 1) >> self.slices_log2
    }

    /// The slice of its bucket that an event time lies in.
    pub fn slice_of(self, event_time_ms: i64) -> u16 {
        (event_time_ms.rem_euclid(BUCKET_MS) << self.slices_log2).div_euclid(BUCKET_MS) as u16
    }

    /// How a slice is named in the list of buckets: by the last of the shortest slices that it
    /// covers. Read from the highest, nothing that covers a time comes behind what begins later.
    pub fn mark_of(self, slice: u16) -> i16 {
        (((slice + 1) << (SLICES_LOG2_MAX - self.slices_log2)) - 1) as i16
    }

    /// The slice of a mark.
    pub fn slice_of_mark(self, mark: i16) -> u16 {
        (mark as u16 & ((1 << SLICES_LOG2_MAX) - 1)) >> (SLICES_LOG2_MAX - self.slices_log2)
    }

    /// The shard of a row.
    pub fn shard_of(self, event_time_ms: i64, id: Uuid) -> i32 {
        let place = hash(id) & u64::from(self.spread() - 1);
        self.shards_of_slice(self.slice_of(event_time_ms)).start + place as i32
    }

    /// The shards in which rows of this layout with an event time in this slice of it lie.
    pub fn shards_of_slice(self, slice: u16) -> Range<i32> {
        let first = i32::from(slice) * i32::from(self.spread());
        first..first + i32::from(self.spread())
    }
}

/// Where an id is indexed: the partition of `pulse_ids` beside the tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IdPlace {
    /// Start of the hour of the receive time, in milliseconds since 1970.
    pub hour_ms: i64,
    /// From 0 for ids that tell their receive time, below 0 for all others.
    pub shard: i32,
}

impl IdPlace {
    /// The place of an id that was made here, and tells when its pulse was received: by the
    /// second, so that ids that arrive together lie together. `None`: it tells no time.
    pub fn timed(id: Uuid) -> Option<Self> {
        let (seconds, _) = match (id.get_version_num(), id.get_timestamp()) {
            (7, Some(timestamp)) => timestamp.to_unix(),
            _ => return None,
        };
        let time_ms = i64::try_from(seconds).ok()?.checked_mul(1000)?;
        let hour_ms = time_ms.div_euclid(ID_HOUR_MS) * ID_HOUR_MS;
        let second = (time_ms - hour_ms) / 1000;
        let shard = second as i32 * ID_SPREAD as i32 + (hash(id) % ID_SPREAD) as i32;
        Some(Self { hour_ms, shard })
    }

    /// The place of an id that its client chose, received in that hour, when the hour's ids are
    /// spread over `shards`, a power of two.
    pub fn named(received_at_us: i64, id: Uuid, shards: u32) -> Self {
        let hour_ms = received_at_us.div_euclid(ID_HOUR_MS * 1000) * ID_HOUR_MS;
        let shard = (hash(id) & u64::from(shards.max(1) - 1)) as i32;
        Self { hour_ms, shard: -1 - shard }
    }

    /// The place where a record's id is indexed: [`IdPlace::timed`] where the id tells the
    /// record's own receive time.
    pub fn of(received_at_us: i64, id: Uuid, shards: impl FnOnce() -> u32) -> Self {
        let received_second = received_at_us.div_euclid(1_000_000);
        let tells = |(seconds, _): (u64, u32)| i64::try_from(seconds) == Ok(received_second);
        let timed = id.get_timestamp().is_some_and(|timestamp| tells(timestamp.to_unix()));
        match Self::timed(id) {
            Some(place) if timed => place,
            _ => Self::named(received_at_us, id, shards()),
        }
    }
}

fn hash(id: Uuid) -> u64 {
    xxh3_64(id.as_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_layout_survives_its_code() {
        for slices in 0..=SLICES_LOG2_MAX {
            for spread in 0..=SPREAD_LOG2_MAX {
                let layout = Layout::new(slices, spread);
                assert_eq!(Layout::from_code(layout.code()), layout);
            }
        }
        assert_eq!(Layout::from_code(0), Layout::ONE);
        assert_eq!(Layout::from_code(u16::MAX), Layout::new(SLICES_LOG2_MAX, SPREAD_LOG2_MAX));
    }

    proptest! {
        #[test]
        fn a_row_lies_in_a_shard_of_the_slice_that_its_time_lies_in(
            time in -(1i64 << 45)..1i64 << 45,
            id in any::<u128>(),
            code in any::<u16>(),
        ) {
            let (layout, id) = (Layout::from_code(code), Uuid::from_u128(id));
            let shard = layout.shard_of(time, id);
            prop_assert!(shard >= 0);
            prop_assert!(layout.shards_of_slice(layout.slice_of(time)).contains(&shard));
            let slice = layout.slice_of(time);
            let start = |slice| bucket_of(time) + layout.slice_start_ms(slice);
            prop_assert!((start(slice)..start(slice + 1)).contains(&time));
            prop_assert_eq!(layout.slice_of_mark(layout.mark_of(slice)), slice);
            let finest = Layout::new(SLICES_LOG2_MAX, 0);
            prop_assert!(layout.mark_of(slice) >= finest.mark_of(finest.slice_of(time)));
        }

        #[test]
        fn an_id_is_found_from_itself_or_from_its_hour(
            received_ms in 1_600_000_000_000i64..1_900_000_000_000,
            random in any::<[u8; 10]>(),
            log2 in 0u32..10,
        ) {
            let own = uuid::Builder::from_unix_timestamp_millis(received_ms as u64, &random);
            let own = own.into_uuid();
            let place = IdPlace::of(received_ms * 1000 + 7, own, || 1 << log2);
            prop_assert_eq!(Some(place), IdPlace::timed(own));
            let other = IdPlace::of((received_ms + 5_000) * 1000, own, || 1 << log2);
            prop_assert_eq!(other, IdPlace::named((received_ms + 5_000) * 1000, own, 1 << log2));
            prop_assert!(place.shard >= 0 && other.shard < 0 && other.shard >= -(1 << log2));
        }
    }
}
