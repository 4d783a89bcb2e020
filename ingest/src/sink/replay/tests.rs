//! Replays over real drains and a sink that answers as a test wants.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::*;
use crate::sink::drain::tests::rig::{LONG, Rig, ScriptedSink, required, settings, until};
use crate::sink::{Batch, RowFault, SinkError};

/// A sink that refuses each row until it is told to be good.
fn refusing() -> (Arc<AtomicBool>, Arc<ScriptedSink>) {
    let good = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&good);
    let sink = ScriptedSink::with_progress(true, move |batch: &Batch| {
        if asked.load(Ordering::SeqCst) {
            return None;
        }
        let fault = |index| RowFault { index, code: "bad_value", message: "not today".to_owned() };
        Some(SinkError::RowFaults((0..batch.len()).map(fault).collect()))
    });
    (good, sink)
}

fn all() -> Order {
    Order { filter: Filter::of("a"), only: None, dry_run: false, rate: None, by: None }
}

const ACTOR: Actor<'static> = Actor { tenant: "a", by: Some("a/ops") };

async fn ended(rig: &Rig, id: Uuid) -> Replay {
    let ended = tokio::time::timeout(LONG, rig.drains.replays().ended(id)).await;
    ended.expect("ends in time").expect("is known")
}

fn start(dir: &Path, sink: &Arc<ScriptedSink>) -> Rig {
    Rig::start(dir, vec![required("main", sink)], settings())
}

