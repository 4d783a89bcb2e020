//! What must be in the database before a batch's first row: where readers find its rows. Each is
//! written, and again only when it is forgotten or would not live as long as its rows.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use scylla::value::CqlTimestamp;

use super::super::lifetime::capped;
use super::known::Mark;
use super::plan::{NamedHour, Plan, Series};
use super::send::{Failure, Round};
use super::{IN_FLIGHT_MAX, Ready};

/// Shortest era: with a short retention, rows of indexes are written anew once in it.
const ERA_MIN: Duration = Duration::from_secs(3600);
/// How much longer a row of an index lives than any row that it leads to: clocks differ.
const MARGIN: Duration = Duration::from_secs(3600);

/// Time cut into lengths of the retention. A row of an index that is written within one lives
/// longer than every row written within it, whatever its event time: a bucket may get rows for
/// as long as clients send late events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Era {
    number: i64,
    /// Of the index's rows, in seconds.
    ttl_s: i32,
    /// Of the index's rows, in microseconds: now, so that what is written later replaces what was
    /// written before, though the retention, and with it the eras' length, has changed between.
    timestamp_us: i64,
}

impl Era {
    pub(super) fn at(now_us: i64, retention: Duration) -> Self {
        let us = |time: Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX / 4);
        let length_us = us(retention.max(ERA_MIN));
        let number = now_us.div_euclid(length_us);
        let end_us = number
            .saturating_mul(length_us)
            .saturating_add(length_us)
            .saturating_add(us(retention))
            .saturating_add(us(MARGIN));
        let ttl_s = capped(end_us.saturating_sub(now_us) / 1_000_000, now_us);
        Self { number, ttl_s, timestamp_us: now_us }
    }
}

/// A row of an index.
#[derive(Debug, Clone, Copy)]
enum IndexRow<'a> {
    Bucket(Series<'a>),
    Hour(NamedHour<'a>),
}

/// Writes what is not known to be there.
pub(super) async fn write(
    ready: &Ready<'_>,
    round: &Round<'_>,
    plan: &Plan<'_>,
    era: Era,
) -> Result<(), Failure> {
    let buckets = plan.series.iter().map(|series| IndexRow::Bucket(*series));
    let hours = plan.named_hours.iter().map(|hour| IndexRow::Hour(*hour));
    let mut missing = buckets.chain(hours).filter(|row| !ready.bound.known.contains(row.mark(era)));
    let mut flying = FuturesUnordered::new();
    let mut failure = None;
    loop {
        while flying.len() < IN_FLIGHT_MAX
            && !round.is_over()
            && let Some(row) = missing.next()
        {
            flying.push(row.write(ready, round, era));
        }
        match flying.next().await {
            None => break,
            Some(Ok(())) => {}
            Some(Err(error)) => {
                round.give_up();
                failure.get_or_insert(error);
            }
        }
    }
    failure.map_or(Ok(()), Err)
}

impl IndexRow<'_> {
    fn mark(&self, era: Era) -> Mark {
        match self {
            Self::Bucket(series) => Mark::of_series(series, era.number),
            Self::Hour(hour) => Mark::of_hour(hour.tenant, hour.hour_ms, hour.shards, era.number),
        }
    }

    async fn write(self, ready: &Ready<'_>, round: &Round<'_>, era: Era) -> Result<(), Failure> {
        let Era { ttl_s, timestamp_us, .. } = era;
        let session = &ready.live.session;
        let sent = match self {
            Self::Bucket(Series { tenant, service, bucket_ms, layout, slice }) => {
                let (bucket, slice) = (CqlTimestamp(bucket_ms), layout.mark_of(slice));
                let layout = layout.code() as i16;
                let values = (tenant, service, bucket, slice, layout, ttl_s, timestamp_us);
                let request = || session.execute_unpaged(&ready.bound.bucket, values);
                round.send(&ready.counters.buckets, 1, request).await
            }
            Self::Hour(NamedHour { tenant, hour_ms, shards, .. }) => {
                let hour = CqlTimestamp(hour_ms);
                let values = (tenant, hour, shards as i32, ttl_s, timestamp_us);
                let request = || session.execute_unpaged(&ready.bound.id_hour, values);
                round.send(&ready.counters.id_hours, 1, request).await
            }
        };
        if sent? {
            ready.bound.known.insert(self.mark(era));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_outlives_every_row_written_in_its_era() {
        let hour = 3_600_000_000;
        for retention_h in [0, 1, 24, 168, 100_000] {
            let retention = Duration::from_secs(retention_h * 3600);
            for now_us in [0, 1, hour - 1, hour, 1_700_000_000_000_000, -5] {
                let era = Era::at(now_us, retention);
                let dies_us = now_us + i64::from(era.ttl_s) * 1_000_000;
                let last_us = (now_us..).step_by(hour as usize / 4).take(1_000);
                for later_us in
                    last_us.filter(|later| Era::at(*later, retention).number == era.number)
                {
                    let row_dies_us = later_us + retention_h as i64 * hour;
                    let most_us = i64::from(capped(i64::MAX, now_us)) * 1_000_000;
                    assert!(dies_us >= row_dies_us.min(now_us + most_us));
                }
                assert!(era.timestamp_us <= now_us);
            }
        }
    }

    #[test]
    fn what_is_written_later_replaces_what_was_written_before_whatever_the_retentions() {
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        let start_us = 1_700_049_600_000_000;
        for (before, after) in [(24, 24), (24, 168), (168, 720), (720, 24), (1, 87_600)] {
            for later_us in [1, 60_000_000, 86_400_000_000] {
                let early = Era::at(start_us, hours(before));
                let late = Era::at(start_us + later_us, hours(after));
                assert!(late.timestamp_us > early.timestamp_us, "{before} h, then {after} h");
            }
        }
        let (early, late) = (Era::at(1_000, hours(24)), Era::at(1_000 + 86_400_000_000, hours(24)));
        assert!(late.number > early.number, "it is written anew in each era");
    }
}
