//! What is known after a restart.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::rig::{Rig, ScriptedSink, holds, required, settings, until};
use crate::fs::OsFs;
use crate::sink::drain::{DrainSettings, Need, SinkRegistration, StartError};
use crate::sink::{RowFault, SinkError};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_goes_on_where_it_was_and_its_ledger_too() {
    for keeps_progress in [false, true] {
        let dir = tempfile::tempdir().expect("a directory");
        let sink = ScriptedSink::with_progress(keeps_progress, |batch| {
            let index = batch.rows().position(|row| row.entry.id.as_u128() % 100 == 7)?;
            let fault = RowFault { index, code: "seven", message: String::new() };
            Some(SinkError::RowFaults(vec![fault]))
        });
        let mut accepted = 0;
        for start in 0..4u128 {
            let rig = Rig::start(dir.path(), vec![required("main", &sink)], settings());
            rig.log("a", start * 1_000..start * 1_000 + 1_000).await;
            accepted += 1_000;
            if start % 2 == 0 {
                rig.flush().await;
            }
            rig.stop_within(Duration::from_secs(2)).await;
        }
        let rig = Rig::start(dir.path(), vec![required("main", &sink)], settings());
        rig.flush().await;
        let ledger = &rig.drains.ledger()[0];
        assert_eq!((ledger.accepted, ledger.dead_lettered), (accepted, 40), "{ledger:?}");
        assert_eq!(ledger.stored, 3_960);
        assert_eq!((sink.held().rows.len(), rig.dead().len()), (3_960, 40));
        rig.assert_balanced();
        let attempts = sink.held().attempts;
        rig.stop().await;
        let rig = Rig::start(dir.path(), vec![required("main", &sink)], settings());
        rig.flush().await;
        assert_eq!(sink.held().attempts, attempts, "nothing is written again after a clean stop");
        rig.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_required_sink_may_leave_only_when_it_is_done_or_given_up() {
    let dir = tempfile::tempdir().expect("a directory");
    let (main, extra) = (ScriptedSink::taking_all(), ScriptedSink::taking_all());
    extra.stuck.store(true, Ordering::SeqCst);
    let both = || vec![required("main", &main), required("extra", &extra)];
    let start = |sinks, settings| Rig::start_on(Arc::new(OsFs), dir.path(), sinks, settings);
    let rig = start(both(), settings()).expect("starts");
    rig.log("a", 0..10).await;
    until("main has all", || main.held().rows.len() == 10).await;
    rig.stop_within(Duration::from_millis(200)).await;

    let error = start(vec![required("main", &main)], settings()).err().expect("refused");
    let error = error.downcast::<StartError>().expect("a start error");
    assert!(
        matches!(&error, StartError::Vanished { sink, unfinished: 10 } if sink == "extra"),
        "{error}"
    );
    extra.stuck.store(false, Ordering::SeqCst);
    let rig = start(both(), settings()).expect("starts");
    rig.flush().await;
    extra.stuck.store(true, Ordering::SeqCst);
    rig.log("a", 10..20).await;
    rig.stop_within(Duration::from_millis(200)).await;
    assert_eq!(extra.held().rows.len(), 10);

    let forget = DrainSettings { forget: vec!["extra".to_owned()], ..settings() };
    let rig = start(vec![required("main", &main)], forget).expect("given up");
    rig.flush().await;
    assert_eq!(main.held().rows.len(), 20);
    rig.stop().await;
    let rig = start(vec![required("main", &main)], settings()).expect("no longer known");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_sink_begins_with_what_the_log_still_has() {
    let dir = tempfile::tempdir().expect("a directory");
    let main = ScriptedSink::taking_all();
    let rig = Rig::start(dir.path(), vec![required("main", &main)], settings());
    for block in 0..40 {
        rig.log("a", block * 500..block * 500 + 500).await;
    }
    rig.flush().await;
    rig.stop().await;
    let late = ScriptedSink::new(|batch| {
        let fault = RowFault { index: 0, code: "bad", message: String::new() };
        (holds(batch, 20_000) && batch.len() > 1).then(|| SinkError::RowFaults(vec![fault]))
    });
    let need = Need::BestEffort { lag_bytes_max: u64::MAX };
    let late_sink = SinkRegistration { name: "late".to_owned(), sink: late.clone(), need };
    let rig = Rig::start(dir.path(), vec![required("main", &main), late_sink], settings());
    rig.log("a", 20_000..20_010).await;
    rig.flush().await;
    until("the late sink is done", || rig.drains.ledger()[1].in_log == 0).await;
    let ledger = &rig.drains.ledger()[1];
    assert!((10..20_010).contains(&ledger.accepted), "{ledger:?}");
    assert_eq!((ledger.damaged, ledger.dropped), (0, 0));
    rig.assert_balanced();
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_are_checked() {
    for names in [&["Main"][..], &[""], &["a/b"], &["a", "a"]] {
        let dir = tempfile::tempdir().expect("a directory");
        let sink = ScriptedSink::taking_all();
        let sinks = names.iter().map(|name| required(name, &sink)).collect();
        assert!(Rig::start_on(Arc::new(OsFs), dir.path(), sinks, settings()).is_err(), "{names:?}");
    }
}
