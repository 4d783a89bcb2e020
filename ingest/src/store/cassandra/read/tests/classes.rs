//! Rows of several retention classes in a real database, written and read by the whole store.

use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use scylla::client::session::Session;
use xtask::cassandra::{Cluster, patient};

use crate::clock::{now_us, system_clock};
use crate::retention::{ClassNumber, RetentionClasses};
use crate::sink::{Sink, SinkState, Written};
use crate::store::cassandra::CassandraStore;
use crate::store::cassandra::metrics::CassandraMetrics;
use crate::store::cassandra::read::order::rank;
use crate::store::cassandra::settings::CassandraSettings;
use crate::store::tests::fixture::{
    HOUR_MS, NOW_MS, RETENTION, Spec, TestLog, block_on, counts, pages, query, row_by_id, total,
    write,
};
use crate::store::tests::model::{Model, check_all, history, write_cut};

use super::stored::{UP_MAX, settings};

/// A keyspace of its own, and what is kept beside it.
struct Keyspace {
    settings: CassandraSettings,
    _files: tempfile::TempDir,
}

impl Keyspace {
    /// With a clock that stands still, as the rows of the model are of that day.
    fn new() -> Self {
        let cluster = Cluster::from_environment().expect("a database");
        cluster.mend(UP_MAX).expect("a whole database");
        let files = tempfile::tempdir().expect("a directory");
        let settings = CassandraSettings {
            retention: RETENTION,
            clock: Arc::new(|| NOW_MS * 1000),
            directory: files.path().join("store"),
            ..settings(&cluster, files.path())
        };
        Self { settings, _files: files }
    }

    /// A store of a process that has these classes.
    fn open(&self, classes: RetentionClasses) -> Arc<CassandraStore> {
        let settings = CassandraSettings { classes, ..self.settings.clone() };
        let metrics = CassandraMetrics::unregistered();
        let store = CassandraStore::open(settings, metrics).expect("a store");
        let end = Instant::now() + UP_MAX;
        while let SinkState::Down(why) = store.state() {
            assert!(Instant::now() < end, "{why}");
            std::thread::sleep(Duration::from_millis(20));
        }
        store
    }
}

/// Both keep all rows of the model, whose events are up to 20 hours old.
fn classes() -> RetentionClasses {
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    let classes = [("short".to_owned(), hours(20)), ("long".to_owned(), hours(1_000))];
    RetentionClasses::new(classes).expect("sound classes")
}

fn session(store: &CassandraStore) -> Arc<Session> {
    store.shared_link().session().expect("a session")
}

/// Drops the keyspace; what a failed test has written is left to look at.
fn finish(keyspace: &Keyspace, store: &CassandraStore) {
    let cql = format!("DROP KEYSPACE {}", keyspace.settings.keyspace);
    let mut statement = patient(&cql);
    // Each table is looked at on its own.
    statement.set_request_timeout(Some(UP_MAX));
    block_on(session(store).query_unpaged(statement, ())).expect("a keyspace dropped");
}

#[test]
#[ignore = "needs the database of cargo xtask test cassandra"]
fn rows_of_all_classes_are_found_as_if_they_were_of_one_after_restarts_and_replays() {
    let keyspace = Keyspace::new();
    let mut runner = TestRunner::deterministic();
    let history = history().prop_filter("many rows", |(specs, _)| specs.len() > 100);
    let (specs, cuts) = history.new_tree(&mut runner).expect("a history").current();
    let (log, rows) = (TestLog::new(&specs), specs.len());
    let model = Model { specs: &specs, order: |row| (row.event_time_ms, rank(row.id)) };
    let range = NOW_MS - 2 * HOUR_MS..NOW_MS + HOUR_MS;
    let first = keyspace.open(classes());
    write_cut(&*first, &log, rows, &cuts);
    block_on(first.close()).expect("counts that are written");
    for limit in [1, 7, 200] {
        check_all(&*first, &model, range.clone(), limit);
    }
    drop(first);
    // What the log hands over again after a crash is where it was, and counted once.
    let second = keyspace.open(classes());
    write_cut(&*second, &log, rows, &[37, 3]);
    block_on(second.close()).expect("counts that are written");
    check_all(&*second, &model, range.clone(), 5);
    drop(second);
    // Without the classes only what is of the default one is found; with them, all again.
    let without = keyspace.open(RetentionClasses::default());
    let default = specs.iter().filter(|spec| spec.class == ClassNumber::DEFAULT);
    let default: Vec<_> = default.cloned().collect();
    assert!((10..rows - 10).contains(&default.len()), "{}", default.len());
    check_all(&*without, &Model { specs: &default, ..model }, range.clone(), 50);
    drop(without);
    let again = keyspace.open(classes());
    check_all(&*again, &model, range, 50);
    finish(&keyspace, &again);
}

#[test]
#[ignore = "needs the database of cargo xtask test cassandra"]
fn the_rows_of_a_short_class_go_and_those_of_the_default_one_stay() {
    let mut keyspace = Keyspace::new();
    keyspace.settings.clock = system_clock();
    let short = [("short".to_owned(), Duration::from_secs(20))];
    let store = keyspace.open(RetentionClasses::new(short).expect("a class"));
    let now_ms = now_us() / 1000;
    let spec = |number: u64| {
        let class = ["default", "short"][number as usize % 2];
        let (kind, class) = (class.into(), ClassNumber::of(class));
        // The last two were received so long ago that the short class has no place for its own.
        let received_ms = if number < 38 { now_ms } else { now_ms - 60_000 };
        Spec { kind, class, ..Spec::new(number, received_ms + number as i64) }
    };
    let specs: Vec<_> = (0..40).map(spec).collect();
    let written = write(&*store, &TestLog::new(&specs).all());
    assert_eq!(written, Written { rows: 39, expired: 1 });
    block_on(store.close()).expect("counts that are written");
    assert_eq!(pages(&*store, &query("checkout", 11)).len(), 39);
    assert_eq!(total(&counts(&*store, "default")), 39);
    let end = Instant::now() + Duration::from_secs(120);
    while pages(&*store, &query("checkout", 11)).len() > 20
        || total(&counts(&*store, "default")) > 20
    {
        assert!(Instant::now() < end, "rows of 20 s are still there");
        std::thread::sleep(Duration::from_millis(200));
    }
    for spec in specs {
        let found = row_by_id(&*store, "default", spec.id).is_some();
        assert_eq!(found, spec.kind == "default", "{spec:?}");
    }
    assert_eq!(total(&counts(&*store, "default")), 20);
    finish(&keyspace, &store);
}
