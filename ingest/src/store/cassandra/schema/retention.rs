//! What follows from how long rows are kept: time windows, times to live and how long traces of
//! what was deleted stay. Pure.

use std::fmt;
use std::time::Duration;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// The longest time to live that the databases take: 20 years. Cassandra 5 also refuses a row
/// that would expire after 2038-01-19, unless its storage is set to be its own alone: that is
/// for who binds a row's time to live.
const LIVE_SECONDS_MAX: u64 = 20 * 365 * DAY;
/// Fewest windows in a retention: what is on disk after its time is at most one window, a 20th.
/// With the sizes below there are at most 40; Scylla refuses more than 50.
const WINDOWS_MIN: u64 = 20;
/// Sizes below a day, in minutes; each is at most twice the one before.
const MINUTES: [u64; 8] = [1, 2, 3, 5, 10, 15, 20, 30];
/// Sizes below a day, in hours; each is at most twice the one before.
const HOURS: [u64; 7] = [1, 2, 3, 4, 6, 8, 12];

/// Rows written to a bucket's list may still be asked for after twice the retention and so long:
/// the bucket itself, and an hour for clocks that differ.
const BUCKETS_MORE: u64 = HOUR + 10 * MINUTE;

/// Least time that traces of what was deleted stay, in seconds: a hint for a node that was gone
/// is kept for three hours, and is thrown away sooner when this is shorter.
pub(super) const TRACES_MIN: u64 = 3 * HOUR;
/// Most time: the databases' own default, which leaves room for a weekly repair.
const TRACES_MAX: u64 = 10 * DAY;

/// How long rows are kept, in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Retention {
    seconds: u64,
}

/// One time window of `TimeWindowCompactionStrategy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    size: u64,
    unit: &'static str,
    unit_seconds: u64,
}

impl Retention {
    /// From the settings; more than 20 years is taken as 20 years.
    pub(super) fn new(retention: Duration) -> Self {
        Self { seconds: retention.as_secs().clamp(1, LIVE_SECONDS_MAX) }
    }

    /// As the schema's own table has it.
    pub(super) fn from_seconds(seconds: i64) -> Self {
        Self::new(Duration::from_secs(u64::try_from(seconds).unwrap_or_default()))
    }

    /// In seconds.
    pub(super) fn seconds(self) -> i64 {
        self.seconds as i64
    }

    /// Time to live of lists of buckets, in seconds.
    pub(super) fn buckets_seconds(self) -> u64 {
        (2 * self.seconds + BUCKETS_MORE).min(LIVE_SECONDS_MAX)
    }

    /// The largest window of which 20 and more fit.
    pub(super) fn window(self) -> Window {
        let most = self.seconds / WINDOWS_MIN;
        let minutes = MINUTES.map(|size| Window { size, unit: "MINUTES", unit_seconds: MINUTE });
        let hours = HOURS.map(|size| Window { size, unit: "HOURS", unit_seconds: HOUR });
        let days = Window { size: (most / DAY).max(1), unit: "DAYS", unit_seconds: DAY };
        let mut sizes = minutes.into_iter().chain(hours).chain([days]).rev();
        sizes.find(|window| window.seconds() <= most).unwrap_or(minutes[0])
    }

    /// How long traces of what was deleted stay, in seconds. Rows are only ever deleted by
    /// partition, when somebody's data is erased; a node that missed that and is not repaired
    /// within this time brings them back until they expire. Expired rows stay on disk for as
    /// long, which is why it is a seventh of the retention: a day for seven days.
    pub(super) fn traces_seconds(self) -> u64 {
        (self.seconds / 7).clamp(TRACES_MIN, TRACES_MAX)
    }
}

impl Window {
    fn seconds(self) -> u64 {
        self.size * self.unit_seconds
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{{'class': 'TimeWindowCompactionStrategy', 'compaction_window_unit': '{}', \
             'compaction_window_size': '{}'}}",
            self.unit, self.size
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_a_whole_number_of_minutes_hours_or_days() {
        let check = |retention: u64, size: u64, unit: &str| {
            let window = Retention { seconds: retention }.window();
            assert_eq!((window.size, window.unit), (size, unit), "of {retention} s");
        };
        check(1, 1, "MINUTES");
        check(HOUR, 3, "MINUTES");
        check(5 * HOUR, 15, "MINUTES");
        check(DAY, 1, "HOURS");
        check(7 * DAY, 8, "HOURS");
        check(30 * DAY, 1, "DAYS");
        check(90 * DAY, 4, "DAYS");
        check(365 * DAY, 18, "DAYS");
        check(3650 * DAY, 182, "DAYS");
    }

    #[test]
    fn a_retention_has_twenty_to_forty_windows() {
        for minutes in (60..3650 * 24 * 60).step_by(17).chain([3650 * 24 * 60]) {
            let retention = Retention::new(Duration::from_secs(minutes * MINUTE));
            let windows = retention.seconds as f64 / retention.window().seconds() as f64;
            assert!((20.0..=40.0).contains(&windows), "{windows} windows in {minutes} min");
        }
    }

    #[test]
    fn times_stay_within_what_databases_take() {
        let check = |days: u64, buckets: u64, traces: u64| {
            let retention = Retention::new(Duration::from_secs(days * DAY));
            let found = (retention.buckets_seconds(), retention.traces_seconds());
            assert_eq!(found, (buckets, traces), "of {days} days");
        };
        check(0, 2 + BUCKETS_MORE, TRACES_MIN);
        check(7, 14 * DAY + BUCKETS_MORE, DAY);
        check(365, 730 * DAY + BUCKETS_MORE, TRACES_MAX);
        check(3650, LIVE_SECONDS_MAX, TRACES_MAX);
        check(100_000, LIVE_SECONDS_MAX, TRACES_MAX);
        assert_eq!(Retention::from_seconds(-1).seconds(), 1);
    }
}
