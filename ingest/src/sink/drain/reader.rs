//! The thread of one sink: reads both sources, makes batches when they are due and starts their
//! writes. Never waits for a write.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::sink::bell::Sleep;
use crate::sink::source::Source;

use super::job::Job;
use super::lane::Lane;
use super::sink_drain::SinkDrain;

/// Batches made ahead of the workers: the next write starts without waiting for this thread.
const AHEAD: usize = 1;
/// While a batch fills, new pulses are looked for this often: one wake for some hundreds of
/// pulses instead of one for each group commit. A batch that is full is noticed this late, which
/// is well within the interval at which it would go anyway.
const LINGER: Duration = Duration::from_millis(10);
/// How long writes of the log's pulses may go on once the process stops: the log keeps them, and
/// a stop must not wait for a slow store.
const LOG_TIME_AT_STOP: Duration = Duration::from_secs(1);
/// The longest sleep: how late lag and a failed read are noticed when nothing else happens.
const TICK: Duration = Duration::from_millis(500);

/// Reads for one sink until it is told to stop.
#[derive(Debug)]
pub(crate) struct Reader {
    drain: Arc<SinkDrain>,
    lanes: Vec<Lane>,
    runtime: Handle,
    writes: JoinSet<()>,
    /// Writes that are not over. The set still holds some that are.
    in_flight: Arc<AtomicUsize>,
    /// Those of them that write what only memory holds.
    of_memory: Arc<AtomicUsize>,
    turn: usize,
}

/// A write's place; whoever holds it rings when it is free again.
#[derive(Debug)]
struct Slot {
    counts: Vec<Arc<AtomicUsize>>,
    drain: Arc<SinkDrain>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        for count in &self.counts {
            count.fetch_sub(1, Ordering::SeqCst);
        }
        self.drain.bell.ring_loud();
    }
}

impl Reader {
    pub(crate) fn new(drain: Arc<SinkDrain>, lanes: Vec<Lane>, runtime: Handle) -> Self {
        let (in_flight, of_memory) = (Arc::default(), Arc::default());
        Self { drain, lanes, runtime, writes: JoinSet::new(), in_flight, of_memory, turn: 0 }
    }

    /// Runs until `deadline` gives a time; returns when no write is left, or then.
    pub(crate) fn run(mut self, deadline: impl Fn() -> Option<Instant>) {
        self.drain.bell.belongs_here();
        while deadline().is_none() {
            self.forget_ended();
            self.lanes.iter_mut().for_each(Lane::fill);
            self.start_due();
            self.sleep();
        }
        let begun = Instant::now();
        while deadline().is_some_and(|deadline| Instant::now() < deadline) {
            self.forget_ended();
            // The log keeps what was not read; memory is the only place of what it holds.
            let memory = self.lanes.iter_mut().filter(|lane| lane.source() == Source::Memory);
            memory.for_each(Lane::fill);
            let leaves_log = self.drain.backoff.is_failing() || begun.elapsed() >= LOG_TIME_AT_STOP;
            if leaves_log {
                self.lanes.retain(|lane| lane.source() == Source::Memory);
            }
            self.start_due();
            let in_flight = if leaves_log { self.of_memory() } else { self.in_flight() };
            if in_flight == 0 && self.lanes.iter().all(|lane| lane.due_in().is_none()) {
                break;
            }
            self.drain.bell.sleep(Sleep::Doze, LINGER, || false);
        }
        let (sink, batches) = (&*self.drain.name, self.in_flight());
        if batches > 0 {
            tracing::warn!(sink, batches, "sink is behind; its batches are left to the next start");
        }
        self.writes.abort_all();
    }

    fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::SeqCst)
    }

    fn of_memory(&self) -> usize {
        self.of_memory.load(Ordering::SeqCst)
    }

    fn places(&self) -> usize {
        self.drain.settings.workers.max(1) + AHEAD
    }

    fn has_room(&self) -> bool {
        self.in_flight() < self.places()
    }

    /// Starts what is due, but no more than there are places: a tenant that is not read yet
    /// must not wait until all that is has gone.
    fn start_due(&mut self) {
        let (mut idle, mut started) = (0, 0);
        while idle < self.lanes.len() && self.has_room() && started < self.places() {
            self.turn = (self.turn + 1) % self.lanes.len();
            let lane = &mut self.lanes[self.turn];
            if lane.due_in() != Some(Duration::ZERO) {
                idle += 1;
                continue;
            }
            (idle, started) = (0, started + 1);
            if let Some(job) = lane.take() {
                self.start(job);
            }
        }
    }

    fn start(&mut self, job: Job) {
        let mut counts = vec![Arc::clone(&self.in_flight)];
        if job.is_of_memory() {
            counts.push(Arc::clone(&self.of_memory));
        }
        for count in &counts {
            count.fetch_add(1, Ordering::SeqCst);
        }
        let slot = Slot { counts, drain: Arc::clone(&self.drain) };
        let write = async move {
            run_to_end(&job).await;
            // Its bytes are out of the window before its place is free.
            drop(job);
            drop(slot);
        };
        self.writes.spawn_on(write, &self.runtime);
    }

    fn forget_ended(&mut self) {
        while self.writes.try_join_next().is_some() {}
    }

    fn sleep(&self) {
        let due = self.lanes.iter().filter_map(Lane::due_in).min();
        let lanes = &self.lanes;
        let more = || lanes.iter().any(Lane::can_read);
        let stopping = || self.drain.stopping.load(Ordering::SeqCst);
        let bell = &self.drain.bell;
        match due {
            // Every worker is busy: the first that is not rings.
            Some(_) if !self.has_room() => bell.sleep(Sleep::Doze, TICK, stopping),
            Some(due) => bell.sleep(Sleep::Doze, due.min(LINGER), stopping),
            None => bell.sleep(Sleep::Deep, TICK, || more() || stopping()),
        }
    }
}

/// Runs a job; again from its start if it panics, as its rows are not finished then.
async fn run_to_end(job: &Job) {
    while AssertUnwindSafe(job.run()).catch_unwind().await.is_err() {
        tracing::error!(sink = &*job.drain.name, "write of a batch panicked; it is started again");
        tokio::time::sleep(TICK).await;
    }
}
