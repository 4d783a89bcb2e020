//! How long rows live, as the database takes it. Pure.

use std::time::Duration;

/// Longest time to live that the database takes, in seconds: 20 years.
pub(super) const TTL_S_MAX: i64 = 20 * 365 * 24 * 3600;
/// The last second at which a row may end unless Cassandra was told otherwise: it kept such times
/// in 31 bits until version 5, and still does so while it may have to be set back to 4
/// (CASSANDRA-14227, `storage_compatibility_mode`). A day before, because clocks differ.
const LAST_END_S: i64 = i32::MAX as i64 - 2 * 24 * 3600;

/// A time to live, cut to what the database takes of a row written at `now_us`, in microseconds
/// since 1970: a row that goes some years early is better than one that is refused.
pub(super) fn capped(ttl_s: i64, now_us: i64) -> i32 {
    let until_last = LAST_END_S - now_us.div_euclid(1_000_000);
    // Beyond that day every server has to know better.
    let most = if until_last > 0 { until_last.min(TTL_S_MAX) } else { TTL_S_MAX };
    ttl_s.clamp(1, most) as i32
}

/// The same of a span of time, rounded up to seconds.
pub(super) fn capped_span(span: Duration, now_us: i64) -> i32 {
    let seconds = span.as_secs().saturating_add(u64::from(span.subsec_nanos() > 0));
    capped(i64::try_from(seconds).unwrap_or(TTL_S_MAX), now_us)
}

#[cfg(test)]
mod tests {
    use super::*;

    const YEAR_S: i64 = 365 * 24 * 3600;

    #[test]
    fn a_life_ends_within_what_the_database_can_say() {
        let now_s = 1_790_000_000;
        for (ttl_s, now_s, expected) in [
            (60, now_s, 60),
            (0, now_s, 1),
            (10 * YEAR_S, now_s, 10 * YEAR_S),
            (20 * YEAR_S, now_s, LAST_END_S - now_s),
            (20 * YEAR_S, LAST_END_S - 1, 1),
            (21 * YEAR_S, LAST_END_S, TTL_S_MAX),
        ] {
            assert_eq!(i64::from(capped(ttl_s, now_s * 1_000_000)), expected, "{ttl_s} {now_s}");
        }
        assert_eq!(capped_span(Duration::from_millis(1_001), now_s * 1_000_000), 2);
    }
}
