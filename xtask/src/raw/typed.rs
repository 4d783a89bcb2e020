//! The same rows as Rust values, bound by name and type as the driver's documentation shows: what
//! a program that writes with the driver does.

use std::collections::HashMap;

use scylla::SerializeRow;
use scylla::value::{CqlTimestamp, MaybeUnset};
use uuid::Uuid;

use super::rows::{EventRow, IdRow, KIND, TENANT, TTL_SECONDS, ZONES};

/// A row of `pulse_events_by_service`.
#[derive(Debug, SerializeRow)]
pub(super) struct TypedEvent {
    tenant: String,
    service_name: String,
    bucket: CqlTimestamp,
    shard: i32,
    event_time: CqlTimestamp,
    event_id: Uuid,
    received_at: CqlTimestamp,
    kind: String,
    latency_ms: Option<f64>,
    status: Option<String>,
    value: MaybeUnset<f64>,
    user_id: MaybeUnset<String>,
    sku: MaybeUnset<String>,
    unit: MaybeUnset<String>,
    amount: MaybeUnset<String>,
    metadata: HashMap<String, String>,
    payload: MaybeUnset<String>,
    #[scylla(rename = "[ttl]")]
    ttl: i32,
    #[scylla(rename = "[timestamp]")]
    timestamp: i64,
}

impl From<&EventRow> for TypedEvent {
    fn from(row: &EventRow) -> Self {
        let zone = ZONES[(row.number % 3) as usize].to_owned();
        Self {
            tenant: TENANT.to_owned(),
            service_name: row.partition.service.to_owned(),
            bucket: time(row.partition.bucket_ms),
            shard: row.partition.shard,
            event_time: time(row.time_ms),
            event_id: Uuid::from_bytes(row.id),
            received_at: time(row.received_ms),
            kind: KIND.to_owned(),
            latency_ms: Some(row.latency_ms()),
            status: Some(row.status().to_owned()),
            value: MaybeUnset::Unset,
            user_id: MaybeUnset::Unset,
            sku: MaybeUnset::Unset,
            unit: MaybeUnset::Unset,
            amount: MaybeUnset::Unset,
            metadata: HashMap::from([("zone".to_owned(), zone)]),
            payload: MaybeUnset::Unset,
            ttl: TTL_SECONDS,
            timestamp: (row.received_ms * 1000) as i64,
        }
    }
}

/// A row of `pulse_ids`.
#[derive(Debug, SerializeRow)]
pub(super) struct TypedId {
    tenant: String,
    receive_hour: CqlTimestamp,
    id_shard: i32,
    event_id: Uuid,
    service_name: String,
    event_time: CqlTimestamp,
    shard: i32,
    #[scylla(rename = "[ttl]")]
    ttl: i32,
    #[scylla(rename = "[timestamp]")]
    timestamp: i64,
}

impl From<&IdRow> for TypedId {
    fn from(row: &IdRow) -> Self {
        Self {
            tenant: TENANT.to_owned(),
            receive_hour: time(row.hour_ms()),
            id_shard: row.id_shard,
            event_id: Uuid::from_bytes(row.id),
            service_name: row.partition.service.to_owned(),
            event_time: time(row.time_ms),
            shard: row.partition.shard,
            ttl: TTL_SECONDS,
            timestamp: (row.received_ms * 1000) as i64,
        }
    }
}

fn time(ms: u64) -> CqlTimestamp {
    CqlTimestamp(ms as i64)
}
