//! Counts: the sums of a tenant's hours, added up by minute and kind.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::{StreamExt, TryStreamExt, stream};
use scylla::response::PagingState;
use scylla::value::CqlTimestamp;

use crate::store::cassandra::live::Live;
use crate::store::{COUNTS_MAX, Count, CountQuery};

use super::order::Kept;
use super::series::{not_understood, page};
use super::source::ReadError;

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 3_600_000;
/// Hours that are read at once.
const HOURS_MAX: usize = 8;
/// Sums read at once: with the longest kinds 600 KiB.
const SUMS_PAGE: usize = 2_000;

/// Minutes that are counted, in milliseconds since 1970; both begin a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Minutes {
    from_ms: i64,
    to_ms: i64,
}

impl Minutes {
    /// What a query asks for of what there can be.
    fn of(query: &CountQuery, kept: Kept) -> Self {
        let minute = |time_ms: i64| time_ms.div_euclid(MINUTE_MS).saturating_mul(MINUTE_MS);
        let to_ms = query.to_ms.min(kept.to_ms);
        let up_ms = if minute(to_ms) < to_ms { minute(to_ms) + MINUTE_MS } else { to_ms };
        Self { from_ms: minute(query.from_ms.max(kept.from_ms)), to_ms: up_ms }
    }

    /// The hours that they lie in, oldest first.
    fn hours(self) -> impl Iterator<Item = i64> {
        let first = self.from_ms.div_euclid(HOUR_MS);
        let end = (self.to_ms - 1).div_euclid(HOUR_MS).saturating_add(1);
        (first..end.max(first)).map(|hour| hour * HOUR_MS)
    }
}

/// Adds up a tenant's counts.
#[derive(Debug)]
pub(super) struct Counter<'q> {
    pub(super) live: &'q Arc<Live>,
    pub(super) tenant: &'q str,
}

impl Counter<'_> {
    /// Counts by minute, then kind.
    pub(super) async fn counts(
        &self,
        query: &CountQuery,
        kept: Kept,
    ) -> Result<Vec<Count>, ReadError> {
        let minutes = Minutes::of(query, kept);
        if minutes.from_ms >= minutes.to_ms {
            return Ok(Vec::new());
        }
        // Of all hours together: those that are read at once must not each become as many.
        let total = AtomicUsize::new(0);
        let hours = minutes.hours().map(|hour_ms| self.hour(hour_ms, minutes, &total));
        stream::iter(hours)
            .buffered(HOURS_MAX)
            .try_fold(Vec::new(), async |mut counts, hour| {
                let count = |((minute_ms, kind), pulses)| Count { minute_ms, kind, pulses };
                counts.extend(hour.into_iter().map(count));
                Ok(counts)
            })
            .await
    }

    /// An hour's sums over all logs and their parts.
    async fn hour(
        &self,
        hour_ms: i64,
        minutes: Minutes,
        total: &AtomicUsize,
    ) -> Result<BTreeMap<(i64, String), u64>, ReadError> {
        let statement = (&self.live.statements.select_counts, SUMS_PAGE);
        let (from, to) = (CqlTimestamp(minutes.from_ms), CqlTimestamp(minutes.to_ms));
        let values = (self.tenant, CqlTimestamp(hour_ms), from, to);
        let (mut sums, mut next) = (BTreeMap::new(), Some(PagingState::start()));
        while let Some(from) = next {
            let (result, rest) = page(&self.live.session, statement, values, from).await?;
            for row in result.rows::<(CqlTimestamp, &str, i64)>().map_err(not_understood)? {
                let (CqlTimestamp(minute_ms), kind, pulses) = row.map_err(not_understood)?;
                let pulses = u64::try_from(pulses).unwrap_or(0);
                add(&mut sums, (minute_ms, kind.to_owned()), pulses, total)?;
            }
            next = rest;
        }
        Ok(sums)
    }
}

fn add(
    sums: &mut BTreeMap<(i64, String), u64>,
    key: (i64, String),
    pulses: u64,
    total: &AtomicUsize,
) -> Result<(), ReadError> {
    let known = sums.len();
    let sum = sums.entry(key).or_default();
    *sum = sum.saturating_add(pulses);
    if sums.len() > known && total.fetch_add(1, Ordering::Relaxed) >= COUNTS_MAX {
        return Err(ReadError::TooManyCounts);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOON_MS: i64 = 1_700_049_600_000;

    #[test]
    fn ranges_are_widened_to_minutes_and_cut_to_what_there_can_be() {
        let kept = Kept::at(NOON_MS * 1000, Duration::from_secs(3600));
        let check = |from_ms, to_ms, expected: (i64, i64), hours: &[i64]| {
            let query = CountQuery { tenant: "t".into(), from_ms, to_ms };
            let minutes = Minutes::of(&query, kept);
            let found = (minutes.from_ms - NOON_MS, minutes.to_ms - NOON_MS);
            assert_eq!(found, expected, "{from_ms} {to_ms}");
            let hour = |hour_ms: i64| (hour_ms - NOON_MS) / HOUR_MS;
            assert_eq!(minutes.hours().map(hour).collect::<Vec<_>>(), hours);
        };
        check(NOON_MS, NOON_MS + 1, (0, MINUTE_MS), &[0]);
        check(NOON_MS + 59_999, NOON_MS + 60_000, (0, MINUTE_MS), &[0]);
        check(NOON_MS - 1, NOON_MS, (-MINUTE_MS, 0), &[-1]);
        check(NOON_MS - 1, NOON_MS + HOUR_MS, (-MINUTE_MS, HOUR_MS), &[-1, 0]);
        let ends = (-3 * HOUR_MS, 70 * MINUTE_MS);
        check(i64::MIN, i64::MAX, ends, &[-3, -2, -1, 0, 1]);
        check(NOON_MS, NOON_MS - HOUR_MS, (0, -HOUR_MS), &[]);
    }

    #[test]
    fn no_more_counts_are_kept_than_one_answer_may_have() {
        let total = AtomicUsize::new(COUNTS_MAX - 2);
        let (mut one, mut other) = (BTreeMap::new(), BTreeMap::new());
        let put = |sums: &mut BTreeMap<_, _>, kind: &str| {
            add(sums, (0, kind.to_owned()), 1, &total).is_ok()
        };
        assert!(put(&mut one, "a") && put(&mut other, "b"));
        assert!(put(&mut one, "a") && put(&mut other, "b"));
        assert!(!put(&mut one, "c"));
        assert_eq!(one[&(0, "a".to_owned())], 2);
    }
}
