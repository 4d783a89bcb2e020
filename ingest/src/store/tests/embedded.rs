//! What only the embedded store promises: exactly once over crashes, retention, formats, faults.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::sink::{LogId, Sink, SinkError, SinkState, Written};
use crate::store::embedded::{EmbeddedSettings, EmbeddedStore, OpenError};
use crate::store::{PAGE_ROWS_MAX, Store};

use super::fixture::*;

/// Rows of which every third has an id that its client chose.
fn specs(rows: u64) -> Vec<Spec> {
    let spec = |number| Spec::new(number, NOW_MS + number as i64 / 10);
    let named = |number| Spec { id: v5(number), ..spec(number) };
    (0..rows).map(|number| if number % 3 == 1 { named(number) } else { spec(number) }).collect()
}

fn files(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else {
            let bytes = std::fs::read(&path).expect("a file");
            files.insert(path, bytes);
        }
    }
    files
}

fn disk_bytes(directory: &Path) -> u64 {
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory).expect("a directory").flatten() {
        // What flushes and compactions remove meanwhile takes no space.
        let Ok(metadata) = entry.metadata() else { continue };
        bytes +=
            if metadata.is_dir() { disk_bytes(&entry.path()) } else { metadata.blocks() * 512 };
    }
    bytes
}

/// Bytes of removed files below `directory` that this process still has open.
fn removed_open_bytes(directory: &Path) -> u64 {
    let descriptors = std::fs::read_dir("/proc/self/fd").expect("descriptors").flatten();
    let removed = |path: &PathBuf| {
        std::fs::read_link(path).is_ok_and(|target| {
            target.starts_with(directory) && target.to_string_lossy().ends_with("(deleted)")
        })
    };
    let paths = descriptors.map(|entry| entry.path()).filter(removed);
    paths.filter_map(|path| Some(std::fs::metadata(path).ok()?.blocks() * 512)).sum()
}

fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a directory").flatten() {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy_directory(&from, &to);
        } else {
            std::fs::copy(&from, &to).expect("a copied file");
        }
    }
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what} did not come about");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn an_image_of_the_open_store_holds_exactly_what_its_progress_says() {
    let directory = tempfile::tempdir().expect("a directory");
    let embedded = Embedded::open(&directory.path().join("store"), NOW_MS);
    let specs = specs(1_000);
    let log = TestLog::new(&specs);
    for (round, end) in [(1, 130), (2, 131), (3, 700)] {
        let start = if round == 1 { 0 } else { 100 };
        write(&*embedded.store, &log.batch(Some(log.id), (start..end).step_by(2)));
        let image = directory.path().join(format!("image{round}"));
        copy_directory(&directory.path().join("store"), &image);
        let image = Embedded::open(&image, NOW_MS);
        let progress = image.store.progress(log.id).expect("progress");
        assert_eq!(Some(&progress), embedded.store.progress(log.id).as_ref());
        let rows = pages(&*image.store, &query("checkout", 100));
        assert_eq!(rows.len() as u64, progress.rows);
        assert_eq!(total(&counts(&*image.store, "default")), progress.rows);
        for (seq, spec) in specs.iter().enumerate() {
            let found = row_by_id(&*image.store, "default", spec.id).is_some();
            assert_eq!(found, progress.finished.contains(seq as u64), "{seq}");
        }
        assert_eq!(write(&*image.store, &log.all()), Written { rows: 1_000, expired: 0 });
        assert_eq!(total(&counts(&*image.store, "default")), 1_000);
        assert_eq!(pages(&*image.store, &query("checkout", 999)).len(), 1_000);
    }
}

#[test]
fn rows_under_way_several_times_at_once_are_written_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let embedded = Embedded::open(directory.path(), NOW_MS);
    let log = TestLog::new(&specs(2_000));
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let (store, log) = (&embedded.store, &log);
            scope.spawn(move || {
                for start in (0..2_000).step_by(100 + worker * 50) {
                    let end = 2_000.min(start + 300);
                    write(&**store, &log.batch(Some(log.id), start..end));
                }
            });
        }
    });
    assert_eq!(total(&counts(&*embedded.store, "default")), 2_000);
    assert_eq!(pages(&*embedded.store, &query("checkout", 1_000)).len(), 2_000);
    let progress = embedded.store.progress(log.id).expect("progress");
    assert_eq!((progress.rows, progress.finished.low()), (2_000, 2_000));
}

