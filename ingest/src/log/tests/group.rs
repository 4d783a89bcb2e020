//! One sync serves all who came while the one before was under way.

#![allow(clippy::disallowed_methods, reason = "a test may start what it waits for")]

use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use futures_util::FutureExt;

use crate::fs::fault::SimFs;
use crate::fs::{File, Fs, Open};

use super::super::{AppendError, Log, PENDING_BYTES_MAX, Ticket};
use super::{frame, no_metrics, put_frame, settings};

/// A disk whose syncs wait until they may.
#[derive(Debug, Clone)]
struct SlowDisk {
    fs: SimFs,
    gate: Arc<(Mutex<Gate>, Condvar)>,
}

#[derive(Debug, Default)]
struct Gate {
    closed: bool,
    waiting: usize,
}

#[derive(Debug)]
struct SlowFile {
    file: Arc<dyn File>,
    disk: SlowDisk,
}

impl SlowDisk {
    fn new() -> Self {
        Self { fs: SimFs::new(1), gate: Arc::default() }
    }

    fn set_closed(&self, closed: bool) {
        self.gate.0.lock().expect("no panic").closed = closed;
        self.gate.1.notify_all();
    }

    fn pass(&self) {
        let mut gate = self.gate.0.lock().expect("no panic");
        gate.waiting += 1;
        self.gate.1.notify_all();
        while gate.closed {
            gate = self.gate.1.wait(gate).expect("no panic");
        }
        gate.waiting -= 1;
    }

    fn until_one_waits(&self) {
        let gate = self.gate.0.lock().expect("no panic");
        let waited = self
            .gate
            .1
            .wait_timeout_while(gate, Duration::from_secs(20), |gate| gate.waiting == 0)
            .expect("no panic");
        assert!(!waited.1.timed_out(), "no sync came");
    }
}

impl Fs for SlowDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(SlowFile { file: self.fs.open(path, how)?, disk: self.clone() }))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        self.fs.list(directory)
    }

    fn create_dir_all(&self, directory: &Path) -> io::Result<()> {
        self.fs.create_dir_all(directory)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.fs.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.fs.remove(path)
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        self.fs.sync_dir(directory)
    }

    fn free_bytes(&self, directory: &Path) -> io::Result<u64> {
        self.fs.free_bytes(directory)
    }
}

impl File for SlowFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.pass();
        self.file.sync()
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.file.allocate(bytes)
    }
}

fn answer(ticket: Ticket) -> Result<u64, AppendError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let waited = async { tokio::time::timeout(Duration::from_secs(20), ticket).await };
    runtime.expect("a runtime").block_on(waited).expect("answered in time")
}

fn started(disk: &SlowDisk) -> Log {
    Log::open(settings(64 << 20), Arc::new(disk.clone()), no_metrics()).expect("opens")
}

#[test]
fn what_comes_during_a_sync_shares_the_next_and_nothing_is_answered_before() {
    let disk = SlowDisk::new();
    let log = started(&disk);
    disk.set_closed(true);
    let before = disk.fs.syncs();
    let mut first = log.append(&frame([0]), 1).expect("room");
    disk.until_one_waits();
    let tickets: Vec<_> =
        (1..100u64).map(|id| log.append(&frame([u128::from(id)]), 1).expect("room")).collect();
    assert_eq!((&mut first).now_or_never(), None, "answered before its sync");
    assert_eq!(log.end_seq(), 0);
    disk.set_closed(false);
    assert_eq!(answer(first), Ok(0));
    for (ticket, seq) in tickets.into_iter().zip(1..) {
        assert_eq!(answer(ticket), Ok(seq));
    }
    assert_eq!(disk.fs.syncs() - before, 2);
}

#[test]
fn a_stuck_disk_costs_bounded_memory_and_a_close_answers_all() {
    let disk = SlowDisk::new();
    let log = started(&disk);
    disk.set_closed(true);
    let mut tickets = vec![log.append(&frame([0]), 1).expect("room")];
    disk.until_one_waits();
    let mut large = Vec::new();
    put_frame(&mut large, [1], &vec![b'x'; 500_000]);
    let refusal = loop {
        match log.append(&large, 1) {
            Ok(ticket) => tickets.push(ticket),
            Err(refusal) => break refusal,
        }
    };
    assert_eq!(refusal, AppendError::Busy);
    assert_eq!(tickets.len() - 1, PENDING_BYTES_MAX / large.len());
    // What came is answered even if the log closes before it is synced.
    let closing = std::thread::spawn({
        let log = log.clone();
        move || log.close()
    });
    while log.refusal() != Some(AppendError::Closed) {
        std::thread::yield_now();
    }
    disk.set_closed(false);
    for (ticket, seq) in tickets.into_iter().zip(0..) {
        assert_eq!(answer(ticket), Ok(seq));
    }
    closing.join().expect("no panic");
    assert_eq!(log.append(&frame([1]), 1).map(drop), Err(AppendError::Closed));
}
