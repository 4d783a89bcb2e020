//! How an ingestor is made: every setting with its default, and the parts put together.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, system_clock};
use crate::limits::Limiter;
use crate::log::DataDirLock;
use crate::metrics::{Metrics, unregistered};
use crate::retention::RetentionClasses;
use crate::sharing::Shared;
use crate::sink::Sink;
use crate::sink::drain::{Need, SinkRegistration};
use crate::store::{SINK_NAME, Store};
use crate::submission::Ack;
use crate::tenant::Tenants;

use super::{Ingestor, StartError};

/// What happens to a `memory` pulse when the buffer is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overflow {
    /// It is refused.
    Refuse,
    /// It is answered as accepted, dropped and counted.
    Drop,
}

/// Bounds of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogBounds {
    /// Undrained bytes at which it refuses.
    pub budget_bytes: u64,
    /// Bytes of one segment file.
    pub segment_bytes: u64,
    /// Free bytes of its disk at which it refuses.
    pub free_bytes_min: u64,
}

/// Settings of an ingestor. Every one has a default but the directory and the sinks.
pub struct IngestorBuilder {
    pub(super) data_dir: PathBuf,
    pub(super) store: Option<Arc<dyn Store>>,
    pub(super) sinks: Vec<SinkRegistration>,
    pub(super) ack: Ack,
    pub(super) ack_highest: Ack,
    pub(super) overflow: Overflow,
    pub(super) buffer_pulses: usize,
    pub(super) buffer_bytes: usize,
    pub(super) batch_rows: usize,
    pub(super) flush_interval: Duration,
    pub(super) workers: usize,
    pub(super) window_bytes: usize,
    pub(super) log: LogBounds,
    pub(super) dead_letter_bytes: u64,
    pub(super) retention: Duration,
    pub(super) retention_classes: RetentionClasses,
    pub(super) idempotency_window: Duration,
    pub(super) idempotency_keys: usize,
    pub(super) shared: Shared,
    pub(super) stored_timeout: Duration,
    pub(super) limiter: Arc<Limiter>,
    pub(super) tenants: Option<Arc<Tenants>>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) clock: Clock,
    pub(super) lock: Option<DataDirLock>,
}

impl std::fmt::Debug for IngestorBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IngestorBuilder")
            .field("data_dir", &self.data_dir)
            .field("sinks", &self.sinks)
            .field("ack", &self.ack)
            .finish_non_exhaustive()
    }
}

impl IngestorBuilder {
    pub(super) fn new(data_dir: PathBuf) -> Self {
        Self {
            data_dir,
            store: None,
            sinks: Vec::new(),
            ack: Ack::Durable,
            ack_highest: Ack::Stored,
            overflow: Overflow::Refuse,
            buffer_pulses: 100_000,
            buffer_bytes: 64 << 20,
            batch_rows: 5_000,
            flush_interval: Duration::from_millis(100),
            workers: 2,
            window_bytes: 16 << 20,
            log: LogBounds {
                budget_bytes: 1 << 30,
                segment_bytes: 64 << 20,
                free_bytes_min: 256 << 20,
            },
            dead_letter_bytes: 256 << 20,
            retention: Duration::from_secs(7 * 24 * 3600),
            retention_classes: RetentionClasses::default(),
            idempotency_window: Duration::from_secs(30 * 60),
            idempotency_keys: 2_000_000,
            shared: Shared::Local,
            stored_timeout: Duration::from_secs(30),
            limiter: Limiter::unlimited(),
            tenants: None,
            metrics: unregistered(),
            clock: system_clock(),
            lock: None,
        }
    }
}

macro_rules! setters {
    ($($(#[doc = $doc:literal])+ $name:ident($argument:ident: $type:ty) => $field:ident;)+) => {
        impl IngestorBuilder {
            $(
                $(#[doc = $doc])+
                #[must_use]
                pub fn $name(mut self, $argument: $type) -> Self {
                    self.$field = $argument.into();
                    self
                }
            )+
        }
    };
}

setters! {
    /// The level given when a push or request asks for none (`durable`).
    ack(level: Ack) => ack;
    /// The highest level that may be asked for (`stored`).
    ack_highest(level: Ack) => ack_highest;
    /// What happens when the memory buffer is full (it refuses).
    overflow(overflow: Overflow) => overflow;
    /// Pulses that the memory buffer holds at most (100,000).
    buffer_size(pulses: usize) => buffer_pulses;
    /// Bytes that the memory buffer holds at most (64 MiB).
    buffer_bytes(bytes: usize) => buffer_bytes;
    /// Rows of a full batch (5,000).
    batch_size(rows: usize) => batch_rows;
    /// How long a row waits for its batch to fill (100 ms).
    flush_interval(interval: Duration) => flush_interval;
    /// Batches that are written to one sink at the same time (2).
    workers(workers: usize) => workers;
    /// Bytes that each sink's drain reads ahead (16 MiB).
    window_bytes(bytes: usize) => window_bytes;
    /// Bounds of the log (1 GiB in segments of 64 MiB, 256 MiB of the disk kept free).
    log_bounds(bounds: LogBounds) => log;
    /// Bytes of dead letters at which a sink waits rather than make more (256 MiB).
    dead_letter_bytes(bytes: u64) => dead_letter_bytes;
    /// How old an event may be when it comes (7 days).
    retention(retention: Duration) => retention;
    /// How old an event of a tenant with a class of its own may be (no tenant has one). The store
    /// must have the same classes.
    retention_classes(classes: RetentionClasses) => retention_classes;
    /// How long a client's own id or key is known (30 minutes).
    idempotency_window(window: Duration) => idempotency_window;
    /// How many of them are known at most (2,000,000).
    idempotency_keys(keys: usize) => idempotency_keys;
    /// Who else knows of them (nobody).
    shared(shared: Shared) => shared;
    /// How long a `stored` push waits at most (30 s).
    stored_timeout(timeout: Duration) => stored_timeout;
    /// Charges the pulses of tenants that have a limit of them (no tenant has).
    limiter(limiter: Arc<Limiter>) => limiter;
    /// Whose schemas judge what they refused once, when it is replayed (nobody's: it stays
    /// refused).
    tenants(tenants: Arc<Tenants>) => tenants;
    /// Where it counts.
    metrics(metrics: Arc<Metrics>) => metrics;
    /// What time it is.
    clock(clock: Clock) => clock;
    /// The lock on the directory, where the caller has taken it already.
    lock(lock: DataDirLock) => lock;
}

impl IngestorBuilder {
    /// The store: a required sink of the name `store`, which queries ask.
    #[must_use]
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        let sink: Arc<dyn Sink> = store.clone();
        self.store = Some(store);
        self.required_sink(SINK_NAME, sink)
    }

    /// A sink that a pulse must reach before the log forgets it.
    #[must_use]
    pub fn required_sink(self, name: &str, sink: Arc<dyn Sink>) -> Self {
        self.sink(name, sink, Need::Required)
    }

    /// A sink by its name, which must stay the same over restarts: its cursor goes by it.
    #[must_use]
    pub fn sink(mut self, name: &str, sink: Arc<dyn Sink>, need: Need) -> Self {
        self.sinks.push(SinkRegistration { name: name.to_owned(), sink, need });
        self
    }

    /// Opens what lies in the directory and starts the log and the drains.
    ///
    /// # Errors
    /// When another process has the directory, when something in it was written by a newer
    /// version, or when the disk does not let it be read.
    pub fn build(self) -> Result<Ingestor, StartError> {
        Ingestor::start(self)
    }
}
