//! What is missing is made, what differs is changed, and nothing else is touched.

use super::*;
use crate::retention::RetentionClasses;
use crate::store::cassandra::schema::lease::Lease;

/// The newest version that this program knows.
fn newest() -> i32 {
    let versions = definitions::migrations("any", Retention::new(DAY));
    versions.last().map_or(0, |version| version.version)
}

/// A program that knows one more version.
fn with_one_more(keyspace: &str, retention: Retention) -> Vec<Migration> {
    let mut versions = definitions::migrations(keyspace, retention);
    let table = format!("CREATE TABLE IF NOT EXISTS {keyspace}.pulse_more (a int PRIMARY KEY)");
    let comment = format!("ALTER TABLE {keyspace}.pulse_writers WITH comment = 'of another'");
    let version = newest() + 1;
    versions.push(Migration { version, statements: vec![table, comment] });
    versions
}

#[tokio::test]
#[ignore = "needs the database of cargo xtask test cassandra"]
async fn a_fresh_keyspace_gets_all_tables_and_is_right_from_then_on() {
    let fixture = Fixture::new("fresh").await;
    fixture.process().run().await.expect("prepare");
    let tables = fixture.tables().await;
    assert_eq!(tables.len(), TABLES.len());
    let events = &tables["pulse_events_by_service"];
    assert_eq!((events.live, events.traces), (7 * 24 * 3600, 24 * 3600));
    assert_eq!(events.how["class"].rsplit('.').next(), Some("TimeWindowCompactionStrategy"));
    assert_eq!(events.window(), ("8", "HOURS"));
    let noted = fixture.noted().await.expect("noted");
    assert_eq!((noted.version, noted.retention), (newest(), Retention::new(7 * DAY)));
    // What is right needs no lock: it may be held by one that crashed.
    let process = fixture.process();
    let other = (Uuid::now_v7(), LEASE);
    let _held = Lease::take(process.requests, process.keyspace(), other).await.expect("take");
    process.run().await.expect("prepare what is right");
    Box::pin(prepare(&fixture.session, &fixture.settings, 1)).await.expect("prepare what is right");
    assert_eq!(fixture.tables().await, tables);
    assert_eq!(fixture.noted().await, Some(noted));
    fixture.close().await;
}

#[tokio::test]
#[ignore = "needs the database of cargo xtask test cassandra"]
async fn a_keyspace_that_is_there_stays_as_it_is() {
    let fixture = Fixture::new("given").await;
    fixture
        .send(
            "CREATE KEYSPACE KS WITH replication = {'class': 'SimpleStrategy', \
             'replication_factor': 1} AND durable_writes = false",
            (),
        )
        .await;
    let cql = "SELECT durable_writes, replication FROM system_schema.keyspaces \
               WHERE keyspace_name = 'KS'";
    let before: Vec<(bool, BTreeMap<String, String>)> = fixture.rows(cql).await;
    fixture.process().run().await.expect("prepare");
    let after: Vec<(bool, BTreeMap<String, String>)> = fixture.rows(cql).await;
    assert_eq!(before, after);
    fixture.close().await;
}

#[tokio::test]
#[ignore = "needs the database of cargo xtask test cassandra"]
async fn a_keyspace_is_made_where_an_option_is_refused() {
    let fixture = Fixture::new("option").await;
    let process = fixture.process();
    keyspace::make_as_on_scylla(process.requests, process.keyspace(), "datacenter1")
        .await
        .expect("make the keyspace without the option");
    process.run().await.expect("prepare");
    fixture.close().await;
}

#[tokio::test]
#[ignore = "needs the database of cargo xtask test cassandra"]
async fn a_newer_version_follows_an_older_one_and_keeps_its_rows() {
    let fixture = Fixture::new("second").await;
    fixture.process().run().await.expect("prepare");
    fixture.send("INSERT INTO KS.pulse_writers (log_id, seen) VALUES (uuid(), 0)", ()).await;
    let newer = Preparation { migrations: with_one_more, ..fixture.process() };
    newer.run().await.expect("prepare the newer version");
    assert!(fixture.tables().await.contains_key("pulse_more"));
    assert_eq!(fixture.noted().await.map(|noted| noted.version), Some(newest() + 1));
    let rows: Vec<(i64,)> = fixture.rows("SELECT count(*) FROM KS.pulse_writers").await;
    assert_eq!(rows, [(1,)]);
    fixture.close().await;
}

#[tokio::test]
#[ignore = "needs the database of cargo xtask test cassandra"]
async fn what_was_dropped_is_made_anew() {
    let fixture = Fixture::new("dropped").await;
    fixture.process().run().await.expect("prepare");
    let tables = fixture.tables().await;
    let count = "INSERT INTO KS.pulse_counts (tenant, hour, minute, kind, log_id, part, pulses) \
                 VALUES ('t', 0, 0, 'k', uuid(), 0, 1)";
    fixture.send(count, ()).await;
    for table in ["pulse_counts", "pulse_schema", "pulse_lock"] {
        fixture.send(&format!("DROP TABLE KS.{table}"), ()).await;
        prepare_in_turn(&fixture.process()).await.expect("prepare");
        assert_eq!(fixture.tables().await, tables, "after {table}");
    }
    let rows: Vec<(i64,)> = fixture.rows("SELECT count(*) FROM KS.pulse_counts").await;
    assert_eq!(rows, [(0,)], "what was dropped is gone");
    fixture.send(count, ()).await;
    fixture.send("DROP KEYSPACE KS", ()).await;
    prepare_in_turn(&fixture.process()).await.expect("prepare");
    assert_eq!(fixture.tables().await, tables);
    fixture.send(count, ()).await;
    let rows: Vec<(i64,)> = fixture.rows("SELECT count(*) FROM KS.pulse_counts").await;
    assert_eq!(rows, [(1,)]);
    fixture.close().await;
}

