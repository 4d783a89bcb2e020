//! Tables that are another's are left as they are, and a person is told what to do.

use super::*;

#[tokio::test]
#[ignore = "needs the database of cargo xtask test cassandra"]
async fn tables_of_a_newer_program_are_refused_and_left_as_they_are() {
    let mut fixture = Fixture::new("newer").await;
    fixture.process().run().await.expect("prepare");
    fixture.send("UPDATE KS.pulse_schema SET version = 7 WHERE component = 'pulses'", ()).await;
    fixture.send("DROP TABLE KS.pulse_writers", ()).await;
    let before = (fixture.tables().await, fixture.noted().await);
    fixture.settings.retention = DAY;
    let error = fixture.process().run().await.expect_err("newer");
    assert!(matches!(error, SchemaError::Newer { found: 7, known: 2, .. }), "{error}");
    assert_eq!(error.again(), error::Again::Later);
    assert_eq!((fixture.tables().await, fixture.noted().await), before);
    fixture.close().await;
}

#[tokio::test]
#[ignore = "needs the database of cargo xtask test cassandra"]
async fn a_table_of_the_plain_form_is_recognised_and_left_as_it_is() {
    let fixture = Fixture::new("plain").await;
    fixture.make_keyspace().await;
    fixture.send(flaws::PLAIN, ()).await;
    fixture.send(flaws::INSERT_PLAIN, ("checkout", CqlTimestamp(5), 1.5, "ok")).await;
    let before = fixture.tables().await;
    let error = fixture.process().run().await.expect_err("another's table");
    assert!(matches!(error, SchemaError::PlainTable { .. }), "{error}");
    let keyspace = &fixture.settings.keyspace;
    let text = error.to_string();
    assert!(text.contains(&format!("{keyspace}.pulse_events_by_service")), "{text}");
    assert!(text.contains("--cassandra-keyspace"), "{text}");
    assert_eq!(error.again(), error::Again::Later);
    assert_eq!(fixture.tables().await, before, "nothing was made beside it");
    let rows: Vec<(String, f64)> =
        fixture.rows("SELECT service_name, latency_ms FROM KS.pulse_events_by_service").await;
    assert_eq!(rows, [("checkout".to_owned(), 1.5)]);
    fixture.close().await;
}

#[tokio::test]
#[ignore = "needs the database of cargo xtask test cassandra"]
async fn any_table_with_a_name_of_ours_and_another_key_is_refused() {
    let fixture = Fixture::new("foreign").await;
    fixture.make_keyspace().await;
    for table in ["pulse_counts", "pulse_schema", "pulse_lock"] {
        fixture.send(&format!("CREATE TABLE KS.{table} (x int PRIMARY KEY)"), ()).await;
        let error = fixture.process().run().await.expect_err("another's table");
        let refused =
            matches!(&error, SchemaError::PlainTable { table: found, .. } if found == table);
        assert!(refused, "{error}");
        fixture.send(&format!("DROP TABLE KS.{table}"), ()).await;
    }
    fixture.close().await;
}

#[tokio::test]
#[ignore = "needs the database of cargo xtask test cassandra"]
async fn a_table_with_a_column_of_another_type_is_refused_and_left_as_it_is() {
    let fixture = Fixture::new("type").await;
    fixture.process().run().await.expect("prepare");
    fixture.process().run().await.expect("types as this program made them");
    let (make, keyspace) = (definitions::migrations, fixture.settings.keyspace.clone());
    for (table, ours, early) in [
        ("pulse_events_by_service", "shard int", "shard smallint"),
        ("pulse_schema", "version int", "version bigint"),
    ] {
        fixture.send(&format!("DROP TABLE KS.{table}"), ()).await;
        let versions = make(&keyspace, Retention::new(fixture.settings.retention));
        let mut statements = versions.iter().flat_map(|version| &version.statements);
        let statement = statements.find(|text| text.contains(&format!(".{table} (")));
        let changed = statement.expect("its definition").replace(ours, early);
        fixture.send(&changed, ()).await;
        let before = fixture.tables().await;
        let error = fixture.process().run().await.expect_err("another's table");
        let refused =
            matches!(&error, SchemaError::OtherType { table: found, .. } if found == table);
        assert!(refused, "{error}");
        assert!(error.to_string().contains(early.split(' ').next_back().expect("a type")));
        assert_eq!(error.again(), error::Again::Later);
        assert_eq!(fixture.tables().await, before, "nothing was changed");
        fixture.send(&format!("DROP TABLE KS.{table}"), ()).await;
        fixture.process().run().await.expect("made anew");
    }
    fixture.close().await;
}

#[tokio::test]
#[ignore = "needs the database of cargo xtask test cassandra"]
async fn a_name_that_is_no_name_reaches_no_statement() {
    let mut fixture = Fixture::new("name").await;
    fixture.settings.keyspace = "a; DROP KEYSPACE b".to_owned();
    let error = fixture.process().run().await.expect_err("refused");
    assert!(matches!(error, SchemaError::Name { .. }), "{error}");
}
