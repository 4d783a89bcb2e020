//! The loop itself: a fixed number of batches in flight, each of one partition.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use scylla::client::session::Session;
use scylla::errors::ExecutionError;
use scylla::serialize::row::SerializeRow;
use scylla::statement::batch::{Batch, BatchType};
use scylla::statement::prepared::PreparedStatement;
use tokio::task::JoinSet;
use xtask::events::now_ms;

use super::rows::{EventRow, IdRow, Spread};
use super::typed::{TypedEvent, TypedId};
use super::{Bound, Options, Tables};

const INSERT_EVENT: &str = "INSERT INTO pulse_events_by_service (tenant, service_name, bucket, \
    shard, event_time, event_id, received_at, kind, latency_ms, status, value, user_id, sku, unit, \
    amount, metadata, payload) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
    USING TTL ? AND TIMESTAMP ?";
const INSERT_ID: &str = "INSERT INTO pulse_ids (tenant, receive_hour, id_shard, event_id, \
    service_name, event_time, shard) VALUES (?, ?, ?, ?, ?, ?, ?) USING TTL ? AND TIMESTAMP ?";
/// All rows of a run lie in the first slice by what this says: nobody reads them.
const INSERT_BUCKET: &str = "INSERT INTO pulse_buckets (tenant, service_name, bucket, slice, \
    layout) VALUES (?, ?, ?, 0, ?) USING TTL ?";

/// How often in turn a batch may come too late: the database's own limit is 2 s.
const TIMEOUTS_MAX: usize = 10;

/// A session with its statements.
pub(super) struct Writer {
    shared: Arc<Shared>,
    insert_bucket: PreparedStatement,
    in_flight: usize,
}

struct Shared {
    session: Session,
    /// Each is made once: what changes are its values.
    events: Batch,
    ids: Option<Batch>,
    spread: Spread,
    started_ms: u64,
    rows: u64,
    batch: u64,
    values: Bound,
    next_turn: AtomicU64,
    timeouts: AtomicU64,
}

impl Writer {
    pub(super) async fn prepare(session: Session, options: &Options) -> Result<Self> {
        let events = batch(&session, INSERT_EVENT, options.batch).await?;
        let ids = match options.tables {
            Tables::All => Some(batch(&session, INSERT_ID, options.batch).await?),
            Tables::Events => None,
        };
        let insert_bucket = session.prepare(INSERT_BUCKET).await.context("prepare")?;
        let shared = Shared {
            session,
            events,
            ids,
            spread: Spread::new(options.spread),
            started_ms: now_ms(),
            rows: options.rows,
            batch: options.batch as u64,
            values: options.values,
            next_turn: AtomicU64::new(0),
            timeouts: AtomicU64::new(0),
        };
        Ok(Self { shared: Arc::new(shared), insert_bucket, in_flight: options.in_flight })
    }

    /// Writes all rows, rounded up to whole batches; gives how many these were, and how many
    /// batches were sent again.
    pub(super) async fn write_all(self) -> Result<(u64, u64)> {
        let shared = self.shared;
        if shared.ids.is_some() {
            for row in shared.spread.buckets(shared.started_ms) {
                shared.session.execute_unpaged(&self.insert_bucket, row).await?;
            }
        }
        let mut lanes = JoinSet::new();
        for _ in 0..self.in_flight {
            let shared = Arc::clone(&shared);
            lanes.spawn(async move { shared.write_turns().await });
        }
        while let Some(lane) = lanes.join_next().await {
            lane.context("a lane panicked")??;
        }
        Ok((shared.turns() * shared.batch, shared.timeouts.load(Ordering::Relaxed)))
    }
}

impl Shared {
    fn turns(&self) -> u64 {
        self.rows.div_ceil(self.batch)
    }

    /// Sends a batch, again where a busy database had no time for it; any other error is one.
    async fn send(&self, batch: &Batch, rows: &[impl SerializeRow]) -> Result<(), ExecutionError> {
        for _ in 0..TIMEOUTS_MAX {
            match self.session.batch(batch, rows).await {
                Err(error) if is_timeout(&error) => {
                    self.timeouts.fetch_add(1, Ordering::Relaxed);
                }
                outcome => return outcome.map(|_| ()),
            }
        }
        self.session.batch(batch, rows).await.map(|_| ())
    }

    /// Sends rows as cells, or each as a value of type `T` first.
    async fn send_as<T, R>(&self, batch: &Batch, rows: &[R]) -> Result<(), ExecutionError>
    where
        T: SerializeRow + for<'a> From<&'a R>,
        R: SerializeRow,
    {
        match self.values {
            Bound::Cells => self.send(batch, rows).await,
            Bound::Typed => {
                let typed: Vec<T> = rows.iter().map(T::from).collect();
                self.send(batch, &typed).await
            }
        }
    }

    /// Takes turns until none is left.
    async fn write_turns(&self) -> Result<()> {
        let mut events: Vec<EventRow> = Vec::with_capacity(self.batch as usize);
        let mut ids: Vec<IdRow> = Vec::with_capacity(self.batch as usize);
        loop {
            let turn = self.next_turn.fetch_add(1, Ordering::Relaxed);
            if turn >= self.turns() {
                return Ok(());
            }
            let partition = self.spread.partition(self.started_ms, turn);
            let (received_ms, first) = (now_ms(), turn * self.batch);
            events.clear();
            events.extend(
                (first..first + self.batch)
                    .map(|number| EventRow::new(partition, self.started_ms, received_ms, number)),
            );
            self.send_as::<TypedEvent, _>(&self.events, &events).await.context("write rows")?;
            if let Some(batch) = &self.ids {
                ids.clear();
                ids.extend(events.iter().map(|event| event.indexed(turn)));
                self.send_as::<TypedId, _>(batch, &ids).await.context("write ids")?;
            }
        }
    }
}

/// Whether the database said that it had no time.
fn is_timeout(error: &ExecutionError) -> bool {
    use scylla::errors::{DbError, RequestAttemptError::DbError as FromDatabase};
    matches!(error, ExecutionError::LastAttemptError(FromDatabase(DbError::WriteTimeout { .. }, _)))
}

/// An unlogged batch of so many times one statement.
async fn batch(session: &Session, text: &str, rows: usize) -> Result<Batch> {
    let mut statement = session.prepare(text).await.context("prepare a statement")?;
    statement.set_is_idempotent(true);
    let mut batch = Batch::new(BatchType::Unlogged);
    for _ in 0..rows {
        batch.append_statement(statement.clone());
    }
    batch.set_is_idempotent(true);
    Ok(batch)
}
