//! What a real database refuses, in which words, and what becomes of the rows.

use std::sync::Arc;

use scylla::client::session_builder::SessionBuilder;
use scylla::errors::ExecutionError;
use scylla::frame::Compression;
use scylla::statement::batch::{Batch, BatchType};
use xtask::cassandra::Cluster;

use crate::clock::now_us;
use crate::pulse::Pulse;
use crate::sink::{SinkError, SinkState, Written};
use crate::store::cassandra::counts::{Counted, Origin, SUMS_MAX};
use crate::store::cassandra::error::{Class, classify};

use super::super::failing;
use super::fixture::{Fixture, Login};
use super::planning::{Sample, batch};

/// Rows of which some have a payload beyond what the database takes for one value.
fn samples(count: u64, poison: &[u64]) -> Vec<Sample> {
    let now_us = now_us();
    let sample = |number| {
        let mut sample = Sample::new(number, now_us);
        if poison.contains(&number) {
            let payload = format!("\"{}\"", "p".repeat(60_000));
            let pulse = Pulse { payload: Some(payload.into()), ..Pulse::new("checkout", "k") };
            sample.raw.clear();
            pulse.write_json(&mut sample.raw);
        }
        sample
    };
    (0..count).map(sample).collect()
}

#[tokio::test]
#[ignore = "needs the database of cargo xtask test cassandra"]
async fn rows_that_the_database_will_never_take_are_found_among_5000_in_one_write() {
    let fixture = Fixture::new(Login::Ordinary).await;
    let samples = samples(5_000, &[0, 1_234, 4_999]);
    let whole = batch(&samples);
    let Err(SinkError::RowFaults(faults)) = fixture.write(&whole).await else {
        panic!("no faults were found");
    };
    let found: Vec<_> = faults.iter().map(|fault| (fault.index, fault.code)).collect();
    assert_eq!(found, [(0, "refused"), (1_234, "refused"), (4_999, "refused")]);
    let words = "Guardrail column_value_size violated: Value of column 'payload'";
    assert!(faults.iter().all(|fault| fault.message.starts_with(words)), "{faults:?}");
    let rest = whole.subset((0..5_000).filter(|index| ![0, 1_234, 4_999].contains(index)));
    let written = fixture.write(&rest).await.expect("the rest is taken");
    assert_eq!(written, Written { rows: 4_997, expired: 0 });
}

#[tokio::test]
#[ignore = "needs the database of cargo xtask test cassandra"]
async fn a_row_that_can_not_be_decoded_is_told_with_the_reason() {
    let fixture = Fixture::new(Login::Superuser).await;
    let mut samples = samples(250, &[]);
    for index in [0, 120, 249] {
        samples[index].raw = b"{\"service\":".to_vec();
    }
    let Err(SinkError::RowFaults(faults)) = fixture.write(&batch(&samples)).await else {
        panic!("no faults were found");
    };
    let found: Vec<_> = faults.iter().map(|fault| (fault.index, fault.code)).collect();
    assert_eq!(found, [0, 120, 249].map(|index| (index, "undecodable")));
    assert!(faults[0].message.starts_with("invalid_json: "), "{faults:?}");
}

#[tokio::test]
#[ignore = "needs the database of cargo xtask test cassandra"]
async fn tables_that_go_are_an_outage_and_never_a_row() {
    let fixture = Fixture::new(Login::Superuser).await;
    let batch = batch(&samples(10, &[]));
    fixture.write(&batch).await.expect("written");
    let changes = [
        "ALTER TABLE pulse_events_by_service DROP payload",
        "DROP TABLE pulse_events_by_service",
        "CREATE TABLE pulse_events_by_service (tenant text, service_name text, bucket int, \
         shard smallint, event_time timestamp, event_id uuid, received_at timestamp, kind text, \
         latency_ms double, status text, value double, user_id text, sku text, unit text, \
         amount decimal, metadata frozen<map<text, text>>, payload text, \
         PRIMARY KEY ((tenant, service_name, bucket, shard), event_time, event_id))",
    ];
    for change in changes {
        fixture.session.query_unpaged(change, ()).await.expect("change the tables");
        let answer = fixture.write(&batch).await;
        assert!(matches!(answer, Err(SinkError::Unavailable(_))), "{change}: {answer:?}");
    }
    let keyspace = fixture.session.get_keyspace().expect("a keyspace");
    let drop = format!("DROP KEYSPACE {keyspace}");
    fixture.session.query_unpaged(drop, ()).await.expect("drop the keyspace");
    let answer = fixture.write(&batch).await;
    assert!(matches!(answer, Err(SinkError::Unavailable(_))), "{answer:?}");
}

