//! The second thread of a sink: keeps its cursor on disk, lets the log forget what all have
//! finished, and measures. A sink that hangs in its sync holds up nobody but itself.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::fs::Fs;
use crate::sink::cursor::{Cursor, write_cursor};

use super::Need;
use super::board::{Board, Place};
use super::sink_drain::SinkDrain;

/// How often it measures.
const TICK: Duration = Duration::from_millis(100);
/// How often a cursor that moved is written: what a crash makes the sink take twice.
const CURSOR_INTERVAL: Duration = Duration::from_secs(1);
/// The rate follows a change within this.
const RATE_SPAN: Duration = Duration::from_secs(5);

/// Told before the log forgets, with the number below which it does.
pub type BeforeForget = Box<dyn Fn(u64) -> io::Result<()> + Send>;

/// Lets the log forget what no sink needs.
pub(crate) struct Forgetter {
    board: Arc<Board>,
    needs: Vec<Need>,
    state: Mutex<Forgotten>,
}

struct Forgotten {
    below: u64,
    before: Vec<BeforeForget>,
}

impl fmt::Debug for Forgetter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forgetter").field("needs", &self.needs).finish_non_exhaustive()
    }
}

impl Forgetter {
    pub(crate) fn new(board: Arc<Board>, needs: Vec<Need>, before: Vec<BeforeForget>) -> Self {
        Self { board, needs, state: Mutex::new(Forgotten { below: 0, before }) }
    }

    /// Forgets what lies below every cursor on disk, but for best-effort sinks that lag too far.
    fn advance(&self) -> io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let source = &self.board.source;
        let lows = self.needs.iter().enumerate().filter_map(|(sink, need)| {
            let low = self.board.durable_low(sink);
            match need {
                Need::Required => Some(low),
                Need::BestEffort { lag_bytes_max } => {
                    (source.bytes_from(low) <= *lag_bytes_max).then_some(low)
                }
            }
        });
        let below = lows.min().unwrap_or_else(|| source.end_seq());
        if below <= state.below {
            return Ok(());
        }
        for before in &state.before {
            before(below)?;
        }
        source.forget(below)?;
        state.below = below;
        Ok(())
    }
}

/// Keeps one sink's cursor.
#[derive(Debug)]
pub(crate) struct Keeper {
    pub(crate) drain: Arc<SinkDrain>,
    pub(crate) log: Option<KeptLog>,
    pub(crate) memory: Arc<Board>,
    pub(crate) runtime: Handle,
}

/// The cursor's file and what it says.
#[derive(Debug)]
pub(crate) struct KeptLog {
    pub(crate) board: Arc<Board>,
    pub(crate) forgetter: Arc<Forgetter>,
    pub(crate) fs: Arc<dyn Fs>,
    pub(crate) path: PathBuf,
}

/// A place that is written once the sink's rows are safe.
#[derive(Debug)]
struct Syncing {
    place: Place,
    task: JoinHandle<anyhow::Result<()>>,
}

#[derive(Debug)]
struct Progress {
    syncing: Option<Syncing>,
    /// How many numbers the cursor on disk has.
    written: u64,
    written_at: Instant,
    failing: bool,
    finished: u64,
    measured_at: Instant,
}

impl Keeper {
    /// Runs until `stop` gives a deadline, by which the last cursor is written.
    pub(crate) fn run(self, stop: &Receiver<Instant>) {
        let now = Instant::now();
        let mut progress = Progress {
            syncing: None,
            written: u64::MAX,
            written_at: now,
            failing: false,
            finished: self.finished(),
            measured_at: now,
        };
        loop {
            let deadline = match stop.recv_timeout(TICK) {
                Ok(deadline) => Some(deadline),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            self.measure(&mut progress);
            if let Some(log) = &self.log {
                self.keep(log, &mut progress, deadline);
            }
            if deadline.is_some() {
                return;
            }
        }
    }

    fn keep(&self, log: &KeptLog, progress: &mut Progress, deadline: Option<Instant>) {
        if let Some(syncing) = progress.syncing.take_if(|sync| sync.task.is_finished()) {
            self.synced(log, progress, syncing, TICK);
        }
        let due = deadline.is_some() || progress.written_at.elapsed() >= CURSOR_INTERVAL;
        let finished = log.board.finished_count(self.drain.index);
        if due && progress.syncing.is_none() && finished != progress.written {
            let (place, sink) = (log.board.place(self.drain.index), Arc::clone(&self.drain.sink));
            let task = self.runtime.spawn(async move { sink.sync().await });
            progress.syncing = Some(Syncing { place, task });
        }
        if let Some(deadline) = deadline
            && let Some(syncing) = progress.syncing.take()
        {
            let patience = deadline.saturating_duration_since(Instant::now());
            self.synced(log, progress, syncing, patience);
        }
    }

    /// The sink's rows are safe, or it said why not: writes the cursor and forgets.
    fn synced(&self, log: &KeptLog, progress: &mut Progress, syncing: Syncing, patience: Duration) {
        progress.written_at = Instant::now();
        let Syncing { place, mut task } = syncing;
        let waited = self.runtime.block_on(async {
            let waited = tokio::time::timeout(patience, &mut task).await;
            task.abort();
            waited
        });
        let outcome = match waited {
            Ok(Ok(synced)) => synced.and_then(|()| self.write(log, place, progress)),
            Ok(Err(error)) => Err(error.into()),
            Err(elapsed) => Err(elapsed.into()),
        };
        match outcome {
            Ok(()) => progress.failing = false,
            Err(error) => {
                if !progress.failing {
                    let sink = &*self.drain.name;
                    tracing::error!(sink, error = format!("{error:#}"), "keep cursor failed");
                }
                progress.failing = true;
            }
        }
    }

    fn write(&self, log: &KeptLog, place: Place, progress: &mut Progress) -> anyhow::Result<()> {
        let (low, written) = (place.finished.low(), place.finished.len_from(place.origin));
        write_cursor(&*log.fs, &log.path, &Cursor { log: log.board.source.id(), place })?;
        log.board.set_durable_low(self.drain.index, low);
        log.forgetter.advance()?;
        progress.written = written;
        Ok(())
    }

    fn finished(&self) -> u64 {
        let log = self.log.as_ref().map_or(0, |log| log.board.finished_count(self.drain.index));
        log + self.memory.finished_count(self.drain.index)
    }

    fn unfinished(&self) -> u64 {
        let log = self.log.as_ref().map_or(0, |log| log.board.unfinished(self.drain.index));
        log + self.memory.unfinished(self.drain.index)
    }

    fn measure(&self, progress: &mut Progress) {
        let drain = &*self.drain;
        let (finished, elapsed) = (self.finished(), progress.measured_at.elapsed());
        let fresh = finished.saturating_sub(progress.finished);
        // An idle sink keeps the rate that it had: it says how fast a backlog would go.
        if fresh > 0 || self.unfinished() > 0 {
            let rate = fresh as f64 / elapsed.as_secs_f64().max(1e-3);
            let known = f64::from_bits(drain.rate.load(Ordering::Relaxed));
            let weight = 1.0 - (-elapsed.as_secs_f64() / RATE_SPAN.as_secs_f64()).exp();
            let smoothed = if known == 0.0 { rate } else { known + (rate - known) * weight };
            drain.rate.store(smoothed.to_bits(), Ordering::Relaxed);
        }
        (progress.finished, progress.measured_at) = (finished, Instant::now());
    }
}