#[test]
fn memory_level_rows_touch_no_progress_and_other_logs_are_apart() {
    let directory = tempfile::tempdir().expect("a directory");
    let embedded = Embedded::open(directory.path(), NOW_MS);
    let log = TestLog::new(&specs(10));
    write(&*embedded.store, &log.batch(None, 0..5));
    assert_eq!(embedded.store.progress(log.id), Some(Default::default()));
    write(&*embedded.store, &log.all());
    let other = LogId(Uuid::from_u128(78));
    assert_eq!(embedded.store.progress(other), Some(Default::default()));
    assert_eq!(pages(&*embedded.store, &query("checkout", 3)).len(), 10);
}

#[test]
fn rows_past_retention_are_counted_finished_and_not_written() {
    let directory = tempfile::tempdir().expect("a directory");
    let embedded = Embedded::open(directory.path(), NOW_MS);
    let expired_ms = NOW_MS - 24 * HOUR_MS;
    let specs: Vec<_> =
        (0..10).map(|number| Spec::new(number, expired_ms + number as i64 - 4)).collect();
    let log = TestLog::new(&specs);
    assert_eq!(write(&*embedded.store, &log.all()), Written { rows: 5, expired: 5 });
    let progress = embedded.store.progress(log.id).expect("progress");
    assert_eq!((progress.finished.low(), progress.rows), (10, 5));
    assert_eq!(embedded.store.expired(log.id), 5);
    assert_eq!(pages(&*embedded.store, &query("checkout", 100)).len(), 5);
    drop(embedded);
    let reopened = Embedded::open(directory.path(), NOW_MS);
    assert_eq!(reopened.store.expired(log.id), 5);
}

#[test]
fn retention_gives_the_disk_back_and_leaves_younger_rows() {
    let directory = tempfile::tempdir().expect("a directory");
    let embedded = Embedded::open(directory.path(), NOW_MS);
    // Noise, so that the rows take their room: several memtables, and more than one journal.
    let mut noise = 1u64;
    let mut old = specs(7_500);
    for spec in &mut old {
        let mut text = String::with_capacity(10_000);
        while text.len() < 10_000 {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            text.push_str(&format!("{noise:016x}"));
        }
        spec.raw = format!("{{\"service\":\"checkout\",\"payload\":\"{text}\"}}").into_bytes();
    }
    let young = Spec::new(9_999, NOW_MS + 23 * HOUR_MS);
    let log = TestLog::new(&old);
    for start in (0..7_500).step_by(500) {
        write(&*embedded.store, &log.batch(Some(log.id), start..start + 500));
    }
    // Reads open files.
    assert_eq!(pages(&*embedded.store, &query("checkout", 100)).len(), 7_500);
    embedded.set_now(NOW_MS + 23 * HOUR_MS);
    let young_log = TestLog::numbered(std::slice::from_ref(&young), 7_500);
    write(&*embedded.store, &young_log.all());
    assert_eq!(block_on(embedded.store.sweep()).expect("a sweep"), 0);
    let before = disk_bytes(directory.path());
    assert!(before > 70 << 20, "{before} bytes are too few to show anything");

    embedded.set_now(NOW_MS + 26 * HOUR_MS);
    assert_eq!(block_on(embedded.store.sweep()).expect("a sweep"), 1);
    wait_until("free disk", || disk_bytes(&directory.path().join("db/keyspaces")) < 1 << 20);
    wait_until("closed files", || removed_open_bytes(directory.path()) < 1 << 20);
    let query = query("checkout", 10);
    assert_eq!(pages(&*embedded.store, &query), [young.row()]);
    assert_eq!(total(&counts(&*embedded.store, "default")), 1);
    assert_eq!(row_by_id(&*embedded.store, "default", old[0].id), None);
    drop(embedded);
    let reopened = Embedded::open(directory.path(), NOW_MS + 26 * HOUR_MS);
    assert_eq!(pages(&*reopened.store, &query), [young.row()]);
}

