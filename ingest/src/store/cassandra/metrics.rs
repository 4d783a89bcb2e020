//! What the store counts of its own requests. Labels are words of this program.

use std::sync::atomic::AtomicI64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// Label of a table.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TableLabels {
    /// `events`, `ids`, `buckets`, `id_hours` or `counts`.
    pub table: &'static str,
}

/// Label of how a request failed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ClassLabels {
    /// `timeout`, `overloaded`, `unavailable`, `connection`, `schema`, `too_large`, `refused` or
    /// `unknown`.
    pub class: &'static str,
}

type Buckets = fn() -> Histogram;

/// Of the database. Cloning shares them.
#[derive(Debug, Clone)]
pub struct CassandraMetrics {
    /// `pulsemesh_cassandra_rows_total{table}`: rows written, those of retries once more.
    pub rows: Family<TableLabels, Counter>,
    /// `pulsemesh_cassandra_requests_total{table}`: write requests that succeeded.
    pub requests: Family<TableLabels, Counter>,
    /// `pulsemesh_cassandra_failures_total{class}`: write requests that failed, by class.
    pub failures: Family<ClassLabels, Counter>,
    /// `pulsemesh_cassandra_retries_total{class}`: write requests sent again.
    pub retries: Family<ClassLabels, Counter>,
    /// `pulsemesh_cassandra_request_seconds{table}`: of write requests, one attempt each.
    pub latency: Family<TableLabels, Histogram, Buckets>,
    /// `pulsemesh_cassandra_requests_in_flight`
    pub in_flight: Gauge<i64, AtomicI64>,
    /// `pulsemesh_cassandra_requests_limit`: how many may be in flight now.
    pub limit: Gauge<i64, AtomicI64>,
    /// `pulsemesh_cassandra_connected`: 1 while a session is up.
    pub connected: Gauge<i64, AtomicI64>,
}

impl CassandraMetrics {
    /// Makes them and registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            rows: Family::default(),
            requests: Family::default(),
            failures: Family::default(),
            retries: Family::default(),
            latency: Family::new_with_constructor(latency as Buckets),
            in_flight: Gauge::default(),
            limit: Gauge::default(),
            connected: Gauge::default(),
        };
        let registry = registry.sub_registry_with_prefix("pulsemesh_cassandra");
        registry.register("rows", "Rows written", metrics.rows.clone());
        registry.register("requests", "Write requests that succeeded", metrics.requests.clone());
        registry.register("failures", "Write requests that failed", metrics.failures.clone());
        registry.register("retries", "Write requests sent again", metrics.retries.clone());
        registry.register_with_unit(
            "request",
            "Time of one attempt of a write request",
            Unit::Seconds,
            metrics.latency.clone(),
        );
        registry.register(
            "requests_in_flight",
            "Write requests that wait for their answer",
            metrics.in_flight.clone(),
        );
        registry.register(
            "requests_limit",
            "Most write requests in flight, as measured",
            metrics.limit.clone(),
        );
        registry.register(
            "connected",
            "1 while the database is reached and its tables are right",
            metrics.connected.clone(),
        );
        metrics
    }

    /// Makes metrics that nobody reads.
    pub fn unregistered() -> Self {
        Self::register(&mut Registry::default())
    }
}

fn latency() -> Histogram {
    // 250 µs (a small batch on a fast network) to 8 s (beyond the request timeout).
    Histogram::new(exponential_buckets(0.000_25, 2.0, 16))
}
