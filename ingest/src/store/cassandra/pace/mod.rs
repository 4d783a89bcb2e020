//! How many requests may be in flight: found by measuring, so that the database works at its
//! knee, and cut at once when it says that it is overloaded. Knows nothing of requests but
//! their number, time and outcome; [`knee`] decides, here is who waits.

mod knee;
#[cfg(test)]
mod simulation_tests;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::metrics::CassandraMetrics;

use self::knee::{End, Knee};

/// How a request went, for the pace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was answered.
    Done,
    /// It timed out or was refused for load.
    Overloaded,
    /// It failed for a reason that says nothing about load.
    Failed,
}

/// The pace of all requests of one session. Cloning shares it.
#[derive(Debug, Clone)]
pub(crate) struct Pace {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Fair: who came first goes first. A permit is taken out of it for as long as its request
    /// is in flight, so that the limit can fall below what is in flight.
    permits: Semaphore,
    state: Mutex<State>,
    metrics: CassandraMetrics,
    start: Instant,
}

#[derive(Debug)]
struct State {
    knee: Knee,
    /// Permits that are free, given to who waits, or in flight.
    granted: usize,
}

/// Leave to send one request. Dropped without [`Leave::ended`], the request has failed.
#[derive(Debug)]
pub(crate) struct Leave {
    shared: Option<Arc<Shared>>,
}

impl Pace {
    /// A pace of at most `limit_max` requests.
    pub(crate) fn new(limit_max: usize, metrics: &CassandraMetrics) -> Self {
        let knee = Knee::new(limit_max);
        let granted = knee.limit();
        let metrics = metrics.clone();
        metrics.limit.set(granted as i64);
        let permits = Semaphore::new(granted);
        let state = Mutex::new(State { knee, granted });
        Self { shared: Arc::new(Shared { permits, state, metrics, start: Instant::now() }) }
    }

    /// Waits until a request may be sent. Who gives up waiting takes nothing along.
    pub(crate) async fn leave(&self) -> Leave {
        // Never closed.
        if let Ok(permit) = self.shared.permits.acquire().await {
            permit.forget();
        }
        self.shared.metrics.in_flight.inc();
        Leave { shared: Some(Arc::clone(&self.shared)) }
    }

    /// How many may be in flight now.
    #[cfg(test)]
    pub(crate) fn limit(&self) -> usize {
        self.shared.state().knee.limit()
    }
}

impl Leave {
    /// The request has ended, after `took`, having carried `rows`.
    pub(crate) fn ended(mut self, outcome: Outcome, took: Duration, rows: usize) {
        if let Some(shared) = self.shared.take() {
            shared.ended(outcome, took, rows);
        }
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.take() {
            shared.ended(Outcome::Failed, Duration::ZERO, 0);
        }
    }
}

impl Shared {
    fn ended(&self, outcome: Outcome, took: Duration, rows: usize) {
        let now = self.start.elapsed();
        // Where somebody waits, a permit that comes back is his and never free.
        let full = self.permits.available_permits() == 0;
        self.metrics.in_flight.dec();
        let mut state = self.state();
        state.knee.ended(End { outcome, took, rows, full }, now);
        let limit = state.knee.limit();
        // This request's own permit is not free yet.
        if state.granted > limit {
            state.granted -= 1;
            state.granted -= self.permits.forget_permits(state.granted.saturating_sub(limit));
        } else {
            self.permits.add_permits(1 + limit - state.granted);
            state.granted = limit;
        }
        self.metrics.limit.set(limit as i64);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
