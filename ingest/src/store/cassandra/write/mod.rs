//! Writes batches: rows by partition in requests of bounded size, what leads to them first. Says
//! how it went; what becomes of a batch that was not written is the drain's.

mod batches;
mod classes;
mod counters;
mod index;
mod known;
mod pieces;
mod plan;
mod row;
mod send;
mod spread;
#[cfg(test)]
pub(super) mod tests;

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use anyhow::anyhow;
use scylla::errors::ExecutionError;
use scylla::statement::prepared::PreparedStatement;
use tokio::sync::Semaphore;

use crate::clock::Clock;
use crate::sink::{Batch, SinkError, Written};
use crate::store::bars::Bars;

use super::counts::{Counted, Origin, Sums};
use super::error::Class;
use super::link::ClassLink;
use super::live::Live;
use super::metrics::CassandraMetrics;
use super::pace::Pace;
use super::settings::CassandraSettings;

pub(crate) use self::classes::ClassWriters;

use self::batches::{Batches, Sending, single};
use self::counters::Counters;
use self::index::Era;
use self::known::Known;
use self::pieces::Pieces;
use self::plan::{Plan, PlanSettings};
use self::send::{Failure, Round};
use self::spread::Spread;

/// Requests of one write in flight, or waiting for leave, at once: all of a usual batch's, while
/// one of 5,000 partitions takes no more memory. How many are sent at once is the pace's matter.
const IN_FLIGHT_MAX: usize = 64;
const MINUTE_MS: i64 = 60_000;
/// Writes at once: far more than a drain and all replays have workers.
const WRITES_MAX: u32 = 1 << 16;

/// The write path.
pub(crate) struct Writer {
    link: ClassLink,
    pace: Pace,
    sums: Arc<Sums>,
    counters: Counters,
    sending: Sending,
    retention: Duration,
    id_index: bool,
    clock: Clock,
    spread: Spread,
    bars: Bars,
    /// Each write has a permit, so that all that are under way can be waited for.
    writes: Semaphore,
    /// Of the session that was live last.
    bound: Mutex<Option<Arc<Bound>>>,
}

/// What belongs to one session: a new one may find other tables, so nothing is known of them.
#[derive(Debug)]
struct Bound {
    live: Weak<Live>,
    events: Batches,
    ids: Batches,
    bucket: PreparedStatement,
    id_hour: PreparedStatement,
    known: Known,
}

/// What one write sends with.
#[derive(Debug, Clone, Copy)]
struct Ready<'a> {
    live: &'a Live,
    bound: &'a Bound,
    counters: &'a Counters,
}

impl Writer {
    /// A writer that sends at `pace` whatever `link` has live.
    pub(crate) fn new(
        link: impl Into<ClassLink>,
        pace: Pace,
        sums: Arc<Sums>,
        settings: &CassandraSettings,
        metrics: &CassandraMetrics,
    ) -> Self {
        let (consistency, timeout) = (settings.consistency, settings.request_timeout);
        Self {
            link: link.into(),
            pace,
            sums,
            counters: Counters::new(metrics),
            sending: Sending { consistency, timeout },
            retention: settings.retention,
            id_index: settings.id_index,
            clock: Arc::clone(&settings.clock),
            spread: Spread::new(),
            bars: Bars::default(),
            writes: Semaphore::new(WRITES_MAX as usize),
            bound: Mutex::new(None),
        }
    }

    /// Writes all rows of a batch, or nothing that counts.
    pub(crate) async fn write(&self, batch: &Batch) -> Result<Written, SinkError> {
        let live = self.link.live().map_err(|down| SinkError::Unavailable(down.into()))?;
        let permit = self.writes.acquire().await;
        let _permit = permit.map_err(|error| SinkError::Unavailable(error.into()))?;
        self.write_to(&live, batch).await
    }

    /// Takes no row of a tenant any more that was received by then; `None` lifts that.
    pub(crate) fn bar(&self, tenant: &str, until_us: Option<i64>) {
        self.bars.set(tenant, until_us);
    }

    /// Returns when all writes have ended that had begun; those that begin meanwhile wait.
    pub(crate) async fn settle(&self) {
        // Never closed.
        drop(self.writes.acquire_many(WRITES_MAX).await);
    }

    async fn write_to(&self, live: &Arc<Live>, batch: &Batch) -> Result<Written, SinkError> {
        let plan = self.plan(batch);
        let outcome = self.write_plan(live, &plan).await;
        self.link.note(failing(&outcome));
        outcome?;
        self.count(batch, &plan);
        Ok(Written { rows: plan.rows.len() as u64, expired: plan.expired })
    }

