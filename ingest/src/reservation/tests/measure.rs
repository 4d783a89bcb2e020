//! What a key costs.

use std::thread;
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
    for batch in [1u64, 512, 10_000] {
        let all = requests(batch << 40, 1_000_000 / batch, batch);
        let (cpu_ns, wall_ns) = timed(|| reserve_all(&table, &all));
        report(&format!("{batch:>5} a request, 1 thread"), cpu_ns, wall_ns, 1_000_000);
    }
    let prepared = [100u64, 101].map(|thread| requests(thread << 40, 1000, 512));
    let started = Instant::now();
    let cpu_ns: u64 = thread::scope(|scope| {
        let work = |all| timed(|| reserve_all(&table, all)).0;
        let threads = prepared.each_ref().map(|all| scope.spawn(move || work(all)));
        threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
    });
    report("  512 a request, 2 threads", cpu_ns, started.elapsed().as_nanos() as u64, 1_024_000);
    while table.shared.table().runs().len() > 7 {
        thread::sleep(Duration::from_millis(100));
    }
    say(&format!("{:?}", table.stats()));
    table.close().expect("no faults");
    let started = Instant::now();
    drop(open_in(directory.path()));
    say(&format!("start: {:?}", started.elapsed()));
}

fn requests(base: u64, count: u64, batch: u64) -> Vec<Vec<Wanted>> {
    let request = |n| (base + n * batch..base + (n + 1) * batch).map(wanted).collect();
    (0..count).map(request).collect()
}

fn reserve_all(table: &Reservations, requests: &[Vec<Wanted>]) {
    for request in requests {
        loop {
            let mut reserved = table.reserve(request);
            reserved.settle();
            if reserved.claims().iter().all(|claim| *claim == Claim::New) {
                reserved.commit();
                break;
            }
            // Here keys come without their pulses, faster than the disk takes them.
            assert!(reserved.claims().contains(&Claim::Full));
            drop(reserved);
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Nanoseconds that this thread was on a processor, and that passed.
fn timed(work: impl FnOnce()) -> (u64, u64) {
    let cpu_ns = || -> u64 {
        let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
        stat.split(' ').next().and_then(|ns| ns.parse().ok()).expect("a number")
    };
    let (cpu, started) = (cpu_ns(), Instant::now());
    work();
    (cpu_ns() - cpu, started.elapsed().as_nanos() as u64)
}

fn report(what: &str, cpu_ns: u64, wall_ns: u64, keys: u64) {
    say(&format!("{what}: {} ns of CPU, {} ns in all a new key", cpu_ns / keys, wall_ns / keys));
}

fn say(text: &str) {
    use std::io::Write;
    std::io::stderr().write_all(format!("{text}\n").as_bytes()).expect("stderr is there");
}
