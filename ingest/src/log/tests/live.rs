//! The log on the real file system, with its thread and with many who append at once.

#![allow(clippy::disallowed_methods, reason = "a test may start what it waits for")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::fs::OsFs;
use crate::fs::fault::SimFs;

use super::super::{Log, LogSettings};
use super::{frame, no_metrics, pulses, put_frame};

fn started(directory: &Path, segment_bytes: u64) -> Log {
    let settings = LogSettings {
        dir: directory.join("log"),
        budget_bytes: 4 << 30,
        segment_bytes,
        free_bytes_min: 0,
    };
    Log::open(settings, Arc::new(OsFs), no_metrics()).expect("opens")
}

fn read_all(log: &Log) -> Vec<(u64, u128)> {
    let mut reader = log.reader(log.start_seq());
    let mut found = Vec::new();
    while let Some(chunk) = reader.read(64 * 1024).expect("readable") {
        assert_eq!((chunk.damaged, chunk.forgotten), (0, 0));
        found.extend(pulses(&chunk.bytes));
    }
    found
}

#[test]
fn many_who_append_at_once_get_numbers_of_their_own_and_all_is_read_back() {
    const APPENDERS: u128 = 16;
    const EACH: u128 = 200;
    let directory = tempfile::tempdir().expect("a directory");
    let log = started(directory.path(), 64 * 1024);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
    let numbers: Vec<Vec<(u64, u128)>> = runtime.block_on(async {
        let mut appenders = tokio::task::JoinSet::new();
        for appender in 0..APPENDERS {
            let log = log.clone();
            appenders.spawn(async move {
                let mut numbers = Vec::new();
                for index in 0..EACH {
                    let id = appender << 64 | index << 1;
                    let frames = frame([id, id | 1]);
                    let seq = log.append(&frames, 2).expect("room").await.expect("synced");
                    numbers.extend([(seq, id), (seq + 1, id | 1)]);
                }
                numbers
            });
        }
        appenders.join_all().await
    });
    assert!(numbers.iter().all(|numbers| numbers.is_sorted()), "each in its own order");
    let mut expected: Vec<_> = numbers.into_iter().flatten().collect();
    expected.sort_unstable();
    assert_eq!(expected.len() as u64, log.end_seq());
    assert_eq!(read_all(&log), expected);
    log.close();
    drop(log);
    let log = started(directory.path(), 64 * 1024);
    assert_eq!(read_all(&log), expected, "and after a restart");
    // Forgetting leaves the numbers alone.
    let end_seq = log.end_seq();
    assert!(log.forget(end_seq).expect("no faults") > 0);
    let mut behind = log.reader(0);
    let chunk = behind.read(1 << 20).expect("readable");
    let forgotten = chunk.as_ref().map_or(0, |chunk| chunk.forgotten);
    assert!(forgotten > 0 && chunk.is_some_and(|chunk| chunk.damaged == 0));
}

#[test]
fn a_reader_follows_the_writer_through_segments() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = started(directory.path(), 8 * 1024);
    let (grown, growth) = std::sync::mpsc::channel();
    log.on_growth(move || {
        // The follower ends when it has all.
        let _gone = grown.send(());
    });
    let follower = std::thread::spawn({
        let log = log.clone();
        move || {
            let mut reader = log.reader(0);
            let mut found = Vec::new();
            let deadline = Instant::now() + Duration::from_secs(30);
            while found.len() < 1000 && Instant::now() < deadline {
                growth.recv_timeout(Duration::from_secs(30)).expect("told of growth");
                while let Some(chunk) = reader.read(4096).expect("readable") {
                    assert_eq!(chunk.first_seq, found.len() as u64);
                    found.extend(pulses(&chunk.bytes));
                    log.release(chunk.end_seq);
                    log.forget(chunk.end_seq).expect("no faults");
                }
            }
            found
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        for number in 0..1000u64 {
            let ticket = log.append(&frame([u128::from(number)]), 1).expect("room");
            assert_eq!(ticket.await, Ok(number));
        }
    });
    let found = follower.join().expect("no panic");
    assert!(found.iter().all(|(seq, id)| u128::from(*seq) == *id));
    assert_eq!(found.len(), 1000);
    assert_eq!(log.used_bytes(), 0);
}

#[test]
fn a_backlog_does_not_delay_a_start() {
    const SEGMENT_BYTES: u64 = 64 * 1024;
    let read_at_start = |pulses: u64| {
        let fs = SimFs::new(1);
        let (_, mut writer) = super::open(&fs, SEGMENT_BYTES);
        let mut frames = Vec::new();
        put_frame(&mut frames, [1], &[b'x'; 4000]);
        for _ in 0..pulses {
            writer.append(&mut frames.clone()).expect("room");
        }
        fs.kill();
        let before = fs.bytes_read();
        let (chain, _) = super::open(&fs, SEGMENT_BYTES);
        assert_eq!(chain.end_seq(), pulses);
        fs.bytes_read() - before
    };
    // Of 80 segments the headers are read, and the last segment alone is searched for its end, from
    // both sides.
    assert!(read_at_start(20) > SEGMENT_BYTES / 2);
    assert!(read_at_start(1200) < 3 * SEGMENT_BYTES);
}
