//! One batch on its way into a sink: written, tried again, split, searched for the row that
//! can't be written, until each of its rows is stored or a dead letter.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::anyhow;
use futures_util::FutureExt;
use thiserror::Error;
use tokio::time::Instant;

use crate::clock::now_us;
use crate::sink::batch::Batch;
use crate::sink::dead_letter::{self, Attempt, HISTORY_MAX, Letter, MESSAGE_BYTES_MAX};
use crate::sink::progress::LogId;
use crate::sink::shares::TenantShare;
use crate::sink::source::Source;
use crate::sink::{RowFault, SinkError, Written};

use super::board::{Board, Ending, ranges_of};
use super::sink_drain::SinkDrain;
use super::window::Lease;

/// How often a row must fail alone, each time with a success of its neighbours in between,
/// until it is the row that is at fault and not the sink.
const ALONE_FAILURES_MAX: u32 = 10;
/// Waits between the attempts of a row that fails alone: short beside an outage's, because
/// others succeed and this batch's worker is held.
const ALONE_WAIT_FIRST: Duration = Duration::from_millis(5);
const ALONE_WAIT_MAX: Duration = Duration::from_millis(500);
/// How long dead letters that found no room, or a broken disk, wait until they are tried again.
const LETTERS_WAIT: Duration = Duration::from_secs(1);

/// A batch to be written, and what is released when it is.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) drain: Arc<SinkDrain>,
    pub(crate) ends: Ends,
    pub(crate) batch: Batch,
    /// Held until the job is dropped.
    pub(crate) _leases: Vec<Arc<Lease>>,
    pub(crate) parts: Vec<(Arc<TenantShare>, u64)>,
}

/// Where it is noted how rows ended.
#[derive(Debug)]
pub(crate) enum Ends {
    /// On the board of the source that they were read from.
    Board(Arc<Board>),
    /// With the replay that they belong to.
    Replay(Arc<Tried>),
}

/// What became of dead letters that were tried again.
#[derive(Debug)]
pub(crate) struct Tried {
    /// The log that their numbers belong to.
    log: LogId,
    /// Whoever set it wants no further attempt.
    pub(crate) halted: AtomicBool,
    outcome: Mutex<Outcome>,
}

/// How they ended, so far.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Ranges that the sink has taken, and how many of each had expired.
    pub(crate) taken: Vec<(Vec<(u64, u64)>, u64)>,
    /// As they failed, under their numbers in the replay.
    pub(crate) failed: Vec<Letter>,
}

/// Rows that are tried together, and what became of them before.
#[derive(Debug, Clone)]
struct Piece {
    batch: Batch,
    history: History,
}

#[derive(Debug, Clone, Default)]
struct History {
    attempts: u32,
    first_at_us: i64,
    last: VecDeque<Attempt>,
}

/// A row that has failed alone.
#[derive(Debug)]
struct Alone {
    piece: Piece,
    failures: u32,
    /// The sink's successes when it failed last.
    successes: u64,
}

/// Why a job ends before its rows are finished: the drain stops, and the log still has them.
struct Abandoned;

/// Why a write counts as unavailable though its sink has said nothing.
#[derive(Debug, Error)]
#[error("no answer within {0:?}")]
struct NoAnswer(Duration);

impl Job {
    /// Finishes every row, or gives up because the drain stops.
    pub(crate) async fn run(&self) {
        // Closed only when the drain is gone.
        let Ok(_permit) = self.drain.permits.acquire().await else { return };
        self.drain.metrics.batch_rows.observe(self.batch.len() as f64);
        if self.write_all().await.is_ok() {
            for (share, bytes) in &self.parts {
                share.finish(self.drain.index, *bytes);
            }
        }
    }

    /// Tries dead letters again; whether each has ended.
    pub(crate) async fn replay(&self) -> bool {
        self.drain.metrics.batch_rows.observe(self.batch.len() as f64);
        self.write_all().await.is_ok()
    }

    /// Whether its pulses are in memory only.
    pub(crate) fn is_of_memory(&self) -> bool {
        matches!(&self.ends, Ends::Board(board) if board.kind == Source::Memory)
    }