#[tokio::test]
#[ignore = "needs the database of cargo xtask test cassandra"]
async fn another_retention_is_set_once_by_the_process_that_began_last() {
    let mut fixture = Fixture::new("retention").await;
    let began_ms = now_us() / 1000;
    fixture.process().run().await.expect("prepare");
    let tables = fixture.tables().await;

    let old = fixture.settings.clone();
    fixture.settings.retention = 30 * DAY;
    tokio::time::sleep(Duration::from_millis(5)).await;
    fixture.process().run().await.expect("prepare");
    let changed = fixture.tables().await;
    let events = &changed["pulse_events_by_service"];
    assert_eq!(events.id, tables["pulse_events_by_service"].id);
    assert_eq!((events.live, events.traces), (30 * 24 * 3600, 30 * 24 * 3600 / 7));
    assert_eq!(events.window(), ("1", "DAYS"));
    assert_eq!(changed["pulse_buckets"].live, 60 * 24 * 3600 + 4200);
    assert_eq!(changed["pulse_lock"], tables["pulse_lock"]);

    // One that began before connects again: it takes the tables as they are, also where it has
    // to make one anew.
    let older = Preparation { settings: &old, began_ms, ..fixture.process() };
    older.run().await.expect("prepare");
    assert_eq!(fixture.tables().await, changed);
    fixture.send("DROP TABLE KS.pulse_ids", ()).await;
    older.run().await.expect("prepare");
    assert_eq!(fixture.tables().await, changed);
    // Only one that begins later changes it back.
    Preparation { settings: &old, ..fixture.process() }.run().await.expect("prepare");
    assert_eq!(fixture.tables().await, tables);
    fixture.close().await;
}

fn classes(named: &[(&str, u32)]) -> RetentionClasses {
    let class = |(name, days): &(&str, u32)| ((*name).to_owned(), *days * DAY);
    RetentionClasses::new(named.iter().map(class)).expect("sound classes")
}

#[tokio::test]
#[ignore = "needs the database of cargo xtask test cassandra"]
async fn a_class_has_tables_of_its_own_and_no_other_table_changes_with_it() {
    let mut fixture = Fixture::new("classes").await;
    fixture.process().run().await.expect("prepare");
    let default = fixture.tables().await;
    let prepare = async |fixture: &Fixture| {
        for class in fixture.settings.classes.iter() {
            let process = Preparation { class: Some(class), ..fixture.process() };
            process.run().await.expect("prepare");
        }
        fixture.tables().await
    };
    fixture.settings.classes = classes(&[("short", 1), ("year", 365)]);
    let both = prepare(&fixture).await;
    assert_eq!(both.len(), default.len() + 10);
    assert!(default.iter().all(|(name, table)| both.get(name) == Some(table)));
    let events = |tables: &BTreeMap<String, Made>, class: &str| {
        let events = &tables[&format!("pulse_events_by_service_{class}")];
        (events.live, events.window().0.to_owned(), events.window().1.to_owned())
    };
    assert_eq!(events(&both, "short"), (24 * 3600, "1".to_owned(), "HOURS".to_owned()));
    assert_eq!(events(&both, "year"), (365 * 24 * 3600, "18".to_owned(), "DAYS".to_owned()));
    assert_eq!(both["pulse_buckets_short"].live, 48 * 3600 + 4200);
    assert_eq!(prepare(&fixture).await, both, "what is right stays");

    tokio::time::sleep(Duration::from_millis(5)).await;
    fixture.settings.classes = classes(&[("short", 2)]);
    let changed = prepare(&fixture).await;
    assert_eq!(events(&changed, "short"), (48 * 3600, "2".to_owned(), "HOURS".to_owned()));
    let differ = changed.iter().filter(|(name, table)| both[*name] != **table);
    assert!(differ.clone().all(|(name, _)| name.ends_with("_short")));
    assert_eq!(differ.count(), 5);
    let named = seen::classes(fixture.process().requests, &fixture.settings.keyspace).await;
    let mut named = named.expect("read");
    named.sort();
    assert_eq!(named, ["short", "year"], "what no setting names any more is known");
    fixture.close().await;
}

#[tokio::test]
#[ignore = "needs the database of cargo xtask test cassandra"]
async fn what_a_person_has_tuned_stays() {
    let fixture = Fixture::new("tuned").await;
    fixture.process().run().await.expect("prepare");
    let tune = "ALTER TABLE KS.pulse_events_by_service WITH gc_grace_seconds = 12345 AND \
                compaction = {'class': 'SizeTieredCompactionStrategy'}";
    fixture.send(tune, ()).await;
    let tables = fixture.tables().await;
    fixture.process().run().await.expect("prepare");
    assert_eq!(fixture.tables().await, tables);
    fixture.close().await;
}
