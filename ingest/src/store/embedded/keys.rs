//! How keys of the embedded store are laid out. Pure. Numbers are big endian so that keys sort
//! as they do; names carry their length, so no name is the prefix of another's keys.
//!
//! ```text
//! keyspace rows.START.END   (such keyspaces for each window of receive time; of a retention
//!                            class but the default one behind it .NUMBER)
//!   batch u64, block u32                 a block of rows
//!   batch u64, 0xFFFFFFFF                the batch's id table
//! keyspace index.START.END
//!   't' tenant service span i64↓ max event time, batch u64, block u32
//!                                        i64 min event time
//!   'i' slice u64, batch u64             u16 first, u16 last offset of UUIDv7 times, ms
//!   'n' tenant, i64 minute, kind         u64 count
//! keyspace ids.START.END               see `untimed`: where ids are that tell no time
//! keyspace meta
//!   'b'                                  u64 number of the next batch
//!   'p' 16 bytes log id                  progress of the log
//!   'r' number u8                        i64 retention of a class, ms
//! ```

use uuid::Uuid;

/// The block number that stands for a batch's id table.
pub(super) const ID_TABLE: u32 = u32::MAX;
/// The key of the next batch's number.
pub(super) const NEXT_BATCH: &[u8] = b"b";
/// What the keys of progress start with.
pub(super) const PROGRESS: u8 = b'p';
/// What the keys of retention classes start with.
pub(super) const CLASS: u8 = b'r';
/// UUIDv7 times are indexed in slices of 2^10 ms: short enough that few batches share one, long
/// enough that a batch rarely lies in more than two.
pub(super) const SLICE_BITS: u32 = 10;
/// Bytes of a batch's number and a block's.
pub(super) const BLOCK_KEY_BYTES: usize = 12;

/// How far apart the event times of one block lie. A search for older rows starts this much
/// before them, so the usual tight blocks are not searched through for the sake of wide ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Span {
    /// Live traffic.
    Tight = 0,
    /// Backfills and late events.
    Wide = 1,
}

impl Span {
    /// Both.
    pub(super) const ALL: [Self; 2] = [Self::Tight, Self::Wide];

    /// The largest difference between two event times of one block, in milliseconds.
    pub(super) const fn ms_max(self) -> i64 {
        match self {
            Self::Tight => 10_000,
            Self::Wide => 3_600_000,
        }
    }

    /// The narrowest that holds times `ms` apart.
    pub(super) fn of(ms: i64) -> Self {
        if ms <= Self::Tight.ms_max() { Self::Tight } else { Self::Wide }
    }
}

/// A block of rows, or a batch's id table.
pub(super) fn block(batch: u64, block: u32) -> [u8; BLOCK_KEY_BYTES] {
    let mut key = [0; BLOCK_KEY_BYTES];
    key[..8].copy_from_slice(&batch.to_be_bytes());
    key[8..].copy_from_slice(&block.to_be_bytes());
    key
}

/// What all time keys of a tenant start with.
pub(super) fn series_of(tenant: &str) -> Vec<u8> {
    let mut key = vec![b't'];
    put_name(&mut key, tenant);
    key
}

/// What all time keys of a service start with.
pub(super) fn series(tenant: &str, service: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(tenant.len() + service.len() + 32);
    key.push(b't');
    put_name(&mut key, tenant);
    put_name(&mut key, service);
    key
}

/// A time key without its batch and block: where the search for rows at or before `max_ms` starts.
pub(super) fn time(series: &[u8], span: Span, max_ms: i64) -> Vec<u8> {
    let mut key = Vec::with_capacity(series.len() + 9 + BLOCK_KEY_BYTES);
    key.extend_from_slice(series);
    key.push(span as u8);
    key.extend_from_slice(&(!biased(max_ms)).to_be_bytes());
    key
}

/// The largest time key of rows at or after `from_ms`.
pub(super) fn time_end(series: &[u8], span: Span, from_ms: i64) -> Vec<u8> {
    let mut key = time(series, span, from_ms);
    key.extend_from_slice(&[0xFF; BLOCK_KEY_BYTES]);
    key
}

/// The largest event time and the block that a time key names.
pub(super) fn read_time(key: &[u8]) -> Option<(i64, [u8; BLOCK_KEY_BYTES])> {
    let (rest, block) = key.split_last_chunk::<BLOCK_KEY_BYTES>()?;
    let (_, time) = rest.split_last_chunk::<8>()?;
    Some((unbiased(!u64::from_be_bytes(*time)), *block))
}

/// What the keys of all batches with UUIDv7 times in a slice start with.
pub(super) fn slice(slice: u64) -> [u8; 9] {
    let mut key = [b'i'; 9];
    key[1..].copy_from_slice(&slice.to_be_bytes());
    key
}

/// The batch number that a slice key ends with.
pub(super) fn read_slice(key: &[u8]) -> Option<u64> {
    key.last_chunk().map(|batch| u64::from_be_bytes(*batch))
}

/// The count of a kind in a minute; without a kind, what all of the minute start with.
pub(super) fn count(tenant: &str, minute_ms: i64, kind: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(tenant.len() + kind.len() + 10);
    key.push(b'n');
    put_name(&mut key, tenant);
    key.extend_from_slice(&biased(minute_ms).to_be_bytes());
    key.extend_from_slice(kind.as_bytes());
    key
}

/// The minute and kind that a count's key names.
pub(super) fn read_count<'k>(key: &'k [u8], tenant: &str) -> Option<(i64, &'k str)> {
    let (minute, kind) = key.get(2 + tenant.len()..)?.split_first_chunk()?;
    Some((unbiased(u64::from_be_bytes(*minute)), std::str::from_utf8(kind).ok()?))
}

/// The progress of a log.
pub(super) fn progress(log: Uuid) -> [u8; 17] {
    let mut key = [PROGRESS; 17];
    key[1..].copy_from_slice(log.as_bytes());
    key
}

fn put_name(key: &mut Vec<u8>, name: &str) {
    // Names are bounded to 255 bytes where they are decoded.
    key.push(name.len() as u8);
    key.extend_from_slice(name.as_bytes());
}

/// Signed numbers, moved so that they sort as unsigned ones.
fn biased(number: i64) -> u64 {
    (number as u64) ^ (1 << 63)
}

fn unbiased(number: u64) -> i64 {
    (number ^ (1 << 63)) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_keys_sort_newest_first_and_within_their_service() {
        let series = series("a", "b");
        let full = |ms: i64, batch: u64| {
            let mut key = time(&series, Span::Tight, ms);
            key.extend_from_slice(&block(batch, 3));
            key
        };
        let order = [i64::MAX, 5, 0, -5, i64::MIN];
        for pair in order.windows(2) {
            assert!(full(pair[0], 9) < full(pair[1], 0));
            assert!(full(pair[0], 9) >= time(&series, Span::Tight, pair[0]));
            assert!(full(pair[0], 9) <= time_end(&series, Span::Tight, pair[0]));
        }
        assert_eq!(read_time(&full(-5, 7)), Some((-5, block(7, 3))));
        assert!(!full(1, 1).starts_with(&super::series("ab", "")));
        assert!(!full(1, 1).starts_with(&super::series("", "ab")));
    }

    #[test]
    fn counts_read_back_and_sort_by_minute() {
        let keys = [count("t", -60_000, "z"), count("t", 0, "a"), count("t", 60_000, "")];
        assert!(keys.is_sorted());
        assert_eq!(read_count(&keys[0], "t"), Some((-60_000, "z")));
        assert_eq!(read_count(&keys[2], "t"), Some((60_000, "")));
    }
}
