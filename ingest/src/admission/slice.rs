//! What one process may give of a limit that several count together, and how much it asks for
//! ahead. Pure.

use std::time::Duration;

/// A slice is at most this part of a minute's limit: what a process holds is missing elsewhere.
const SLICES_PER_MINUTE: u64 = 200;
/// A slice is what the process needs in this time, if that is less: as long as the slices of all
/// processes together last at the whole limit's rate.
const AHEAD: Duration = Duration::from_millis(300);
/// What was needed in less time says nothing of a rate.
const MEASURED_MIN: Duration = Duration::from_millis(50);

/// How a process uses a shared limit. Its credit is what it was lent and has not given; below
/// zero it owes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    units_max: i64,
    burst: i64,
}

impl Slice {
    /// The slice of a limit.
    pub fn new(per_minute: u64, burst: u64) -> Self {
        let signed = |units: u64| i64::try_from(units).unwrap_or(i64::MAX / 4);
        let units_max = signed((per_minute / SLICES_PER_MINUTE).max(1));
        Self { units_max, burst: signed(burst.max(1)) }
    }

    /// Whether one more may be given. While the shared count is `open`, as its last answer said,
    /// a burst is given on trust and charged then: nobody waits for the count, and a process that
    /// was idle holds nothing of the limit.
    pub fn allows(&self, credit: i64, open: bool) -> bool {
        self.remaining(credit, open) > 0
    }

    /// Units that may be given now.
    pub fn remaining(&self, credit: i64, open: bool) -> u64 {
        let credit = credit.saturating_add(if open { self.burst } else { 0 });
        u64::try_from(credit).unwrap_or(0)
    }

    /// How many units to hold, where so many were `needed` in the last `elapsed`.
    pub fn ahead(&self, needed: i64, elapsed: Duration) -> i64 {
        let rate = needed.max(0) as f64 / elapsed.max(MEASURED_MIN).as_secs_f64();
        ((rate * AHEAD.as_secs_f64()) as i64).min(self.units_max)
    }

    /// Units to ask for, if it is time to: what is owed, and more to hold `ahead`. Who is given
    /// nothing on trust holds one at least, or would never ask.
    pub fn wanted(&self, credit: i64, ahead: i64, open: bool) -> Option<u64> {
        let ahead = if open { ahead } else { ahead.max(1) };
        if credit > ahead / 2 {
            return None;
        }
        u64::try_from(ahead.saturating_sub(credit)).ok().filter(|units| *units > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_lasts_a_moment_and_is_a_two_hundredth_of_a_minute_at_most() {
        let cases = [
            (6_000, 100, 1_000, 30),
            (6_000, 10_000, 1, 30),
            (6_000, 33, 1_000, 9),
            (6_000, 1, 33, 6),
            (6_000, 1, 1_000, 0),
            (300, 100, 1_000, 1),
            (1_000_000, 1_000_000, 1_000, 5_000),
        ];
        for (per_minute, given, ms, ahead) in cases {
            let slice = Slice::new(per_minute, 1);
            let found = slice.ahead(given, Duration::from_millis(ms));
            assert_eq!(found, ahead, "{given} of {per_minute} in {ms} ms");
        }
    }

    #[test]
    fn more_is_asked_for_when_half_is_given_and_a_debt_with_it() {
        let slice = Slice::new(6_000, 60);
        let cases = [
            (30, 30, true, None),
            (16, 30, true, None),
            (15, 30, true, Some(15)),
            (-70, 30, false, Some(100)),
            (0, 0, true, None),
            (-1, 0, true, Some(1)),
            (0, 0, false, Some(1)),
            (1, 0, false, None),
        ];
        for (credit, ahead, open, wanted) in cases {
            assert_eq!(slice.wanted(credit, ahead, open), wanted, "{credit} {ahead} {open}");
        }
    }

    #[test]
    fn a_burst_is_given_on_trust_only_while_the_count_is_open() {
        let slice = Slice::new(6_000, 60);
        for (credit, open, remaining) in
            [(1, false, 1), (0, false, 0), (0, true, 60), (-59, true, 1), (-60, true, 0)]
        {
            assert_eq!(slice.remaining(credit, open), remaining, "{credit} {open}");
            assert_eq!(slice.allows(credit, open), remaining > 0, "{credit} {open}");
        }
    }
}
