//! What a batch becomes, whatever its rows are.

use std::collections::HashSet;
use std::sync::Arc;

use proptest::prelude::*;
use scylla::serialize::batch::{BatchValues, BatchValuesIterator};
use uuid::Uuid;

use crate::log::frame::{Entry, Envelope, Frame, FrameBuilder, seal};
use crate::pulse::Shape;
use crate::sink::{Batch, RowRef};
use crate::store::bars::Bars;
use crate::store::cassandra::layout::{IdPlace, Layout};

use super::super::super::lifetime::capped;
use super::super::plan::{Plan, PlanSettings, REQUEST_BYTES_MAX, REQUEST_ROWS_MAX, ttl_s};
use super::super::row::Table;

const NOW_US: i64 = 1_700_049_600_000_000;
const HOUR_US: i64 = 3_600_000_000;
const SETTINGS: PlanSettings =
    PlanSettings { now_us: NOW_US, retention_us: 24 * HOUR_US, id_index: true };

/// A row to be planned.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    pub(super) tenant: String,
    pub(super) service: String,
    pub(super) id: Uuid,
    pub(super) event_time_ms: i64,
    pub(super) received_at_us: i64,
    pub(super) layout: Layout,
    pub(super) raw: Vec<u8>,
}

impl Sample {
    pub(super) fn new(number: u64, received_at_us: i64) -> Self {
        let random = number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes();
        let mut bytes = [0; 10];
        bytes[..8].copy_from_slice(&random);
        let millis = received_at_us.div_euclid(1000);
        let id = uuid::Builder::from_unix_timestamp_millis(millis as u64, &bytes).into_uuid();
        Self {
            tenant: "default".to_owned(),
            service: "checkout".to_owned(),
            id,
            event_time_ms: millis,
            received_at_us,
            layout: Layout::ONE,
            raw: format!("{{\"service\":\"checkout\",\"latency_ms\":{number}}}").into_bytes(),
        }
    }
}

/// A batch of these rows, numbered from 0.
pub(super) fn batch(samples: &[Sample]) -> Batch {
    let mut frames = Vec::new();
    let same =
        |a: &Sample, b: &Sample| a.tenant == b.tenant && a.received_at_us == b.received_at_us;
    for samples in samples.chunk_by(same) {
        put_frames(&mut frames, samples);
    }
    seal(&mut frames, 0);
    let mut rows = Vec::new();
    let mut at = 0;
    while at < frames.len() {
        let frame = Frame::read(&frames[at..]).expect("a sound frame");
        for (entry, record) in frame.entries() {
            let (frame, entry) = (at as u32, entry as u32);
            rows.push(RowRef { seq: record.seq, chunk: 0, frame, entry });
        }
        at += frame.header().frame_bytes();
    }
    let bytes = frames.len();
    Batch::new(Arc::from([frames.into()]), rows, None, 0, bytes)
}

fn put_frames(frames: &mut Vec<u8>, samples: &[Sample]) {
    let mut rest = samples.iter().peekable();
    while let Some(first) = rest.peek() {
        let envelope = Envelope {
            tenant: &first.tenant,
            shape: Shape::Pulse,
            received_at_us: first.received_at_us,
            trace: None,
        };
        let mut frame = FrameBuilder::new(frames, &envelope);
        while !frame.is_full()
            && let Some(sample) = rest.next()
        {
            frame.push(&Entry {
                id: sample.id,
                event_time_ms: sample.event_time_ms,
                shard: sample.layout.code(),
                service: &sample.service,
                kind: "pulse",
                key: None,
                body_hash: None,
                refused: None,
                raw: &sample.raw,
            });
        }
        frame.finish();
    }
}

