//! Every statement of the write and read paths, prepared once per session. Holds the CQL; what
//! is bound to it is the business of those who send it.

use std::sync::Arc;
use std::time::Duration;

use scylla::client::execution_profile::ExecutionProfileHandle;
use scylla::client::session::Session;
use scylla::errors::PrepareError;
use scylla::policies::retry::DefaultRetryPolicy;
use scylla::policies::speculative_execution::SimpleSpeculativeExecutionPolicy;
use scylla::statement::Consistency;
use scylla::statement::prepared::PreparedStatement;

use super::erase::EraseStatements;
use super::letters::LetterStatements;

/// Writes one row; the values are bound in the order of the columns, then the time to live in
/// seconds and the write time in microseconds.
const INSERT_EVENT: &str = "INSERT INTO pulse_events_by_service (tenant, service_name, bucket, \
    shard, event_time, event_id, received_at, kind, latency_ms, status, value, user_id, sku, unit, \
    amount, metadata, payload) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
    USING TTL ? AND TIMESTAMP ?";
const INSERT_ID: &str = "INSERT INTO pulse_ids (tenant, receive_hour, id_shard, event_id, \
    service_name, event_time, shard) VALUES (?, ?, ?, ?, ?, ?, ?) USING TTL ? AND TIMESTAMP ?";
const INSERT_BUCKET: &str = "INSERT INTO pulse_buckets (tenant, service_name, bucket, slice, \
    layout) VALUES (?, ?, ?, ?, ?) USING TTL ? AND TIMESTAMP ?";
const INSERT_ID_HOUR: &str = "INSERT INTO pulse_id_hours (tenant, receive_hour, shards) \
    VALUES (?, ?, ?) USING TTL ? AND TIMESTAMP ?";
const INSERT_COUNT: &str = "INSERT INTO pulse_counts (tenant, hour, minute, kind, log_id, part, \
    pulses) VALUES (?, ?, ?, ?, ?, ?, ?) USING TTL ? AND TIMESTAMP ?";
const INSERT_WRITER: &str = "INSERT INTO pulse_writers (log_id, seen) VALUES (?, ?) USING TTL ?";

/// Both bounds of two columns: bounds of one and of two are not taken together everywhere.
const EVENTS_BETWEEN: &str = "(event_time, event_id) >= (?, ?) AND (event_time, event_id) < (?, ?)";
const EVENT_COLUMNS: &str = "event_time, event_id, received_at, kind, latency_ms, status, value, \
    user_id, sku, unit, amount, metadata, payload";

/// When a read is asked of a second node: far beyond what reads take when all is well, so that
/// a node that hangs costs a query this long and not the whole time of a request.
const SECOND_NODE_AFTER: Duration = Duration::from_millis(500);

/// The statements.
#[derive(Debug, Clone)]
pub(crate) struct Statements {
    pub(crate) insert_event: PreparedStatement,
    pub(crate) insert_id: PreparedStatement,
    pub(crate) insert_bucket: PreparedStatement,
    pub(crate) insert_id_hour: PreparedStatement,
    pub(crate) insert_count: PreparedStatement,
    pub(crate) insert_writer: PreparedStatement,
    pub(crate) select_writers: PreparedStatement,
    /// Bound: tenant, service, newest bucket (inclusive), oldest bucket (inclusive). Gives
    /// bucket, slice and layout, newest bucket first.
    pub(crate) select_buckets: PreparedStatement,
    /// Bound: tenant, service, bucket, shard, event time and id of the oldest row (inclusive),
    /// those of the row behind the newest (exclusive). Gives the columns of a row but those of
    /// the partition, newest first.
    pub(crate) select_events: PreparedStatement,
    /// Bound: tenant, service, bucket, shard, event time, id. Gives the same columns.
    pub(crate) select_event: PreparedStatement,
    /// Bound: tenant, hour, shard, id. Gives service, event time and shard of the row.
    pub(crate) select_id: PreparedStatement,
    /// Bound: tenant. Gives hour and shards, newest hour first.
    pub(crate) select_id_hours: PreparedStatement,
    pub(crate) letters: LetterStatements,
    pub(super) erase: Arc<EraseStatements>,
    /// Bound: tenant, hour, from minute (inclusive), to minute (exclusive). Gives minute, kind
    /// and pulses.
    pub(crate) select_counts: PreparedStatement,
}

impl Statements {
    /// Prepares all; the session must use the keyspace.
    pub(crate) async fn prepare(
        session: &Session,
        consistency: Consistency,
    ) -> Result<Self, PrepareError> {
        let preparing = Preparing::new(session, consistency, None);
        let shared = Shared {
            letters: Box::pin(LetterStatements::prepare(&preparing)).await?,
            insert_writer: preparing.write(INSERT_WRITER).await?,
            select_writers: preparing.read("SELECT log_id FROM pulse_writers").await?,
        };
        Box::pin(Self::of_tables(&preparing, shared)).await
    }

    /// The same over the tables of a retention class; what has no class stays as it is.
    pub(crate) async fn of_class(
        &self,
        session: &Session,
        consistency: Consistency,
        class: &str,
    ) -> Result<Self, PrepareError> {
        let shared = Shared {
            letters: self.letters.clone(),
            insert_writer: self.insert_writer.clone(),
            select_writers: self.select_writers.clone(),
        };
        let preparing = Preparing::new(session, consistency, Some(class));
        Box::pin(Self::of_tables(&preparing, shared)).await
    }

