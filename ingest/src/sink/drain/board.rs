//! Which numbers of one source each sink has finished, how they ended, and who waits for them.
//! One lock for each sink, taken once for a batch.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::oneshot;

use crate::pulse::BATCH_EVENTS_MAX;
use crate::sink::batch::RowRef;
use crate::sink::progress::{Progress, SeqSet};
use crate::sink::source::{FrameSource, Source};

/// Dead letters remembered for those who ask only after their pulse has become one: a request
/// asks within a second of its append.
const RECENT_DEAD_MAX: usize = 65_536;

/// Dead letters that one who waits is told of: a request has no more pulses, and who waits for
/// more than a request's wants to know only when they are finished.
const TOLD_DEAD_MAX: usize = BATCH_EVENTS_MAX;

/// How the numbers of one source ended for one sink.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Totals {
    pub(crate) stored: u64,
    pub(crate) expired: u64,
    pub(crate) dead_lettered: u64,
    pub(crate) dropped: u64,
    pub(crate) damaged: u64,
}

/// How some numbers ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Written { rows: u64, expired: u64 },
    DeadLettered,
    Dropped,
    Damaged,
}

/// One sink's place in one source.
#[derive(Debug, Clone, Default)]
pub(crate) struct Place {
    /// The number that this sink began with: what lies below never was its.
    pub(crate) origin: u64,
    pub(crate) finished: SeqSet,
    pub(crate) totals: Totals,
}

impl Place {
    /// Numbers below `end` that were this sink's.
    pub(crate) fn accepted(&self, end: u64) -> u64 {
        // A log that lost its end still gave out what this sink has finished.
        end.max(self.finished.end()).saturating_sub(self.origin)
    }

    /// Adds what the sink says that it has committed, which may be more than its writes have
    /// told yet. A number that it has committed is a row or had expired.
    pub(crate) fn adopt(&mut self, progress: &Progress) {
        let fresh = self.finished.union(&progress.finished);
        let rows = progress.rows.saturating_sub(self.totals.stored);
        self.totals.expired += fresh.saturating_sub(rows);
        self.totals.stored = progress.rows;
    }

    /// Numbers below `end` that are not finished.
    pub(crate) fn unfinished(&self, end: u64) -> u64 {
        self.accepted(end).saturating_sub(self.finished.len_from(self.origin))
    }
}

/// What waits for pulses to be stored learns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Finish {
    /// Numbers of those that a required sink could not take, ascending; these are kept as dead
    /// letters.
    pub dead_lettered: Vec<u64>,
}

/// The drains ended before the pulses were stored. They are as safe as they were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("drains have stopped")]
pub struct Stopped;

/// The places of all sinks in one source; required sinks come first.
#[derive(Debug)]
pub(crate) struct Board {
    pub(crate) kind: Source,
    pub(crate) source: Arc<dyn FrameSource>,
    places: Vec<Mutex<Place>>,
    /// Up to where each sink's place survives a crash.
    durable: Vec<AtomicU64>,
    required: usize,
    recent_dead: Mutex<BTreeSet<u64>>,
    waiting: AtomicUsize,
    waiters: Mutex<Waiters>,
}

#[derive(Debug, Default)]
struct Waiters {
    /// By first number, and a number of their own.
    by_first: BTreeMap<(u64, u64), Waiter>,
    next: u64,
    stopped: bool,
}

#[derive(Debug)]
struct Waiter {
    end: u64,
    done: oneshot::Sender<Finish>,
}

impl Board {
    pub(crate) fn new(
        kind: Source,
        source: Arc<dyn FrameSource>,
        places: Vec<Place>,
        required: usize,
    ) -> Self {
        Self {
            kind,
            source,
            durable: places.iter().map(|place| AtomicU64::new(place.finished.low())).collect(),
            places: places.into_iter().map(Mutex::new).collect(),
            required,
            recent_dead: Mutex::default(),
            waiting: AtomicUsize::new(0),
            waiters: Mutex::default(),
        }
    }

    /// A copy of a sink's place.
    pub(crate) fn place(&self, sink: usize) -> Place {
        self.lock(sink).clone()
    }

    /// The lowest number that a sink has not finished.
    pub(crate) fn low(&self, sink: usize) -> u64 {
        self.lock(sink).finished.low()
    }

    /// Whether a sink has finished a number.
    pub(crate) fn has_finished(&self, sink: usize, seq: u64) -> bool {
        self.lock(sink).finished.contains(seq)
    }

    /// How many numbers a sink has not finished.
    pub(crate) fn unfinished(&self, sink: usize) -> u64 {
        let end = self.source.end_seq();
        self.lock(sink).unfinished(end)
    }

    /// How many numbers a sink has finished in all.
    pub(crate) fn finished_count(&self, sink: usize) -> u64 {
        let place = self.lock(sink);
        place.finished.len_from(place.origin)
    }

    /// The lowest number that some required sink has not finished.
    pub(crate) fn required_low(&self) -> u64 {
        let end = self.source.end_seq();
        (0..self.required).map(|sink| self.low(sink)).min().unwrap_or(end)
    }

    /// Up to where a sink's place survives a crash.
    pub(crate) fn durable_low(&self, sink: usize) -> u64 {
        self.durable.get(sink).map_or(0, |low| low.load(Ordering::Acquire))
    }

    /// A sink's place survives a crash up to `low`.
    pub(crate) fn set_durable_low(&self, sink: usize, low: u64) {
        if let Some(durable) = self.durable.get(sink) {
            durable.store(low, Ordering::Release);
        }
    }

