//! Every metric of the ingest, by name, with its labels. `docs/metrics.md` is checked against
//! it. Labels are words from this program or names from its settings, never from a request.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::erasure::metrics::ErasureMetrics;
use crate::limits::metrics::LimitMetrics;
use crate::probe::{Probe, ProbeFamily};
use crate::schema::SchemaMetrics;
use crate::sharing::metrics::SharingMetrics;

/// Label of the path and the status of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    /// A path of the route table, or `other`.
    pub endpoint: &'static str,
    /// The HTTP status.
    pub code: u16,
}

/// Label of the path alone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct EndpointLabels {
    /// A path of the route table, or `other`.
    pub endpoint: &'static str,
}

/// Label of a stable code.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CodeLabels {
    /// A word of the code list.
    pub code: &'static str,
}

/// Label of an acknowledgement level.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct AckLabels {
    /// `memory`, `durable` or `stored`.
    pub ack: &'static str,
}

/// Label of a sink.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SinkLabels {
    /// The sink's name in the settings.
    pub sink: String,
}

/// Label of a sink and a place in the conservation ledger.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LedgerLabels {
    /// The sink's name in the settings.
    pub sink: String,
    /// `accepted`, `stored`, `in_log`, `in_memory`, `dead_lettered`, `dropped`, `expired` or
    /// `damaged`.
    pub place: &'static str,
}

/// Label of a sink and how a write ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct WriteLabels {
    /// The sink's name in the settings.
    pub sink: String,
    /// `ok`, `unavailable`, `too_large`, `row_faults` or `unknown`.
    pub outcome: &'static str,
}

/// Label of a sink and how a dead letter of it left.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LeftLabels {
    /// The sink's name in the settings.
    pub sink: String,
    /// `replayed`, `expired` or `discarded`.
    pub how: &'static str,
}

/// Label of files that are read while the process runs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct FileLabels {
    /// `tenants` or `tls`.
    pub files: &'static str,
}

/// Label of files and how reading them again ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReloadLabels {
    /// `tenants` or `tls`.
    pub files: &'static str,
    /// `ok` or `failed`.
    pub result: &'static str,
}

type Buckets = fn() -> Histogram;

/// A gauge of a count.
pub type Level = Gauge<i64, AtomicI64>;

/// All metrics. Cloning shares them.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Of requests.
    pub http: HttpMetrics,
    /// Of pulses.
    pub pulses: PulseMetrics,
    /// Of the log.
    pub log: LogMetrics,
    /// Of sinks.
    pub sinks: SinkMetrics,
    /// Of the memory buffer and the reservations.
    pub held: HeldMetrics,
    /// Of the limits of tenants.
    pub limits: LimitMetrics,
    /// Of ids and keys that several processes share.
    pub sharing: SharingMetrics,
    /// Of schemas.
    pub schemas: SchemaMetrics,
    /// Of files that are read while the process runs.
    pub reloads: ReloadMetrics,
    /// Of erasures.
    pub erasures: ErasureMetrics,
}

impl Metrics {
    /// Makes all metrics and registers them under the prefix `pulsemesh`.
    pub fn register(registry: &mut Registry) -> Self {
        let limits = LimitMetrics::register(registry);
        let sharing = SharingMetrics::register(registry);
        let schemas = SchemaMetrics::register(registry);
        let erasures = ErasureMetrics::register(registry);
        let registry = registry.sub_registry_with_prefix("pulsemesh");
        Self {
            http: HttpMetrics::register(registry),
            pulses: PulseMetrics::register(registry),
            log: LogMetrics::register(registry),
            sinks: SinkMetrics::register(registry),
            held: HeldMetrics::register(registry),
            limits,
            sharing,
            schemas,
            reloads: ReloadMetrics::register(registry),
            erasures,
        }
    }
}

/// Of requests.
#[derive(Debug, Clone)]
pub struct HttpMetrics {
    /// `pulsemesh_requests_total{endpoint,code}`
    pub requests: Family<RequestLabels, Counter>,
    /// `pulsemesh_request_latency_seconds{endpoint}`
    pub latency: Family<EndpointLabels, Histogram, Buckets>,
    /// `pulsemesh_connections`
    pub connections: Level,
    /// `pulsemesh_connections_refused_total`
    pub connections_refused: Counter,
    /// `pulsemesh_connections_evicted_total`
    pub connections_evicted: Counter,
    /// `pulsemesh_request_bytes_in_flight`
    pub bytes_in_flight: Level,
    /// `pulsemesh_tls_handshakes_failed_total`
    pub handshakes_failed: Counter,
}

