//! The walk against a plain list of rows, and what it asks for.

use proptest::prelude::*;
use uuid::Uuid;

use crate::store::cassandra::layout::{BUCKET_MS, Layout};
use crate::store::cassandra::read::order::{Kept, Place, Range};
use crate::store::cassandra::read::walk::{BYTES_MAX, ROW_BYTES_MAX, Walk};
use crate::store::tests::fixture::block_on;
use crate::store::{Page, Position, PulseQuery, Row};

use super::fake::{Asked, Fake, row};

const START_MS: i64 = 1_700_000_400_000;
const ALL: Kept = Kept { from_ms: i64::MIN, to_ms: i64::MAX, received_from_ms: i64::MIN };

fn query(limit: usize) -> PulseQuery {
    PulseQuery {
        tenant: "t".into(),
        service: "s".into(),
        from_ms: i64::MIN,
        to_ms: i64::MAX,
        limit,
        after: None,
    }
}

fn page(source: &Fake, query: &PulseQuery) -> Page {
    let kept = Kept { from_ms: START_MS - 100 * BUCKET_MS, ..ALL };
    let kept = Kept { to_ms: START_MS + 300 * BUCKET_MS, ..kept };
    match Range::of(query, kept) {
        Some(range) => block_on(Walk::new(source, range, query.limit).page()).expect("a page"),
        None => Page::default(),
    }
}

fn places(rows: &[Row]) -> Vec<(i64, Uuid)> {
    rows.iter().map(|row| (row.event_time_ms, row.id)).collect()
}

/// All rows of a query, page by page.
fn pages(source: &Fake, mut query: PulseQuery) -> Vec<(i64, Uuid)> {
    let mut rows = Vec::new();
    loop {
        let page = page(source, &query);
        assert!(page.rows.len() <= query.limit && (page.next.is_none() || !page.rows.is_empty()));
        rows.extend(places(&page.rows));
        match page.next {
            Some(next) => query.after = Some(next),
            None => return rows,
        }
    }
}

/// An id of a version that clients or servers make.
fn id(version: u8, number: u64) -> Uuid {
    let bits = u128::from(xxhash_rust::xxh3::xxh3_64(&number.to_be_bytes()));
    let bits = bits << 64 | bits.rotate_left(17);
    let version = [uuid::Version::Mac, uuid::Version::Random, uuid::Version::SortRand]
        [usize::from(version % 3)];
    uuid::Builder::from_u128(bits).with_version(version).into_uuid()
}

#[derive(Debug, Clone)]
struct Written {
    time_ms: i64,
    id: Uuid,
    payload: usize,
    /// Which of the bucket's layouts it was written with, each time.
    layouts: Vec<usize>,
}

fn written() -> impl Strategy<Value = Written> {
    let time = prop_oneof![
        0..4i64,
        0..BUCKET_MS,
        2 * BUCKET_MS - 2..2 * BUCKET_MS + 2,
        -50 * BUCKET_MS..200 * BUCKET_MS,
    ];
    let payload = prop_oneof![8 => Just(0usize), 1 => 1..1_000_000usize];
    let layouts = prop::collection::vec(0usize..3, 1..3);
    (time, any::<u8>(), 0u64..500, payload, layouts).prop_map(
        |(time, version, number, payload, layouts)| Written {
            time_ms: START_MS + time,
            id: id(version, number),
            payload,
            layouts,
        },
    )
}

/// Three layouts for every bucket, from one partition to very many.
fn layouts() -> impl Strategy<Value = Vec<[Layout; 3]>> {
    let layout = (0u8..11, 0u8..6).prop_map(|(slices, spread)| Layout::new(slices, spread));
    let small = (0u8..2, 0u8..2).prop_map(|(slices, spread)| Layout::new(slices, spread));
    let of_bucket = (Just(Layout::ONE), small, layout).prop_map(|(a, b, c)| [a, b, c]);
    prop::collection::vec(of_bucket, 1..5)
}

fn service(rows: &[Written], layouts: &[[Layout; 3]]) -> Fake {
    let mut fake = Fake::default();
    for written in rows {
        let bucket = written.time_ms.div_euclid(BUCKET_MS) as usize;
        for layout in &written.layouts {
            let layout = layouts[bucket % layouts.len()][*layout];
            fake.write(layout, row(written.time_ms, written.id, written.payload));
        }
    }
    fake
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn pages_are_the_rows_in_order_each_once(
        rows in prop::collection::vec(written(), 0..150),
        layouts in layouts(),
        limit in prop_oneof![1usize..4, 1usize..100],
        from in -60 * BUCKET_MS..200 * BUCKET_MS,
        length in 0..100 * BUCKET_MS,
        falters in any::<bool>(),
    ) {
        let mut source = service(&rows, &layouts);
        source.falters = falters;
        let mut all: Vec<_> = rows.iter().map(|row| (row.time_ms, row.id)).collect();
        all.sort_by_key(|(time, id)| std::cmp::Reverse(Place::new(*time, *id)));
        all.dedup();
        prop_assert_eq!(&pages(&source, query(limit)), &all);
        let (from_ms, to_ms) = (START_MS + from, START_MS + from + length);
        let in_range: Vec<_> =
            all.into_iter().filter(|(time, _)| (from_ms..to_ms).contains(time)).collect();
        let ranged = PulseQuery { from_ms, to_ms, ..query(limit) };
        prop_assert_eq!(pages(&source, ranged), in_range);
        let asked = source.take_asked();
        prop_assert!(asked.requests_max <= 64);
        prop_assert!(asked.rows_max * ROW_BYTES_MAX <= BYTES_MAX);
    }
}

