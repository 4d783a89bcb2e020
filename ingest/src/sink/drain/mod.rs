//! Draining: every sink reads the log and the memory buffer behind its own cursor, tenants in
//! turn, and writes batches until each pulse is stored or a dead letter. A slow or stuck sink
//! delays nobody but itself.

pub(crate) mod backoff;
pub(crate) mod board;
mod divert;
pub(crate) mod job;
mod keeper;
mod lane;
mod ledger;
mod reader;
mod restore;
mod settings;
pub(crate) mod sink_drain;
mod start;
#[cfg(test)]
pub(crate) mod tests;
pub(crate) mod view;
mod whereabouts;
mod window;
#[cfg(test)]
mod window_tests;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};

use super::SinkState;
use super::dead_letter::DeadLetters;
use super::replay::Replays;
use super::shares::Shares;
use super::source::Source;

use view::View;

pub use board::{Finish, Finished, Stopped};
pub use keeper::BeforeForget;
pub use ledger::SinkLedger;
pub use settings::{DrainSettings, Need, RetrySettings, SinkRegistration, StartError};
pub use start::DrainParts;
pub use whereabouts::{Looked, Underway, Whereabouts};

/// The least time that is kept for the last cursors when the drains stop.
const CURSORS_SHARE: u32 = 4;
const CURSORS_TIME_MAX: Duration = Duration::from_secs(1);

/// All drains of a process.
pub struct Drains {
    view: Arc<View>,
    letters: Arc<DeadLetters>,
    replays: Replays,
    shares: Arc<Shares>,
    stop: Arc<StopSignal>,
    threads: Mutex<Option<Threads>>,
    /// The first thread that died, which none should.
    died: watch::Sender<Option<String>>,
}

/// What waits for the sinks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Pulses that some required sink has not finished.
    pub pulses: u64,
    /// About how many bytes they are.
    pub bytes: u64,
    /// By sink, required sinks first.
    pub sinks: Vec<SinkBacklog>,
}

/// What waits for one sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkBacklog {
    /// The sink's name.
    pub sink: String,
    /// Whether the log waits for it.
    pub required: bool,
    /// Pulses that it has not finished.
    pub pulses: u64,
    /// How long ago the oldest of them was received; zero without one.
    pub oldest_age: Duration,
    /// Whether it could write now.
    pub state: SinkState,
}

/// When the drains must be gone.
#[derive(Debug, Default)]
struct StopSignal {
    stopping: AtomicBool,
    readers: Mutex<Option<Instant>>,
}

impl StopSignal {
    fn deadline(&self) -> Option<Instant> {
        if !self.stopping.load(Ordering::SeqCst) {
            return None;
        }
        *self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, deadline: Instant) {
        *self.readers.lock().unwrap_or_else(PoisonError::into_inner) = Some(deadline);
        self.stopping.store(true, Ordering::SeqCst);
    }
}

/// The two threads of each sink.
struct Threads {
    readers: Vec<Thread>,
    keepers: Vec<Keeping>,
}

struct Thread {
    handle: JoinHandle<()>,
    ended: oneshot::Receiver<()>,
}

struct Keeping {
    thread: Thread,
    stop: mpsc::SyncSender<Instant>,
}

impl fmt::Debug for Drains {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drains").field("sinks", &self.view.sinks).finish_non_exhaustive()
    }
}

impl Drains {
    /// Resolves when every required sink has finished `count` numbers of a source from
    /// `first_seq` on.
    ///
    /// # Errors
    /// [`Stopped`] when the drains stop before that.
    pub fn finished(&self, source: Source, first_seq: u64, count: u64) -> Finished {
        let board = match (source, &self.view.log) {
            (Source::Log, Some(log)) => log,
            _ => &self.view.memory,
        };
        board.finished(first_seq, count)
    }

    /// Writes what waits for a full batch; resolves when all that was accepted before the call
    /// is finished by every required sink.
    ///
    /// # Errors
    /// [`Stopped`] when the drains stop before that.
    pub async fn flush(&self) -> Result<(), Stopped> {
        let ends: Vec<_> =
            self.view.boards().map(|board| (board, board.source.end_seq())).collect();
        for sink in &self.view.sinks {
            for (board, end) in &ends {
                sink.flush_to[board.kind.index()].fetch_max(*end, Ordering::SeqCst);
            }
            sink.bell.ring_loud();
        }
        for (board, end) in ends {
            board.finished(0, end).await?;
        }
        Ok(())
    }

