//! Rows of several retention classes in one embedded store. That queries find all of them is in
//! [`super::model`].

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use crate::retention::{ClassNumber, RetentionClasses};
use crate::sink::{Sink, Written};
use crate::store::embedded::{EmbeddedSettings, EmbeddedStore};

use super::fixture::*;

const NAMES: [&str; 3] = ["short", "default", "long"];

/// Twenty rows of each class.
fn specs() -> Vec<Spec> {
    let spec = |number: u64| {
        let class = NAMES[number as usize % NAMES.len()];
        let (kind, class) = (class.into(), ClassNumber::of(class));
        Spec { kind, class, ..Spec::new(number, NOW_MS + number as i64) }
    };
    (0..60).map(spec).collect()
}

fn open(directory: &Path, now_ms: i64, classes: RetentionClasses) -> Arc<EmbeddedStore> {
    let settings = settings(&Arc::new(AtomicI64::new(now_ms)));
    let settings = EmbeddedSettings { classes, ..settings };
    EmbeddedStore::open(directory, settings).expect("an embedded store")
}

/// How many rows of each class are found, the same in every way.
fn found(store: &EmbeddedStore) -> [u64; 3] {
    let (rows, counts) = (pages(store, &query("checkout", 7)), counts(store, "default"));
    NAMES.map(|name| {
        let specs = specs().into_iter().filter(|spec| spec.kind == name);
        let by_id = specs.filter(|spec| row_by_id(store, "default", spec.id).is_some()).count();
        let listed = rows.iter().filter(|row| row.kind == name).count();
        let counted: u64 =
            counts.iter().filter(|count| count.kind == name).map(|count| count.pulses).sum();
        assert_eq!((listed, counted), (by_id, by_id as u64), "{name}");
        counted
    })
}

#[test]
fn each_class_goes_when_its_own_time_has_come_whatever_is_started_between() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = TestLog::new(&specs());
    let store = open(directory.path(), NOW_MS, classes());
    assert_eq!(write(&*store, &log.all()), Written { rows: 60, expired: 0 });
    assert_eq!(found(&store), [20; 3]);
    drop(store);
    let times = [
        (5, true, 0, [20; 3]),
        (7, true, 1, [0, 20, 20]),
        // The settings have no classes now: what was stored stays as long as it was to.
        (23, false, 0, [0, 20, 20]),
        (26, false, 1, [0, 0, 20]),
        (900, false, 0, [0, 0, 20]),
        (900, true, 0, [0, 0, 20]),
        (1_063, false, 1, [0; 3]),
    ];
    for (hours, are_set, dropped, expected) in times {
        let classes = if are_set { classes() } else { RetentionClasses::default() };
        let store = open(directory.path(), NOW_MS + hours * HOUR_MS, classes);
        assert_eq!(block_on(store.sweep()).expect("a sweep"), dropped, "{hours} h");
        assert_eq!(found(&store), expected, "{hours} h");
        let again = write(&*store, &log.all());
        assert_eq!(again, Written { rows: 60, expired: 0 }, "they were written before");
        assert_eq!(found(&store), expected, "{hours} h");
    }
}

#[test]
fn what_comes_late_is_judged_by_its_own_class() {
    for (hours, expected) in [(5, [20; 3]), (7, [0, 20, 20]), (25, [0, 0, 20])] {
        let directory = tempfile::tempdir().expect("a directory");
        let store = open(directory.path(), NOW_MS + hours * HOUR_MS, classes());
        let rows: u64 = expected.iter().sum();
        let written = write(&*store, &TestLog::new(&specs()).all());
        assert_eq!(written, Written { rows, expired: 60 - rows });
        assert_eq!(found(&store), expected);
    }
}

#[test]
fn a_class_that_is_not_known_is_the_default_and_a_changed_one_holds_for_what_is_there() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = TestLog::new(&specs());
    let store = open(directory.path(), NOW_MS, RetentionClasses::default());
    write(&*store, &log.all());
    assert_eq!(found(&store), [20; 3]);
    drop(store);
    let longer = [("short".to_owned(), Duration::from_secs(48 * 3600))];
    let longer = RetentionClasses::new(longer).expect("sound classes");
    let store = open(directory.path(), NOW_MS + 26 * HOUR_MS, longer);
    assert_eq!(block_on(store.sweep()).expect("a sweep"), 2);
    assert_eq!(found(&store), [20, 0, 0]);
    assert_eq!(store.progress(log.id).expect("progress").rows, 60);
}
