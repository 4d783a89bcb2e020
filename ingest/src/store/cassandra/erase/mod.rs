//! Erases a tenant from the database, a bounded step at a time: whole partitions, each with a
//! tombstone that has the erasure's moment as its write time, so that it covers what was received
//! by then, however late that is written, and nothing that came later. Which partitions there are
//! the tables say that lead readers to them; what leads there goes last.
//!
//! A row of an index is removed only if it was written some minutes before the moment: a process
//! that knows it to be there ([`known`](super::write)) does not write it again for later rows.

mod classes;
mod position;
mod requests;
mod series;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use scylla::errors::ExecutionError;

use crate::store::{Erased, Erasure};

use super::counts::Sums;
use super::error::{Class, classify};
use super::link::ClassLink;
use super::live::Live;
use super::settings::CassandraSettings;

pub(super) use classes::ClassErasers;
use position::{Place, Position};
pub(super) use requests::EraseStatements;
use series::Tenant;

/// How long before the moment a row of an index must have been written to be removed: far longer
/// than any process takes it for granted, and than clocks differ.
const INDEX_MARGIN_US: i64 = 10 * 60 * 1_000_000;
/// How long behind the moment all is looked for once more: by then other processes have written
/// what they had received by the moment, unless they are behind.
const AGAIN_AFTER_US: i64 = 20 * 1_000_000;
/// Longest rest between two steps. A step is followed by a rest as long as itself: rows that are
/// being written go first.
const REST_MAX: Duration = Duration::from_secs(2);

/// Erases from the tables of one retention class.
#[derive(Debug)]
struct Eraser {
    link: ClassLink,
    settings: Arc<CassandraSettings>,
    sums: Arc<Sums>,
}

impl Eraser {
    fn new(link: ClassLink, settings: Arc<CassandraSettings>, sums: Arc<Sums>) -> Self {
        Self { link, settings, sums }
    }

    /// Begins: what is counted of the tenant begins at nothing. All that was being written must
    /// have ended.
    async fn begin(&self, erasure: &Erasure) -> anyhow::Result<Erased> {
        let stamp_us = self.sums.erase(&erasure.tenant).await.context("erase counts failed")?;
        let stamp_us = stamp_us.max(erasure.until_us);
        let position = Position { stamp_us, again: false, place: Place::start() };
        Ok(Erased { next: Some(position.write()), ..Erased::default() })
    }

    /// Does the next step.
    async fn step(&self, erasure: &Erasure, position: &str) -> anyhow::Result<Erased> {
        let Some(position) = Position::read(position) else { return self.begin(erasure).await };
        let live = self.link.live()?;
        let start = Instant::now();
        let tenant = Tenant { live: &live, erasure, stamp_us: position.stamp_us };
        let done = match &position.place {
            Place::Series { token } => tenant.find_series(*token).await,
            Place::Buckets { token, service, newest_ms } => {
                tenant.erase_buckets((*token, service), *newest_ms).await
            }
            Place::Hours { newest_ms } => tenant.erase_hours(*newest_ms).await,
        };
        if let Err(error) = &done {
            self.note(&live, error);
        }
        let (place, rows, partitions) = done?;
        let rest = start.elapsed().min(REST_MAX);
        let (next, wait) = self.next(erasure, &position, place);
        Ok(Erased { rows, partitions, next, wait: wait.max(rest) })
    }

    /// Where it goes on, and when at the earliest.
    fn next(
        &self,
        erasure: &Erasure,
        position: &Position,
        place: Option<Place>,
    ) -> (Option<String>, Duration) {
        let (again, place, wait_us) = match place {
            Some(place) => (position.again, place, 0),
            None if position.again => return (None, Duration::ZERO),
            None => {
                let at_us = erasure.until_us.saturating_add(AGAIN_AFTER_US);
                (true, Place::start(), at_us.saturating_sub((self.settings.clock)()))
            }
        };
        let wait_us = wait_us.clamp(0, AGAIN_AFTER_US);
        let next = Position { again, place, ..*position };
        (Some(next.write()), Duration::from_micros(wait_us.unsigned_abs()))
    }

    /// Tables that are not as they should be are looked at again.
    fn note(&self, live: &Arc<Live>, error: &anyhow::Error) {
        let request = error.downcast_ref::<ExecutionError>();
        if request.is_some_and(|error| classify(error) == Class::Schema) {
            self.link.doubt(live, "an erasure met other tables");
        }
    }
}
