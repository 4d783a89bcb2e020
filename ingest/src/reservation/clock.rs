//! The age of reservations: a time that only runs forward, whatever is done to the wall clock.

use std::fmt::Debug;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The two clocks of a machine.
pub trait Clock: Send + Sync + Debug + 'static {
    /// Microseconds since 1970 in UTC; may jump either way.
    fn wall_us(&self) -> i64;
    /// Time since some moment of this process; never runs backwards.
    fn monotonic(&self) -> Duration;
}

/// The operating system's clocks.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    started: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { started: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn wall_us(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }
}

/// A moment as files keep it: the age time, and the wall clock beside it, from which the next
/// process learns how long none ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stamp {
    pub(super) age_us: i64,
    pub(super) wall_us: i64,
}

/// Age time: within a process the monotonic clock, across processes carried on from the newest
/// stamp. A wall clock that was set back makes keys live longer, never shorter.
#[derive(Debug)]
pub(super) struct AgeClock {
    clock: std::sync::Arc<dyn Clock>,
    base_us: i64,
    started: Duration,
}

impl AgeClock {
    /// Carries on from `newest`, the stamp with the highest age time that was found.
    pub(super) fn new(clock: std::sync::Arc<dyn Clock>, newest: Option<Stamp>) -> Self {
        let wall_us = clock.wall_us();
        // One more, so that of two processes' stamps the later one's is always the newest.
        let base_us = newest.map_or(wall_us, |stamp| {
            stamp.age_us.saturating_add(wall_us.saturating_sub(stamp.wall_us).max(0) + 1)
        });
        let started = clock.monotonic();
        Self { clock, base_us, started }
    }

    pub(super) fn now(&self) -> Stamp {
        let since = self.clock.monotonic().saturating_sub(self.started);
        Stamp { age_us: self.base_us.saturating_add(micros(since)), wall_us: self.clock.wall_us() }
    }
}

/// Added to the window: each start puts the age time forward by a microsecond, and clocks are
/// read a little before or after what they stand for.
const SLACK_US: i64 = 1_000_000;

/// The age time of the oldest key that still counts.
pub(super) fn oldest_us(now_us: i64, window_us: i64) -> i64 {
    now_us.saturating_sub(window_us).saturating_sub(SLACK_US)
}

pub(super) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