    /// A sink has finished `ranges`. Numbers that it had finished before change nothing.
    pub(crate) fn finish(&self, sink: usize, ranges: &[(u64, u64)], ending: Ending) {
        let (Some(first), Some(last)) = (ranges.first(), ranges.last()) else { return };
        if ending == Ending::DeadLettered && sink < self.required {
            self.remember_dead(ranges);
        }
        let low_grew = {
            let mut place = self.lock(sink);
            let low = place.finished.low();
            let fresh: u64 =
                ranges.iter().map(|(start, end)| place.finished.missing(*start, *end)).sum();
            for (start, end) in ranges {
                place.finished.insert(*start, *end);
            }
            place.totals.add(ending, fresh);
            place.finished.low() > low
        };
        self.source.finished(sink, ranges);
        if sink < self.required {
            if low_grew {
                self.source.set_low(self.required_low());
            }
            self.wake(first.0, last.1);
        }
    }

    fn remember_dead(&self, ranges: &[(u64, u64)]) {
        let mut recent = self.recent_dead.lock().unwrap_or_else(PoisonError::into_inner);
        for (start, end) in ranges {
            recent.extend(*start..*end);
        }
        while recent.len() > RECENT_DEAD_MAX {
            recent.pop_first();
        }
    }

    /// Resolves when every required sink has finished `count` numbers from `first_seq` on.
    pub(crate) fn finished(self: &Arc<Self>, first_seq: u64, count: u64) -> Finished {
        let end = first_seq.saturating_add(count);
        // Before the look at the places: a sink that finishes after the look sees the waiter.
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let mut waiters = self.waiters();
        let (done, receiver) = oneshot::channel();
        let key = (first_seq, waiters.next);
        waiters.next += 1;
        if self.all_finished(first_seq, end) {
            self.waiting.fetch_sub(1, Ordering::SeqCst);
            let _kept = done.send(self.outcome(first_seq, end));
        } else if waiters.stopped {
            self.waiting.fetch_sub(1, Ordering::SeqCst);
        } else {
            waiters.by_first.insert(key, Waiter { end, done });
        }
        Finished { board: Arc::clone(self), key, receiver }
    }

    /// Tells all who wait, now and later, that nothing more will be finished.
    pub(crate) fn stop(&self) {
        let mut waiters = self.waiters();
        waiters.stopped = true;
        self.waiting.fetch_sub(waiters.by_first.len(), Ordering::SeqCst);
        waiters.by_first.clear();
    }

    fn wake(&self, start: u64, end: u64) {
        if self.waiting.load(Ordering::SeqCst) == 0 {
            return;
        }
        let mut waiters = self.waiters();
        let done: Vec<_> = waiters
            .by_first
            .range(..(end, 0))
            .filter(|((first, _), waiter)| {
                waiter.end > start && self.all_finished(*first, waiter.end)
            })
            .map(|(key, _)| *key)
            .collect();
        for key in done {
            if let Some(waiter) = waiters.by_first.remove(&key) {
                self.waiting.fetch_sub(1, Ordering::SeqCst);
                // Whoever waited may have left.
                let _left = waiter.done.send(self.outcome(key.0, waiter.end));
            }
        }
    }

    fn all_finished(&self, start: u64, end: u64) -> bool {
        (0..self.required).all(|sink| self.lock(sink).finished.missing(start, end) == 0)
    }

    fn outcome(&self, start: u64, end: u64) -> Finish {
        let recent = self.recent_dead.lock().unwrap_or_else(PoisonError::into_inner);
        Finish { dead_lettered: recent.range(start..end).take(TOLD_DEAD_MAX).copied().collect() }
    }

    fn lock(&self, sink: usize) -> MutexGuard<'_, Place> {
        // Indexes come from the list that the places were made from.
        self.places[sink].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiters(&self) -> MutexGuard<'_, Waiters> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Totals {
    fn add(&mut self, ending: Ending, fresh: u64) {
        match ending {
            Ending::Written { rows, expired } => {
                // What is written a second time was counted the first time.
                self.expired += expired.min(fresh);
                self.stored += rows.min(fresh - expired.min(fresh));
            }
            Ending::DeadLettered => self.dead_lettered += fresh,
            Ending::Dropped => self.dropped += fresh,
            Ending::Damaged => self.damaged += fresh,
        }
    }
}

/// Resolves when pulses are finished; dropping it ends the wait.
#[derive(Debug)]
pub struct Finished {
    board: Arc<Board>,
    key: (u64, u64),
    receiver: oneshot::Receiver<Finish>,
}

impl Future for Finished {
    type Output = Result<Finish, Stopped>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.receiver).poll(context).map_err(|_closed| Stopped)
    }
}

impl Drop for Finished {
    fn drop(&mut self) {
        if self.receiver.is_terminated() {
            return;
        }
        if self.board.waiters().by_first.remove(&self.key).is_some() {
            self.board.waiting.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// The numbers of rows as ascending ranges.
pub(crate) fn ranges_of(rows: &[RowRef]) -> Vec<(u64, u64)> {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for row in rows {
        match ranges.last_mut() {
            Some((_, end)) if *end == row.seq => *end += 1,
            _ => ranges.push((row.seq, row.seq + 1)),
        }
    }
    if ranges.is_sorted() {
        return ranges;
    }
    // Tenants took turns: in order, their ranges mostly touch.
    ranges.sort_unstable();
    ranges.dedup_by(|next, kept| {
        let touches = next.0 <= kept.1;
        if touches {
            kept.1 = kept.1.max(next.1);
        }
        touches
    });
    ranges
}
