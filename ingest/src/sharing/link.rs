//! A process's side of what is shared: requests ask here, and learn here whether it can be asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rand::Rng;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use uuid::Uuid;

use crate::clock::Clock;
use crate::sink::LogId;

use super::claims::Claimed;
use super::entry::{Question, Verdict};
use super::group::{Ask, Token, Told};
use super::late::{Late, Settled};
use super::metrics::SharingMetrics;
use super::{Mode, OnFailure};

/// Requests whose questions wait for a round trip: beyond, the next wait for room within their
/// time. Their bodies are bounded by the bytes in flight.
const ASKS_MAX: usize = 1_024;
/// Longest wait for an answer: a round trip's own time-out, and one before it.
const ANSWER_MAX: Duration = Duration::from_millis(2_500);

/// Why nothing is known of a pulse's ids and keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("others can't be asked")]
pub(crate) struct Unavailable;

/// How a process shares.
pub(crate) struct LinkSettings {
    /// Whose log the process writes: its name to the others, the same after a restart.
    pub(crate) log: LogId,
    /// How long a key is known.
    pub(crate) window: Duration,
    /// How long one that is not committed is its taker's.
    pub(crate) lease: Duration,
    /// What the log held at the start.
    pub(crate) settled: Vec<Settled>,
    pub(crate) clock: Clock,
    pub(crate) metrics: SharingMetrics,
}

/// What requests ask.
pub(crate) struct Link {
    asks: mpsc::Sender<Ask>,
    up: AtomicBool,
    on_failure: OnFailure,
    tokens: AtomicU64,
    pub(super) late: Late,
    pub(super) owner: Owner,
    pub(super) window: Duration,
    pub(super) lease: Duration,
    pub(super) clock: Clock,
    pub(super) metrics: SharingMetrics,
}

/// Who holds a key: a log, and which run of its process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) log: Uuid,
    /// Another at each start: what is held under an older one is over.
    pub(super) run: u64,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("owner", &self.owner).finish_non_exhaustive()
    }
}

impl Link {
    pub(super) fn new(
        on_failure: OnFailure,
        settings: LinkSettings,
    ) -> (Self, mpsc::Receiver<Ask>) {
        let LinkSettings { log, window, lease, settled, clock, metrics } = settings;
        let (asks, receiver) = mpsc::channel(ASKS_MAX);
        let mut random = rand::rng();
        let link = Self {
            asks,
            up: AtomicBool::new(false),
            on_failure,
            tokens: AtomicU64::new(random.next_u64()),
            late: Late::new(settled, metrics.clone()),
            owner: Owner { log: log.0, run: random.next_u64() },
            window,
            lease,
            clock,
            metrics,
        };
        link.set(false);
        (link, receiver)
    }

    /// What is done with a pulse of which nothing is known.
    pub(crate) fn on_failure(&self) -> OnFailure {
        self.on_failure
    }

    /// How ids and keys are known now.
    pub(crate) fn mode(&self) -> Mode {
        match (self.up.load(Ordering::Acquire), self.on_failure) {
            (true, _) => Mode::Shared,
            (false, OnFailure::Local) => Mode::Local,
            (false, OnFailure::Refuse) => Mode::Refuse,
        }
    }

    /// Whether the task that asks has ended: nothing is shared any more.
    pub(crate) fn has_died(&self) -> bool {
        self.asks.is_closed()
    }

    /// Whether others can be asked from now on.
    pub(super) fn set(&self, up: bool) {
        self.up.store(up, Ordering::Release);
        self.metrics.set_mode(self.mode());
    }

    /// Takes the keys of all pulses of a request, each pulse for itself. What is new belongs to
    /// the claims, which give it back when they are dropped.
    ///
    /// # Errors
    /// When others can't be asked; nothing is held then, or will not be for long.
    pub(crate) async fn take(
        self: &Arc<Self>,
        questions: Vec<Question>,
    ) -> Result<(Vec<Verdict>, Claimed), Unavailable> {
        let count = questions.len();
        let failed = || {
            self.metrics.failed(count);
            Unavailable
        };
        if !self.up.load(Ordering::Acquire) {
            return Err(failed());
        }
        let token = self.new_token();
        let (answer, answered) = oneshot::channel();
        // Before it is asked: who goes meanwhile gives back what may have been taken.
        let mut claimed = Claimed::of(self, &questions, token);
        let ask = async {
            let sent = self.asks.send(Ask::Take { questions, token, answer }).await;
            sent.map_err(|_| Unavailable)?;
            answered.await.map_err(|_| Unavailable)
        };
        let verdicts = timeout(ANSWER_MAX, ask).await.unwrap_or(Err(Unavailable));
        let verdicts = verdicts.map_err(|_| failed())?;
        verdicts.iter().for_each(|verdict| self.metrics.answered(*verdict));
        claimed.keep(&verdicts);
        Ok((verdicts, claimed))
    }

    /// Claims of pulses of which nothing could be asked: they are told once it can.
    pub(crate) fn assume(self: &Arc<Self>, questions: &[Question]) -> Claimed {
        Claimed::assumed(self, questions)
    }

    /// Tells what happened to keys. Never waits: what can't be told now is told later. What it
    /// returns ends when it is told, or can't be.
    pub(super) fn tell(&self, told: Vec<Told>) -> oneshot::Receiver<()> {
        let (done, ended) = oneshot::channel();
        if !self.up.load(Ordering::Acquire) {
            self.late.add(told);
            return ended;
        }
        let sent = self.asks.try_send(Ask::Tell { told, done: Some(done) });
        if let Err(error) = sent
            && let Ask::Tell { told, .. } = error.into_inner()
        {
            self.late.add(told);
        }
        ended
    }

    fn new_token(&self) -> Token {
        self.tokens.fetch_add(1, Ordering::Relaxed)
    }
}
