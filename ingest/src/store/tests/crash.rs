//! The embedded store in a process that is killed while it writes.

#![allow(clippy::disallowed_methods, reason = "a test may start what it waits for")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::sink::Sink;

use super::fixture::*;

/// Set for the process that is killed: where its store is.
const DIRECTORY: &str = "PULSEMESH_TEST_CRASH_DIRECTORY";
const ROUNDS: u64 = 4;
const BATCHES: usize = 400;
const BATCH_ROWS: usize = 1_000;
/// Three kinds over two minutes, by which the sums of counts are checked.
const KINDS: [&str; 3] = ["a", "b", "c"];

/// Batch `number` of a log that is the same in every process; large enough that a round sees
/// flushes and compactions.
fn log_of(number: usize) -> TestLog {
    let first = number * BATCH_ROWS;
    let specs: Vec<_> = (first..first + BATCH_ROWS)
        .map(|row| {
            let mut spec = Spec::new(row as u64, NOW_MS + (row / 500) as i64 * 40);
            // One in three tells no time.
            if row % 3 == 1 {
                spec.id = v5(row as u64);
            }
            spec.kind = KINDS[row % KINDS.len()].into();
            let noise = xxhash_rust::xxh3::xxh3_128(&row.to_le_bytes());
            spec.raw = format!("{{\"service\":\"checkout\",\"status\":\"{noise:x}\"}}").into();
            spec
        })
        .collect();
    TestLog::numbered(&specs, first as u64)
}

/// Not a test of its own: what the killed process runs.
#[test]
fn write_until_killed() {
    let Ok(directory) = std::env::var(DIRECTORY) else { return };
    let embedded = Embedded::open(Path::new(&directory), NOW_MS);
    let id = log_of(0).id;
    let done = embedded.store.progress(id).expect("progress").finished.low() as usize;
    // Starts within what is done, with other cuts than before.
    for number in (done / BATCH_ROWS).saturating_sub(2)..BATCHES {
        let log = log_of(number);
        for start in [BATCH_ROWS / 3, 0] {
            let end = if start == 0 { BATCH_ROWS / 2 } else { BATCH_ROWS };
            write(&*embedded.store, &log.batch(Some(id), start..end));
        }
    }
}

#[test]
fn a_killed_process_leaves_each_row_once_and_progress_that_is_true() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut done_before = 0;
    for round in 1..=ROUNDS {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "store::tests::crash::write_until_killed"])
            .env(DIRECTORY, directory.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("a child");
        std::thread::sleep(Duration::from_millis(150 + 170 * round));
        child.kill().expect("a killed child");
        child.wait().expect("an ended child");
        let done = check(directory.path());
        assert!(done >= done_before, "{done} rows are fewer than {done_before}");
        done_before = done;
    }
    assert!(done_before > 0, "no round wrote anything");
}

fn check(directory: &Path) -> u64 {
    let embedded = Embedded::open(directory, NOW_MS);
    let store = &*embedded.store;
    let progress = store.progress(log_of(0).id).expect("progress");
    assert_eq!(progress.rows, progress.finished.len_from(0));
    assert_eq!(total(&counts(store, "default")), progress.rows);
    let rows = pages(store, &query("checkout", 1_000));
    assert_eq!(rows.len() as u64, progress.rows);
    for kind in KINDS {
        let counted: u64 =
            counts(store, "default").iter().filter(|c| c.kind == kind).map(|c| c.pulses).sum();
        assert_eq!(counted, rows.iter().filter(|row| row.kind == kind).count() as u64);
    }
    for row in rows.iter().step_by(997) {
        assert_eq!(row_by_id(store, "default", row.id).as_ref(), Some(row));
    }
    progress.rows
}
