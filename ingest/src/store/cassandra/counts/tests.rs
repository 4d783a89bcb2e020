//! Counts over restarts: what the file brings back, and what it must not.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use tokio::runtime::{Builder, Runtime};
use uuid::Uuid;

use crate::fs::fault::SimFs;
use crate::sink::LogId;

use super::super::metrics::CassandraMetrics;
use super::super::settings::CassandraSettings;
use super::state::SUMS_MAX;
use super::{Counted, Origin, Sums, SumsError};

const OLD: LogId = LogId(Uuid::from_u128(1));
const NEW: LogId = LogId(Uuid::from_u128(2));

/// What a database has: by log, part, minute and kind the newest sum.
type Cells = BTreeMap<(LogId, i64, i64, String), (i64, i64)>;

fn runtime() -> Runtime {
    Builder::new_current_thread().build().expect("a runtime")
}

fn open(fs: &SimFs) -> Result<Arc<Sums>, SumsError> {
    let settings = CassandraSettings::new(Vec::new(), PathBuf::from("/cassandra"));
    let metrics = CassandraMetrics::unregistered();
    Sums::open(Arc::new(fs.clone()), &settings, metrics).map(Arc::new)
}

fn add(sums: &Sums, log: Option<LogId>, kind: &str, seqs: std::ops::Range<u64>) {
    let origin = Origin { replay: false, log, finished_below: 0 };
    sums.add(origin, seqs.map(|seq| Counted { seq, tenant: "a", minute_ms: 60_000, kind }));
}

fn keep(sums: &Arc<Sums>) {
    runtime().block_on(sums.keep()).expect("kept");
}

fn flush(sums: &Arc<Sums>, cells: &Mutex<Cells>) {
    let flushed = runtime().block_on(sums.flush_with(|rows, stamp| {
        let mut cells = cells.lock().expect("a lock");
        for row in &rows {
            let key = (row.part.log, row.part.number, row.minute_ms, row.kind.to_string());
            let cell = cells.entry(key).or_insert((i64::MIN, 0));
            *cell = (*cell).max((stamp, row.pulses));
        }
        async move { (rows, Ok::<(), SumsError>(())) }
    }));
    flushed.expect("flushed");
}

fn total(cells: &Mutex<Cells>, log: Option<LogId>) -> i64 {
    let cells = cells.lock().expect("a lock");
    let of = |of: LogId| log.map_or(of != OLD && of != NEW, |log| of == log);
    cells.iter().filter(|((log, ..), _)| of(*log)).map(|(_, (_, pulses))| pulses).sum()
}

#[test]
fn a_log_that_was_set_up_anew_is_counted_anew_and_the_former_is_still_written() {
    let (fs, cells) = (SimFs::new(1), Mutex::default());
    let sums = open(&fs).expect("opens");
    add(&sums, Some(OLD), "x", 0..10);
    keep(&sums);
    let sums = open(&fs).expect("opens");
    add(&sums, Some(NEW), "x", 0..5);
    keep(&sums);
    let sums = open(&fs).expect("opens");
    add(&sums, Some(NEW), "x", 0..7);
    flush(&sums, &cells);
    assert_eq!((total(&cells, Some(OLD)), total(&cells, Some(NEW))), (10, 7));
}

#[test]
fn pulses_that_only_memory_holds_are_counted_by_process() {
    let (fs, cells) = (SimFs::new(1), Mutex::default());
    for _ in 0..2 {
        let sums = open(&fs).expect("opens");
        add(&sums, None, "x", 0..10);
        flush(&sums, &cells);
        add(&sums, None, "x", 5..12);
        add(&sums, None, "y", 12..15);
        flush(&sums, &cells);
        keep(&sums);
    }
    assert_eq!(total(&cells, None), 30);
}

#[test]
fn what_is_written_is_not_sent_again_and_what_was_not_is() {
    let (fs, cells) = (SimFs::new(1), Mutex::default());
    let sums = open(&fs).expect("opens");
    add(&sums, Some(OLD), "x", 0..10);
    flush(&sums, &cells);
    add(&sums, Some(OLD), "y", 10..15);
    keep(&sums);
    let (sums, cells) = (open(&fs).expect("opens"), Mutex::default());
    flush(&sums, &cells);
    assert_eq!(total(&cells, Some(OLD)), 5);
}

