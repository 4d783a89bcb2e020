//! Measurements, run by hand: `cargo test --release -p pulsemesh-ingest --lib store::tests::load
//! -- --ignored --nocapture --test-threads 1`.

#![allow(clippy::print_stdout, reason = "a measurement prints what it finds")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::retention::ClassNumber;
use crate::sink::Sink;
use crate::store::embedded::{EmbeddedSettings, EmbeddedStore};
use crate::store::{PulseQuery, Store};

use super::fixture::*;

const BATCH_ROWS: u64 = 5_000;
const WORKERS: usize = 2;

/// CPU time of this process.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("process times");
    let fields: Vec<_> = stat.rsplit(") ").next().expect("fields").split(' ').collect();
    let ticks = |index: usize| fields[index].parse::<u64>().expect("ticks");
    Duration::from_millis((ticks(11) + ticks(12)) * 1000 / rustix::param::clock_ticks_per_second())
}

fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("process memory");
    statm.split(' ').nth(1).expect("pages").parse::<u64>().expect("pages") * 4096
}

fn disk_bytes(directory: &std::path::Path) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    let (mut bytes, mut files) = (0, 0);
    for entry in std::fs::read_dir(directory).expect("a directory").flatten() {
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_dir() {
            let below = disk_bytes(&entry.path());
            (bytes, files) = (bytes + below.0, files + below.1);
        } else {
            (bytes, files) = (bytes + metadata.blocks() * 512, files + 1);
        }
    }
    (bytes, files)
}

#[derive(Clone, Copy)]
struct Load {
    rows: u64,
    services: u64,
    kinds: u64,
    by_client: bool,
}

fn log_of(load: Load, start: u64) -> TestLog {
    let specs: Vec<_> = (start..start + BATCH_ROWS)
        .map(|number| {
            // 250,000 rows a second.
            let time_ms = NOW_MS + (number / 250) as i64;
            let mixed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let service = format!("service-{:02}", (mixed >> 40) % load.services);
            let id = if load.by_client { v5(number) } else { v7(time_ms, number) };
            Spec {
                tenant: "default".into(),
                kind: format!("kind-{}", (mixed >> 20) % load.kinds),
                id,
                event_time_ms: time_ms,
                received_at_us: time_ms / 2 * 2000,
                raw: format!(
                    "{{\"service\":\"{service}\",\"timestamp\":{time_ms},\"latency_ms\":{}.{},\
                     \"status\":\"ok\",\"metadata\":{{\"region\":\"eu-{}\"}}}}",
                    (mixed >> 32) % 300,
                    (mixed >> 50) % 10,
                    (mixed >> 55) % 4,
                )
                .into_bytes(),
                service,
                class: ClassNumber::DEFAULT,
            }
        })
        .collect();
    TestLog::numbered(&specs, start)
}

fn measure(name: &str, load: Load) {
    let directory = tempfile::tempdir().expect("a directory");
    let settings = EmbeddedSettings {
        clock: Arc::new(|| NOW_MS * 1000),
        ..EmbeddedSettings::new(Duration::from_secs(30 * 24 * 3600))
    };
    let store = EmbeddedStore::open(directory.path(), settings).expect("a store");
    let idle = resident_bytes();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
    let (mut making, start, cpu_start) = (Duration::ZERO, Instant::now(), cpu());
    let mut raw_bytes = 0;
    let mut slowest = Duration::ZERO;
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for first in (0..load.rows).step_by(BATCH_ROWS as usize) {
            let before = thread_cpu();
            let log = log_of(load, first);
            let batch = log.all();
            raw_bytes += batch.bytes();
            making += thread_cpu() - before;
            if tasks.len() >= WORKERS {
                let took = tasks.join_next().await.expect("a task").expect("a write");
                slowest = slowest.max(took);
            }
            let store = Arc::clone(&store);
            tasks.spawn(async move {
                let start = Instant::now();
                store.write(&batch).await.expect("written");
                start.elapsed()
            });
        }
        while let Some(took) = tasks.join_next().await {
            slowest = slowest.max(took.expect("a write"));
        }
        store.sync().await.expect("synced");
    });
    let (took, used) = (start.elapsed(), (cpu() - cpu_start).saturating_sub(making));
    std::thread::sleep(Duration::from_secs(2));
    let used = used.max((cpu() - cpu_start).saturating_sub(making));
    let rows = load.rows as f64;
    let (disk, files) = disk_bytes(&directory.path().join("db/keyspaces"));
    let (journal, _) = disk_bytes(directory.path());
    println!(
        "{name}: {:.2} µs CPU/row, {:.0} rows/s, {:.1} B/row in frames, {:.1} B/row on disk \
         ({files} files, journals {} MiB), slowest write {slowest:?}, resident {} -> {} MiB",
        used.as_secs_f64() * 1e6 / rows,
        rows / took.as_secs_f64(),
        raw_bytes as f64 / rows,
        disk as f64 / rows,
        (journal - disk) >> 20,
        idle >> 20,
        resident_bytes() >> 20,
    );
    queries(&runtime, &*store, load);
    drop(store);
    let settings = EmbeddedSettings {
        clock: Arc::new(|| NOW_MS * 1000),
        ..EmbeddedSettings::new(Duration::from_secs(30 * 24 * 3600))
    };
    let start = Instant::now();
    let _store = EmbeddedStore::open(directory.path(), settings).expect("a store");
    println!("  opened again in {:?}", start.elapsed());
}