    /// Nothing waits for a full batch any more.
    pub fn seal(&self) {
        for sink in &self.view.sinks {
            sink.sealed.store(true, Ordering::SeqCst);
            sink.bell.ring_loud();
        }
    }

    /// What waits for the sinks now.
    pub fn backlog(&self) -> Backlog {
        self.view.backlog()
    }

    /// Bytes accepted and not finished, by tenant.
    pub fn shares(&self) -> &Arc<Shares> {
        &self.shares
    }

    /// Pulses that the slowest required sink finishes a second, or did when it last had any.
    pub fn rows_per_second(&self) -> f64 {
        self.view
            .required()
            .map(|sink| f64::from_bits(sink.rate.load(Ordering::Relaxed)))
            .min_by(f64::total_cmp)
            .unwrap_or(0.0)
    }

    /// Resolves with the name of the first thread that dies of a defect. The process should
    /// stop then: nothing is lost, but a sink is no longer served.
    pub async fn died(&self) -> String {
        let mut died = self.died.subscribe();
        match died.wait_for(Option::is_some).await {
            Ok(name) => name.clone().unwrap_or_default(),
            // The sender lives as long as this borrow.
            Err(_closed) => std::future::pending().await,
        }
    }

    /// Where each sink's pulses are, required sinks first.
    pub fn ledger(&self) -> Vec<SinkLedger> {
        self.view.ledger()
    }

    /// The dead letters of all sinks.
    pub fn dead_letters(&self) -> &Arc<DeadLetters> {
        &self.letters
    }

    /// Who knows where pulses are that are on their way.
    pub fn whereabouts(&self) -> Whereabouts {
        Whereabouts::new(Arc::clone(&self.view))
    }

    /// Who knows how far the sinks are.
    pub(crate) fn view(&self) -> &Arc<View> {
        &self.view
    }

    /// What is done with the dead letters.
    pub fn replays(&self) -> &Replays {
        &self.replays
    }

    /// Writes what was read, and all that only memory holds; gives up what is not written at
    /// `deadline`, writes the cursors and ends. The log keeps what is not finished.
    pub async fn stop(&self, deadline: Instant) {
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(threads) = threads else { return };
        let left = deadline.saturating_duration_since(Instant::now());
        let readers_end = deadline - (left / CURSORS_SHARE).min(CURSORS_TIME_MAX);
        self.stop.set(readers_end);
        for sink in &self.view.sinks {
            sink.sealed.store(true, Ordering::SeqCst);
            sink.stopping.store(true, Ordering::SeqCst);
            sink.backoff.hurry();
            sink.bell.ring_loud();
        }
        self.replays.stop(readers_end).await;
        for thread in threads.readers {
            thread.end(deadline).await;
        }
        for keeping in &threads.keepers {
            // One that has died already has no use for it.
            let _dead = keeping.stop.send(deadline);
        }
        for keeping in threads.keepers {
            keeping.thread.end(deadline).await;
        }
        self.view.boards().for_each(|board| board.stop());
    }
}

impl Drop for Drains {
    /// Without a stop before, all writes are given up and no cursor is written.
    fn drop(&mut self) {
        self.stop.set(Instant::now());
        for sink in &self.view.sinks {
            sink.bell.ring_loud();
        }
        self.view.boards().for_each(|board| board.stop());
    }
}

impl Thread {
    /// Waits for its end; leaves it alone when it hangs in a call beyond the deadline.
    async fn end(self, deadline: Instant) {
        let name = self.handle.thread().name().unwrap_or_default().to_owned();
        match tokio::time::timeout_at(deadline.into(), self.ended).await {
            // The sender is dropped with the thread's last step.
            Ok(_) if self.handle.join().is_ok() => {}
            Ok(_) => tracing::error!(thread = name, "thread panicked"),
            Err(_elapsed) => tracing::warn!(thread = name, "thread did not end in time"),
        }
    }
}