    async fn of_tables(preparing: &Preparing<'_>, shared: Shared) -> Result<Self, PrepareError> {
        let (prepare, select) = (|text| preparing.write(text), |text| preparing.read(text));
        let events = |place: &str| {
            format!(
                "SELECT {EVENT_COLUMNS} FROM pulse_events_by_service WHERE tenant = ? AND \
                 service_name = ? AND bucket = ? AND shard = ? AND {place}"
            )
        };
        let Shared { letters, insert_writer, select_writers } = shared;
        let erase = Box::pin(EraseStatements::prepare(preparing)).await?.into();
        Ok(Self {
            letters,
            erase,
            insert_writer,
            select_writers,
            insert_event: prepare(INSERT_EVENT).await?,
            insert_id: prepare(INSERT_ID).await?,
            insert_bucket: prepare(INSERT_BUCKET).await?,
            insert_id_hour: prepare(INSERT_ID_HOUR).await?,
            insert_count: prepare(INSERT_COUNT).await?,
            select_buckets: select(
                "SELECT bucket, slice, layout FROM pulse_buckets WHERE tenant = ? AND \
                 service_name = ? AND bucket <= ? AND bucket >= ?",
            )
            .await?,
            select_events: preparing.read(&events(EVENTS_BETWEEN)).await?,
            select_event: preparing.read(&events("event_time = ? AND event_id = ?")).await?,
            select_id: select(
                "SELECT service_name, event_time, shard FROM pulse_ids WHERE tenant = ? AND \
                 receive_hour = ? AND id_shard = ? AND event_id = ?",
            )
            .await?,
            select_id_hours: select(
                "SELECT receive_hour, shards FROM pulse_id_hours WHERE tenant = ?",
            )
            .await?,
            select_counts: select(
                "SELECT minute, kind, pulses FROM pulse_counts WHERE tenant = ? AND hour = ? \
                 AND minute >= ? AND minute < ?",
            )
            .await?,
        })
    }
}

/// Statements over tables that no retention class has of its own.
struct Shared {
    letters: LetterStatements,
    insert_writer: PreparedStatement,
    select_writers: PreparedStatement,
}

/// Prepares one statement after the other.
#[derive(Debug)]
pub(super) struct Preparing<'a> {
    session: &'a Session,
    consistency: Consistency,
    reads: ExecutionProfileHandle,
    /// Whose tables are meant.
    class: Option<&'a str>,
}

impl<'a> Preparing<'a> {
    fn new(session: &'a Session, consistency: Consistency, class: Option<&'a str>) -> Self {
        Self { session, consistency, reads: read_profile(session), class }
    }

    /// One that writes.
    pub(super) async fn write(&self, text: &str) -> Result<PreparedStatement, PrepareError> {
        let mut statement = self.session.prepare(in_class(text, self.class)).await?;
        statement.set_consistency(self.consistency);
        // Each is made from the record alone: sent twice, it does the same.
        statement.set_is_idempotent(true);
        Ok(statement)
    }

    /// One that reads.
    pub(super) async fn read(&self, text: &str) -> Result<PreparedStatement, PrepareError> {
        let mut statement = self.write(text).await?;
        statement.set_execution_profile_handle(Some(self.reads.clone()));
        // Columns are named, and no migration changes the type of one.
        statement.set_use_cached_result_metadata(true);
        Ok(statement)
    }
}

/// The statement over the table of a class: each names one table, and nothing else in it begins
/// as tables do.
fn in_class(text: &str, class: Option<&str>) -> String {
    const TABLE: &str = "pulse_";
    let (Some(class), Some(start)) = (class, text.find(TABLE)) else { return text.to_owned() };
    let (before, from) = text.split_at(start);
    let (table, after) = from.split_at(from.find(' ').unwrap_or(from.len()));
    format!("{before}{table}_{class}{after}")
}

/// How reads differ from writes: they are retried at once on another node, and one that a node
/// does not answer soon is asked of a second one as well.
fn read_profile(session: &Session) -> ExecutionProfileHandle {
    let second =
        SimpleSpeculativeExecutionPolicy { max_retry_count: 1, retry_interval: SECOND_NODE_AFTER };
    let profile = session.get_default_execution_profile_handle().pointee_to_builder();
    profile
        .retry_policy(Arc::new(DefaultRetryPolicy::new()))
        .speculative_execution_policy(Some(Arc::new(second)))
        .build()
        .into_handle()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_of_a_class_is_over_its_table() {
        assert_eq!(in_class("SELECT a FROM pulse_ids WHERE b = ?", None).matches('_').count(), 1);
        let select = in_class("SELECT a FROM pulse_ids WHERE b = ?", Some("short"));
        assert_eq!(select, "SELECT a FROM pulse_ids_short WHERE b = ?");
        assert_eq!(in_class("SELECT a FROM pulse_ids", Some("b")), "SELECT a FROM pulse_ids_b");
        for text in [INSERT_EVENT, INSERT_ID, INSERT_BUCKET, INSERT_ID_HOUR, INSERT_COUNT] {
            assert_eq!(text.matches("pulse_").count(), 1, "{text}");
            assert!(in_class(text, Some("short")).contains("_short ("), "{text}");
        }
    }
}
