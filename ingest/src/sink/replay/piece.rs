//! Writes one piece of a replay: letters to their sinks under the numbers that are kept for
//! them, then notes what became of each. A letter leaves only when its sink has synced its row.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::time::sleep;
use uuid::Uuid;

use crate::log::frame::Frame;
use crate::sink::batch::{Batch, RowRef};
use crate::sink::dead_letter::{Fate, Held, Leaving, LetterPlace, Settled};
use crate::sink::drain::job::{Ends, Job, Outcome, Tried};
use crate::sink::drain::sink_drain::SinkDrain;
use crate::sink::progress::LogId;

use super::job::Replay;
use super::runner::blocking;
use super::{Desk, Phase};

/// Letters of a batch, and bytes that end one: a batch from the log at its usual size.
const BATCH_LETTERS_MAX: usize = 5_000;
const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Batches of a piece that a sink has at once: as few as keep it busy while others are prepared.
const BATCHES_AT_ONCE: usize = 4;
/// How long a sink that could not sync is left alone.
const SYNC_WAIT: Duration = Duration::from_secs(1);

/// Letters by their number.
type Numbered = BTreeMap<u64, Held>;

/// Writes what is on its way of a replay; `held` are those of it that are still there.
pub(super) async fn write(desk: &Arc<Desk>, replay: &Replay, held: Vec<Held>) -> io::Result<()> {
    let Some(flight) = &replay.in_flight else { return Ok(()) };
    let mut numbers: Vec<(LetterPlace, u64)> = (flight.first_seq..)
        .zip(&flight.places)
        .filter_map(|(seq, place)| place.map(|place| (place, seq)))
        .collect();
    numbers.sort_unstable();
    let mut by_sink: HashMap<String, Numbered> = HashMap::new();
    let mut there = Vec::with_capacity(held.len());
    for held in held {
        let Ok(at) = numbers.binary_search_by_key(&held.place, |(place, _)| *place) else {
            continue;
        };
        there.push(held.place);
        let (_, seq) = numbers[at];
        match by_sink.get_mut(&held.letter.sink) {
            Some(letters) => drop(letters.insert(seq, held)),
            None => drop(by_sink.insert(held.letter.sink.clone(), BTreeMap::from([(seq, held)]))),
        }
    }
    // What was noted just before a crash is not there any more; it has been taken.
    let gone = numbers.iter().map(|(place, _)| *place);
    let gone: Vec<_> = gone.filter(|place| there.binary_search(place).is_err()).collect();
    land(desk, replay, &gone, |counts| counts.stored += gone.len() as u64);
    for (sink, letters) in by_sink {
        let drain = desk.view.sinks.iter().find(|drain| drain.name == sink).map(Arc::clone);
        match drain {
            Some(drain) => write_to(desk, replay, &drain, letters).await?,
            None => skip(desk, replay, letters.values()),
        }
    }
    Ok(())
}

async fn write_to(
    desk: &Arc<Desk>,
    replay: &Replay,
    drain: &Arc<SinkDrain>,
    mut letters: Numbered,
) -> io::Result<()> {
    let unreadable: Vec<_> =
        (letters.iter().filter(|(_, held)| entry_of(&held.letter.frame).is_none()))
            .map(|(seq, _)| *seq)
            .collect();
    let skipped: Vec<_> = unreadable.iter().filter_map(|seq| letters.remove(seq)).collect();
    skip(desk, replay, skipped.iter());
    if letters.is_empty() {
        return Ok(());
    }
    let below = desk.table.finished_below();
    let frames = letters.iter().map(|(seq, held)| (*seq, &*held.letter.frame));
    let batches = batches_of(desk.table.log(), frames, below);
    let outcome = try_batches(desk, replay.id, drain, batches).await;
    settle(desk, replay, drain, (letters, outcome)).await
}

/// Has a sink write batches; returns how their rows have ended.
pub(super) async fn try_batches(
    desk: &Desk,
    replay: Uuid,
    drain: &Arc<SinkDrain>,
    batches: Vec<Batch>,
) -> Outcome {
    let tried = Tried::new(desk.table.log());
    *desk.trying.lock().unwrap_or_else(PoisonError::into_inner) =
        Some((replay, Arc::clone(&tried)));
    if desk.table.get(replay).is_none_or(|now| now.phase != Phase::Running) {
        // It was told to end: its sink is asked once, not until it is back.
        desk.halt(replay);
    }
    let job = |batch| Job {
        drain: Arc::clone(drain),
        ends: Ends::Replay(Arc::clone(&tried)),
        batch,
        _leases: Vec::new(),
        parts: Vec::new(),
    };
    let jobs = stream::iter(batches.into_iter().map(job));
    let written = |job: Job| async move {
        let _halted = job.replay().await;
    };
    jobs.for_each_concurrent(BATCHES_AT_ONCE, written).await;
    *desk.trying.lock().unwrap_or_else(PoisonError::into_inner) = None;
    std::mem::take(&mut *tried.outcome())
}