    fn plan<'a>(&self, batch: &'a Batch) -> Plan<'a> {
        let retention_us = i64::try_from(self.retention.as_micros()).unwrap_or(i64::MAX);
        let settings =
            PlanSettings { now_us: (self.clock)(), retention_us, id_index: self.id_index };
        let shards = |tenant: &str, hour_ms| self.spread.shards(tenant, hour_ms);
        Plan::new(batch, &settings, &self.bars, shards)
    }

    async fn write_plan(&self, live: &Arc<Live>, plan: &Plan<'_>) -> Result<(), SinkError> {
        if !self.sums.has_room() {
            let why = anyhow!("too many counts wait to be written");
            return Err(SinkError::Unavailable(why));
        }
        if !plan.faults.is_empty() {
            return Err(SinkError::RowFaults(plan.faults.clone()));
        }
        let bound = self.bound(live);
        let ready = Ready { live, bound: &bound, counters: &self.counters };
        let round = Round::start(&self.pace, &self.counters);
        let era = Era::at((self.clock)(), self.retention);
        if let Err(failure) = index::write(&ready, &round, plan, era).await {
            return Err(self.judge(live, failure));
        }
        let mut pieces = Pieces::new(&ready, &round, plan);
        match pieces.write().await {
            Some(failure) => Err(self.judge(live, failure)),
            None if pieces.faults.is_empty() => Ok(()),
            None => Err(SinkError::RowFaults(pieces.faults)),
        }
    }

    /// What a failed request means for the whole batch.
    fn judge(&self, live: &Arc<Live>, failure: Failure) -> SinkError {
        let Failure { class, error } = failure;
        match class {
            Class::Timeout | Class::Overloaded | Class::Unavailable | Class::Connection => {
                SinkError::Unavailable((*error).into())
            }
            Class::Schema => {
                self.link.doubt(live, &error.to_string());
                SinkError::Unavailable((*error).into())
            }
            // Of a row that leads to others, no row alone is at fault for certain.
            Class::TooLarge | Class::Refused | Class::Unknown => {
                SinkError::Unknown((*error).into())
            }
        }
    }

    fn bound(&self, live: &Arc<Live>) -> Arc<Bound> {
        let mut bound = self.bound.lock().unwrap_or_else(PoisonError::into_inner);
        match &*bound {
            Some(bound) if std::ptr::eq(bound.live.as_ptr(), Arc::as_ptr(live)) => {
                Arc::clone(bound)
            }
            _ => Arc::clone(bound.insert(Arc::new(Bound::new(live, self.sending)))),
        }
    }

    fn count(&self, batch: &Batch, plan: &Plan<'_>) {
        for hour in &plan.named_hours {
            self.spread.add(hour.tenant, hour.hour_ms, hour.ids);
        }
        let origin = Origin {
            log: batch.log(),
            replay: batch.is_replay(),
            finished_below: batch.finished_below(),
        };
        let counted = plan.rows.iter().map(|row| Counted {
            seq: row.seq,
            tenant: row.tenant,
            minute_ms: row.event_time_ms.div_euclid(MINUTE_MS).saturating_mul(MINUTE_MS),
            kind: row.kind,
        });
        self.sums.add(origin, counted);
    }
}

impl Bound {
    fn new(live: &Arc<Live>, sending: Sending) -> Self {
        let statements = &live.statements;
        Self {
            live: Arc::downgrade(live),
            events: Batches::new(&statements.insert_event, sending),
            ids: Batches::new(&statements.insert_id, sending),
            bucket: single(&statements.insert_bucket, sending),
            id_hour: single(&statements.insert_id_hour, sending),
            known: Known::default(),
        }
    }
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("sending", &self.sending).finish_non_exhaustive()
    }
}

/// Why nothing is stored, by the outcome of a write; of rows that are at fault, the others are.
fn failing(outcome: &Result<(), SinkError>) -> Option<String> {
    match outcome {
        Ok(()) | Err(SinkError::RowFaults(_) | SinkError::TooLarge) => None,
        Err(SinkError::Unavailable(why) | SinkError::Unknown(why)) => Some(format!("{why:#}")),
    }
}

/// The database's own words, where it said any.
fn words(error: &ExecutionError) -> String {
    super::error::message(error).map_or_else(|| error.to_string(), str::to_owned)
}
