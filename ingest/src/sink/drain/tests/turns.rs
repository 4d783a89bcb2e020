//! Who is written when.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::rig::{LONG, Rig, ScriptedSink, required, settings, until};
use crate::sink::drain::{DrainSettings, Need, SinkRegistration};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_with_a_great_backlog_delays_no_other() {
    let dir = tempfile::tempdir().expect("a directory");
    let sink = ScriptedSink::taking_all();
    sink.stuck.store(true, Ordering::SeqCst);
    let settings = DrainSettings { batch_size: 1_000, workers: 1, ..settings() };
    let rig = Rig::start(dir.path(), vec![required("main", &sink)], settings);
    for frame in 0..10_000 {
        rig.buffer("hot", frame * 3..frame * 3 + 3);
    }
    for tenant in 0..5 {
        rig.buffer(&format!("small-{tenant}"), 100_000 + tenant * 10..100_010 + tenant * 10);
    }
    sink.stuck.store(false, Ordering::SeqCst);
    rig.flush().await;
    {
        let held = sink.held();
        let last = held.batches.iter().rposition(|tenants| tenants.len() > 1);
        // Of some thirty batches: those that were made before the small tenants were read.
        assert!(last <= Some(5), "small tenants waited for {last:?} batches");
        assert_eq!(held.rows.len(), 30_050);
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_goes_when_it_is_full_or_its_first_row_has_waited_or_it_is_flushed() {
    let dir = tempfile::tempdir().expect("a directory");
    let sink = ScriptedSink::taking_all();
    let slow = DrainSettings { batch_size: 50, flush_interval: LONG * 100, ..settings() };
    let rig = Rig::start(dir.path(), vec![required("main", &sink)], slow);
    rig.buffer("a", 0..120);
    until("full batches are written", || sink.held().rows.len() == 100).await;
    rig.flush().await;
    assert_eq!(sink.held().rows.len(), 120);
    rig.log("a", 120..121).await;
    rig.drains.seal();
    until("a sealed batch is written", || sink.held().rows.len() == 121).await;
    rig.stop().await;

    let dir = tempfile::tempdir().expect("a directory");
    let swift = DrainSettings { flush_interval: Duration::from_millis(30), ..settings() };
    let rig = Rig::start(dir.path(), vec![required("main", &sink)], swift);
    let start = Instant::now();
    rig.log("a", 200..201).await;
    until("the row has waited", || sink.held().rows.len() == 122).await;
    assert!(start.elapsed() >= Duration::from_millis(30));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_best_effort_sink_that_lags_too_far_drops_what_it_has_not_read() {
    let dir = tempfile::tempdir().expect("a directory");
    let (main, slow) = (ScriptedSink::taking_all(), ScriptedSink::taking_all());
    slow.stuck.store(true, Ordering::SeqCst);
    let need = Need::BestEffort { lag_bytes_max: 200_000 };
    let slow_sink = SinkRegistration { name: "slow".to_owned(), sink: slow.clone(), need };
    let settings = DrainSettings { batch_size: 1_000, window_bytes: 0, ..settings() };
    let rig = Rig::start(dir.path(), vec![slow_sink, required("main", &main)], settings);
    for block in 0..100 {
        rig.log("a", block * 500..block * 500 + 500).await;
    }
    until("the main sink has all", || main.held().rows.len() == 50_000).await;
    until("the slow sink has dropped", || rig.drains.ledger()[1].dropped > 10_000).await;
    rig.flush().await;
    until("the log forgets", || {
        let names = std::fs::read_dir(dir.path().join("log")).expect("a directory");
        names.count() < 20
    })
    .await;
    assert!(rig.forgotten.load(Ordering::SeqCst) > 10_000, "others are told before");
    slow.stuck.store(false, Ordering::SeqCst);
    until("the slow sink is done", || rig.drains.ledger()[1].in_log == 0).await;
    let ledger = &rig.drains.ledger()[1];
    assert_eq!((&*ledger.sink, ledger.accepted), ("slow", 50_000));
    assert_eq!(ledger.stored, slow.held().rows.len() as u64);
    rig.assert_balanced();
    rig.stop().await;
}