prop_compose! {
    fn sample()(
        tenant in 0..3u8,
        service in 0..5u8,
        id in any::<u128>(),
        is_named in any::<bool>(),
        minutes in -30i64..30,
        age_us in prop_oneof![0..HOUR_US * 26, Just(24 * HOUR_US), Just(0i64)],
        code in prop_oneof![Just(0u16), Just(0x21u16), any::<u16>()],
        bytes in prop_oneof![9 => 30..400usize, 1 => 400..60_000usize],
    ) -> Sample {
        let mut sample = Sample::new(id as u64, NOW_US - age_us);
        sample.tenant = format!("tenant{tenant}");
        sample.service = format!("service{service}");
        sample.event_time_ms += minutes * 60_000;
        sample.layout = Layout::from_code(code);
        if is_named {
            sample.id = uuid::Builder::from_u128(id)
                .with_version(uuid::Version::Sha1)
                .into_uuid();
        }
        sample.raw = vec![b' '; bytes];
        sample
    }
}

fn check_requests(plan: &Plan<'_>, table: Table) {
    let mut seen = HashSet::new();
    for range in &plan.requests(table).ranges {
        let rows: Vec<_> = plan.values(table, range.clone()).iter().collect();
        let first = rows.first().expect("no request is empty");
        let partition = |row: &super::super::row::PlannedRow<'_>| match table {
            Table::Events => (row.service.to_owned(), row.bucket_ms, row.shard),
            Table::Ids => (String::new(), row.id_hour_ms, row.id_shard),
        };
        for row in &rows {
            assert_eq!((row.tenant, partition(row)), (first.tenant, partition(first)));
            assert!(seen.insert(row.index), "a row is in one request");
        }
        let bytes: usize = rows.iter().map(|row| row.bytes(table)).sum();
        assert!(rows.len() <= REQUEST_ROWS_MAX);
        assert!(rows.len() == 1 || bytes <= REQUEST_BYTES_MAX);
    }
    assert_eq!(seen.len(), plan.rows.len(), "every row is in a request");
}

fn check_rows(plan: &Plan<'_>, samples: &[Sample], shards: u32) {
    for row in &plan.rows {
        let sample = &samples[row.index as usize];
        assert_eq!(row.id, sample.id);
        assert_eq!(row.shard, sample.layout.shard_of(sample.event_time_ms, sample.id));
        let place = IdPlace::of(sample.received_at_us, sample.id, || shards);
        assert_eq!((row.id_hour_ms, row.id_shard), (place.hour_ms, place.shard));
        let series = plan.series.iter().filter(|series| {
            (series.tenant, series.service) == (&sample.tenant, &sample.service)
                && series.bucket_ms == row.bucket_ms
                && series.layout == sample.layout
                && series.slice == sample.layout.slice_of(row.event_time_ms)
        });
        assert_eq!(series.count(), 1, "readers are led to the row");
        let hours = plan
            .named_hours
            .iter()
            .filter(|hour| (hour.tenant, hour.hour_ms) == (&*sample.tenant, row.id_hour_ms));
        assert!(row.id_shard >= 0 || hours.count() == 1, "readers are led to the id");
    }
    let named = plan.rows.iter().filter(|row| row.id_shard < 0).count() as u64;
    assert_eq!(plan.named_hours.iter().map(|hour| hour.ids).sum::<u64>(), named);
}

proptest! {
    #[test]
    fn every_row_is_in_one_request_of_its_partition(
        samples in prop::collection::vec(sample(), 0..150),
        copies in 1..3usize,
    ) {
        let samples: Vec<_> = (0..copies).flat_map(|_| samples.clone()).collect();
        let batch = batch(&samples);
        let plan = Plan::new(&batch, &SETTINGS, &Bars::default(), |_, _| 16);
        check_requests(&plan, Table::Events);
        check_requests(&plan, Table::Ids);
        check_rows(&plan, &samples, 16);
        let oldest_us = NOW_US - 24 * HOUR_US;
        let expired = samples.iter().filter(|sample| sample.received_at_us <= oldest_us);
        prop_assert_eq!(plan.expired as usize, expired.count());
        prop_assert_eq!(plan.rows.len() + plan.expired as usize, samples.len());
        let without = PlanSettings { id_index: false, ..SETTINGS };
        let plan = Plan::new(&batch, &without, &Bars::default(), |_, _| 16);
        check_requests(&plan, Table::Events);
        prop_assert!(plan.ids.ranges.is_empty() && plan.named_hours.is_empty());
    }

    #[test]
    fn a_row_lives_until_its_retention_and_less_than_a_second_longer(
        age_us in -HOUR_US..30 * HOUR_US,
        retention_us in 0..30 * HOUR_US,
    ) {
        let settings = PlanSettings { retention_us, ..SETTINGS };
        let left_us = retention_us - age_us;
        match ttl_s(NOW_US - age_us, &settings) {
            None => prop_assert!(left_us <= 0),
            Some(ttl_s) => {
                let over_us = i64::from(ttl_s) * 1_000_000 - left_us;
                prop_assert!(left_us > 0 && (0..1_000_000).contains(&over_us));
            }
        }
    }
}

