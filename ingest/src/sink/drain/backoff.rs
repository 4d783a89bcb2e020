//! How long a sink is left alone after it failed: one pace for all its workers, so that a sink
//! that is down sees no more attempts from many workers than from one.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// How failed writes are tried again.
#[derive(Debug, Clone, Copy)]
pub struct RetrySettings {
    /// Longest wait after the first failure.
    pub wait_first: Duration,
    /// Longest wait after any number of failures.
    pub wait_max: Duration,
    /// How long one write may take until it counts as unavailable, and is tried in halves.
    pub write_timeout: Duration,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self {
            wait_first: Duration::from_millis(50),
            // A sink that is back is noticed within this.
            wait_max: Duration::from_secs(10),
            // Longer than a store takes for a usual batch while it works on it: what takes longer
            // is begun again in halves. A connection that has died without a word is given up.
            write_timeout: Duration::from_secs(60),
        }
    }
}

/// One sink's pace.
#[derive(Debug)]
pub(crate) struct Backoff {
    wait_first: Duration,
    wait_max: Duration,
    hurry: Notify,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    failures: u32,
    until: Instant,
    round: u64,
}

/// Attempts of one round fail together: the pace slows once for all of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Round(u64);

impl Backoff {
    pub(crate) fn new(settings: &RetrySettings) -> Self {
        let state = State { failures: 0, until: Instant::now(), round: 0 };
        let (wait_first, wait_max) = (settings.wait_first, settings.wait_max);
        Self { wait_first, wait_max, hurry: Notify::new(), state: Mutex::new(state) }
    }

    /// Waits until the sink may be tried.
    pub(crate) async fn wait(&self) -> Round {
        loop {
            let (until, round) = {
                let state = self.lock();
                (state.until, state.round)
            };
            if until <= Instant::now() {
                return Round(round);
            }
            tokio::select! {
                () = tokio::time::sleep_until(until) => {}
                () = self.hurry.notified() => return Round(round),
            }
        }
    }

    /// Whether the last attempt failed.
    pub(crate) fn is_failing(&self) -> bool {
        self.lock().failures > 0
    }

    /// Lets those who wait now try at once.
    pub(crate) fn hurry(&self) {
        self.hurry.notify_waiters();
    }

    /// An attempt failed; returns how many rounds have failed in a row.
    pub(crate) fn failed(&self, round: Round) -> u32 {
        let mut state = self.lock();
        if state.round == round.0 {
            state.round += 1;
            state.until = Instant::now() + self.jitter(state.failures);
            state.failures = state.failures.saturating_add(1);
        }
        state.failures
    }

    /// An attempt succeeded.
    pub(crate) fn succeeded(&self) {
        let mut state = self.lock();
        if state.failures > 0 {
            state.failures = 0;
            state.round += 1;
            state.until = Instant::now();
        }
    }

    /// Full jitter: anything up to a bound that doubles with each failure.
    /// <https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>
    fn jitter(&self, failures: u32) -> Duration {
        let doubled = self.wait_first.saturating_mul(1 << failures.min(16));
        doubled.min(self.wait_max).mul_f64(rand::random::<f64>())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn workers_that_fail_together_slow_the_pace_once_and_a_success_ends_it() {
        let wait_max = Duration::from_millis(4);
        let wait_first = Duration::from_millis(1);
        let backoff =
            Backoff::new(&RetrySettings { wait_first, wait_max, ..RetrySettings::default() });
        for failures in 1..40 {
            let rounds = [backoff.wait().await, backoff.wait().await];
            assert_eq!(rounds.map(|round| backoff.failed(round)), [failures; 2]);
            assert!(backoff.lock().until <= Instant::now() + wait_max);
        }
        backoff.succeeded();
        assert!(backoff.lock().until <= Instant::now());
        let round = backoff.wait().await;
        assert_eq!(backoff.failed(round), 1);
    }
}
