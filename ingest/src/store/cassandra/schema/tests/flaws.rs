//! The two flaws of a table with the key `(service_name, event_time)`, and that ours has neither:
//! pulses of one millisecond overwrite each other, and a partition grows for ever.

use std::collections::HashMap;

use super::*;
use crate::store::cassandra::layout::{BUCKET_MS, Layout, bucket_of};

/// A table of the plain form.
pub(super) const PLAIN: &str = "CREATE TABLE KS.pulse_events_by_service (service_name text, \
    event_time timestamp, latency_ms double, status text, metadata map<text, text>, \
    PRIMARY KEY (service_name, event_time))";
pub(super) const INSERT_PLAIN: &str = "INSERT INTO KS.pulse_events_by_service (service_name, \
    event_time, latency_ms, status) VALUES (?, ?, ?, ?)";
const INSERT: &str = "INSERT INTO KS.pulse_events_by_service (tenant, service_name, bucket, shard, \
    event_time, event_id, latency_ms, status) VALUES ('t', ?, ?, ?, ?, ?, ?, ?)";

const SERVICE: &str = "checkout";
/// A whole bucket's begin: 2026-01-01T00:00:00Z.
const BEGIN_MS: i64 = 1_767_225_600_000;

/// A keyspace with the plain table, and one with ours.
async fn both() -> (Fixture, Fixture) {
    let (plain, ours) = (Fixture::new("flaws").await, Fixture::new("none").await);
    plain.make_keyspace().await;
    plain.send(PLAIN, ()).await;
    ours.process().run().await.expect("prepare");
    (plain, ours)
}

async fn write(plain: &Fixture, ours: &Fixture, layout: Layout, time_ms: i64) {
    let (id, time, latency) = (Uuid::now_v7(), CqlTimestamp(time_ms), 1.0);
    plain.send(INSERT_PLAIN, (SERVICE, time, latency, "ok")).await;
    let (bucket, shard) = (CqlTimestamp(bucket_of(time_ms)), layout.shard_of(time_ms, id));
    ours.send(INSERT, (SERVICE, bucket, shard, time, id, latency, "ok")).await;
}

/// How many rows each partition has, by its token.
async fn partitions(fixture: &Fixture, key: &str) -> HashMap<i64, usize> {
    let cql = format!("SELECT token({key}) FROM KS.pulse_events_by_service");
    let mut found = HashMap::new();
    for (token,) in fixture.rows::<(i64,)>(&cql).await {
        *found.entry(token).or_default() += 1;
    }
    found
}

#[tokio::test]
#[ignore = "needs the database of cargo xtask test cassandra"]
async fn pulses_of_one_millisecond_are_one_row_there_and_all_kept_here() {
    let (plain, ours) = Box::pin(both()).await;
    for _ in 0..20 {
        write(&plain, &ours, Layout::ONE, BEGIN_MS).await;
    }
    let cql = "SELECT count(*) FROM KS.pulse_events_by_service";
    assert_eq!(plain.rows::<(i64,)>(cql).await, [(1,)]);
    assert_eq!(ours.rows::<(i64,)>(cql).await, [(20,)]);
    plain.close().await;
    ours.close().await;
}

#[tokio::test]
#[ignore = "needs the database of cargo xtask test cassandra"]
async fn a_service_is_one_partition_for_ever_there_and_a_bounded_one_here() {
    const EACH: i64 = 10;
    let (plain, ours) = Box::pin(both()).await;
    for (day, buckets) in [(1, 12), (2, 24)] {
        for at in (buckets - 12) * EACH..buckets * EACH {
            write(&plain, &ours, Layout::ONE, BEGIN_MS + at * BUCKET_MS / EACH).await;
        }
        let found = partitions(&plain, "service_name").await;
        assert_eq!(found.into_values().collect::<Vec<_>>(), [(buckets * EACH) as usize], "{day}");
        let found = partitions(&ours, "tenant, service_name, bucket, shard").await;
        assert_eq!(found.len(), buckets as usize, "partitions grow in number");
        assert!(found.values().all(|&rows| rows == EACH as usize), "and not in size");
    }
    plain.close().await;
    ours.close().await;
}

#[tokio::test]
#[ignore = "needs the database of cargo xtask test cassandra"]
async fn a_hot_service_is_one_partition_there_and_as_many_as_its_layout_says_here() {
    const ROWS: i64 = 1000;
    let (plain, ours) = Box::pin(both()).await;
    let layout = Layout::new(2, 2);
    for at in 0..ROWS {
        write(&plain, &ours, layout, BEGIN_MS + at * BUCKET_MS / ROWS).await;
    }
    let found = partitions(&plain, "service_name").await;
    assert_eq!(found.into_values().collect::<Vec<_>>(), [ROWS as usize]);
    let found = partitions(&ours, "tenant, service_name, bucket, shard").await;
    assert_eq!(found.len(), 16);
    let most = found.values().max().copied().unwrap_or_default();
    assert!(most < 2 * ROWS as usize / 16, "{most} rows in one of 16 partitions");
    plain.close().await;
    ours.close().await;
}