#[test]
fn times_at_their_ends_give_a_time_to_live_that_the_database_takes() {
    let check = |received_at_us, retention_us, expected| {
        let settings = PlanSettings { retention_us, ..SETTINGS };
        assert_eq!(ttl_s(received_at_us, &settings), expected, "{received_at_us} {retention_us}");
    };
    check(NOW_US, 1, Some(1));
    check(NOW_US, 0, None);
    check(NOW_US - 5, 5, None);
    check(NOW_US - 4, 5, Some(1));
    check(i64::MIN, i64::MAX, None);
    let most = capped(i64::MAX, SETTINGS.now_us);
    check(i64::MAX, i64::MAX, Some(most));
    check(NOW_US, i64::MAX, Some(most));
}

#[test]
fn a_row_that_can_not_be_read_again_is_told_as_a_fault() {
    let sound = batch(&[Sample::new(1, NOW_US), Sample::new(2, NOW_US)]);
    let mut rows = sound.row_refs().to_vec();
    rows[1].frame = 9_999;
    let chunk = bytes::Bytes::from(vec![0; 10]);
    let plan_of = |batch: &Batch| {
        let plan = Plan::new(batch, &SETTINGS, &Bars::default(), |_, _| 8);
        plan.faults.iter().map(|fault| (fault.index, fault.code)).collect::<Vec<_>>()
    };
    assert_eq!(plan_of(&sound), []);
    let damaged = Batch::new(Arc::from([chunk]), rows, None, 0, 10);
    assert_eq!(plan_of(&damaged), [(0, "unreadable"), (1, "unreadable")]);
}

#[test]
fn the_iterator_of_values_counts_and_skips_as_the_driver_expects() {
    let samples: Vec<_> = (0..5).map(|number| Sample::new(number, NOW_US)).collect();
    let batch = batch(&samples);
    let plan = Plan::new(&batch, &SETTINGS, &Bars::default(), |_, _| 8);
    let values = plan.values(Table::Events, 0..5);
    assert_eq!(values.batch_values_iter().count(), 5);
    let mut iterator = values.batch_values_iter();
    assert_eq!(iterator.is_empty_next(), Some(false));
    assert_eq!((0..9).filter(|_| iterator.skip_next().is_some()).count(), 4);
    assert_eq!(plan.values(Table::Events, 3..9).order.len(), 0, "no such rows");
}

#[test]
fn what_is_barred_counts_as_expired_and_is_planned_nowhere() {
    let samples: Vec<_> =
        (0..4).map(|number| Sample::new(number, NOW_US + number as i64)).collect();
    let (batch, bars) = (batch(&samples), Bars::default());
    let tenant = batch.row(0).map(|row| row.envelope.tenant.to_owned()).expect("a row");
    bars.set("somebody else", Some(NOW_US + 9));
    assert_eq!(Plan::new(&batch, &SETTINGS, &bars, |_, _| 8).rows.len(), 4);
    bars.set(&tenant, Some(NOW_US + 1));
    let plan = Plan::new(&batch, &SETTINGS, &bars, |_, _| 8);
    assert_eq!((plan.rows.len(), plan.expired), (2, 2));
    assert!(plan.rows.iter().all(|row| row.received_at_us > NOW_US + 1));
}