fn thread_cpu() -> Duration {
    let times = std::fs::read_to_string("/proc/thread-self/schedstat").expect("thread times");
    let nanoseconds = times.split(' ').next().and_then(|text| text.parse().ok());
    Duration::from_nanos(nanoseconds.expect("nanoseconds"))
}

fn queries(runtime: &tokio::runtime::Runtime, store: &dyn Store, load: Load) {
    let span_ms = (load.rows / 250) as i64;
    let report = |name: &str, times: &mut Vec<Duration>| {
        times.sort_unstable();
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
        println!("  {name}: p50 {:?}, p99 {:?}, max {:?}", at(0.5), at(0.99), at(1.0));
    };
    let mut newest = Vec::new();
    let mut deep = Vec::new();
    let mut by_id = Vec::new();
    for number in 0..500u64 {
        let mixed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let query = query(&format!("service-{:02}", (mixed >> 40) % load.services), 100);
        let start = Instant::now();
        let page = runtime.block_on(store.pulses(&query)).expect("a page");
        newest.push(start.elapsed());
        assert_eq!(page.rows.len(), 100);
        let to_ms = NOW_MS + span_ms / 10 + (mixed >> 20) as i64 % (span_ms * 9 / 10);
        let query = PulseQuery { to_ms, ..query };
        let start = Instant::now();
        let page = runtime.block_on(store.pulses(&query)).expect("a page");
        deep.push(start.elapsed());
        assert_eq!(page.rows.len(), 100);
        let number = (mixed >> 10) % load.rows;
        let id =
            if load.by_client { v5(number) } else { v7(NOW_MS + (number / 250) as i64, number) };
        let start = Instant::now();
        let row = runtime.block_on(store.pulse("default", id)).expect("a lookup");
        by_id.push(start.elapsed());
        assert!(row.is_some());
    }
    report("newest 100", &mut newest);
    report("100 at some time", &mut deep);
    report("by id", &mut by_id);
    let start = Instant::now();
    let counts = counts(store, "default");
    println!("  {} counts in {:?}", counts.len(), start.elapsed());
    assert_eq!(total(&counts), load.rows);
}

const LOAD: Load = Load { rows: 2_000_000, services: 1, kinds: 1, by_client: false };

#[test]
#[ignore = "a measurement"]
fn one_service() {
    measure("one service", LOAD);
}

#[test]
#[ignore = "a measurement"]
fn a_hundred_services() {
    measure("100 services", Load { services: 100, kinds: 3, ..LOAD });
}

#[test]
#[ignore = "a measurement"]
fn ids_of_clients() {
    measure("ids of clients", Load { by_client: true, ..LOAD });
}

#[test]
#[ignore = "a measurement"]
fn ten_million_ids_of_clients() {
    measure("10 million ids of clients", Load { rows: 10_000_000, by_client: true, ..LOAD });
}

#[test]
#[ignore = "a measurement"]
fn ten_million_rows() {
    measure("10 million rows", Load { rows: 10_000_000, services: 10, ..LOAD });
}
