//! What a real database holds after a write.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use scylla::statement::unprepared::Statement;
use scylla::value::{CqlDecimal, CqlTimestamp};

use crate::clock::now_us;
use crate::pulse::{Pulse, Usage};
use crate::sink::Written;
use crate::store::cassandra::layout::{ID_HOUR_MS, IdPlace, Layout, bucket_of};
use crate::store::cassandra::metrics::TableLabels;
use crate::store::{Position, PulseQuery, Row};

use super::fixture::{Fixture, Login};
use super::planning::{Sample, batch};

const SELECT: &str = "SELECT event_id, event_time, received_at, kind, latency_ms, status, value, \
    user_id, sku, unit, amount, metadata, payload, TTL(kind), WRITETIME(kind) \
    FROM pulse_events_by_service WHERE tenant = ? AND service_name = ? AND bucket = ? \
    AND shard = ? AND event_time = ?";

type Stored = (
    uuid::Uuid,
    CqlTimestamp,
    CqlTimestamp,
    String,
    Option<f64>,
    Option<String>,
    Option<f64>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<CqlDecimal>,
    Option<BTreeMap<String, String>>,
    Option<String>,
    Option<i32>,
    Option<i64>,
);

fn sample(number: u64, received_at_us: i64, pulse: &Pulse<'_>) -> Sample {
    let mut sample = Sample::new(number, received_at_us);
    sample.raw.clear();
    pulse.write_json(&mut sample.raw);
    sample
}

fn decimal(stored: &CqlDecimal) -> Decimal {
    let (bytes, scale) = stored.as_signed_be_bytes_slice_and_exponent();
    let number = bytes.iter().fold(if bytes[0] > 127 { -1_i128 } else { 0 }, |number, byte| {
        number << 8 | i128::from(*byte)
    });
    Decimal::from_i128_with_scale(number, scale as u32)
}

/// Pulses with every part, at its ends.
fn extremes() -> Vec<Pulse<'static>> {
    let number = |latency, value| Pulse {
        latency_ms: Some(latency),
        value: Some(value),
        ..Pulse::new("checkout", "k")
    };
    let amount = |amount| Pulse {
        usage: Some(Usage { sku: "s".into(), unit: "GiB".into(), amount }),
        ..Pulse::new("checkout", "k")
    };
    let text = |text: &'static str| Pulse {
        status: Some(text.into()),
        user: Some(text.into()),
        metadata: vec![
            (text.into(), text.into()),
            ("zz".into(), "".into()),
            ("a".into(), text.into()),
        ],
        payload: Some(r#"{ "x" : [1, null, "é\u0000"] }"#.into()),
        ..Pulse::new("checkout", "k")
    };
    vec![
        Pulse::new("checkout", "k"),
        number(f64::MAX, f64::MIN),
        number(f64::MIN_POSITIVE, -0.0),
        number(5e-324, 1.0 / 3.0),
        amount(Decimal::ZERO),
        amount(Decimal::new(-1, 28)),
        amount(Decimal::new(127, 1)),
        amount(Decimal::new(128, 0)),
        amount(Decimal::new(-128, 2)),
        amount(Decimal::new(-129, 2)),
        amount(Decimal::from_i128_with_scale(9_999_999_999_999_999_999_999_999_999, 0)),
        amount(Decimal::from_i128_with_scale(-9_999_999_999_999_999_999_999_999_999, 28)),
        text("plain"),
        text("ünïcödé 🚀 \u{10FFFF} \" \\ \n \u{1}"),
        Pulse {
            payload: Some(format!("\"{}\"", "p".repeat(65_534)).into()),
            ..Pulse::new("checkout", "k")
        },
    ]
}

async fn check_row(fixture: &Fixture, sample: &Sample, expected: &Row) {
    let bucket_ms = bucket_of(sample.event_time_ms);
    let shard = sample.layout.shard_of(sample.event_time_ms, sample.id);
    let place = (CqlTimestamp(bucket_ms), shard, CqlTimestamp(sample.event_time_ms));
    let key = (&sample.tenant, &sample.service, place.0, place.1, place.2);
    let rows: Vec<Stored> = fixture.rows(SELECT, key).await;
    assert_eq!(rows.len(), 1, "each row once: {expected:?}");
    let row = &rows[0];
    assert_eq!((row.0, row.1.0, &row.3), (expected.id, expected.event_time_ms, &expected.kind));
    assert_eq!(row.2.0, expected.received_at_us / 1000);
    let bits = |number: Option<f64>| number.map(f64::to_bits);
    assert_eq!(bits(row.4), bits(expected.latency_ms));
    assert_eq!(bits(row.6), bits(expected.value));
    assert_eq!((&row.5, &row.7), (&expected.status, &expected.user));
    let usage = expected.usage.as_ref();
    assert_eq!(row.8, usage.map(|usage| usage.sku.clone()));
    assert_eq!(row.9, usage.map(|usage| usage.unit.clone()));
    let amount = row.10.as_ref().map(decimal);
    assert_eq!(
        amount.map(|amount| amount.to_string()),
        usage.map(|usage| usage.amount.to_string()),
        "with its scale"
    );
    let metadata: BTreeMap<_, _> = expected.metadata.iter().cloned().collect();
    assert_eq!(row.11.clone().unwrap_or_default(), metadata);
    assert_eq!(row.12, expected.payload);
    let ttl_s = i64::from(row.13.expect("a time to live"));
    let expected_s = (sample.received_at_us - now_us()) / 1_000_000 + 7 * 24 * 3600;
    assert!((ttl_s - expected_s).abs() <= 30, "{ttl_s} {expected_s}");
    assert_eq!(row.14, Some(sample.received_at_us));
}