/// A page of a service, and what was asked for it.
fn asked_for(source: &Fake, query: &PulseQuery) -> (Page, Asked) {
    source.take_asked();
    let page = page(source, query);
    (page, source.take_asked())
}

/// Rows as often as `every_ms`, over some buckets.
fn steady(layout: Layout, buckets: i64, every_ms: usize) -> Fake {
    let mut source = Fake::default();
    for (number, time) in (0..buckets * BUCKET_MS).step_by(every_ms).enumerate() {
        source.write(layout, row(START_MS + time, id(2, number as u64), 0));
    }
    source
}

#[test]
fn a_dense_newest_slice_is_read_alone() {
    for (slices, spread) in [(6, 3), (4, 2), (1, 0)] {
        let layout = Layout::new(slices, spread);
        let source = steady(layout, 2, 20);
        for limit in [32, 100] {
            let (page, asked) = asked_for(&source, &query(limit));
            assert_eq!(page.rows.len(), limit);
            let mut parts: Vec<_> = asked.parts.iter().map(|(part, _)| part.shard).collect();
            parts.sort_unstable();
            parts.dedup();
            let newest = layout.shards_of_slice(layout.slices() - 1).collect::<Vec<_>>();
            assert_eq!(parts, newest, "{layout:?}");
            assert!(asked.rounds <= 2 && asked.bucket_pages == 1, "{asked:?}");
            let rows: usize = asked.parts.iter().map(|(_, rows)| rows).sum();
            assert!(rows <= 2 * limit + 40, "{rows} rows for {limit}");
        }
    }
}

#[test]
fn the_page_behind_a_position_asks_no_newer_slice() {
    let layout = Layout::new(6, 3);
    let source = steady(layout, 1, 20);
    let after = Position { event_time_ms: START_MS + BUCKET_MS / 2, id: Uuid::nil() };
    let (page, asked) = asked_for(&source, &PulseQuery { after: Some(after), ..query(32) });
    assert_eq!(page.rows[0].event_time_ms, START_MS + BUCKET_MS / 2 - 20);
    assert!(asked.parts.len() <= 10, "{asked:?}");
}

#[test]
fn a_bucket_of_one_partition_costs_few_more() {
    let source = steady(Layout::ONE, 200, 500);
    let (page, asked) = asked_for(&source, &query(32));
    assert_eq!(page.rows.len(), 32);
    assert!(asked.parts.len() <= 9 && asked.rounds == 1, "{asked:?}");
}

#[test]
fn a_sparse_service_is_read_in_few_rounds() {
    let source = steady(Layout::ONE, 200, BUCKET_MS as usize);
    let (page, asked) = asked_for(&source, &query(100));
    assert_eq!(page.rows.len(), 100);
    assert!(
        asked.rounds <= 5 && asked.parts.len() <= 130,
        "{} {}",
        asked.rounds,
        asked.parts.len()
    );
    // Spread over many partitions though its rows are few: slices without rows are not asked.
    let source = steady(Layout::new(6, 3), 4, BUCKET_MS as usize / 16);
    let (page, asked) = asked_for(&source, &query(100));
    assert_eq!(page.rows.len(), 64);
    assert!(
        asked.rounds <= 20 && asked.parts.len() == 64 * 8,
        "{} {}",
        asked.rounds,
        asked.parts.len()
    );
    // One row in each of very many buckets, and the oldest is wanted.
    let mut source = Fake::default();
    source.write(Layout::ONE, row(START_MS, id(1, 1), 0));
    let (page, asked) = asked_for(&source, &query(100));
    assert_eq!((page.rows.len(), asked.rounds, page.next), (1, 1, None));
}

#[test]
fn full_pages_of_any_density_take_a_bounded_number_of_rounds() {
    for (layout, every_ms) in [
        (Layout::ONE, 20),
        (Layout::ONE, 10_000),
        (Layout::ONE, 60_000),
        (Layout::new(2, 1), 100),
        (Layout::new(6, 4), 20),
        (Layout::new(0, 8), 100),
    ] {
        let source = steady(layout, if every_ms < 1_000 { 1 } else { 250 }, every_ms);
        let (page, asked) = asked_for(&source, &query(1_000));
        assert_eq!(page.rows.len(), 1_000, "{layout:?}");
        assert!(asked.rounds <= 30, "{layout:?} {every_ms}: {} rounds", asked.rounds);
    }
}

#[test]
fn pages_of_the_largest_rows_end_early_and_lose_none() {
    let mut source = Fake::default();
    for number in 0..120 {
        source.write(Layout::new(1, 3), row(START_MS + number, id(2, number as u64), 330_000));
    }
    let (first, asked) = asked_for(&source, &query(1_000));
    assert!((20..30).contains(&first.rows.len()) && first.next.is_some());
    assert!(asked.rows_max * ROW_BYTES_MAX <= BYTES_MAX);
    assert_eq!(pages(&source, query(1_000)).len(), 120);
}

#[test]
fn rows_of_one_millisecond_are_paged() {
    let mut source = Fake::default();
    for number in 0..500 {
        source.write(Layout::new(0, 2), row(START_MS, id(number as u8, number), 0));
    }
    let rows = pages(&source, query(32));
    assert_eq!(rows.len(), 500);
    let asked = source.take_asked();
    let rows: usize = asked.parts.iter().map(|(_, rows)| rows).sum();
    assert!(rows < 2_000, "each row is read about once, not for each page again: {rows}");
}