#[test]
fn a_file_that_was_replaced_just_before_a_kill_is_safe_once_it_was_read() {
    // Wherever the first run is killed: what the second does not count again is on disk.
    for (seed, calls) in (0..20).flat_map(|seed| (0..6).map(move |calls| (seed, calls))) {
        let (fs, cells) = (SimFs::new(seed), Mutex::default());
        let sums = open(&fs).expect("opens");
        add(&sums, Some(OLD), "x", 0..10);
        fs.stop_after(calls);
        let _stopped = runtime().block_on(sums.keep());
        fs.kill();
        let sums = open(&fs).expect("opens");
        add(&sums, Some(OLD), "x", 0..10);
        keep(&sums);
        fs.power_loss();
        let sums = open(&fs).expect("opens");
        flush(&sums, &cells);
        assert_eq!(total(&cells, Some(OLD)), 10, "seed {seed}, {calls} calls");
    }
}

#[test]
fn a_damaged_file_is_set_aside_and_one_of_a_newer_version_is_left() {
    let (fs, cells) = (SimFs::new(1), Mutex::default());
    let path = Path::new("/cassandra/counts");
    let sums = open(&fs).expect("opens");
    add(&sums, Some(OLD), "x", 0..10);
    keep(&sums);
    let sound = fs.content(path).expect("there");
    fs.damage(path, 40, &[sound[40] ^ 1]);
    let sums = open(&fs).expect("opens");
    assert!(fs.content(&path.with_extension("damaged")).is_some());
    add(&sums, Some(OLD), "x", 10..12);
    flush(&sums, &cells);
    assert_eq!(total(&cells, Some(OLD)), 2);

    let mut newer = fs.content(path).expect("there");
    newer[8] = 2;
    let crc = crc32c::crc32c(&newer[8..]);
    newer[4..8].copy_from_slice(&crc.to_le_bytes());
    fs.damage(path, 0, &newer);
    assert!(matches!(open(&fs), Err(SumsError::Newer(2))));
    assert_eq!(fs.content(path), Some(newer));
}

#[test]
fn a_memory_full_of_sums_refuses_rows_until_they_are_written() {
    let (fs, cells) = (SimFs::new(1), Mutex::default());
    let sums = open(&fs).expect("opens");
    let rows = (0..SUMS_MAX as u64).map(|seq| Counted {
        seq,
        tenant: "a",
        minute_ms: seq as i64 * 60_000,
        kind: "x",
    });
    sums.add(Origin { replay: false, log: Some(OLD), finished_below: 0 }, rows);
    assert!(!sums.has_room());
    add(&sums, Some(OLD), "x", 500_000..500_010);
    flush(&sums, &cells);
    assert!(sums.has_room());
    assert_eq!(total(&cells, Some(OLD)), SUMS_MAX as i64 + 10);
}

#[test]
fn an_erased_tenant_is_counted_from_nothing_and_the_others_go_on() {
    let (fs, cells) = (SimFs::new(1), Mutex::default());
    let sums = open(&fs).expect("opens");
    let add_other = |sums: &Sums, seqs: std::ops::Range<u64>| {
        let origin = Origin { replay: false, log: Some(OLD), finished_below: 0 };
        let counted = |seq| Counted { seq, tenant: "b", minute_ms: 60_000, kind: "of b" };
        sums.add(origin, seqs.map(counted));
    };
    add(&sums, Some(OLD), "x", 0..10);
    add_other(&sums, 10..20);
    flush(&sums, &cells);
    // Of these the database knows nothing yet.
    add(&sums, Some(OLD), "x", 20..25);
    add(&sums, Some(OLD), "y", 25..30);
    let erase = |sums: &Arc<Sums>| runtime().block_on(sums.erase("a")).expect("erased");
    let stamp_us = erase(&sums);
    assert_eq!(erase(&sums), stamp_us);
    // The database forgets what was written by then.
    cells
        .lock()
        .expect("a lock")
        .retain(|(.., kind), (stamp, _)| kind == "of b" || *stamp > stamp_us);
    let kinds = |cells: &Mutex<Cells>| {
        let cells = cells.lock().expect("a lock");
        let kinds = cells.iter().map(|((.., kind), (_, pulses))| (kind.clone(), *pulses));
        kinds.collect::<BTreeMap<_, _>>()
    };
    flush(&sums, &cells);
    assert_eq!(kinds(&cells), [("of b".to_owned(), 10)].into());

    // A crash right behind it brings none of it back.
    let sums = open(&fs).expect("opens");
    add(&sums, Some(OLD), "x", 0..10);
    add(&sums, Some(OLD), "x", 30..33);
    add_other(&sums, 33..34);
    flush(&sums, &cells);
    assert_eq!(kinds(&cells), [("of b".to_owned(), 11), ("x".to_owned(), 3)].into());
}
