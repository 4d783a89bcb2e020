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

#[cfg(test)]
mod tests {
    use scylla::errors::{DbError, RequestAttemptError};

    use super::super::super::metrics::{CassandraMetrics, ClassLabels};
    use super::*;

    fn error(error: DbError) -> ExecutionError {
        RequestAttemptError::DbError(error, String::new()).into()
    }

    /// Sends a request that is answered with these one after the other; gives the answer, how
    /// often it was sent, and how often a class was counted as sent again.
    async fn send(answers: &[Option<DbError>]) -> (Result<bool, Class>, usize, u64) {
        let metrics = CassandraMetrics::unregistered();
        let (pace, counters) = (Pace::new(1, &metrics), Counters::new(&metrics));
        let round = Round::start(&pace, &counters);
        let mut sent = 0;
        let request = || {
            let answer = answers.get(sent).cloned().expect("no more answers are asked for");
            sent += 1;
            async move {
                match answer {
                    Some(answer) => Err(error(answer)),
                    None => Ok(()),
                }
            }
        };
        let answer = round.send(&counters.events, 7, request).await;
        let labels = ClassLabels { class: Class::Overloaded.as_str() };
        let again = metrics.retries.get_or_create(&labels).get();
        (answer.map_err(|failure| failure.class), sent, again)
    }

    #[tokio::test]
    async fn what_passes_is_sent_again_a_few_times_and_what_does_not_never() {
        let overloaded = || Some(DbError::Overloaded);
        let check = async |answers: &[Option<DbError>], expected| {
            assert_eq!(send(answers).await, expected, "{answers:?}");
        };
        check(&[None], (Ok(true), 1, 0)).await;
        check(&[overloaded(), overloaded(), None], (Ok(true), 3, 2)).await;
        let always = [overloaded(), overloaded(), overloaded(), overloaded()];
        check(&always, (Err(Class::Overloaded), 4, 3)).await;
        check(&[Some(DbError::SyntaxError)], (Err(Class::Schema), 1, 0)).await;
        check(&[Some(DbError::ServerError)], (Err(Class::Unknown), 1, 0)).await;
        let mixed = [overloaded(), Some(DbError::ServerError)];
        check(&mixed, (Err(Class::Unknown), 2, 1)).await;
    }

    #[tokio::test]
    async fn nothing_is_sent_once_the_write_was_given_up() {
        let metrics = CassandraMetrics::unregistered();
        let (pace, counters) = (Pace::new(1, &metrics), Counters::new(&metrics));
        let round = Round::start(&pace, &counters);
        let failing = async || {
            round.give_up();
            Err::<(), _>(error(DbError::Overloaded))
        };
        let answer = round.send(&counters.events, 1, failing).await;
        assert_eq!(answer.map_err(|failure| failure.class), Err(Class::Overloaded));
        let never = || async { Err::<(), _>(error(DbError::ServerError)) };
        assert!(matches!(round.send(&counters.events, 1, never).await, Ok(false)));
    }

    #[test]
    fn waits_grow_to_their_bound() {
        for attempt in 1..40 {
            assert!(wait(attempt) <= WAIT_MAX.min(WAIT_FIRST * (1 << (attempt - 1).min(16))));
        }
    }
}
