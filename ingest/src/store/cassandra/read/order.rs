//! The order in which the database keeps the rows of a partition, and the part of it that a
//! query asks for. Rows of several partitions are merged by it, so it must be the same.

use std::time::Duration;

use uuid::Uuid;

use crate::pulse::EVENT_TIME_AHEAD_MS_MAX;
use crate::store::{Position, PulseQuery};

/// How far clocks of ingests, database and clients may differ, in milliseconds.
const SLACK_MS: i64 = 3_600_000;

/// A row's place: its event time, then its id as the database orders ids, which is by version
/// first, and those of version 1 by their time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    event_time_ms: i64,
    id_rank: u128,
}

impl Place {
    pub(super) fn new(event_time_ms: i64, id: Uuid) -> Self {
        Self { event_time_ms, id_rank: rank(id) }
    }

    pub(super) fn of(position: Position) -> Self {
        Self::new(position.event_time_ms, position.id)
    }
}

/// The id's bits so that numbers compare as the database compares ids: the version before all
/// else; in version 1 the time from its highest bits.
pub(super) fn rank(id: Uuid) -> u128 {
    let (high, low) = id.as_u64_pair();
    let version = (high >> 12) & 15;
    let rest = if version == 1 {
        (high & 0xFFF) << 48 | ((high >> 16) & 0xFFFF) << 32 | high >> 32
    } else {
        (high >> 16) << 12 | high & 0xFFF
    };
    u128::from(version << 60 | rest) << 64 | u128::from(low)
}

/// Rows from an event time on, up to and without a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) from_ms: i64,
    pub(super) until: Position,
}

impl Range {
    /// Rows before an event time.
    pub(super) fn new(from_ms: i64, to_ms: i64) -> Self {
        Self { from_ms, until: first_of(to_ms) }
    }

    /// What a query asks for of what there can be; `None`: nothing.
    pub(super) fn of(query: &PulseQuery, kept: Kept) -> Option<Self> {
        let asked = Self::new(query.from_ms, query.to_ms);
        let asked = asked.and(Self::new(kept.from_ms, kept.to_ms));
        let range = match query.after {
            Some(after) => asked.and(Self { until: after, ..asked }),
            None => asked,
        };
        (!range.is_empty() && query.limit > 0).then_some(range)
    }

    /// What is in both.
    pub(super) fn and(self, other: Self) -> Self {
        let first = Place::of(self.until) <= Place::of(other.until);
        Self {
            from_ms: self.from_ms.max(other.from_ms),
            until: if first { self.until } else { other.until },
        }
    }

    pub(super) fn is_empty(self) -> bool {
        Place::of(self.until) <= Place::of(first_of(self.from_ms))
    }
}

/// Before all rows of an event time: no id is below this one.
fn first_of(event_time_ms: i64) -> Position {
    Position { event_time_ms, id: Uuid::nil() }
}

/// The times in which there can be rows: all that is accepted is at most a retention old then,
/// and kept for a retention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kept {
    /// The oldest event time, in milliseconds since 1970.
    pub(super) from_ms: i64,
    /// Behind the newest event time.
    pub(super) to_ms: i64,
    /// The oldest time of receipt.
    pub(super) received_from_ms: i64,
}

impl Kept {
    pub(super) fn at(now_us: i64, retention: Duration) -> Self {
        let now_ms = now_us.div_euclid(1000);
        let retention_ms = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
        let received_from_ms = now_ms.saturating_sub(retention_ms).saturating_sub(SLACK_MS);
        Self {
            from_ms: received_from_ms.saturating_sub(retention_ms),
            to_ms: now_ms.saturating_add(EVENT_TIME_AHEAD_MS_MAX).saturating_add(SLACK_MS),
            received_from_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_700_000_000_000;

    fn query(from_ms: i64, to_ms: i64, after: Option<Position>) -> PulseQuery {
        let (tenant, service) = ("t".to_owned(), "s".to_owned());
        PulseQuery { tenant, service, from_ms, to_ms, limit: 1, after }
    }

    #[test]
    fn any_range_is_cut_to_what_there_can_be() {
        let kept = Kept::at(NOW_MS * 1000, Duration::from_secs(3600));
        let of = |from, to, after| Range::of(&query(from, to, after), kept);
        let all = Range::new(NOW_MS - 3 * 3_600_000, NOW_MS + 4_200_000);
        assert_eq!(of(i64::MIN, i64::MAX, None), Some(all));
        assert_eq!(of(i64::MIN, i64::MIN, None), None);
        assert_eq!(of(i64::MAX, i64::MAX, None), None);
        assert_eq!(of(NOW_MS, NOW_MS, None), None);
        assert_eq!(of(NOW_MS, NOW_MS - 1, None), None);
        assert_eq!(of(NOW_MS, NOW_MS + 1, None), Some(Range::new(NOW_MS, NOW_MS + 1)));
        let after = |event_time_ms, id| Position { event_time_ms, id: Uuid::from_u128(id) };
        let at_start = after(NOW_MS, 1);
        let expected = Range { from_ms: NOW_MS, until: at_start };
        assert_eq!(of(NOW_MS, NOW_MS + 1, Some(at_start)), Some(expected));
        assert_eq!(of(NOW_MS, NOW_MS + 1, Some(after(NOW_MS, 0))), None);
        assert_eq!(of(NOW_MS, NOW_MS + 1, Some(after(i64::MIN, 0))), None);
        let beyond = of(NOW_MS, NOW_MS + 1, Some(after(i64::MAX, u128::MAX)));
        assert_eq!(beyond, Some(Range::new(NOW_MS, NOW_MS + 1)));
    }

    #[test]
    fn no_retention_and_no_clock_overflow() {
        for now_us in [i64::MIN, -1, 0, i64::MAX] {
            for retention in [Duration::ZERO, Duration::MAX] {
                let kept = Kept::at(now_us, retention);
                assert!(kept.from_ms <= kept.received_from_ms && kept.from_ms <= kept.to_ms);
            }
        }
    }

    #[test]
    fn ids_are_ordered_by_version_then_as_bytes() {
        let id = |text: &str| text.parse::<Uuid>().expect("an id");
        let ordered = [
            Uuid::nil(),
            id("00000000-0000-0000-0000-000000000001"),
            id("ffffffff-0000-1000-8000-000000000000"),
            id("00000000-0001-1000-8000-000000000000"),
            id("00000000-0000-1001-8000-000000000000"),
            id("00000000-0000-1001-8000-000000000001"),
            id("00000000-0000-4000-8000-000000000000"),
            id("00000000-0000-4000-ffff-000000000000"),
            id("00000000-0001-4000-8000-000000000000"),
            id("ffffffff-ffff-4fff-bfff-ffffffffffff"),
            id("00000000-0000-7000-8000-000000000000"),
            Uuid::max(),
        ];
        assert!(ordered.is_sorted_by_key(|id| rank(*id)));
        assert!(ordered.windows(2).all(|pair| rank(pair[0]) != rank(pair[1])));
    }
}