#[test]
fn another_retention_keeps_what_is_there() {
    let directory = tempfile::tempdir().expect("a directory");
    let specs: Vec<_> =
        (0..60).map(|number| Spec::new(number, NOW_MS - number as i64 * HOUR_MS / 4)).collect();
    for (round, hours) in [24, 7, 300].into_iter().enumerate() {
        let settings = EmbeddedSettings {
            clock: Arc::new(|| (NOW_MS - 20 * HOUR_MS) * 1000),
            free_bytes_min: 0,
            ..EmbeddedSettings::new(Duration::from_secs(hours * 3600))
        };
        let store = EmbeddedStore::open(directory.path(), settings).expect("a store");
        let log = TestLog::new(&specs);
        write(&*store, &log.batch(Some(log.id), (round..60).step_by(3)));
        assert_eq!(pages(&*store, &query("checkout", 7)).len(), (round + 1) * 20);
    }
}

#[test]
fn other_formats_are_refused_and_nothing_is_touched() {
    let older = "pulsemesh embedded store 1\nwhatever there was\n";
    let newer = "pulsemesh embedded store 3\nwhatever comes then\n";
    for (name, text) in
        [("FORMAT", older), ("FORMAT", newer), ("FORMAT", "else"), ("notes.txt", "mine")]
    {
        let directory = tempfile::tempdir().expect("a directory");
        drop(Embedded::open(directory.path(), NOW_MS));
        if name != "FORMAT" {
            std::fs::remove_file(directory.path().join("FORMAT")).expect("a removed file");
        }
        std::fs::write(directory.path().join(name), text).expect("a written file");
        let before = files(directory.path());
        let settings = EmbeddedSettings::new(RETENTION);
        let error = EmbeddedStore::open(directory.path(), settings).expect_err("a refusal");
        let is_right = match error {
            OpenError::Format { found, known } => {
                [(1, 2, older), (3, 2, newer)].contains(&(found, known, text))
            }
            OpenError::NotAStore => ![older, newer].contains(&text),
            _ => false,
        };
        assert!(is_right, "{error}");
        assert!(before == files(directory.path()), "{name} {text}");
    }
}

#[test]
fn a_store_that_is_open_is_not_opened_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let embedded = Embedded::open(directory.path(), NOW_MS);
    let settings = EmbeddedSettings::new(RETENTION);
    let error = EmbeddedStore::open(directory.path(), settings.clone()).expect_err("a refusal");
    assert!(matches!(error, OpenError::InUse), "{error}");
    let id = embedded.store.id();
    drop(embedded);
    let store = EmbeddedStore::open(directory.path(), settings).expect("a store");
    assert_eq!(store.id(), id);
}

#[test]
fn a_disk_without_room_refuses_and_says_so() {
    let directory = tempfile::tempdir().expect("a directory");
    let settings =
        EmbeddedSettings { free_bytes_min: u64::MAX, ..EmbeddedSettings::new(RETENTION) };
    let store = EmbeddedStore::open(directory.path(), settings).expect("a store");
    let log = TestLog::new(&specs(10));
    assert_eq!(store.state(), SinkState::Up);
    let refused = block_on(store.write(&log.all()));
    assert!(matches!(refused, Err(SinkError::Unavailable(_))), "{refused:?}");
    assert!(matches!(store.state(), SinkState::Down(reason) if reason.contains("bytes free")));
    assert_eq!(store.progress(log.id), Some(Default::default()));
    assert_eq!(pages(&*store, &query("checkout", 10)), []);
}

#[test]
fn a_page_of_large_rows_ends_early_and_none_is_left_out() {
    let directory = tempfile::tempdir().expect("a directory");
    let embedded = Embedded::open(directory.path(), NOW_MS);
    let mut specs = specs(300);
    for spec in &mut specs {
        let payload = "x".repeat(60_000);
        spec.raw = format!("{{\"service\":\"checkout\",\"payload\":\"{payload}\"}}").into_bytes();
    }
    write(&*embedded.store, &TestLog::new(&specs).all());
    let query = query("checkout", PAGE_ROWS_MAX);
    let first = block_on(embedded.store.pulses(&query)).expect("a page");
    assert!((100..200).contains(&first.rows.len()), "{}", first.rows.len());
    let rows = pages(&*embedded.store, &query);
    let mut expected: Vec<_> = specs.iter().map(|spec| (spec.event_time_ms, spec.id)).collect();
    expected.sort_unstable_by(|a, b| b.cmp(a));
    assert_eq!(rows.iter().map(|row| (row.event_time_ms, row.id)).collect::<Vec<_>>(), expected);
}