#[tokio::test]
#[ignore = "needs the database of cargo xtask test cassandra"]
async fn what_keeps_rows_from_being_stored_is_told_as_the_stores_state() {
    let fixture = Fixture::new(Login::Superuser).await;
    let batch = batch(&samples(10, &[]));
    fixture.write(&batch).await.expect("written");
    assert_eq!(fixture.link.state(), SinkState::Up);
    let counted = (0..SUMS_MAX as u64).map(|number| Counted {
        seq: 1_000 + number,
        tenant: "default",
        minute_ms: number as i64 * 60_000,
        kind: "pulse",
    });
    fixture.writer.sums.add(Origin { replay: false, log: None, finished_below: 0 }, counted);
    let answer = fixture.write(&batch).await;
    assert!(matches!(answer, Err(SinkError::Unavailable(_))), "{answer:?}");
    let why = "too many counts wait to be written".to_owned();
    assert_eq!(fixture.link.state(), SinkState::Down(why));
}

#[test]
fn a_failure_of_any_cause_but_rows_is_a_reason_why_nothing_is_stored() {
    let check = |outcome, expected: Option<&str>| {
        assert_eq!(failing(&outcome).as_deref(), expected, "{outcome:?}");
    };
    let why = || anyhow::anyhow!("timed out").context("write failed");
    check(Ok(()), None);
    check(Err(SinkError::RowFaults(Vec::new())), None);
    check(Err(SinkError::Unavailable(why())), Some("write failed: timed out"));
    check(Err(SinkError::Unknown(why())), Some("write failed: timed out"));
}

#[tokio::test]
#[ignore = "needs the database of cargo xtask test cassandra"]
async fn a_permission_that_was_taken_is_an_outage_and_never_a_row() {
    let fixture = Fixture::new(Login::Ordinary).await;
    let batch = batch(&samples(10, &[]));
    fixture.write(&batch).await.expect("written");
    let keyspace = fixture.session.get_keyspace().expect("a keyspace");
    let revoke = format!("REVOKE ALL ON KEYSPACE {keyspace} FROM write_tests");
    fixture.session.query_unpaged(revoke, ()).await.expect("revoke");
    // Nodes go by what they know for two seconds.
    let start = std::time::Instant::now();
    let answer = loop {
        match fixture.write(&batch).await {
            Ok(_) => assert!(start.elapsed().as_secs() < 30, "still permitted"),
            Err(error) => break error,
        }
    };
    assert!(matches!(answer, SinkError::Unavailable(_)), "{answer:?}");
}

#[tokio::test]
#[ignore = "needs the database of cargo xtask test cassandra"]
async fn what_the_database_says_is_understood() {
    let fixture = Fixture::new(Login::Superuser).await;
    let check = async |cql: &str, expected, start: &str| {
        let error = fixture.session.query_unpaged(cql, ()).await.expect_err("a refusal");
        assert_eq!(classify(&error), expected, "{error}");
        let (_, words) = super::fixture::refusal(&error);
        assert!(words.starts_with(start), "{words}");
    };
    check("SELECT a FROM nothing", Class::Schema, "table nothing does not exist").await;
    check("SELECT a FROM none.nothing", Class::Schema, "keyspace none does not exist").await;
    check("SELECT a FROM pulse_ids", Class::Schema, "Undefined column name a in table").await;
    let insert = "INSERT INTO pulse_writers (log_id, seen) VALUES \
                  (00000000-0000-0000-0000-000000000000, 0) USING TTL";
    check(&format!("{insert} 630720001"), Class::Unavailable, "ttl is too large.").await;
    check(&format!("{insert} 630720000"), Class::Unavailable, "Request on table").await;
    check(&format!("{insert} -1"), Class::Unknown, "A TTL must be greater").await;
    // 17 MiB: beyond a frame as it is, and beyond a mutation once it is compressed.
    let error = large_request(&fixture, None).await;
    assert_eq!(classify(&error), Class::TooLarge, "{error}");
    let words = super::fixture::refusal(&error).1;
    assert!(words.starts_with("Request is too big"), "{words}");
    let error = large_request(&fixture, Some(Compression::Lz4)).await;
    assert_eq!(classify(&error), Class::TooLarge, "{error}");
    let words = super::fixture::refusal(&error).1;
    assert!(words.starts_with("Rejected an oversized mutation"), "{words}");
}

async fn large_request(fixture: &Fixture, compression: Option<Compression>) -> ExecutionError {
    let cluster = Cluster::from_environment().expect("a cluster");
    let (name, password) = cluster.settings().login().expect("a login");
    let session = SessionBuilder::new()
        .known_node_addr(cluster.nodes()[0].address())
        .user(name, password)
        .compression(compression)
        .use_keyspace(fixture.session.get_keyspace().expect("a keyspace").as_str(), false)
        .build()
        .await
        .expect("connect");
    let insert = "INSERT INTO pulse_events_by_service (tenant, service_name, bucket, shard, \
                  event_time, event_id, payload) VALUES ('t', 's', 0, 0, 0, ?, ?)";
    let statement = session.prepare(insert).await.expect("prepare");
    let rows = 425;
    let payload: Arc<str> = "p".repeat(40 * 1024).into();
    let statements = vec![statement.into(); rows];
    let batch = Batch::new_with_statements(BatchType::Unlogged, statements);
    let values: Vec<_> =
        (0..rows).map(|row| (uuid::Uuid::from_u128(row as u128), &*payload)).collect();
    session.batch(&batch, values).await.expect_err("a refusal")
}
