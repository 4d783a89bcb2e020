//! Sends one request until it is answered, or is not worth another attempt. Knows neither rows
//! nor what becomes of those that fail.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use scylla::errors::ExecutionError;
use tokio::time::Instant;

use super::super::error::{Class, classify};
use super::super::pace::{Outcome, Pace};
use super::counters::{Counters, TableCounters};

/// How often one request is sent: enough to outlive a node that goes while others take over. An
/// outage is the drain's, which tries for ever.
const ATTEMPTS_MAX: u32 = 4;
/// For how long after its start a write sends requests again: with the last attempt's time-out
/// it still ends well before the drain gives it up.
const AGAIN_FOR: Duration = Duration::from_secs(8);
/// Longest wait before the second attempt; it doubles with each.
const WAIT_FIRST: Duration = Duration::from_millis(50);
/// Longest wait before any attempt.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// Why a request was given up.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) class: Class,
    pub(super) error: Box<ExecutionError>,
}

/// What the requests of one write share.
#[derive(Debug)]
pub(super) struct Round<'a> {
    pace: &'a Pace,
    counters: &'a Counters,
    until: Instant,
    is_over: AtomicBool,
}

impl<'a> Round<'a> {
    pub(super) fn start(pace: &'a Pace, counters: &'a Counters) -> Self {
        Self { pace, counters, until: Instant::now() + AGAIN_FOR, is_over: AtomicBool::new(false) }
    }

    /// The write has failed: nothing is sent any more, and what is under way is only awaited.
    pub(super) fn give_up(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// Sends a request of so many rows. `Ok(false)`: the write was given up before it was sent.
    pub(super) async fn send<T, F>(
        &self,
        table: &TableCounters,
        rows: usize,
        mut request: impl FnMut() -> F,
    ) -> Result<bool, Failure>
    where
        F: Future<Output = Result<T, ExecutionError>>,
    {
        let mut attempt = 1;
        loop {
            let leave = self.pace.leave().await;
            if self.is_over() {
                return Ok(false);
            }
            let start = Instant::now();
            let answer = request().await.map(drop);
            let took = start.elapsed();
            table.ended(took, rows, answer.is_ok());
            let Err(error) = answer else {
                leave.ended(Outcome::Done, took, rows);
                return Ok(true);
            };
            let class = classify(&error);
            leave.ended(outcome_of(class), took, rows);
            self.counters.failed(class);
            let again = class.passes() && attempt < ATTEMPTS_MAX && Instant::now() < self.until;
            if !again || self.is_over() {
                return Err(Failure { class, error: Box::new(error) });
            }
            tokio::time::sleep(wait(attempt)).await;
            self.counters.sent_again(class);
            attempt += 1;
        }
    }
}

fn outcome_of(class: Class) -> Outcome {
    match class {
        Class::Timeout | Class::Overloaded => Outcome::Overloaded,
        _ => Outcome::Failed,
    }
}

/// Full jitter: anything up to a bound that doubles with each attempt.
/// <https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>
fn wait(attempt: u32) -> Duration {
    let doubled = WAIT_FIRST.saturating_mul(1 << attempt.saturating_sub(1).min(16));
    doubled.min(WAIT_MAX).mul_f64(rand::random::<f64>())
}
