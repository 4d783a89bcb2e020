//! What the dashboard shows, top to bottom.

/// A panel: a graph over time.
pub(super) struct Panel {
    pub(super) title: &'static str,
    /// As Grafana calls it.
    pub(super) unit: &'static str,
    /// Queries with their legends; `SERIES` stands for what selects the series of the mesh.
    pub(super) queries: &'static [(&'static str, &'static str)],
    pub(super) about: &'static str,
}

/// For every mesh.
pub(super) const PANELS: &[Panel] = &[
    Panel {
        title: "Accepted",
        unit: "cps",
        queries: &[(
            "sum by (ack) (rate(pulsemesh_pulses_accepted_total{SERIES}[$__rate_interval]))",
            "{{ack}}",
        )],
        about: "Pulses acknowledged a second, by level.",
    },
    Panel {
        title: "Refused requests",
        unit: "reqps",
        queries: &[(
            "sum by (code) (rate(pulsemesh_requests_total{SERIES,code=~\"4..|5..\"}\
             [$__rate_interval]))",
            "{{code}}",
        )],
        about: "By HTTP status: 503 is our capacity, 429 a tenant's limit, other 4xx the client's.",
    },
    Panel {
        title: "Rejected pulses",
        unit: "cps",
        queries: &[
            (
                "sum by (code) (rate(pulsemesh_pulses_rejected_total{SERIES}[$__rate_interval]))",
                "{{code}}",
            ),
            ("sum(rate(pulsemesh_pulses_duplicate_total{SERIES}[$__rate_interval]))", "duplicate"),
            ("sum(rate(pulsemesh_pulses_dropped_total{SERIES}[$__rate_interval]))", "dropped"),
        ],
        about: "Events refused alone, by the code that the client was told; repeats; drops.",
    },
    Panel {
        title: "Time to answer",
        unit: "s",
        queries: &[
            (
                "histogram_quantile(0.5, sum by (le) (rate(\
                 pulsemesh_request_latency_seconds_bucket{SERIES}[$__rate_interval])))",
                "p50",
            ),
            (
                "histogram_quantile(0.99, sum by (le) (rate(\
                 pulsemesh_request_latency_seconds_bucket{SERIES}[$__rate_interval])))",
                "p99",
            ),
        ],
        about: "From a request's head to its answer.",
    },
    Panel {
        title: "Log backlog",
        unit: "bytes",
        queries: &[
            ("sum by (pod) (pulsemesh_log_bytes{SERIES})", "{{pod}}"),
            ("max(pulsemesh_log_budget_bytes{SERIES})", "budget of a pod"),
        ],
        about: "In the log and not stored yet. At its budget a pod refuses.",
    },
    Panel {
        title: "Lag",
        unit: "s",
        queries: &[(
            "max by (sink) (pulsemesh_sink_oldest_unstored_age_seconds{SERIES})",
            "{{sink}}",
        )],
        about: "Age of the oldest pulse that is not stored.",
    },
    Panel {
        title: "Stored",
        unit: "cps",
        queries: &[(
            "sum by (sink) (rate(pulsemesh_pulses_stored_total{SERIES}[$__rate_interval]))",
            "{{sink}}",
        )],
        about: "Pulses written a second.",
    },
    Panel {
        title: "Writes by outcome",
        unit: "ops",
        queries: &[(
            "sum by (sink, outcome) (rate(pulsemesh_sink_writes_total{SERIES}\
             [$__rate_interval]))",
            "{{sink}} {{outcome}}",
        )],
        about: "Batches; all but ok are tried again, split or searched for the row at fault.",
    },
    Panel {
        title: "Time of a batch",
        unit: "s",
        queries: &[(
            "histogram_quantile(0.99, sum by (le, sink) (rate(\
             pulsemesh_sink_write_seconds_bucket{SERIES}[$__rate_interval])))",
            "{{sink}} p99",
        )],
        about: "One write of a batch to the store.",
    },
    Panel {
        title: "Dead letters",
        unit: "short",
        queries: &[(
            "sum by (sink) (increase(pulsemesh_pulses_dead_lettered_total{SERIES}\
             [$__rate_interval]))",
            "{{sink}}",
        )],
        about: "Pulses that can never be stored, kept with their reason.",
    },
    Panel {
        title: "Memory",
        unit: "bytes",
        queries: &[("process_resident_memory_bytes{SERIES}", "{{pod}}")],
        about: "Resident memory of each ingest process.",
    },
    Panel {
        title: "Processor time",
        unit: "percentunit",
        queries: &[("rate(process_cpu_seconds_total{SERIES}[$__rate_interval])", "{{pod}}")],
        about: "Cores that each ingest process uses.",
    },
];

/// For a store that is reached by CQL.
pub(super) const DATABASE_PANELS: &[Panel] = &[
    Panel {
        title: "Time of a database request",
        unit: "s",
        queries: &[
            (
                "histogram_quantile(0.5, sum by (le, table) (rate(\
                 pulsemesh_cassandra_request_seconds_bucket{SERIES}[$__rate_interval])))",
                "{{table}} p50",
            ),
            (
                "histogram_quantile(0.99, sum by (le, table) (rate(\
                 pulsemesh_cassandra_request_seconds_bucket{SERIES}[$__rate_interval])))",
                "{{table}} p99",
            ),
        ],
        about: "One attempt of a write request.",
    },
    Panel {
        title: "Retries",
        unit: "reqps",
        queries: &[
            (
                "sum by (class) (rate(pulsemesh_cassandra_retries_total{SERIES}\
                 [$__rate_interval]))",
                "{{class}} sent again",
            ),
            (
                "sum by (class) (rate(pulsemesh_cassandra_failures_total{SERIES}\
                 [$__rate_interval]))",
                "{{class}} failed",
            ),
        ],
        about: "Write requests that failed or were sent again, by class.",
    },
    Panel {
        title: "Requests in flight",
        unit: "short",
        queries: &[
            ("sum(pulsemesh_cassandra_requests_in_flight{SERIES})", "in flight"),
            ("sum(pulsemesh_cassandra_requests_limit{SERIES})", "limit"),
        ],
        about: "The limit is found by measuring: low, and the database is at its end.",
    },
    Panel {
        title: "Connected",
        unit: "short",
        queries: &[("sum(pulsemesh_cassandra_connected{SERIES})", "pods")],
        about: "Ingest pods that reach the database and find its tables right.",
    },
];
