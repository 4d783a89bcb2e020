//! The thread that drives the keeper, and how others ask it for a sync and wait for one.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};
use std::{io, mem};

use tracing::{info, warn};

use super::Shared;
use super::keeper::Keeper;

/// How often the keeper looks when nobody asks: bounds how much of the log a start reads, at
/// the price of one sync of a small file.
const TICK: Duration = Duration::from_secs(1);
/// Longest wait of [`Shared::sync_up_to`]: a request is resolved within a sync of the log.
const SYNC_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a waiter asks again while requests in flight hold the sync back.
const SYNC_AGAIN: Duration = Duration::from_millis(20);

/// How far the keeper has come, and what is asked of it.
#[derive(Debug, Default)]
pub(super) struct Progress {
    state: Mutex<State>,
    /// Told to the keeper: something is asked.
    asked: Condvar,
    /// Told by the keeper: it has come further, or failed.
    done: Condvar,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct State {
    covered: u64,
    asked: bool,
    stop: bool,
    ticked: Option<Instant>,
    /// Ticks that failed since the start, and how the last one did.
    failures: u64,
    failure: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Tick,
    Merge,
    Stop,
}

impl Progress {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The log may forget what is below this.
    #[cfg(test)]
    pub(super) fn covered(&self) -> u64 {
        self.lock().covered
    }
}

impl Shared {
    /// Wakes the keeper.
    pub(super) fn ask(&self) {
        let mut state = self.progress.lock();
        if !mem::replace(&mut state.asked, true) {
            self.progress.asked.notify_one();
        }
    }

    pub(super) fn publish_covered(&self, covered: u64) {
        self.progress.lock().covered = covered;
        self.progress.done.notify_all();
    }

    pub(super) fn sync_up_to(&self, seq: u64) -> io::Result<()> {
        let deadline = Instant::now() + SYNC_TIMEOUT;
        let mut state = self.progress.lock();
        let failures = state.failures;
        loop {
            if state.covered >= seq {
                return Ok(());
            }
            if state.failures > failures {
                return Err(io::Error::other(format!("sync reservations: {}", state.failure)));
            }
            if state.stop || Instant::now() >= deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            state.asked = true;
            self.progress.asked.notify_one();
            let waited = self.progress.done.wait_timeout(state, SYNC_AGAIN);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    pub(super) fn spawn(
        self: &Arc<Self>,
        mut keeper: Keeper,
        end_seq: impl Fn() -> u64 + Send + 'static,
    ) -> io::Result<()> {
        let shared = Arc::clone(self);
        let run = move || {
            let mut pause = Duration::ZERO;
            loop {
                let work = shared.wait_for_work(pause);
                pause = match work {
                    Work::Merge => shared.merge(&mut keeper),
                    Work::Tick | Work::Stop => shared.tick(&mut keeper, end_seq()),
                };
                if work == Work::Stop {
                    return;
                }
            }
        };
        let handle = Builder::new().name("reservations".to_owned()).spawn(run)?;
        *self.progress.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(handle);
        Ok(())
    }

    /// A step of a merge, between ticks: no more syncs than without it.
    fn merge(&self, keeper: &mut Keeper) -> Duration {
        keeper.merge_some();
        if keeper.is_merging() { Duration::ZERO } else { TICK }
    }

    /// One tick and how it went; how long the next may take to come.
    fn tick(&self, keeper: &mut Keeper, end_seq: u64) -> Duration {
        match keeper.tick(end_seq) {
            Ok(more) => {
                let mut state = self.progress.lock();
                if !mem::take(&mut state.failure).is_empty() {
                    info!("reservations can be written again");
                }
                if more { Duration::ZERO } else { TICK }
            }
            Err(error) => {
                let mut state = self.progress.lock();
                if state.failure.is_empty() {
                    warn!(error = ?error, "write reservations failed; it is tried again");
                }
                state.failures += 1;
                state.failure = error.to_string();
                self.progress.done.notify_all();
                TICK
            }
        }
    }

    /// Waits for `pause`, or until something is asked. After a failure only a stop is heard
    /// before the pause is over.
    fn wait_for_work(&self, pause: Duration) -> Work {
        let state = self.progress.lock();
        let idle = |state: &mut State| {
            let heard = state.asked && state.failure.is_empty();
            !heard && !state.stop
        };
        let waited = self.progress.asked.wait_timeout_while(state, pause, idle);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        let due = state.ticked.is_none_or(|ticked| ticked.elapsed() >= TICK);
        let asked = mem::take(&mut state.asked);
        if state.stop {
            Work::Stop
        } else if asked || due {
            state.ticked = Some(Instant::now());
            Work::Tick
        } else {
            Work::Merge
        }
    }

    /// Whether the thread has ended unasked.
    pub(super) fn has_died(&self) -> bool {
        let thread = self.progress.thread.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = thread.as_ref().is_some_and(JoinHandle::is_finished);
        drop(thread);
        ended && !self.progress.lock().stop
    }

    /// Tells the thread to end after a last tick.
    pub(super) fn ask_to_stop(&self) {
        self.progress.lock().stop = true;
        self.progress.asked.notify_one();
    }

    pub(super) fn stop(&self) -> io::Result<()> {
        self.ask_to_stop();
        let handle = self.progress.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if handle.is_some_and(|handle| handle.join().is_err()) {
            return Err(io::Error::other("the reservations' thread has panicked"));
        }
        let state = self.progress.lock();
        match state.failure.as_str() {
            "" => Ok(()),
            failure => Err(io::Error::other(format!("sync reservations: {failure}"))),
        }
    }
}