impl HttpMetrics {
    fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            requests: Family::default(),
            latency: Family::new_with_constructor(request_latency as Buckets),
            connections: Level::default(),
            connections_refused: Counter::default(),
            connections_evicted: Counter::default(),
            bytes_in_flight: Level::default(),
            handshakes_failed: Counter::default(),
        };
        registry.register("requests", "Requests answered", metrics.requests.clone());
        registry.register_with_unit(
            "request_latency",
            "Time from a request's head to its answer",
            Unit::Seconds,
            metrics.latency.clone(),
        );
        registry.register("connections", "Open connections", metrics.connections.clone());
        registry.register(
            "connections_refused",
            "Connections answered 503 at once, every other being busy",
            metrics.connections_refused.clone(),
        );
        registry.register(
            "connections_evicted",
            "Idle connections closed to make room for new ones",
            metrics.connections_evicted.clone(),
        );
        registry.register(
            "request_bytes_in_flight",
            "Bytes reserved for bodies of requests that are not answered",
            metrics.bytes_in_flight.clone(),
        );
        registry.register(
            "tls_handshakes_failed",
            "Connections that did not come to be encrypted",
            metrics.handshakes_failed.clone(),
        );
        metrics
    }
}

fn request_latency() -> Histogram {
    // 50 µs (a memory answer) to 26 s (a stored answer behind a slow store).
    Histogram::new(exponential_buckets(0.000_05, 2.0, 20))
}

fn write_time() -> Histogram {
    Histogram::new(exponential_buckets(0.000_1, 2.0, 18))
}

fn batch_rows() -> Histogram {
    Histogram::new(exponential_buckets(1.0, 4.0, 8))
}

/// Of pulses.
#[derive(Debug, Clone)]
pub struct PulseMetrics {
    /// `pulsemesh_pulses_accepted_total{ack}`
    pub accepted: Family<AckLabels, Counter>,
    /// `pulsemesh_pulses_rejected_total{code}`
    pub rejected: Family<CodeLabels, Counter>,
    /// `pulsemesh_pulses_duplicate_total`
    pub duplicate: Counter,
    /// `pulsemesh_pulses_dropped_total`
    pub dropped: Counter,
}

impl PulseMetrics {
    fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            accepted: Family::default(),
            rejected: Family::default(),
            duplicate: Counter::default(),
            dropped: Counter::default(),
        };
        registry.register("pulses_accepted", "Pulses acknowledged", metrics.accepted.clone());
        registry.register("pulses_rejected", "Pulses refused", metrics.rejected.clone());
        registry.register(
            "pulses_duplicate",
            "Pulses recognised as repeats and not processed again",
            metrics.duplicate.clone(),
        );
        registry.register(
            "pulses_dropped",
            "Pulses answered and dropped because the memory buffer was full",
            metrics.dropped.clone(),
        );
        metrics
    }
}

/// Of the log.
#[derive(Debug, Clone)]
pub struct LogMetrics {
    /// `pulsemesh_log_bytes`: undrained bytes, what the budget bounds.
    pub bytes: Level,
    /// `pulsemesh_log_budget_bytes`
    pub budget_bytes: Level,
    /// `pulsemesh_log_disk_bytes`: bytes of all segment files.
    pub disk_bytes: Level,
    /// `pulsemesh_log_segments`
    pub segments: Level,
    /// `pulsemesh_log_sync_seconds`
    pub sync: Histogram,
    /// `pulsemesh_log_sync_failures_total`
    pub sync_failures: Counter,
    /// `pulsemesh_log_group_pulses`
    pub group_pulses: Histogram,
    /// `pulsemesh_log_segments_set_aside_total`
    pub segments_set_aside: Counter,
}

impl LogMetrics {
    fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            bytes: Level::default(),
            budget_bytes: Level::default(),
            disk_bytes: Level::default(),
            segments: Level::default(),
            sync: write_time(),
            sync_failures: Counter::default(),
            group_pulses: batch_rows(),
            segments_set_aside: Counter::default(),
        };
        registry.register(
            "log_bytes",
            "Bytes in the log that a required sink has not finished",
            metrics.bytes.clone(),
        );
        registry.register(
            "log_budget_bytes",
            "Bytes at which the log refuses",
            metrics.budget_bytes.clone(),
        );
        registry.register(
            "log_disk_bytes",
            "Bytes of all segment files",
            metrics.disk_bytes.clone(),
        );
        registry.register("log_segments", "Segment files", metrics.segments.clone());
        registry.register_with_unit(
            "log_sync",
            "Time of one sync of the log",
            Unit::Seconds,
            metrics.sync.clone(),
        );
        registry.register(
            "log_sync_failures",
            "Syncs of the log that failed",
            metrics.sync_failures.clone(),
        );
        registry.register(
            "log_group_pulses",
            "Pulses made durable by one sync",
            metrics.group_pulses.clone(),
        );
        registry.register(
            "log_segments_set_aside",
            "Damaged segments kept aside",
            metrics.segments_set_aside.clone(),
        );
        metrics
    }
}

