//! How a service's time is cut into slices.

use uuid::Uuid;

use crate::store::cassandra::layout::{BUCKET_MS, Layout, bucket_of};
use crate::store::cassandra::read::order::Range;
use crate::store::cassandra::read::slices::Slices;
use crate::store::tests::fixture::block_on;

use super::fake::{Fake, row};

const BUCKET: i64 = 1_700_000_400_000;

/// Lengths of time and shards of each slice of a bucket, newest first, where each layout has
/// a row at each of these parts of the bucket's times.
fn cut(layouts: &[(u8, u8)], times: &[i64], range: Range) -> Vec<(i64, i64, Vec<i32>)> {
    let mut source = Fake::default();
    for (slices, spread) in layouts {
        for time in times {
            source.write(Layout::new(*slices, *spread), row(BUCKET + time, Uuid::nil(), 0));
        }
    }
    cut_of(&source, range)
}

fn cut_of(source: &Fake, range: Range) -> Vec<(i64, i64, Vec<i32>)> {
    let mut slices = Slices::new(range);
    let mut found = Vec::new();
    while let Some(slice) = block_on(slices.next(source)).expect("a slice") {
        let range = slice.parts[0].range;
        let shards = slice.parts.iter().map(|part| part.shard).collect();
        found.push((range.from_ms - BUCKET, range.until.event_time_ms - BUCKET, shards));
    }
    found
}

/// A time in each quarter.
const QUARTERS: [i64; 4] = [0, 150_000, 300_000, 450_000];

fn all() -> Range {
    Range::new(BUCKET, BUCKET + 3 * BUCKET_MS)
}

#[test]
fn a_slice_asks_the_partitions_of_every_layout_once() {
    assert_eq!(bucket_of(BUCKET), BUCKET);
    assert_eq!(cut(&[(0, 0)], &QUARTERS, all()), [(0, BUCKET_MS, vec![0])]);
    assert_eq!(cut(&[(0, 0), (0, 1)], &QUARTERS, all()), [(0, BUCKET_MS, vec![0, 1])]);
    let expected = [(300_000, 600_000, vec![2, 3]), (0, 300_000, vec![0, 1])];
    assert_eq!(cut(&[(1, 1)], &QUARTERS, all()), expected);
    // One slice of the coarse layout is asked for each of the fine one's that it covers.
    let expected = [
        (450_000, 600_000, vec![1, 3]),
        (300_000, 450_000, vec![1, 2]),
        (150_000, 300_000, vec![0, 1]),
        (0, 150_000, vec![0]),
    ];
    assert_eq!(cut(&[(1, 0), (2, 0)], &QUARTERS, all()), expected);
}

#[test]
fn a_time_without_rows_is_not_asked() {
    let mut source = Fake::default();
    let rows = [(2, 1, 150_000), (1, 0, 300_000), (10, 3, 599_999), (10, 0, 300_000)];
    for (slices, spread, time) in rows {
        source.write(Layout::new(slices, spread), row(BUCKET + time, Uuid::nil(), 0));
    }
    source.write(Layout::new(0, 0), row(BUCKET + 2 * BUCKET_MS, Uuid::nil(), 0));
    let newest: Vec<i32> = std::iter::once(1).chain(1023 * 8..1024 * 8).collect();
    let expected = [
        (2 * BUCKET_MS, 3 * BUCKET_MS, vec![0]),
        (599_415, 600_000, newest),
        (300_586, 599_415, vec![1]),
        (300_000, 300_586, vec![1, 512]),
        (150_000, 300_000, vec![2, 3]),
    ];
    assert_eq!(cut_of(&source, all()), expected);
    source.falters = true;
    assert_eq!(cut_of(&source, all()), expected);
}

#[test]
fn slices_are_cut_to_the_range() {
    let range = Range::new(BUCKET + 149_999, BUCKET + 300_001);
    let expected =
        [(300_000, 300_001, vec![2]), (150_000, 300_000, vec![1]), (149_999, 150_000, vec![0])];
    assert_eq!(cut(&[(2, 0)], &QUARTERS, range), expected);
    let exact = Range::new(BUCKET + 150_000, BUCKET + 300_000);
    assert_eq!(cut(&[(2, 0)], &QUARTERS, exact).len(), 1);
    assert_eq!(cut(&[(2, 0)], &QUARTERS, Range::new(BUCKET - 9, BUCKET)), []);
}