async fn with_letters(dir: &Path, sink: &Arc<ScriptedSink>, ids: std::ops::Range<u128>) -> Rig {
    let rig = start(dir, sink);
    rig.log("a", ids.clone()).await;
    rig.flush().await;
    assert_eq!(rig.drains.dead_letters().len(), (ids.end - ids.start) as u64);
    rig
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_stores_each_letter_once_and_the_ledger_stays_equal() {
    let dir = tempfile::tempdir().expect("a directory");
    let (good, sink) = refusing();
    let rig = with_letters(dir.path(), &sink, 1..1_001).await;
    good.store(true, Ordering::SeqCst);
    let replay = rig.drains.replays().create(all()).expect("begun");
    while rig.drains.replays().is_busy() {
        rig.assert_balanced();
        tokio::task::yield_now().await;
    }
    let replay = ended(&rig, replay.id).await;
    let counts = Counts { matched: 1_000, stored: 1_000, ..Counts::default() };
    assert_eq!((replay.phase, replay.counts), (Phase::Completed, counts));
    assert_eq!((replay.letters, replay.looked_at), (1_000, 1_000));
    let ledger = rig.drains.ledger().remove(0);
    assert_eq!((ledger.stored, ledger.dead_lettered, ledger.accepted), (1_000, 0, 1_000));
    assert_eq!(sink.held().rows.len(), 1_000);
    rig.assert_balanced();
    rig.stop().await;

    let rig = start(dir.path(), &sink);
    rig.assert_balanced();
    assert_eq!(rig.drains.ledger().remove(0).stored, 1_000);
    assert!(rig.drains.dead_letters().is_empty());
    until("the room is given back", || rig.drains.dead_letters().bytes() == 0).await;
    rig.assert_balanced();
    rig.stop().await;
    let rig = start(dir.path(), &sink);
    let ledger = rig.drains.ledger().remove(0);
    assert_eq!((ledger.stored, ledger.dead_lettered), (1_000, 0));
    rig.assert_balanced();
    rig.stop().await;
    let audit = std::fs::read_to_string(dir.path().join("dead-letters/audit.jsonl"));
    let audit = audit.expect("an audit file");
    assert_eq!(audit.lines().count(), 2, "{audit}");
    assert!(audit.contains("replay_created") && audit.contains("\"stored\":1000"), "{audit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_that_fail_again_stay_with_their_history() {
    let dir = tempfile::tempdir().expect("a directory");
    let (good, sink) = refusing();
    let rig = with_letters(dir.path(), &sink, 1..11).await;
    let before = rig.drains.replays().page(&Filter::of("a"), None, 100).expect("read").letters;
    let replay = rig.drains.replays().create(all()).expect("begun");
    let replay = ended(&rig, replay.id).await;
    assert_eq!((replay.counts.failed, replay.counts.stored), (10, 0));
    let after = rig.drains.replays().page(&Filter::of("a"), None, 100).expect("read").letters;
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before.id(), after.id());
        let (before, after) = (&before.letter, &after.letter);
        assert_eq!(after.attempts, before.attempts + 1);
        assert_eq!(after.history.len(), before.history.len() + 1);
        assert_eq!((&*after.stage, &*after.message), ("replay", "not today"));
        assert_eq!(after.first_at_us, before.first_at_us);
    }
    rig.assert_balanced();

    // One alone, once the sink takes it; the rest stays.
    good.store(true, Ordering::SeqCst);
    let order = Order { only: Some(after[3].id()), ..all() };
    let replay = rig.drains.replays().create(order).expect("begun");
    assert_eq!(ended(&rig, replay.id).await.counts.stored, 1);
    assert_eq!(rig.drains.dead_letters().len(), 9);
    rig.drains.replays().discard(ACTOR, after[4].id(), false).expect("given up");
    let again = rig.drains.replays().discard(ACTOR, after[4].id(), false);
    assert!(matches!(again, Err(ReplayError::NotFound)));
    let foreign = Actor { tenant: "b", by: None };
    let foreign = rig.drains.replays().discard(foreign, after[5].id(), false);
    assert!(matches!(foreign, Err(ReplayError::NotFound)));
    let ledger = rig.drains.ledger().remove(0);
    assert_eq!((ledger.stored, ledger.dropped, ledger.dead_lettered), (1, 1, 8));
    rig.assert_balanced();
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_counts_and_writes_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let (good, sink) = refusing();
    let rig = with_letters(dir.path(), &sink, 1..101).await;
    rig.log("b", 200..230).await;
    rig.flush().await;
    good.store(true, Ordering::SeqCst);
    let attempts = sink.held().attempts;
    let text = Some("5".to_owned());
    let filter = Filter { text, ..Filter::of("a") };
    let order = Order { filter, dry_run: true, ..all() };
    let replay = rig.drains.replays().create(order).expect("begun");
    let replay = ended(&rig, replay.id).await;
    assert_eq!((replay.counts.matched, replay.looked_at, replay.letters), (19, 100, 100));
    assert_eq!(replay.sample.len(), 10);
    assert_eq!(sink.held().attempts, attempts);
    assert_eq!(rig.drains.dead_letters().len(), 130);
    assert!(rig.drains.replays().get("b", replay.id).is_none());
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_replay_waits_over_a_restart_and_a_rate_is_kept() {
    let dir = tempfile::tempdir().expect("a directory");
    let (good, sink) = refusing();
    let rig = with_letters(dir.path(), &sink, 1..201).await;
    good.store(true, Ordering::SeqCst);
    let replay = rig.drains.replays().create(Order { rate: Some(100), ..all() }).expect("begun");
    until("some are stored", || sink.held().rows.len() >= 25).await;
    rig.drains.replays().steer(ACTOR, replay.id, Steer::Pause).expect("paused");
    until("it pauses", || {
        let now = rig.drains.replays().get("a", replay.id).expect("known");
        now.phase == Phase::Paused && now.in_flight.is_empty()
    })
    .await;
    rig.stop().await;

    let rig = start(dir.path(), &sink);
    let stored = sink.held().rows.len();
    assert!(stored < 200 && stored.is_multiple_of(25), "pieces of a quarter second: {stored}");
    assert_eq!(rig.drains.replays().get("a", replay.id).map(|now| now.phase), Some(Phase::Paused));
    assert_eq!(rig.drains.dead_letters().len(), 200 - stored as u64);
    rig.assert_balanced();
    // It does nothing by itself: another one is done meanwhile.
    let other = rig.drains.replays().create(Order { dry_run: true, ..all() }).expect("begun");
    ended(&rig, other.id).await;
    assert_eq!(sink.held().rows.len(), stored);
    let resumed = Instant::now();
    rig.drains.replays().steer(ACTOR, replay.id, Steer::Resume).expect("resumed");
    let replay = ended(&rig, replay.id).await;
    let least = Duration::from_secs_f64((200 - stored - 25) as f64 / 100.0);
    assert!(resumed.elapsed() >= least, "{:?} for {} letters", resumed.elapsed(), 200 - stored);
    assert_eq!((replay.counts.stored, sink.held().rows.len()), (200, 200));
    let ended = rig.drains.replays().steer(ACTOR, replay.id, Steer::Cancel);
    assert!(matches!(ended, Err(ReplayError::Ended)));
    rig.assert_balanced();
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_process_had_on_its_way_is_taken_once() {
    // One piece that its sink has not taken yet, or one that is noted and one that is written.
    for (pieces, synced) in [(1, true), (2, false)] {
        let dir = tempfile::tempdir().expect("a directory");
        let (good, sink) = refusing();
        let rig = with_letters(dir.path(), &sink, 1..1_001).await;
        good.store(true, Ordering::SeqCst);
        rig.stop().await;
        // The directory as it was before the replay, and the table as it is with all on its way.
        let letters = dir.path().join("dead-letters");
        let before: Vec<_> = std::fs::read_dir(&letters)
            .expect("a directory")
            .map(|entry| entry.expect("an entry").path())
            .map(|path| (path.clone(), std::fs::read(&path).expect("read")))
            .collect();
        let stuck = if synced { &sink.stuck } else { &sink.sync_stuck };
        stuck.store(true, Ordering::SeqCst);
        let rig = start(dir.path(), &sink);
        let replay = rig.drains.replays().create(all()).expect("begun");
        until("they are on their way", || {
            let now = rig.drains.replays().get("a", replay.id).expect("known");
            assert!(now.in_flight.len() <= 2, "memory is bounded");
            now.in_flight.len() == pieces
        })
        .await;
        let table = || std::fs::read(letters.join("replays")).expect("a table");
        let numbers = || String::from_utf8_lossy(&table()).matches("first_seq").count();
        until("that is kept", || numbers() == pieces).await;
        let kept = table();
        stuck.store(false, Ordering::SeqCst);
        assert_eq!(ended(&rig, replay.id).await.counts.stored, 1_000);
        rig.stop().await;
        let rows = |sink: &Arc<ScriptedSink>| sink.rows_of_progress();
        let counted = rows(&sink);
        for entry in std::fs::read_dir(&letters).expect("a directory") {
            std::fs::remove_file(entry.expect("an entry").path()).expect("removed");
        }
        for (path, bytes) in before {
            std::fs::write(path, bytes).expect("put back");
        }
        std::fs::write(letters.join("replays"), kept).expect("put back");

        let rig = start(dir.path(), &sink);
        let replay = ended(&rig, replay.id).await;
        assert_eq!(replay.counts.stored, 1_000);
        // The sink, which was not put back, has the later pieces under the same numbers.
        assert_eq!(rows(&sink), counted, "the sink has taken no number twice");
        assert!(rig.drains.dead_letters().is_empty());
        rig.assert_balanced();
        rig.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pieces_end_in_order_though_the_first_could_not_be_noted() {
    let dir = tempfile::tempdir().expect("a directory");
    let (good, sink) = refusing();
    let rig = with_letters(dir.path(), &sink, 1..1_001).await;
    good.store(true, Ordering::SeqCst);
    sink.sync_stuck.store(true, Ordering::SeqCst);
    let replay = rig.drains.replays().create(all()).expect("begun");
    until("two pieces are written", || sink.held().rows.len() >= 200).await;
    // A directory where the marks' new file would be made: what became of letters is not noted.
    let letters = dir.path().join("dead-letters");
    let marks = std::fs::read_dir(&letters).expect("a directory").find_map(|entry| {
        let name = entry.expect("an entry").file_name().into_string().expect("a name");
        Some(name.strip_suffix(".open")?.to_owned())
    });
    let blocked = letters.join(format!("{}.marks.tmp", marks.expect("a segment")));
    std::fs::create_dir_all(blocked.join("in-the-way")).expect("made");
    let attempts = sink.held().attempts;
    sink.sync_stuck.store(false, Ordering::SeqCst);
    let stored = || rig.drains.replays().get("a", replay.id).expect("known").counts.stored;
    until("some are given to it again", || sink.held().attempts >= attempts + 2).await;
    assert_eq!(stored(), 0, "no letter leaves before that is noted");
    rig.assert_balanced();
    std::fs::remove_dir_all(&blocked).expect("removed");
    let replay = ended(&rig, replay.id).await;
    assert_eq!((replay.counts.stored, replay.counts.matched), (1_000, 1_000));
    assert_eq!((replay.looked_at, replay.phase), (1_000, Phase::Completed));
    assert_eq!(sink.rows_of_progress(), 1_000);
    assert!(rig.drains.dead_letters().is_empty());
    rig.assert_balanced();
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_is_away_holds_a_replay_which_can_be_ended_all_the_same() {
    let dir = tempfile::tempdir().expect("a directory");
    let state = Arc::new(AtomicU64::new(0));
    let asked = Arc::clone(&state);
    let sink = ScriptedSink::new(move |batch: &Batch| match asked.load(Ordering::SeqCst) {
        0 => {
            let fault = |index| RowFault { index, code: "bad", message: String::new() };
            Some(SinkError::RowFaults((0..batch.len()).map(fault).collect()))
        }
        1 => Some(SinkError::Unavailable(anyhow::anyhow!("away"))),
        _ => None,
    });
    let rig = with_letters(dir.path(), &sink, 1..51).await;
    state.store(1, Ordering::SeqCst);
    let replay = rig.drains.replays().create(all()).expect("begun");
    until("they are on their way", || {
        rig.drains.replays().get("a", replay.id).is_some_and(|now| !now.in_flight.is_empty())
    })
    .await;
    let held = rig.drains.replays().page(&Filter::of("a"), None, 1).expect("read").letters;
    let busy = rig.drains.replays().discard(ACTOR, held[0].id(), false);
    assert!(matches!(busy, Err(ReplayError::InFlight)));
    let steered = rig.drains.replays().steer(ACTOR, replay.id, Steer::Cancel).expect("told");
    assert_eq!(steered.phase, Phase::Cancelling);
    assert_eq!(rig.drains.dead_letters().len(), 50, "no letter leaves while its sink is away");
    state.store(2, Ordering::SeqCst);
    let replay = ended(&rig, replay.id).await;
    assert_eq!((replay.phase, replay.counts.stored), (Phase::Cancelled, 50));
    rig.assert_balanced();
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn there_are_only_so_many_replays() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_good, sink) = refusing();
    let rig = with_letters(dir.path(), &sink, 1..3).await;
    let mut begun = Vec::new();
    let refused = loop {
        match rig.drains.replays().create(Order { rate: Some(1), ..all() }) {
            Ok(replay) => {
                let _paused = rig.drains.replays().steer(ACTOR, replay.id, Steer::Pause);
                begun.push(replay.id);
            }
            Err(error) => break error,
        }
        assert!(begun.len() < 1_000, "there is no bound");
    };
    assert!(matches!(refused, ReplayError::TooMany), "{refused}");
    rig.stop().await;
}
