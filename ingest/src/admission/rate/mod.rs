//! Units a minute with a burst, counted by the generic cell rate algorithm (GCRA): one number
//! holds the state, the time is an argument, and nothing is kept of what was refused. Pure.

use std::time::Duration;

/// Time is counted in 64ths of a nanosecond: at a million units a minute rounding costs less than
/// one of them, and a number of 64 bits lasts for nine years of one process.
const TICKS_PER_NS: u64 = 64;
const MINUTE_TICKS: u64 = 60_000_000_000 * TICKS_PER_NS;
/// Longest debt: as long as an answer may ask a client to stay away.
const DEBT_TICKS_MAX: u64 = 60 * MINUTE_TICKS;
/// Of a limit that names no burst: a hundredth of it, so that no minute has more than a hundredth
/// above the limit, and enough for a client that has just started.
const BURST_MIN: u64 = 10;
/// Of a limit that is divided: with one unit at once, constant demand would not get all of it.
const BURST_PART_MIN: u64 = 2;

/// A moment, counted from any fixed one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticks(pub u64);

impl Ticks {
    /// So many seconds after the moment that is counted from.
    pub const fn of_seconds(seconds: u64) -> Self {
        Self(seconds * 1_000_000_000 * TICKS_PER_NS)
    }

    /// The moment `elapsed` after the one that is counted from.
    pub fn after(elapsed: Duration) -> Self {
        let ticks = elapsed.as_nanos().saturating_mul(u128::from(TICKS_PER_NS));
        Self(u64::try_from(ticks).unwrap_or(u64::MAX))
    }

    /// How long it is until `later`.
    pub fn until(self, later: Self) -> Duration {
        Duration::from_nanos(later.0.saturating_sub(self.0).div_ceil(TICKS_PER_NS))
    }
}

/// The burst of a limit that names none.
pub fn burst_of(per_minute: u64) -> u64 {
    (per_minute / 100).max(BURST_MIN).min(per_minute)
}

/// A limit: `per_minute` units in steady use, and `burst` at once after a pause. In any minute at
/// most `per_minute + burst` are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    per_minute: u64,
    /// Time that one unit takes.
    interval: u64,
    /// Time that may be used ahead: that of the burst.
    tolerance: u64,
}

impl Rate {
    /// A limit, or this process's part of one that is divided; `None` where there is none
    /// (`per_minute` 0). A burst of one unit is met by nothing but even spacing.
    pub fn new(per_minute: u64, burst: u64, divide_by: u64) -> Option<Self> {
        if per_minute == 0 {
            return None;
        }
        let parts = divide_by.max(1);
        // Rounded down: a client that sends at exactly the limit must not be refused.
        let interval = (MINUTE_TICKS.saturating_mul(parts) / per_minute).max(1);
        let burst = (burst / parts).max(burst.clamp(1, BURST_PART_MIN));
        let tolerance = burst.saturating_mul(interval);
        Some(Self { per_minute, interval, tolerance })
    }

    /// The whole limit.
    pub fn per_minute(&self) -> u64 {
        self.per_minute
    }

    /// Most units that are ever owed.
    pub fn debt_max(&self) -> u64 {
        DEBT_TICKS_MAX / self.interval
    }

    /// Takes one unit.
    ///
    /// # Errors
    /// When to come back, if there is none.
    pub fn take(&self, state: Paid, now: Ticks) -> Result<Paid, Ticks> {
        let paid = self.bounded(state, now).saturating_add(self.interval);
        let allowed = now.0.saturating_add(self.tolerance);
        if paid > allowed {
            return Err(Ticks(now.0.saturating_add(paid - allowed)));
        }
        Ok(Paid(paid))
    }

    /// Charges units that were used already, as a debt where there are not so many; one that
    /// would last for more than an hour is cut there.
    pub fn charge(&self, state: Paid, now: Ticks, units: u64) -> Paid {
        let paid = self.bounded(state, now);
        let paid = paid.saturating_add(self.interval.saturating_mul(units));
        Paid(paid.min(self.latest(now)))
    }

    /// Units that could be taken now.
    pub fn remaining(&self, state: Paid, now: Ticks) -> u64 {
        let used = self.bounded(state, now) - now.0;
        self.tolerance.saturating_sub(used) / self.interval
    }

    /// When the whole burst is there again.
    pub fn restored(&self, state: Paid, now: Ticks) -> Ticks {
        Ticks(self.bounded(state, now))
    }

    /// What was used before the present is paid; a clock that went back can't make a state last
    /// for ever.
    fn bounded(&self, state: Paid, now: Ticks) -> u64 {
        state.0.max(now.0).min(self.latest(now))
    }

    fn latest(&self, now: Ticks) -> u64 {
        now.0.saturating_add(self.tolerance).saturating_add(DEBT_TICKS_MAX)
    }
}

/// Until when all that was taken is paid for: the whole state of a limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Paid(pub u64);

#[cfg(test)]
mod tests;
