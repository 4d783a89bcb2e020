//! When a connection that is gone is made again, and when that is worth a line in the log: for
//! those who ask others in the background for as long as the process runs. Connects nothing.

use std::time::Duration;

use tokio::time::Instant;

use crate::sink::drain::backoff::{Backoff, RetrySettings, Round};

/// How soon and how seldom what is gone is tried.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(2);
/// A connection that lasted so long was a good one: its end is the first failure of an outage.
const STEADY: Duration = Duration::from_secs(5);

/// The attempts of one who connects again and again.
pub(crate) struct Reconnect {
    backoff: Backoff,
}

/// One of them, from before it connects until the connection has ended.
pub(crate) struct Attempt {
    round: Round,
    begun: Instant,
}

impl Reconnect {
    pub(crate) fn new() -> Self {
        let waits = RetrySettings {
            wait_first: RETRY_FIRST,
            wait_max: RETRY_MAX,
            ..RetrySettings::default()
        };
        Self { backoff: Backoff::new(&waits) }
    }

    /// Waits until it is time to connect.
    pub(crate) async fn attempt(&self) -> Attempt {
        let round = self.backoff.wait().await;
        Attempt { round, begun: Instant::now() }
    }

    /// The attempt has ended; says whether that is the first failure of an outage. What follows
    /// is the same, and not worth telling.
    pub(crate) async fn has_failed_first(&self, attempt: Attempt) -> bool {
        let mut round = attempt.round;
        if attempt.begun.elapsed() >= STEADY {
            self.backoff.succeeded();
            round = self.backoff.wait().await;
        }
        self.backoff.failed(round) == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_outage_is_told_once_and_again_after_a_connection_that_lasted() {
        let reconnect = Reconnect::new();
        let mut told = Vec::new();
        for lasted in [Duration::ZERO, Duration::ZERO, STEADY, Duration::ZERO, STEADY] {
            let mut attempt = reconnect.attempt().await;
            attempt.begun -= lasted;
            told.push(reconnect.has_failed_first(attempt).await);
        }
        assert_eq!(told, [true, false, true, false, true]);
    }
}
