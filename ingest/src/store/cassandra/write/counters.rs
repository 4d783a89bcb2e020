//! What the write path counts, looked up once: a label's hash for each request would cost more
//! than the count.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;

use super::super::error::Class;
use super::super::metrics::{CassandraMetrics, ClassLabels, TableLabels};

/// Counts of one table.
#[derive(Debug)]
pub(super) struct TableCounters {
    rows: Counter,
    requests: Counter,
    latency: Histogram,
}

/// Counts of the write path.
#[derive(Debug)]
pub(super) struct Counters {
    pub(super) events: TableCounters,
    pub(super) ids: TableCounters,
    pub(super) buckets: TableCounters,
    pub(super) id_hours: TableCounters,
    failures: [Counter; Class::ALL.len()],
    retries: [Counter; Class::ALL.len()],
}

impl Counters {
    pub(super) fn new(metrics: &CassandraMetrics) -> Self {
        let table = |table| {
            let labels = TableLabels { table };
            TableCounters {
                rows: metrics.rows.get_or_create(&labels).clone(),
                requests: metrics.requests.get_or_create(&labels).clone(),
                latency: metrics.latency.get_or_create(&labels).clone(),
            }
        };
        let labels = |class: Class| ClassLabels { class: class.as_str() };
        Self {
            events: table("events"),
            ids: table("ids"),
            buckets: table("buckets"),
            id_hours: table("id_hours"),
            failures: Class::ALL
                .map(|class| metrics.failures.get_or_create(&labels(class)).clone()),
            retries: Class::ALL.map(|class| metrics.retries.get_or_create(&labels(class)).clone()),
        }
    }

    pub(super) fn failed(&self, class: Class) {
        self.failures[class as usize].inc();
    }

    pub(super) fn sent_again(&self, class: Class) {
        self.retries[class as usize].inc();
    }
}

impl TableCounters {
    /// A request was answered or not, after `took`.
    pub(super) fn ended(&self, took: Duration, rows: usize, done: bool) {
        self.latency.observe(took.as_secs_f64());
        if done {
            self.requests.inc();
            self.rows.inc_by(rows as u64);
        }
    }
}