async fn check_id(fixture: &Fixture, sample: &Sample) {
    let place = IdPlace::of(sample.received_at_us, sample.id, || 8);
    let rows: Vec<(String, CqlTimestamp, i32)> = fixture
        .rows(
            "SELECT service_name, event_time, shard FROM pulse_ids WHERE tenant = ? AND \
             receive_hour = ? AND id_shard = ? AND event_id = ?",
            (&sample.tenant, CqlTimestamp(place.hour_ms), place.shard, sample.id),
        )
        .await;
    let shard = sample.layout.shard_of(sample.event_time_ms, sample.id);
    let expected = (sample.service.clone(), CqlTimestamp(sample.event_time_ms), shard);
    assert_eq!(rows, [expected]);
}

#[tokio::test]
#[ignore = "needs the database of cargo xtask test cassandra"]
async fn rows_written_twice_are_there_once_exactly_as_they_were_sent() {
    let fixture = Fixture::new(Login::Superuser).await;
    let now_us = now_us();
    let mut samples: Vec<_> = extremes()
        .iter()
        .enumerate()
        .map(|(number, pulse)| sample(number as u64, now_us - number as i64 * 3_600_000_000, pulse))
        .collect();
    for (number, time) in [(90, -1), (91, i64::MIN / 2), (92, i64::MAX / 2), (93, 0)] {
        let mut sample = sample(number, now_us, &Pulse::new("checkout", "k"));
        sample.event_time_ms = time;
        sample.layout = Layout::new(3, 2);
        sample.id = uuid::Uuid::from_u128(u128::from(number));
        samples.push(sample);
    }
    let mut expired = Sample::new(99, now_us - 8 * 24 * 3_600_000_000);
    expired.service = "expired".into();
    samples.push(expired);
    let batch = batch(&samples);
    let rows = samples.len() as u64 - 1;
    for _ in 0..2 {
        let written = fixture.write(&batch).await.expect("written");
        assert_eq!(written, Written { rows, expired: 1 });
    }
    for (sample, record) in samples.iter().zip(batch.rows()).take(rows as usize) {
        check_row(&fixture, sample, &Row::from_record(&record).expect("an event")).await;
        check_id(&fixture, sample).await;
    }
    let all: Vec<(i64,)> = fixture.rows("SELECT count(*) FROM pulse_events_by_service", ()).await;
    assert_eq!(all, [(rows as i64,)]);
}

#[tokio::test]
#[ignore = "needs the database of cargo xtask test cassandra"]
async fn what_leads_to_rows_is_written_once_and_outlives_them() {
    let fixture = Fixture::new(Login::Superuser).await;
    let now_us = now_us();
    let mut named = Sample::new(1, now_us);
    named.id = uuid::Uuid::from_u128(77);
    let mut late = Sample::new(2, now_us);
    // In the first half of its bucket.
    late.event_time_ms = bucket_of(late.event_time_ms - 90 * 24 * ID_HOUR_MS) + 1_000;
    late.layout = Layout::new(1, 1);
    let samples = [named.clone(), late.clone(), Sample::new(3, now_us)];
    let batch = batch(&samples);
    for _ in 0..3 {
        fixture.write(&batch).await.expect("written");
    }
    let count = |table| fixture.metrics.requests.get_or_create(&TableLabels { table }).get();
    assert_eq!([count("buckets"), count("id_hours")], [2, 1], "what is known is not sent again");
    assert_eq!(count("events"), 6);
    // Two ids of one second may lie side by side or not.
    assert!([6, 9].contains(&count("ids")), "{}", count("ids"));
    let buckets: Vec<(CqlTimestamp, i16, i16)> = fixture
        .rows(
            "SELECT bucket, slice, layout FROM pulse_buckets WHERE tenant = ? AND service_name = ?",
            (&named.tenant, &named.service),
        )
        .await;
    let place = |sample: &Sample, slice| {
        (CqlTimestamp(bucket_of(sample.event_time_ms)), slice, sample.layout.code() as i16)
    };
    assert_eq!(buckets, [place(&named, 1023), place(&late, 511)], "newest first");
    let hours: Vec<(CqlTimestamp, i32)> = fixture
        .rows("SELECT receive_hour, shards FROM pulse_id_hours WHERE tenant = ?", (&named.tenant,))
        .await;
    let hour_ms = named.received_at_us.div_euclid(1000 * ID_HOUR_MS) * ID_HOUR_MS;
    assert_eq!(hours, [(CqlTimestamp(hour_ms), 8)]);
}

