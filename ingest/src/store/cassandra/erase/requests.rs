//! The statements of erasures, and how one is sent until it is answered or is not worth another
//! attempt.

use std::sync::Arc;
use std::time::Duration;

use scylla::errors::{ExecutionError, PrepareError};
use scylla::serialize::row::SerializeRow;
use scylla::statement::prepared::PreparedStatement;

use super::super::error::classify;
use super::super::live::Live;
use super::super::statements::Preparing;

/// How often one request is sent; whoever runs the erasure tries the whole step again.
const ATTEMPTS_MAX: u32 = 4;
/// Before the second attempt; it doubles with each.
const WAIT_FIRST: Duration = Duration::from_millis(200);

/// The statements. Of those that delete, the write time is bound first.
#[derive(Debug, Clone)]
pub(in super::super) struct EraseStatements {
    /// Bound: token (exclusive). Gives tenant, service and token, of all tenants.
    pub(super) select_series: PreparedStatement,
    /// Bound: tenant, service, bucket, shard. Gives id and receive time.
    pub(super) select_events: PreparedStatement,
    /// Bound: tenant, newest hour (inclusive). Gives hour and shards, newest hour first.
    pub(super) select_hours: PreparedStatement,
    /// Bound: write time, tenant, service, bucket, shard.
    pub(super) delete_events: PreparedStatement,
    /// Bound: write time, tenant, hour, shard.
    pub(super) delete_ids: PreparedStatement,
    /// Bound: write time, tenant, hour.
    pub(super) delete_counts: PreparedStatement,
    /// Bound: write time, tenant, service.
    pub(super) delete_buckets: PreparedStatement,
    /// Bound: write time, tenant.
    pub(super) delete_hours: PreparedStatement,
}

impl EraseStatements {
    /// Prepares all.
    pub(in super::super) async fn prepare(preparing: &Preparing<'_>) -> Result<Self, PrepareError> {
        let delete = async |table: &str, key: &str| {
            preparing.write(&format!("DELETE FROM {table} USING TIMESTAMP ? WHERE {key}")).await
        };
        let series = "tenant = ? AND service_name = ?";
        let events = "tenant = ? AND service_name = ? AND bucket = ? AND shard = ?";
        let ids = "tenant = ? AND receive_hour = ? AND id_shard = ?";
        let read = |text| preparing.read(text);
        Ok(Self {
            select_series: read(
                "SELECT DISTINCT tenant, service_name, token(tenant, service_name) \
                 FROM pulse_buckets WHERE token(tenant, service_name) > ?",
            )
            .await?,
            select_events: preparing
                .read(&format!(
                    "SELECT event_id, received_at FROM pulse_events_by_service WHERE {events}"
                ))
                .await?,
            select_hours: read(
                "SELECT receive_hour, shards FROM pulse_id_hours WHERE tenant = ? \
                 AND receive_hour <= ?",
            )
            .await?,
            delete_events: delete("pulse_events_by_service", events).await?,
            delete_ids: delete("pulse_ids", ids).await?,
            delete_counts: delete("pulse_counts", "tenant = ? AND hour = ?").await?,
            delete_buckets: delete("pulse_buckets", series).await?,
            delete_hours: delete("pulse_id_hours", "tenant = ?").await?,
        })
    }
}

/// Sends a request that changes something; time-outs and the like are tried again.
pub(super) async fn send(
    live: &Arc<Live>,
    statement: &PreparedStatement,
    values: impl SerializeRow + Clone,
) -> Result<(), ExecutionError> {
    let mut wait = WAIT_FIRST;
    for _ in 1..ATTEMPTS_MAX {
        match live.session.execute_unpaged(statement, values.clone()).await {
            Err(error) if classify(&error).passes() => {}
            answer => return answer.map(drop),
        }
        tokio::time::sleep(wait).await;
        wait *= 2;
    }
    live.session.execute_unpaged(statement, values).await.map(drop)
}