/// Of sinks.
#[derive(Debug, Clone)]
pub struct SinkMetrics {
    /// `pulsemesh_pulses_stored_total{sink}`
    pub stored: Family<SinkLabels, Counter>,
    /// `pulsemesh_pulses_dead_lettered_total{sink}`
    pub dead_lettered: Family<SinkLabels, Counter>,
    /// `pulsemesh_sink_oldest_unstored_age_seconds{sink}`
    pub oldest_age: ProbeFamily<SinkLabels, f64>,
    /// `pulsemesh_sink_batch_rows{sink}`
    pub batch_rows: Family<SinkLabels, Histogram, Buckets>,
    /// `pulsemesh_sink_write_seconds{sink}`
    pub write_time: Family<SinkLabels, Histogram, Buckets>,
    /// `pulsemesh_sink_writes_total{sink,outcome}`
    pub writes: Family<WriteLabels, Counter>,
    /// `pulsemesh_ledger_pulses{sink,place}`
    pub ledger: ProbeFamily<LedgerLabels, u64>,
    /// `pulsemesh_dead_letter_bytes`
    pub dead_letter_bytes: Level,
    /// `pulsemesh_dead_letters_left_total{sink,how}`
    pub letters_left: Family<LeftLabels, Counter>,
}

impl SinkMetrics {
    fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            stored: Family::default(),
            dead_lettered: Family::default(),
            oldest_age: ProbeFamily::default(),
            batch_rows: Family::new_with_constructor(batch_rows as Buckets),
            write_time: Family::new_with_constructor(write_time as Buckets),
            writes: Family::default(),
            ledger: ProbeFamily::default(),
            dead_letter_bytes: Level::default(),
            letters_left: Family::default(),
        };
        registry.register("pulses_stored", "Pulses written by a sink", metrics.stored.clone());
        registry.register(
            "pulses_dead_lettered",
            "Pulses that a sink could not take, kept as dead letters",
            metrics.dead_lettered.clone(),
        );
        registry.register_with_unit(
            "sink_oldest_unstored_age",
            "Age of the oldest pulse that a sink has not finished",
            Unit::Seconds,
            metrics.oldest_age.clone(),
        );
        registry.register("sink_batch_rows", "Rows of a batch", metrics.batch_rows.clone());
        registry.register_with_unit(
            "sink_write",
            "Time of one write of a batch",
            Unit::Seconds,
            metrics.write_time.clone(),
        );
        registry.register("sink_writes", "Writes of batches by outcome", metrics.writes.clone());
        registry.register(
            "ledger_pulses",
            "Where the pulses accepted for a sink are; accepted is the sum of all other places",
            metrics.ledger.clone(),
        );
        registry.register(
            "dead_letter_bytes",
            "Bytes of all dead letters",
            metrics.dead_letter_bytes.clone(),
        );
        registry.register(
            "dead_letters_left",
            "Dead letters that left: taken by their sink, expired, or given up by a person",
            metrics.letters_left.clone(),
        );
        metrics
    }
}

/// Of the memory buffer and the reservations.
#[derive(Debug, Clone, Default)]
pub struct HeldMetrics {
    /// `pulsemesh_buffer_pulses`
    pub buffer_pulses: Probe<u64>,
    /// `pulsemesh_buffer_capacity_pulses`
    pub buffer_capacity: Level,
    /// `pulsemesh_reservations`
    pub reservations: Level,
}

impl HeldMetrics {
    fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "buffer_pulses",
            "Pulses that only the memory buffer holds",
            metrics.buffer_pulses.clone(),
        );
        registry.register(
            "buffer_capacity_pulses",
            "Pulses that the memory buffer can hold",
            metrics.buffer_capacity.clone(),
        );
        registry.register(
            "reservations",
            "Ids and keys reserved against repeats",
            metrics.reservations.clone(),
        );
        metrics
    }
}

/// Of files that are read while the process runs.
#[derive(Debug, Clone, Default)]
pub struct ReloadMetrics {
    /// `pulsemesh_reloads_total{files,result}`
    pub reloads: Family<ReloadLabels, Counter>,
    /// `pulsemesh_reload_good_timestamp_seconds{files}`
    pub good_at: Family<FileLabels, Gauge<f64, AtomicU64>>,
    /// `pulsemesh_tenants`
    pub tenants: Level,
}

impl ReloadMetrics {
    fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "reloads",
            "Times that changed files were read again",
            metrics.reloads.clone(),
        );
        registry.register_with_unit(
            "reload_good_timestamp",
            "When files were last read and could be used, since 1970",
            Unit::Seconds,
            metrics.good_at.clone(),
        );
        registry.register("tenants", "Tenants of the file", metrics.tenants.clone());
        metrics
    }
}

/// Makes metrics that nobody reads, for tests and for a library user who wants none.
pub fn unregistered() -> Arc<Metrics> {
    Arc::new(Metrics::register(&mut Registry::default()))
}