    async fn write_all(&self) -> Result<(), Abandoned> {
        let piece = Piece { batch: self.divert().await, history: History::default() };
        let mut pieces = VecDeque::from([piece]);
        let mut alone = Vec::new();
        // Rewritten to see whether the sink still works, when nothing else is left to write.
        let mut witness = None;
        let start = self.drain.successes.load(Ordering::Relaxed);
        while let Some(mut piece) = pieces.pop_front() {
            if piece.batch.is_empty() {
                continue;
            }
            match self.write(&mut piece).await {
                Ok(written) => {
                    self.finish(&piece.batch, written);
                    witness = Some(piece.batch.subset([0]));
                }
                // It may work on so many rows for longer than that, and a write keeps nothing
                // of one that was given up: what is smaller gets on, however slow the sink is.
                Err(SinkError::Unavailable(why))
                    if why.is::<NoAnswer>() && piece.batch.len() > 1 =>
                {
                    self.stay()?;
                    piece.split_onto(&mut pieces);
                }
                Err(SinkError::Unavailable(_)) => {
                    self.stay()?;
                    pieces.push_front(piece);
                }
                Err(SinkError::TooLarge) if piece.batch.len() == 1 => {
                    let message = "the row alone is more than the sink takes";
                    self.bury(vec![self.letter(&piece, 0, "too_large", message)]).await;
                }
                Err(SinkError::RowFaults(faults)) if any_in(&faults, &piece.batch) => {
                    pieces.push_front(self.bury_faults(piece, faults).await);
                }
                Err(SinkError::Unknown(_) | SinkError::RowFaults(_)) if piece.batch.len() == 1 => {
                    self.search_on()?;
                    let mut row = Alone { piece, failures: 0, successes: start };
                    self.count_failure(&mut row);
                    alone.push(row);
                }
                Err(error) => {
                    if !matches!(error, SinkError::TooLarge) {
                        self.search_on()?;
                    }
                    piece.split_onto(&mut pieces);
                }
            }
        }
        self.settle(alone, witness).await
    }

    /// Tries rows that failed alone until each is written or proven to be at fault.
    async fn settle(
        &self,
        mut alone: Vec<Alone>,
        mut witness: Option<Batch>,
    ) -> Result<(), Abandoned> {
        let mut round = 0;
        while !alone.is_empty() {
            tokio::time::sleep(alone_wait(round)).await;
            round += 1;
            self.probe(&alone, witness.as_ref()).await;
            let mut left = Vec::with_capacity(alone.len());
            for mut row in alone {
                match self.write(&mut row.piece).await {
                    Ok(written) => {
                        self.finish(&row.piece.batch, written);
                        witness = Some(row.piece.batch);
                        continue;
                    }
                    Err(SinkError::TooLarge) => {
                        let message = "the row alone is more than the sink takes";
                        self.bury(vec![self.letter(&row.piece, 0, "too_large", message)]).await;
                        continue;
                    }
                    Err(SinkError::RowFaults(faults)) if any_in(&faults, &row.piece.batch) => {
                        self.bury_faults(row.piece, faults).await;
                        continue;
                    }
                    Err(SinkError::Unavailable(_)) => {}
                    Err(SinkError::Unknown(_) | SinkError::RowFaults(_)) => {
                        self.count_failure(&mut row);
                    }
                }
                if row.failures >= ALONE_FAILURES_MAX {
                    let message = row.piece.history.last_message();
                    self.bury(vec![self.letter(&row.piece, 0, "write_failed", &message)]).await;
                } else {
                    self.search_on()?;
                    left.push(row);
                }
            }
            alone = left;
        }
        Ok(())
    }

    /// A failure counts against a row only if the sink has taken others since its last one; that
    /// of a dead letter always, which stays what it is.
    fn count_failure(&self, row: &mut Alone) {
        let successes = self.drain.successes.load(Ordering::Relaxed);
        if successes > row.successes || matches!(self.ends, Ends::Replay(_)) {
            row.failures += 1;
            row.successes = successes;
        }
    }

    /// Writes a row again that the sink has taken, unless others were taken meanwhile: without
    /// it, a quiet system would never learn whether the row or the sink is at fault. Sinks are
    /// idempotent, so nothing is counted.
    async fn probe(&self, alone: &[Alone], witness: Option<&Batch>) {
        let successes = self.drain.successes.load(Ordering::Relaxed);
        if let Some(witness) = witness
            && alone.iter().any(|row| row.successes >= successes)
        {
            let history = History::default();
            let _outcome = self.write(&mut Piece { batch: witness.clone(), history }).await;
        }
    }

