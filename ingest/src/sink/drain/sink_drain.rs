//! What the reader, the writes and the cursor of one sink share, and its metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use tokio::sync::Semaphore;

use crate::metrics::{LeftLabels, Level, SinkLabels, SinkMetrics, WriteLabels};
use crate::sink::bell::Bell;
use crate::sink::dead_letter::DeadLetters;
use crate::sink::{Sink, SinkError};
use crate::tenant::Tenants;

use super::backoff::Backoff;
use super::{DrainSettings, Need, SinkRegistration};

/// No pulse waits.
pub(crate) const NO_TIME: i64 = i64::MAX;

/// One sink as it is drained into.
#[derive(Debug)]
pub(crate) struct SinkDrain {
    pub(crate) name: String,
    /// Its place in every list of sinks; required sinks come first.
    pub(crate) index: usize,
    pub(crate) need: Need,
    pub(crate) sink: Arc<dyn Sink>,
    pub(crate) settings: DrainSettings,
    pub(crate) letters: Arc<DeadLetters>,
    /// Whose schemas judge refused pulses that are replayed.
    pub(crate) tenants: Option<Arc<Tenants>>,
    pub(crate) backoff: Backoff,
    pub(crate) permits: Semaphore,
    /// Successful writes; a row's failures count while this grows.
    pub(crate) successes: AtomicU64,
    pub(crate) bell: Arc<Bell>,
    pub(crate) sealed: AtomicBool,
    pub(crate) stopping: AtomicBool,
    /// For each source: numbers below this must not wait for a full batch.
    pub(crate) flush_to: [AtomicU64; 2],
    /// For each source: when the oldest unfinished pulse was received, µs since 1970.
    pub(crate) oldest_us: [AtomicI64; 2],
    /// Finished pulses a second, smoothed: the bits of an `f64`.
    pub(crate) rate: AtomicU64,
    pub(crate) metrics: SinkHandles,
}

impl SinkDrain {
    pub(crate) fn new(
        index: usize,
        registration: SinkRegistration,
        settings: &DrainSettings,
        letters: Arc<DeadLetters>,
        metrics: &SinkMetrics,
    ) -> Self {
        let SinkRegistration { name, sink, need } = registration;
        Self {
            index,
            need,
            sink,
            settings: settings.clone(),
            letters,
            tenants: settings.tenants.clone(),
            backoff: Backoff::new(&settings.retry),
            permits: Semaphore::new(settings.workers.max(1)),
            successes: AtomicU64::new(0),
            bell: Arc::default(),
            sealed: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            flush_to: Default::default(),
            oldest_us: [AtomicI64::new(NO_TIME), AtomicI64::new(NO_TIME)],
            rate: AtomicU64::new(0),
            metrics: SinkHandles::new(&name, metrics),
            name,
        }
    }

    pub(crate) fn is_required(&self) -> bool {
        matches!(self.need, Need::Required)
    }
}

/// One sink's metrics, looked up once.
#[derive(Debug)]
pub(crate) struct SinkHandles {
    pub(crate) stored: Counter,
    pub(crate) dead_lettered: Counter,
    pub(crate) batch_rows: Histogram,
    pub(crate) write_time: Histogram,
    pub(crate) dead_letter_bytes: Level,
    pub(crate) letters_left: Family<LeftLabels, Counter>,
    /// Ok, unavailable, too large, row faults, unknown.
    writes: [Counter; 5],
}

const OUTCOMES: [&str; 5] = ["ok", "unavailable", "too_large", "row_faults", "unknown"];

impl SinkHandles {
    fn new(sink: &str, metrics: &SinkMetrics) -> Self {
        let labels = SinkLabels { sink: sink.to_owned() };
        let write = |outcome| WriteLabels { sink: sink.to_owned(), outcome };
        Self {
            stored: metrics.stored.get_or_create(&labels).clone(),
            dead_lettered: metrics.dead_lettered.get_or_create(&labels).clone(),
            batch_rows: metrics.batch_rows.get_or_create(&labels).clone(),
            write_time: metrics.write_time.get_or_create(&labels).clone(),
            dead_letter_bytes: metrics.dead_letter_bytes.clone(),
            letters_left: metrics.letters_left.clone(),
            writes: OUTCOMES.map(|outcome| metrics.writes.get_or_create(&write(outcome)).clone()),
        }
    }

    pub(crate) fn count_write<T>(&self, outcome: &Result<T, SinkError>) {
        let index = match outcome {
            Ok(_) => 0,
            Err(SinkError::Unavailable(_)) => 1,
            Err(SinkError::TooLarge) => 2,
            Err(SinkError::RowFaults(_)) => 3,
            Err(SinkError::Unknown(_)) => 4,
        };
        self.writes[index].inc();
    }
}
