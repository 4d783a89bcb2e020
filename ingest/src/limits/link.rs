//! How a process stands with the shared count, and the queue of those who ask it for more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc;

use super::meter::Meter;

/// Meters that wait to be asked for; each at most once. Beyond, the next request asks again.
const ASKS_MAX: usize = 4_096;

/// What is done while the shared count can't be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WithoutRedis {
    /// Each process counts by itself.
    Local,
    /// Tenants that have limits are refused.
    Refuse,
}

/// How limits are counted now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// By this process; nothing is shared.
    Alone,
    /// Together with others.
    Shared,
    /// By this process, as the shared count can't be asked.
    Local,
    /// Not at all, as it can't be asked.
    Refuse,
}

impl Mode {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Alone => "alone",
            Self::Shared => "shared",
            Self::Local => "local",
            Self::Refuse => "refuse",
        }
    }
}

/// A process's side of the shared count.
#[derive(Debug)]
pub(super) struct Link {
    up: AtomicBool,
    without: WithoutRedis,
    asks: mpsc::Sender<Arc<Meter>>,
}

impl Link {
    /// One that is not up yet.
    pub(super) fn new(without: WithoutRedis) -> (Arc<Self>, mpsc::Receiver<Arc<Meter>>) {
        let (asks, receiver) = mpsc::channel(ASKS_MAX);
        let link = Self { up: AtomicBool::new(false), without, asks };
        (Arc::new(link), receiver)
    }

    pub(super) fn mode(&self) -> Mode {
        match (self.up.load(Ordering::Acquire), self.without) {
            (true, _) => Mode::Shared,
            (false, WithoutRedis::Local) => Mode::Local,
            (false, WithoutRedis::Refuse) => Mode::Refuse,
        }
    }

    /// Whether the shared count can be asked from now on.
    pub(super) fn set(&self, up: bool) {
        self.up.store(up, Ordering::Release);
    }

    /// Queues a meter; whether there was room.
    pub(super) fn ask(&self, meter: &Arc<Meter>) -> bool {
        self.asks.try_send(Arc::clone(meter)).is_ok()
    }
}