    /// One attempt at the sink's pace.
    async fn write(&self, piece: &mut Piece) -> Result<Written, SinkError> {
        let (drain, batch) = (&*self.drain, &piece.batch);
        let round = drain.backoff.wait().await;
        let start = Instant::now();
        let timeout = drain.settings.retry.write_timeout;
        let write = AssertUnwindSafe(async { drain.sink.write(batch).await }).catch_unwind();
        let outcome = match tokio::time::timeout(timeout, write).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(panic)) => Err(SinkError::Unknown(anyhow!("sink panicked: {}", text(&*panic)))),
            Err(_elapsed) => Err(SinkError::Unavailable(NoAnswer(timeout).into())),
        };
        drain.metrics.write_time.observe(start.elapsed().as_secs_f64());
        drain.metrics.count_write(&outcome);
        match &outcome {
            Ok(_) => {
                drain.successes.fetch_add(1, Ordering::Relaxed);
                drain.backoff.succeeded();
            }
            Err(error) => {
                if matches!(error, SinkError::Unavailable(_) | SinkError::Unknown(_)) {
                    let failures = drain.backoff.failed(round);
                    self.log_failure(error, failures);
                }
                piece.history.add(error, batch.len());
            }
        }
        outcome
    }

    fn log_failure(&self, error: &SinkError, failures: u32) {
        // An outage is told at its start and ever more rarely.
        if failures.is_power_of_two() {
            let sink = &*self.drain.name;
            tracing::warn!(sink, failures, error = %describe(error), "write to sink failed");
        }
    }

    fn finish(&self, batch: &Batch, written: Written) {
        let Written { rows, expired } = written;
        self.drain.metrics.stored.inc_by(rows);
        let ranges = ranges_of(batch.row_refs());
        match &self.ends {
            Ends::Board(board) => {
                board.finish(self.drain.index, &ranges, Ending::Written { rows, expired });
            }
            Ends::Replay(tried) => tried.outcome().taken.push((ranges, expired)),
        }
    }

    /// Turns faulty rows into dead letters; returns the others.
    async fn bury_faults(&self, piece: Piece, mut faults: Vec<RowFault>) -> Piece {
        faults.sort_by_key(|fault| fault.index);
        faults.dedup_by_key(|fault| fault.index);
        faults.retain(|fault| fault.index < piece.batch.len());
        let letters = faults
            .iter()
            .map(|fault| self.letter(&piece, fault.index, fault.code, &fault.message))
            .collect();
        self.bury(letters).await;
        let faulty = |index: &usize| faults.binary_search_by_key(index, |fault| fault.index);
        let rest = (0..piece.batch.len()).filter(|index| faulty(index).is_err());
        Piece { batch: piece.batch.subset(rest), history: piece.history }
    }

    /// Keeps letters, however long that takes; only then are their pulses finished.
    pub(super) async fn bury(&self, letters: Vec<Letter>) {
        let drain = &*self.drain;
        let board = match &self.ends {
            Ends::Board(board) => board,
            // They are kept already.
            Ends::Replay(tried) => return tried.outcome().failed.extend(letters),
        };
        let letters: Arc<[Letter]> = letters.into();
        let mut failures: u32 = 0;
        loop {
            let (store, batch) = (Arc::clone(&drain.letters), Arc::clone(&letters));
            let kept = tokio::task::spawn_blocking(move || store.append(&batch)).await;
            let error = match kept {
                Ok(Ok(())) => break,
                Ok(Err(error)) => anyhow::Error::new(error),
                Err(error) => anyhow::Error::new(error),
            };
            failures = failures.saturating_add(1);
            if failures.is_power_of_two() {
                let sink = &*drain.name;
                tracing::error!(sink, error = format!("{error:#}"), "dead letters wait");
            }
            tokio::time::sleep(LETTERS_WAIT).await;
        }
        let mut ranges: Vec<_> =
            letters.iter().map(|letter| (letter.seq, letter.seq + 1)).collect();
        ranges.sort_unstable();
        drain.metrics.dead_lettered.inc_by(ranges.len() as u64);
        drain.metrics.dead_letter_bytes.set(drain.letters.bytes() as i64);
        board.finish(drain.index, &ranges, Ending::DeadLettered);
    }

    fn letter(&self, piece: &Piece, index: usize, code: &str, message: &str) -> Letter {
        let History { attempts, first_at_us, last } = piece.history.clone();
        let stage = match &self.ends {
            Ends::Board(_) => "write",
            Ends::Replay(_) => "replay",
        };
        Letter {
            attempts,
            first_at_us,
            last_at_us: last.back().map_or(first_at_us, |attempt| attempt.at_us),
            history: last.into(),
            ..self.letter_of((&piece.batch, index), (code, stage), message)
        }
    }

    /// A letter of a row that has not been tried.
    pub(super) fn letter_of(
        &self,
        (batch, index): (&Batch, usize),
        (code, stage): (&str, &str),
        message: &str,
    ) -> Letter {
        let seq = batch.row_refs().get(index).map_or(0, |row| row.seq);
        // A row that can't be read again has no bytes to keep; that it was here is kept.
        let record = batch.row(index);
        let log = match &self.ends {
            Ends::Board(board) => board.source.id(),
            Ends::Replay(tried) => tried.log,
        };
        Letter {
            tenant: record.map_or_else(String::new, |record| record.envelope.tenant.to_owned()),
            sink: self.drain.name.clone(),
            log,
            in_memory: self.is_of_memory(),
            seq,
            code: code.to_owned(),
            stage: stage.to_owned(),
            message: shortened(message),
            attempts: 0,
            first_at_us: 0,
            last_at_us: 0,
            history: Vec::new(),
            frame: record.map_or_else(Vec::new, |record| Letter::frame_of(&record)),
        }
    }

    /// Whether to look on for the row that is at fault. A search in dead letters ends by itself,
    /// and whoever halted them wants to know how they ended.
    fn search_on(&self) -> Result<(), Abandoned> {
        match &self.ends {
            Ends::Replay(_) if !self.drain.stopping.load(Ordering::Relaxed) => Ok(()),
            _ => self.stay(),
        }
    }

    /// Whether it makes sense to go on after a failure. Pulses that only memory holds are tried
    /// until the deadline.
    fn stay(&self) -> Result<(), Abandoned> {
        let stopping = self.drain.stopping.load(Ordering::Relaxed);
        let leaves = match &self.ends {
            Ends::Board(board) => stopping && board.kind == Source::Log,
            Ends::Replay(tried) => stopping || tried.halted.load(Ordering::Relaxed),
        };
        if leaves { Err(Abandoned) } else { Ok(()) }
    }
}

