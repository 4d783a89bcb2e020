//! Ids and keys that several processes know together, so that a repeat is recognised by whichever
//! of them it reaches. Beside the reservations of each process, which are asked first and know
//! nothing of this; it knows neither HTTP nor how a pulse is logged.
//!
//! **Life of a key.** A process *takes* it before it logs (with what the first acceptance fixes:
//! id, times, shard, a fingerprint of the body), *commits* it once the log has synced, and *gives
//! it back* when it could not log. What is taken and not committed is its holder's for
//! [`LEASE`]; then, or as soon as the holder is back and has told what it logged, another may take
//! it over. It logs what the first had fixed, so that where both have logged it is one row.
//!
//! **Questions** of all requests go to one task, which puts those that wait into one round trip.
//! **A failure** of what is shared never loses an acceptance: what could not be told waits,
//! bounded, and is told before anything is asked again.

mod cassandra;
mod claims;
mod entry;
mod group;
mod late;
mod link;
pub mod metrics;
mod redis;
mod script;
#[cfg(test)]
mod tests;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use crate::limits::RedisSettings;
use crate::store::cassandra::SharedLink;

pub(crate) use claims::Claimed;
pub(crate) use entry::{Namer, Question, Verdict};
pub(crate) use late::Settled;
pub(crate) use link::{Link, LinkSettings};
pub(crate) use worker::Worker;

/// How long a key that was taken and not committed is its holder's: longer than any sync of a
/// sound disk and than a process takes to be started again, short enough for a client to wait.
pub(crate) const LEASE: Duration = Duration::from_secs(30);

/// Who knows which ids and keys were used.
#[derive(Debug, Clone, Default)]
pub enum Shared {
    /// This process alone.
    #[default]
    Local,
    /// All that share a Redis.
    Redis(RedisSettings, OnFailure),
    /// All that share the database of a store in Cassandra or Scylla.
    Cassandra(SharedLink, OnFailure),
}

/// What is done with ids and keys while others can't be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// Pulses that have one are refused; others are accepted.
    Refuse,
    /// They are accepted, and only this process's repeats are known.
    Local,
}

/// How ids and keys are known now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// By this process; nothing is shared.
    Alone,
    /// Together with others.
    Shared,
    /// By this process, as others can't be asked.
    Local,
    /// Not at all, as others can't be asked.
    Refuse,
}

impl Mode {
    pub(crate) const ALL: [Self; 4] = [Self::Alone, Self::Shared, Self::Local, Self::Refuse];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Alone => "alone",
            Self::Shared => "shared",
            Self::Local => "local",
            Self::Refuse => "refuse",
        }
    }
}

impl Shared {
    /// What is done while others can't be asked; `None` where nothing is shared.
    pub(crate) fn on_failure(&self) -> Option<OnFailure> {
        match self {
            Self::Local => None,
            Self::Redis(_, on_failure) | Self::Cassandra(_, on_failure) => Some(*on_failure),
        }
    }
}

/// Starts sharing; `None` where nothing is to be shared.
pub(crate) fn start(shared: Shared, settings: LinkSettings) -> Option<(Arc<Link>, Worker)> {
    let (backend, on_failure) = match shared {
        Shared::Local => {
            settings.metrics.set_mode(Mode::Alone);
            return None;
        }
        Shared::Redis(redis, on_failure) => (worker::Backend::Redis(redis), on_failure),
        Shared::Cassandra(link, on_failure) => (worker::Backend::Cassandra(link), on_failure),
    };
    let (link, asks) = Link::new(on_failure, settings);
    let link = Arc::new(link);
    Some((Arc::clone(&link), Worker::new(link, asks, backend)))
}