/// The letters in batches as a sink has them from the log.
pub(super) fn batches_of<'a>(
    log: LogId,
    frames: impl Iterator<Item = (u64, &'a [u8])>,
    below: u64,
) -> Vec<Batch> {
    let mut batches = Vec::new();
    let mut frames = frames.peekable();
    while frames.peek().is_some() {
        let (mut chunks, mut rows, mut bytes) = (Vec::new(), Vec::new(), 0);
        while rows.len() < BATCH_LETTERS_MAX
            && bytes < BATCH_BYTES_MAX
            && let Some((seq, frame)) = frames.next()
        {
            let Some(entry) = entry_of(frame) else { continue };
            rows.push(RowRef { seq, chunk: chunks.len() as u32, frame: 0, entry });
            bytes += frame.len();
            chunks.push(Bytes::copy_from_slice(frame));
        }
        batches.push(Batch::new(chunks.into(), rows, Some(log), below, bytes).replayed());
    }
    batches
}

/// Where the pulse lies in its frame, if it can be read.
pub(super) fn entry_of(frame: &[u8]) -> Option<u32> {
    let frame = Frame::read_proven(frame).ok()?;
    frame.entries().next().map(|(offset, _)| offset as u32)
}

/// Notes what has become of letters.
async fn settle(
    desk: &Arc<Desk>,
    replay: &Replay,
    drain: &SinkDrain,
    (mut letters, outcome): (Numbered, Outcome),
) -> io::Result<()> {
    if !outcome.taken.is_empty() && !synced(desk, drain).await {
        return Ok(());
    }
    let (mut settled, mut expired_total) = (Vec::new(), 0);
    for (ranges, expired) in outcome.taken {
        let seqs = ranges.into_iter().flat_map(|(start, end)| start..end);
        let mut taken: Vec<_> = seqs.filter_map(|seq| letters.remove(&seq)).collect();
        // What has expired was received before what has not.
        taken.sort_by_key(|held| held.letter.record().map(|record| record.envelope.received_at_us));
        for (held, place) in taken.into_iter().zip(0..) {
            let leaving = if place < expired { Leaving::Expired } else { Leaving::Replayed };
            settled.push(Settled { held, fate: Fate::Leaves(leaving) });
        }
        expired_total += expired;
    }
    let taken = settled.len() as u64;
    for tried in outcome.failed {
        if let Some(held) = letters.remove(&tried.seq) {
            settled.push(Settled { held, fate: Fate::Fails(Box::new(tried)) });
        }
    }
    let failed = settled.len() as u64 - taken;
    settled.sort_by_key(|settled| settled.held.place);
    let places: Vec<_> = settled.iter().map(|settled| settled.held.place).collect();
    // Some may be in the store too, where the last word of their handing over was not heard.
    if let Some(shared) = &desk.shared {
        let gone = settled.iter().filter(|settled| matches!(settled.fate, Fate::Leaves(_)));
        let gone: Vec<_> = gone.map(|settled| desk.shared_of(&settled.held)).collect();
        shared.remove(&gone).await.map_err(io::Error::other)?;
    }
    let is_replayed = |settled: &&Settled| settled.fate == Fate::Leaves(Leaving::Replayed);
    let replayed: Vec<_> =
        settled.iter().filter(is_replayed).map(|settled| settled.held.clone()).collect();
    blocking(desk, move |desk| desk.letters.settle(&settled)).await?;
    replayed.iter().for_each(|held| desk.recent.add(&desk.shown(held)));
    let expired = expired_total.min(taken);
    desk.count(&drain.name, Leaving::Expired, expired);
    desk.count(&drain.name, Leaving::Replayed, taken - expired);
    land(desk, replay, &places, |counts| {
        counts.stored += taken - expired;
        counts.expired += expired;
        counts.failed += failed;
    });
    Ok(())
}

/// Makes what a sink has taken survive a power loss; whether it did before all stops.
pub(super) async fn synced(desk: &Desk, drain: &SinkDrain) -> bool {
    let mut told = false;
    while !desk.is_stopping() {
        match drain.sink.sync().await {
            Ok(()) => return true,
            Err(error) if told => drop(error),
            Err(error) => {
                let sink = &*drain.name;
                tracing::error!(sink, error = format!("{error:#}"), "sync for a replay failed");
                told = true;
            }
        }
        sleep(SYNC_WAIT).await;
    }
    false
}

fn skip<'a>(desk: &Desk, replay: &Replay, letters: impl Iterator<Item = &'a Held>) {
    let places: Vec<_> = letters.map(|held| held.place).collect();
    land(desk, replay, &places, |counts| counts.skipped += places.len() as u64);
}

/// These are no longer on their way.
fn land(
    desk: &Desk,
    replay: &Replay,
    places: &[LetterPlace],
    count: impl FnOnce(&mut super::Counts),
) {
    if places.is_empty() {
        return;
    }
    let mut landed = places.to_vec();
    landed.sort_unstable();
    desk.table.change(replay.id, |replay| {
        count(&mut replay.counts);
        for place in replay.in_flight.iter_mut().flat_map(|flight| &mut flight.places) {
            if place.as_ref().is_some_and(|place| landed.binary_search(place).is_ok()) {
                *place = None;
            }
        }
    });
}
