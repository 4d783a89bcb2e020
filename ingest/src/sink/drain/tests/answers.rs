//! What becomes of pulses with each answer of a sink.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::rig::{
    DEFECT, LONG, Rig, ScriptedSink, frames, holds, required, settings, unknown, until,
};
use crate::sink::drain::DrainSettings;
use crate::sink::source::Source;
use crate::sink::{RowFault, SinkError};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_row_among_5000_that_fails_for_no_known_reason_is_found_and_kept_alone() {
    for panics in [false, true] {
        let dir = tempfile::tempdir().expect("a directory");
        let sink = ScriptedSink::new(move |batch| {
            let poisoned = holds(batch, 3_333);
            assert!(!(poisoned && panics), "a defect of the sink");
            poisoned.then(unknown)
        });
        let settings = DrainSettings { batch_size: 5_000, ..settings() };
        let rig = Rig::start(dir.path(), vec![required("main", &sink)], settings);
        let first = rig.log("a", 0..5_000).await;
        let finished = rig.drains.finished(Source::Log, first, 5_000);
        rig.flush().await;
        assert_eq!(finished.await.expect("finished").dead_lettered.len(), 1);
        assert_eq!(rig.dead(), [3_333]);
        let letter = rig.drains.dead_letters().iter().next().expect("one").expect("readable");
        assert_eq!((&*letter.code, &*letter.sink, &*letter.tenant), ("write_failed", "main", "a"));
        assert_eq!(letter.record().expect("a pulse").entry.raw, b"3333");
        assert!(letter.attempts > 10 && letter.history.len() == 8, "{letter:?}");
        assert_eq!(sink.held().rows.len(), 4_999);
        rig.assert_balanced();
        rig.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_never_makes_a_dead_letter_however_it_shows() {
    let answers: [fn() -> SinkError; 2] =
        [unknown, || SinkError::Unavailable(anyhow::anyhow!("connection refused"))];
    for answer in answers {
        let dir = tempfile::tempdir().expect("a directory");
        let left = Arc::new(AtomicUsize::new(60));
        let sink = ScriptedSink::new(move |_| {
            let failing =
                left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
            failing.is_ok().then(answer)
        });
        let rig = Rig::start(dir.path(), vec![required("main", &sink)], settings());
        rig.log("a", 0..30).await;
        rig.log("b", 30..31).await;
        rig.buffer("a", 31..40);
        rig.flush().await;
        assert!(rig.dead().is_empty());
        assert_eq!(sink.held().rows.len(), 40);
        rig.assert_balanced();
        rig.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faulty_rows_are_kept_apart_and_batches_too_large_are_split() {
    let dir = tempfile::tempdir().expect("a directory");
    let sink = ScriptedSink::new(|batch| {
        let faulty = |id: u128| id % 10 == 3;
        let faults: Vec<_> = batch
            .rows()
            .enumerate()
            .filter(|(_, record)| faulty(record.entry.id.as_u128()))
            .map(|(index, _)| RowFault { index, code: "bad_value", message: "three".to_owned() })
            .collect();
        if batch.len() > 7 || holds(batch, 50) {
            return Some(SinkError::TooLarge);
        }
        (!faults.is_empty()).then_some(SinkError::RowFaults(faults))
    });
    let rig = Rig::start(dir.path(), vec![required("main", &sink)], settings());
    rig.log("a", 0..60).await;
    rig.buffer("a", 60..100);
    rig.flush().await;
    let mut dead = rig.dead();
    dead.sort_unstable();
    assert_eq!(dead, [3, 13, 23, 33, 43, 50, 53, 63, 73, 83, 93]);
    assert_eq!(sink.held().rows.len(), 89);
    let codes: Vec<_> =
        rig.drains.dead_letters().iter().map(|l| l.expect("readable").code).collect();
    assert_eq!(codes.iter().filter(|code| *code == "too_large").count(), 1);
    let ledger = &rig.drains.ledger()[0];
    assert_eq!((ledger.accepted, ledger.stored, ledger.dead_lettered), (100, 89, 11));
    rig.assert_balanced();
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_without_room_hold_their_pulses_back_and_lose_none() {
    let dir = tempfile::tempdir().expect("a directory");
    let sink = ScriptedSink::new(|batch| {
        let fault = RowFault { index: 0, code: "bad", message: String::new() };
        holds(batch, 0).then(|| SinkError::RowFaults(vec![fault]))
    });
    let settings = DrainSettings { dead_letter_bytes_max: 10, ..settings() };
    let rig = Rig::start(dir.path(), vec![required("main", &sink)], settings);
    rig.log("a", 0..10).await;
    until("the letters are full", || rig.drains.dead_letters().is_full()).await;
    rig.log("a", 10..20).await;
    until("others are stored", || sink.held().rows.len() >= 10).await;
    assert!(rig.drains.backlog().pulses > 0 && rig.dead().is_empty());
    rig.assert_balanced();
    rig.stop_within(Duration::from_millis(200)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stuck_sink_delays_neither_another_sink_nor_the_stop() {
    let dir = tempfile::tempdir().expect("a directory");
    let (stuck, swift) = (ScriptedSink::taking_all(), ScriptedSink::taking_all());
    stuck.stuck.store(true, Ordering::SeqCst);
    let sinks = vec![required("stuck", &stuck), required("swift", &swift)];
    let rig = Rig::start(dir.path(), sinks, settings());
    let first = rig.log("a", 0..5_000).await;
    rig.buffer("a", 5_000..5_500);
    until("the swift sink has all", || swift.held().rows.len() == 5_500).await;
    assert!(rig.drains.shares().held("a") >= frames("a", 0..5_000).len() as u64);
    until("the age is noted", || rig.drains.backlog().sinks[0].oldest_age > LONG).await;
    assert_eq!(rig.drains.backlog().sinks[1].pulses, 0);
    let waiting = rig.drains.finished(Source::Log, first, 1);
    let start = Instant::now();
    rig.drains.stop(start + Duration::from_millis(300)).await;
    assert!(start.elapsed() < Duration::from_millis(600), "{:?}", start.elapsed());
    assert!(waiting.await.is_err());
    rig.assert_balanced();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_without_an_answer_counts_as_an_outage() {
    let dir = tempfile::tempdir().expect("a directory");
    let sink = ScriptedSink::taking_all();
    sink.stuck.store(true, Ordering::SeqCst);
    let mut settings = settings();
    settings.retry.write_timeout = Duration::from_millis(10);
    let rig = Rig::start(dir.path(), vec![required("main", &sink)], settings);
    rig.log("a", 0..10).await;
    let writes = &rig.metrics.sinks.writes;
    let label = |outcome| crate::metrics::WriteLabels { sink: "main".to_owned(), outcome };
    until("it was given up twice", || writes.get_or_create(&label("unavailable")).get() >= 2).await;
    sink.stuck.store(false, Ordering::SeqCst);
    rig.flush().await;
    assert_eq!((sink.held().rows.len(), rig.dead().len()), (10, 0));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drains_that_are_dropped_leave_nothing_running() {
    let dir = tempfile::tempdir().expect("a directory");
    let sink = ScriptedSink::taking_all();
    sink.stuck.store(true, Ordering::SeqCst);
    let rig = Rig::start(dir.path(), vec![required("main", &sink)], settings());
    rig.log("a", 0..1_000).await;
    let waiting = rig.drains.finished(Source::Log, 0, 1_000);
    drop(rig);
    assert!(waiting.await.is_err());
    until("nobody holds the sink", || Arc::strong_count(&sink) == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_death_of_a_thread_is_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let sink = ScriptedSink::taking_all();
    let rig = Rig::start(dir.path(), vec![required("main", &sink)], settings());
    rig.forgotten.store(DEFECT, Ordering::SeqCst);
    rig.log("a", 0..10).await;
    let died = tokio::time::timeout(LONG, rig.drains.died()).await;
    assert_eq!(died.expect("told in time"), "cursor-main");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ledger_balances_while_pulses_move_and_is_exported_as_it_is() {
    for keeps_progress in [false, true] {
        let dir = tempfile::tempdir().expect("a directory");
        let sink = ScriptedSink::with_progress(keeps_progress, |batch| {
            let index = batch.rows().position(|row| row.entry.id == Uuid::from_u128(100))?;
            let fault = RowFault { index, code: "bad", message: String::new() };
            Some(SinkError::RowFaults(vec![fault]))
        });
        let rig = Rig::start(dir.path(), vec![required("main", &sink)], settings());
        let exported = |place| {
            let ledger = rig.metrics.sinks.ledger.get().expect("there is a ledger");
            let found = ledger.into_iter().find(|(labels, _)| labels.place == place);
            found.expect("it has all places").1
        };
        for block in 0..100 {
            rig.log("a", block * 100..block * 100 + 50).await;
            rig.buffer("a", block * 100 + 50..block * 100 + 100);
            rig.assert_balanced();
            assert_eq!(exported("accepted"), (block as u64 + 1) * 100);
        }
        rig.flush().await;
        let ages = rig.metrics.sinks.oldest_age.get().expect("there are ages");
        assert_eq!(ages.iter().map(|(_, age)| *age).collect::<Vec<_>>(), [0.0]);
        let places = ["in_log", "in_memory", "stored", "dead_lettered"].map(exported);
        assert_eq!(places, [0, 0, 9_999, 1]);
        rig.stop().await;
    }
}