#[tokio::test]
#[ignore = "needs the database of cargo xtask test cassandra"]
async fn what_is_written_with_any_layout_is_found_by_the_reader() {
    let fixture = Fixture::new(Login::Superuser).await;
    let now_us = now_us();
    let layouts = [Layout::ONE, Layout::new(4, 3), Layout::new(10, 3)];
    let samples: Vec<_> = (0..300)
        .map(|number| {
            let mut sample = Sample::new(number, now_us);
            // Over half an hour, so that a bucket has rows of all layouts in many slices.
            sample.event_time_ms -= number as i64 * 6_007;
            sample.layout = layouts[number as usize % layouts.len()];
            sample
        })
        .collect();
    fixture.write(&batch(&samples)).await.expect("written");
    for limit in [7, 1_000] {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = fixture.reader.pulses(&newest(limit, after)).await.expect("a page");
            found.extend(page.rows.iter().map(|row| row.id));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let written: Vec<_> = samples.iter().map(|sample| sample.id).collect();
        assert_eq!(found, written, "{limit} a page, newest first");
    }
    for sample in samples.iter().step_by(50) {
        let found = fixture.reader.pulse(&sample.tenant, sample.id).await.expect("an answer");
        assert_eq!(found.map(|row| row.event_time_ms), Some(sample.event_time_ms));
    }
}

fn newest(limit: usize, after: Option<Position>) -> PulseQuery {
    let (tenant, service) = ("default".to_owned(), "checkout".to_owned());
    PulseQuery { tenant, service, from_ms: i64::MIN, to_ms: i64::MAX, limit, after }
}

#[tokio::test]
#[ignore = "needs the database of cargo xtask test cassandra"]
async fn a_part_that_was_not_sent_leaves_no_tombstone() {
    let fixture = Fixture::new(Login::Superuser).await;
    let mut sample = sample(1, now_us(), &Pulse::new("checkout", "k"));
    sample.tenant = "unset".into();
    fixture.write(&batch(&[sample.clone()])).await.expect("written");
    assert_eq!(tombstones(&fixture, "unset").await, Some(0));
    fixture
        .rows_of(
            "INSERT INTO pulse_events_by_service (tenant, service_name, bucket, shard, \
            event_time, event_id, status) VALUES ('null', 's', 0, 0, 0, \
            00000000-0000-0000-0000-000000000000, null)",
        )
        .await;
    assert_eq!(tombstones(&fixture, "null").await, Some(1), "a null would be seen");
}

impl Fixture {
    async fn rows_of(&self, cql: &str) {
        self.session.query_unpaged(cql, ()).await.expect("sent");
    }
}

/// How many tombstones a read of a tenant's rows has met, by the database's own trace.
async fn tombstones(fixture: &Fixture, tenant: &str) -> Option<u64> {
    let mut statement =
        Statement::new("SELECT * FROM pulse_events_by_service WHERE tenant = ? ALLOW FILTERING");
    statement.set_tracing(true);
    let result = fixture.session.query_unpaged(statement, (tenant,)).await.expect("read");
    let trace = result.tracing_id().expect("a trace");
    let trace = fixture.session.get_tracing_info(&trace).await.expect("a trace's events");
    let events = trace.events.iter().filter_map(|event| event.activity.as_deref());
    let counts = events.filter_map(|text| {
        // "Read 1 live rows and 0 tombstone cells"
        let (_, text) = text.strip_prefix("Read ")?.split_once(" live rows and ")?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    counts.max()
}

#[tokio::test]
#[ignore = "needs the database of cargo xtask test cassandra"]
async fn a_map_is_stored_in_the_order_of_its_keys_whatever_order_it_was_sent_in() {
    let fixture = Fixture::new(Login::Superuser).await;
    let orders = [["b", "a", "c"], ["c", "b", "a"]];
    let samples: Vec<_> = orders
        .iter()
        .zip(1..)
        .map(|(order, number)| {
            let metadata = order.iter().map(|key| ((*key).into(), "1".into())).collect();
            sample(number, now_us(), &Pulse { metadata, ..Pulse::new("checkout", "k") })
        })
        .collect();
    fixture.write(&batch(&samples)).await.expect("written");
    let equal: Vec<(i64,)> = fixture
        .rows(
            "SELECT count(*) FROM pulse_events_by_service WHERE metadata = \
             {'a': '1', 'b': '1', 'c': '1'} ALLOW FILTERING",
            (),
        )
        .await;
    assert_eq!(equal, [(2,)]);
}