impl Tried {
    pub(crate) fn new(log: LogId) -> Arc<Self> {
        Arc::new(Self { log, halted: AtomicBool::new(false), outcome: Mutex::default() })
    }

    /// What has become of them so far.
    pub(crate) fn outcome(&self) -> MutexGuard<'_, Outcome> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Piece {
    /// Puts its halves where they are written next.
    fn split_onto(self, pieces: &mut VecDeque<Self>) {
        let (length, middle) = (self.batch.len(), self.batch.len() / 2);
        let left = Self { batch: self.batch.subset(0..middle), history: self.history.clone() };
        let right = Self { batch: self.batch.subset(middle..length), history: self.history };
        pieces.push_front(right);
        pieces.push_front(left);
    }
}

impl History {
    fn add(&mut self, error: &SinkError, rows: usize) {
        let at_us = now_us();
        if self.attempts == 0 {
            self.first_at_us = at_us;
        }
        self.attempts = self.attempts.saturating_add(1);
        if self.last.len() == HISTORY_MAX {
            self.last.pop_front();
        }
        self.last.push_back(Attempt { at_us, rows, message: shortened(&describe(error)) });
    }

    fn last_message(&self) -> String {
        self.last.back().map_or_else(String::new, |attempt| attempt.message.clone())
    }
}

fn any_in(faults: &[RowFault], batch: &Batch) -> bool {
    faults.iter().any(|fault| fault.index < batch.len())
}

fn alone_wait(round: u32) -> Duration {
    ALONE_WAIT_FIRST.saturating_mul(1 << round.min(16)).min(ALONE_WAIT_MAX)
}

fn describe(error: &SinkError) -> String {
    match error {
        SinkError::Unavailable(cause) | SinkError::Unknown(cause) => format!("{error}: {cause:#}"),
        SinkError::TooLarge | SinkError::RowFaults(_) => error.to_string(),
    }
}

fn shortened(message: &str) -> String {
    dead_letter::shortened(message, MESSAGE_BYTES_MAX)
}

fn text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
