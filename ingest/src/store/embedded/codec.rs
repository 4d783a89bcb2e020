//! Numbers of variable length and the layout of progress. Pure.

use crate::sink::{Progress, SeqSet};

/// Appends `number` in 7-bit groups, lowest first.
pub(super) fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Takes a number off the start of `bytes`.
pub(super) fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// Takes `count` bytes off the start of `bytes`.
pub(super) fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(taken)
}

/// Maps signed numbers near zero to unsigned ones near zero. All arithmetic on them wraps, so
/// every pair of numbers has a difference that reads back.
pub(super) fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}

/// The inverse of [`zigzag`].
pub(super) fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

/// What is kept of a log: its [`Progress`], and how many rows had expired.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct LogProgress {
    pub(super) progress: Progress,
    pub(super) expired: u64,
}

impl LogProgress {
    pub(super) fn encode(&self) -> Vec<u8> {
        let finished = &self.progress.finished;
        let mut out = Vec::new();
        for number in [self.progress.rows, self.expired, finished.low()] {
            put_varint(&mut out, number);
        }
        let mut end_before = finished.low();
        for (start, end) in finished.ranges() {
            put_varint(&mut out, start.wrapping_sub(end_before));
            put_varint(&mut out, end.wrapping_sub(start));
            end_before = end;
        }
        out
    }

    pub(super) fn decode(mut bytes: &[u8]) -> Option<Self> {
        let bytes = &mut bytes;
        let rows = take_varint(bytes)?;
        let expired = take_varint(bytes)?;
        let mut end = take_varint(bytes)?;
        let mut finished = SeqSet::below(end);
        while !bytes.is_empty() {
            let start = end.checked_add(take_varint(bytes)?)?;
            end = start.checked_add(take_varint(bytes)?)?;
            finished.insert(start, end);
        }
        Some(Self { progress: Progress { finished, rows }, expired })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_read_back(numbers in prop::collection::vec(any::<i64>(), 0..20)) {
            let mut out = Vec::new();
            for number in &numbers {
                put_varint(&mut out, zigzag(*number));
            }
            let mut bytes = out.as_slice();
            for number in &numbers {
                prop_assert_eq!(take_varint(&mut bytes).map(unzigzag), Some(*number));
            }
            prop_assert_eq!(take_varint(&mut bytes), None);
        }

        #[test]
        fn progress_reads_back(
            low in 0u64..1000,
            ranges in prop::collection::vec((0u64..5000, 1u64..50), 0..40),
            rows: u64,
            expired: u64,
        ) {
            let mut finished = SeqSet::below(low);
            for (start, length) in ranges {
                finished.insert(start, start + length);
            }
            let progress = LogProgress { progress: Progress { finished, rows }, expired };
            prop_assert_eq!(LogProgress::decode(&progress.encode()), Some(progress));
        }
    }
}
