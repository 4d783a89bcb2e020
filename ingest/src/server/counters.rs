//! A serving thread's handles of the request metrics. They are looked up once: a request finds
//! its own by number.

use std::cell::RefCell;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;

use crate::metrics::{EndpointLabels, HttpMetrics, RequestLabels};
use crate::routes::Endpoint;

type ByStatus = Vec<(u16, Counter)>;

/// The handles.
#[derive(Debug)]
pub(super) struct Counters {
    metrics: HttpMetrics,
    latency: [Histogram; Endpoint::ALL.len()],
    requests: RefCell<[ByStatus; Endpoint::ALL.len()]>,
}

impl Counters {
    pub(super) fn new(metrics: HttpMetrics) -> Self {
        let latency = Endpoint::ALL.map(|endpoint| {
            let labels = EndpointLabels { endpoint: endpoint.as_str() };
            metrics.latency.get_or_create(&labels).clone()
        });
        Self { metrics, latency, requests: RefCell::default() }
    }

    /// Counts and times one answer.
    pub(super) fn answered(&self, endpoint: Endpoint, status: u16, latency: Duration) {
        self.latency[endpoint as usize].observe(latency.as_secs_f64());
        self.counted(endpoint, status);
    }

    /// Counts an answer that has no time: one to bytes that are no request.
    pub(super) fn counted(&self, endpoint: Endpoint, status: u16) {
        let mut requests = self.requests.borrow_mut();
        let known = &mut requests[endpoint as usize];
        if let Some((_, counter)) = known.iter().find(|(code, _)| *code == status) {
            counter.inc();
            return;
        }
        let labels = RequestLabels { endpoint: endpoint.as_str(), code: status };
        let counter = self.metrics.requests.get_or_create(&labels).clone();
        counter.inc();
        known.push((status, counter));
    }
}
