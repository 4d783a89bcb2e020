//! Writes one piece of a replay: letters to their sinks under the numbers that are kept for
//! them, then notes what became of each. A letter leaves only when its sink has synced its row.

use std::io;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::time::sleep;
use uuid::Uuid;

use crate::sink::batch::Batch;
use crate::sink::dead_letter::{Leaving, LetterPlace, Slip};
use crate::sink::drain::job::{Ends, Job, Outcome, Tried};
use crate::sink::drain::sink_drain::SinkDrain;

use super::batches::{Row, batches_of, entry_of};
use super::ended::Ended;
use super::flight::{Flight, Numbered};
use super::runner::blocking;
use super::{Counts, Desk, Phase};

/// Batches of a piece that a sink has at once: as few as keep it busy while others are prepared.
const BATCHES_AT_ONCE: usize = 4;
/// How long a sink that could not sync is left alone.
const SYNC_WAIT: Duration = Duration::from_secs(1);

/// A piece that sinks were given, and of which it is not noted yet how it ended.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) replay: Uuid,
    pub(super) first_seq: u64,
    of_sinks: Vec<OfSink>,
}

/// Those of its letters that one sink was given, in the order of their numbers and places.
#[derive(Debug)]
struct OfSink {
    drain: Arc<SinkDrain>,
    letters: Vec<Numbered>,
    outcome: Outcome,
}

/// Has sinks write a piece; `slips` are those of its letters that are still there.
pub(super) async fn write(
    desk: &Arc<Desk>,
    replay: Uuid,
    flight: &Flight,
    slips: Vec<Slip>,
) -> Written {
    let (letters, gone) = flight.number(slips);
    let mut written = Written { replay, first_seq: flight.first_seq, of_sinks: Vec::new() };
    // What was noted just before a crash is not there any more; it has been taken.
    written.land(desk, &gone, Counts { stored: gone.len() as u64, ..Counts::default() });
    for (sink, letters) in by_sink(letters) {
        match desk.view.sinks.iter().find(|drain| drain.name == sink).map(Arc::clone) {
            Some(drain) => written.write_to(desk, drain, letters).await,
            None => written.skip(desk, &letters),
        }
    }
    written
}

/// Notes what has become of a piece.
pub(super) async fn settle(desk: &Arc<Desk>, mut written: Written) -> io::Result<()> {
    for of_sink in std::mem::take(&mut written.of_sinks) {
        written.settle(desk, of_sink).await?;
    }
    Ok(())
}

fn by_sink(letters: Vec<Numbered>) -> Vec<(String, Vec<Numbered>)> {
    let mut by_sink: Vec<(String, Vec<Numbered>)> = Vec::new();
    let room = letters.len();
    for letter in letters {
        let sink = &letter.slip.origin.sink;
        match by_sink.iter_mut().find(|(name, _)| name == sink) {
            Some((_, letters)) => letters.push(letter),
            None => {
                let mut letters = Vec::with_capacity(if by_sink.is_empty() { room } else { 1 });
                let sink = sink.clone();
                letters.push(letter);
                by_sink.push((sink, letters));
            }
        }
    }
    by_sink
}

impl Written {
    async fn write_to(&mut self, desk: &Desk, drain: Arc<SinkDrain>, mut letters: Vec<Numbered>) {
        let rows = letters.iter().map(|letter| {
            let (chunk, frame) = letter.slip.frame();
            Row { seq: letter.seq, chunk, frame, bytes: letter.slip.frame_bytes().len() }
        });
        let batches = batches_of(desk.table.log(), rows, desk.table.finished_below());
        if batches.iter().map(Batch::len).sum::<usize>() < letters.len() {
            let unreadable = |letter: &mut Numbered| entry_of(letter.slip.frame_bytes()).is_none();
            let unreadable: Vec<_> = letters.extract_if(.., unreadable).collect();
            self.skip(desk, &unreadable);
        }
        let outcome = try_batches(desk, self.replay, &drain, batches).await;
        self.of_sinks.push(OfSink { drain, letters, outcome });
    }

    async fn settle(&self, desk: &Arc<Desk>, of_sink: OfSink) -> io::Result<()> {
        let OfSink { drain, letters, outcome } = of_sink;
        if !outcome.taken.is_empty() && !synced(desk, &drain).await {
            return Ok(());
        }
        let ended = blocking(desk, |_| Ok(Ended::of(letters, outcome))).await?;
        // Some may be in the store too, where the last word of their handing over was not heard.
        if let Some(shared) = &desk.shared {
            let gone = ended.stored.iter().chain(&ended.expired);
            let gone: Vec<_> = gone.filter_map(|slip| desk.shared_of(slip)).collect();
            shared.remove(&gone).await.map_err(io::Error::other)?;
        }
        let ended = blocking(desk, move |desk| {
            desk.letters.settle(&ended.settled)?;
            desk.remember(&ended.stored);
            Ok(ended)
        })
        .await?;
        let Ended { settled, counts, .. } = ended;
        desk.count(&drain.name, Leaving::Expired, counts.expired);
        desk.count(&drain.name, Leaving::Replayed, counts.stored);
        let places: Vec<_> = settled.iter().map(|settled| settled.place).collect();
        self.land(desk, &places, counts);
        Ok(())
    }

    fn skip(&self, desk: &Desk, letters: &[Numbered]) {
        let places: Vec<_> = letters.iter().map(|letter| letter.slip.place).collect();
        self.land(desk, &places, Counts { skipped: places.len() as u64, ..Counts::default() });
    }

    /// These are no longer on their way.
    fn land(&self, desk: &Desk, places: &[LetterPlace], counts: Counts) {
        if places.is_empty() {
            return;
        }
        desk.table.change(self.replay, |replay| {
            replay.counts.add(counts);
            let is = |flight: &&mut Flight| flight.first_seq == self.first_seq;
            replay.in_flight.iter_mut().filter(is).for_each(|flight| flight.land(places));
        });
    }
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
