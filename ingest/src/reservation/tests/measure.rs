//! What a key costs.

use std::time::Instant;

use super::*;
use crate::fs::OsFs;
use crate::reservation::{Claim, ReservationKey};

fn wanted(number: u64) -> Wanted {
    let hash = xxhash_rust::xxh3::xxh3_128(&number.to_le_bytes());
    let fixed = Fixed {
        id: Uuid::from_u128(hash),
        event_time_ms: 1,
        received_at_us: 1,
        body_hash: hash,
        shard: 1,
    };
    Wanted { key: ReservationKey(hash), other: None, fixed }
}

fn open_in(directory: &Path) -> Restoring {
    let settings = Settings { window: WINDOW, keys_max: 20_000_000, log: Some(LOG) };
    let clock: Arc<dyn Clock> = Arc::new(crate::reservation::SystemClock::default());
    Restoring::open(directory, Arc::new(OsFs), settings, clock, HeldMetrics::default())
        .expect("opens")
}

fn accept(table: &Reservations, first: u64, count: u64) {
    let all: Vec<_> = (first..first + count).map(wanted).collect();
    let mut reserved = table.reserve(&all);
    reserved.settle();
    assert!(reserved.claims().iter().all(|claim| *claim == Claim::New));
    reserved.commit();
}

#[test]
fn a_sealed_key_takes_less_than_four_bytes_of_memory_and_74_of_disk() {
    let directory = tempfile::tempdir().expect("a directory");
    let (table, mut keeper) = open_in(directory.path()).into_parts();
    let keys = 8 * 64 * 1024;
    for first in (0..keys).step_by(4096) {
        accept(&table, first, 4096);
        if table.shared.table().wants_seal() {
            keeper.tick(0).expect("no faults");
        }
    }
    while keeper.tick(0).expect("no faults") {}
    let stats = table.stats();
    assert_eq!((stats.keys as u64, stats.runs), (keys, 1));
    let memory = table.shared.table().runs()[0].memory_bytes() as f64 / keys as f64;
    let disk = stats.disk_bytes as f64 / keys as f64;
    assert!(memory < 4.0, "{memory} bytes of memory for a key");
    assert!(disk < 74.0, "{disk} bytes of disk for a key");
}

#[test]
#[ignore = "a measurement, for a release build: prints figures"]
fn figures() {
    let directory = tempfile::tempdir().expect("a directory");
    let table = open_in(directory.path()).start(|| 0).expect("starts");
    let report = |what: &str, value: f64| tracing_free_print(&format!("{what}: {value:.1}\n"));
    for batch in [1u64, 512, 10_000] {
        let keys = 1_000_000 / batch * batch;
        let base = batch << 40;
        let all: Vec<Vec<_>> = (0..keys / batch)
            .map(|n| (base + n * batch..base + (n + 1) * batch).map(wanted).collect())
            .collect();
        let started = Instant::now();
        for request in &all {
            let mut reserved = table.reserve(request);
            reserved.settle();
            assert!(reserved.claims().iter().all(|claim| *claim == Claim::New));
            reserved.commit();
        }
        let ns = started.elapsed().as_nanos() as f64 / keys as f64;
        report(&format!("ns per new key, {batch} a request, 1 thread"), ns);
        let stats = table.stats();
        report("  runs", stats.runs as f64);
        report("  bytes of memory per key", stats.memory_bytes as f64 / stats.keys as f64);
    }
    let prepared: Vec<Vec<Vec<_>>> = (0..2u64)
        .map(|thread| {
            let base = (100 + thread) << 40;
            (0..1000u64)
                .map(|n| (base + n * 512..base + (n + 1) * 512).map(wanted).collect())
                .collect()
        })
        .collect();
    let started = Instant::now();
    std::thread::scope(|scope| {
        for requests in &prepared {
            let table = &table;
            scope.spawn(move || {
                for request in requests {
                    let mut reserved = table.reserve(request);
                    reserved.settle();
                    reserved.commit();
                }
            });
        }
    });
    let ns = started.elapsed().as_nanos() as f64 / 1_024_000.0;
    report("ns per new key, 512 a request, 2 threads (wall time by all keys)", ns);
    std::thread::sleep(Duration::from_secs(5));
    let stats = table.stats();
    report("keys", stats.keys as f64);
    report("runs", stats.runs as f64);
    report("bytes of memory per key", stats.memory_bytes as f64 / stats.keys as f64);
    report("bytes of disk per key", stats.disk_bytes as f64 / stats.keys as f64);
    table.close().expect("no faults");
    let started = Instant::now();
    let restoring = open_in(directory.path());
    report("ms to start", started.elapsed().as_secs_f64() * 1000.0);
    drop(restoring);
}

fn tracing_free_print(text: &str) {
    use std::io::Write;
    std::io::stderr().write_all(text.as_bytes()).expect("stderr is there");
}
