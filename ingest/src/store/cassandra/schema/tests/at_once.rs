//! Several processes that begin at once, and one that ends in between.

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::*;
use crate::store::cassandra::schema::lease::Lease;

const ROWS: usize = 50;

/// Writes rows to a table, as a process does once its tables are right.
async fn write(session: &Session, keyspace: &str, log: Uuid) {
    for part in 0..ROWS {
        let cql = format!(
            "INSERT INTO {keyspace}.pulse_counts (tenant, hour, minute, kind, log_id, part, \
             pulses) VALUES ('t', 0, 0, 'k', ?, ?, 1)"
        );
        session.query_unpaged(patient(cql), (log, part as i64)).await.expect("write");
    }
}

#[tokio::test]
#[ignore = "needs the database of cargo xtask test cassandra"]
async fn eight_that_begin_at_once_lose_nothing() {
    let fixture = Fixture::new("eight").await;
    let (cluster, mut sessions) = (cluster(), Vec::new());
    for _ in 0..8 {
        sessions.push(Box::pin(connect(&cluster)).await);
    }
    let each = |session| {
        let fixture = &fixture;
        async move {
            let process = fixture.process_on(session);
            prepare_in_turn(&process).await.expect("prepare");
            write(session, &fixture.settings.keyspace, Uuid::now_v7()).await;
        }
    };
    let all: FuturesUnordered<_> = sessions.iter().map(each).collect();
    assert_eq!(all.count().await, 8);
    let rows: Vec<(i64,)> = fixture.rows("SELECT count(*) FROM KS.pulse_counts").await;
    assert_eq!(rows, [(8 * ROWS as i64,)]);
    assert_eq!(fixture.tables().await.len(), TABLES.len());
    fixture.close().await;
}

#[tokio::test]
#[ignore = "needs the database of cargo xtask test cassandra"]
async fn tables_made_at_once_without_any_lock_are_the_same_tables() {
    let fixture = Fixture::new("race").await;
    fixture.make_keyspace().await;
    let keyspace = fixture.settings.keyspace.as_str();
    let (cluster, mut sessions) = (cluster(), Vec::new());
    for _ in 0..8 {
        sessions.push(Box::pin(connect(&cluster)).await);
    }
    let each = |session| async move {
        let requests = Requests { session, consistency: LocalQuorum };
        for migration in definitions::migrations(keyspace, Retention::new(7 * DAY)) {
            for statement in migration.statements {
                requests.change(&statement).await.expect("make a table");
            }
        }
        write(session, keyspace, Uuid::now_v7()).await;
    };
    let all: FuturesUnordered<_> = sessions.iter().map(each).collect();
    assert_eq!(all.count().await, 8);
    let rows: Vec<(i64,)> = fixture.rows("SELECT count(*) FROM KS.pulse_counts").await;
    assert_eq!(rows, [(8 * ROWS as i64,)]);
    for (name, made) in fixture.tables().await {
        assert_eq!(made.id.get_version_num(), 5, "{name} has the id that it was made with");
    }
    fixture.close().await;
}

#[tokio::test]
#[ignore = "needs the database of cargo xtask test cassandra"]
async fn the_lease_of_one_that_ended_expires() {
    let fixture = Fixture::new("crashed").await;
    fixture.process().run().await.expect("prepare");
    fixture.send("DROP TABLE KS.pulse_ids", ()).await;
    let (requests, keyspace) = (fixture.process().requests, &fixture.settings.keyspace);
    let length = Duration::from_secs(3);
    let crashed = (Uuid::now_v7(), length);
    let _crashed = Lease::take(requests, keyspace, crashed).await.expect("take the lease");
    let since = tokio::time::Instant::now();
    let held = fixture.process().run().await.expect_err("held by another");
    assert!(matches!(held, SchemaError::LockHeld { .. }), "{held}");
    assert!(!fixture.tables().await.contains_key("pulse_ids"));
    prepare_in_turn(&fixture.process()).await.expect("prepare once it has expired");
    assert!(since.elapsed() > length / 2, "not before it expired");
    assert!(fixture.tables().await.contains_key("pulse_ids"));
    fixture.close().await;
}

#[tokio::test]
#[ignore = "needs the database of cargo xtask test cassandra"]
async fn a_lease_that_was_lost_is_noticed_and_left_to_its_new_holder() {
    let fixture = Fixture::new("lost").await;
    fixture.process().run().await.expect("prepare");
    let (requests, keyspace) = (fixture.process().requests, &fixture.settings.keyspace);
    let take = async |seconds| {
        let lease = (Uuid::now_v7(), Duration::from_secs(seconds));
        Lease::take(requests, keyspace, lease).await
    };
    let mut first = take(3).await.expect("take the lease");
    let second = loop {
        match take(60).await {
            Ok(lease) => break lease,
            Err(error) => assert!(matches!(error, SchemaError::LockHeld { .. }), "{error}"),
        }
    };
    let lost = first.extend().await.expect_err("lost");
    assert!(matches!(lost, SchemaError::LockHeld { .. }), "{lost}");
    first.release().await;
    take(60).await.expect_err("still held by the second");
    second.release().await;
    let mut third = take(4).await.expect("take it once it was given back");
    // Made to last again and again, it outlives its first length.
    let end = tokio::time::Instant::now() + Duration::from_secs(7);
    while tokio::time::Instant::now() < end {
        third.extend().await.expect("still held");
        take(60).await.expect_err("held by the third");
    }
    third.release().await;
    fixture.close().await;
}

#[tokio::test]
#[ignore = "needs the database of cargo xtask test cassandra"]
async fn one_that_was_interrupted_goes_on_where_another_waits() {
    let fixture = Fixture::new("interrupted").await;
    fixture.process().run().await.expect("prepare");
    fixture.send("DROP TABLE KS.pulse_ids", ()).await;
    let process = fixture.process();
    let interrupted = Lease::take(process.requests, process.keyspace(), process.lease).await;
    interrupted.expect("take the lease");
    let held = fixture.process().run().await.expect_err("held by another");
    assert!(matches!(held, SchemaError::LockHeld { .. }), "{held}");
    process.run().await.expect("prepare with the lease of before");
    fixture.process().run().await.expect("prepare what is right");
    let again = Lease::take(process.requests, process.keyspace(), fixture.process().lease).await;
    again.expect("the lease was given back");
    fixture.close().await;
}
