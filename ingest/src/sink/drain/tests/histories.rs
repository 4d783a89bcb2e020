//! Generated histories: whatever a sink answers and wherever the process stops, every accepted
//! pulse ends in exactly one place.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use proptest::prelude::*;

use super::rig::{Rig, ScriptedSink, frames, required, settings, unknown};
use crate::fs::fault::{Chance, SimFs};
use crate::sink::drain::DrainSettings;
use crate::sink::{Batch, RowFault, SinkError};

#[derive(Debug, Clone)]
struct History {
    seed: u64,
    keeps_progress: bool,
    batch_size: usize,
    workers: usize,
    /// How often the sink refuses for no lasting reason, in cases of 1000.
    moods: u32,
    /// Most rows that it takes at once.
    rows_max: usize,
    /// Pulses of which the number divides by this can't be stored.
    faulty: u128,
    runs: Vec<Run>,
}

/// What happens until the process stops.
#[derive(Debug, Clone)]
struct Run {
    /// Tenant, and how many pulses.
    appends: Vec<(u8, u8)>,
    in_memory: bool,
    /// Calls of the file system until everything stops; `None`: an orderly stop.
    stop_after: Option<u64>,
    power_loss: bool,
}

fn runs() -> impl Strategy<Value = Run> {
    let appends = proptest::collection::vec((0..4u8, 1..40u8), 0..25);
    let stop_after = proptest::option::weighted(0.7, 0..60u64);
    (appends, any::<bool>(), stop_after, any::<bool>()).prop_map(
        |(appends, in_memory, stop_after, power_loss)| Run {
            appends,
            in_memory,
            stop_after,
            power_loss,
        },
    )
}

fn histories() -> impl Strategy<Value = History> {
    let sizes = (1..60usize, 1..4usize, 0..400u32, 1..50usize, 3..60u128);
    (any::<u64>(), any::<bool>(), sizes, proptest::collection::vec(runs(), 1..4)).prop_map(
        |(seed, keeps_progress, (batch_size, workers, moods, rows_max, faulty), runs)| History {
            seed,
            keeps_progress,
            batch_size,
            workers,
            moods,
            rows_max,
            faulty,
            runs,
        },
    )
}

fn sink_of(history: &History) -> Arc<ScriptedSink> {
    let chance = Mutex::new(Chance::new(history.seed));
    let (moods, rows_max, faulty) = (history.moods, history.rows_max, history.faulty);
    let answer = move |batch: &Batch| {
        let mut chance = chance.lock().unwrap_or_else(PoisonError::into_inner);
        if chance.is(moods) {
            match chance.below(3) {
                0 => return Some(unknown()),
                1 if batch.len() > 1 => return Some(SinkError::TooLarge),
                _ => return Some(SinkError::Unavailable(anyhow::anyhow!("in a mood"))),
            }
        }
        if batch.len() > rows_max {
            return Some(SinkError::TooLarge);
        }
        let faults: Vec<_> = batch
            .rows()
            .enumerate()
            .filter(|(_, row)| row.entry.id.as_u128() % faulty == 0)
            .map(|(index, _)| RowFault { index, code: "faulty", message: String::new() })
            .collect();
        (!faults.is_empty()).then_some(SinkError::RowFaults(faults))
    };
    ScriptedSink::with_progress(history.keeps_progress, answer)
}

/// Runs a history; returns the ids that were acknowledged as durable.
async fn live(history: &History, fs: &SimFs, sink: &Arc<ScriptedSink>) -> HashSet<u128> {
    let drain_settings = || DrainSettings {
        batch_size: history.batch_size,
        workers: history.workers,
        flush_interval: Duration::from_millis(1),
        ..settings()
    };
    let (mut durable, mut id) = (HashSet::new(), 1);
    for run in &history.runs {
        let started = Rig::start_on(
            Arc::new(fs.clone()),
            Path::new("/data"),
            vec![required("main", sink)],
            drain_settings(),
        );
        let rig = started.expect("starts without faults");
        if let Some(calls) = run.stop_after {
            fs.stop_after(calls);
        }
        for (tenant, pulses) in &run.appends {
            let (tenant, ids) = (format!("tenant-{tenant}"), id..id + u128::from(*pulses));
            id = ids.end;
            let bytes = frames(&tenant, ids.clone());
            if run.in_memory {
                rig.buffer.append(&bytes, u64::from(*pulses)).expect("room");
            } else if let Ok(ticket) = rig.log.append(&bytes, u64::from(*pulses))
                && let Ok(Ok(_first)) =
                    tokio::time::timeout(Duration::from_millis(50), ticket).await
            {
                durable.extend(ids);
            }
        }
        if run.stop_after.is_none() {
            rig.flush().await;
            rig.assert_balanced();
        }
        rig.stop_within(Duration::from_millis(40)).await;
        if run.power_loss {
            fs.power_loss();
        } else {
            fs.kill();
        }
    }
    durable
}

async fn check(history: History) {
    let (fs, sink) = (SimFs::new(history.seed), sink_of(&history));
    let durable = live(&history, &fs, &sink).await;
    let sinks = vec![required("main", &sink)];
    let rig = Rig::start_on(Arc::new(fs), Path::new("/data"), sinks, settings()).expect("starts");
    rig.flush().await;
    rig.assert_balanced();
    let dead = rig.dead();
    let distinct: BTreeSet<_> = dead.iter().copied().collect();
    assert_eq!(dead.len(), distinct.len(), "a dead letter is told once");
    let stored: BTreeSet<_> = sink.held().rows.iter().map(|id| id.as_u128()).collect();
    for id in durable {
        let places = (stored.contains(&id), distinct.contains(&id));
        let faulty = id % history.faulty == 0;
        assert_eq!(places, (!faulty, faulty), "pulse {id} is stored, a dead letter");
    }
    assert!(stored.is_disjoint(&distinct));
    rig.stop().await;
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 40, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn every_accepted_pulse_is_stored_or_a_dead_letter(history in histories()) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(check(history));
    }
}
