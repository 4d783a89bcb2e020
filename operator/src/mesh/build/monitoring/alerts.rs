//! Alerts on what a person must act upon. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};

use super::series;
use crate::mesh::plan::{Plan, StorePlan};

/// An alert.
struct Alert {
    name: &'static str,
    /// `SERIES` stands for what selects the series of the mesh.
    expression: &'static str,
    /// How long it must hold.
    lasts: &'static str,
    severity: &'static str,
    summary: &'static str,
    description: &'static str,
}

const ALERTS: &[Alert] = &[
    Alert {
        name: "PulseMeshRefusing",
        expression: "sum(rate(pulsemesh_requests_total{SERIES,code=\"503\"}[5m])) > 0",
        lasts: "5m",
        severity: "critical",
        summary: "Clients get 503",
        description: "{{ $value | humanize }} requests a second are refused for want of capacity. \
                      See the log's backlog, the free disk and the memory buffer.",
    },
    Alert {
        name: "PulseMeshLogFilling",
        expression: "pulsemesh_log_bytes{SERIES} / pulsemesh_log_budget_bytes{SERIES} > 0.5",
        lasts: "5m",
        severity: "warning",
        summary: "A log is half full",
        description: "The log of {{ $labels.pod }} is at {{ $value | humanizePercentage }} of its \
                      budget; when it is full, clients get 503. The store takes less than comes \
                      in: see whether it is up, and its latency.",
    },
    Alert {
        name: "PulseMeshStoreBehind",
        expression: "max by (sink) (pulsemesh_sink_oldest_unstored_age_seconds{SERIES}) > 300",
        lasts: "5m",
        severity: "warning",
        summary: "Pulses wait for minutes to be stored",
        description: "The oldest pulse that {{ $labels.sink }} has not stored is {{ $value | \
                      humanizeDuration }} old.",
    },
    Alert {
        name: "PulseMeshDeadLetters",
        expression: "sum by (sink) (increase(pulsemesh_pulses_dead_lettered_total{SERIES}[15m])) > \
                     0",
        lasts: "0m",
        severity: "warning",
        summary: "Pulses became dead letters",
        description: "{{ $value | humanize }} pulses of the last 15 minutes can never be stored in \
                      {{ $labels.sink }}; they are kept with their reason in the pod's data \
                      directory.",
    },
    Alert {
        name: "PulseMeshDropping",
        expression: "sum(rate(pulsemesh_pulses_dropped_total{SERIES}[5m])) > 0",
        lasts: "5m",
        severity: "warning",
        summary: "Pulses are dropped",
        description: "{{ $value | humanize }} pulses a second find the memory buffer full and are \
                      dropped, as spec.ingest.buffer.overflow asks.",
    },
    Alert {
        name: "PulseMeshLogSyncFailing",
        expression: "sum by (pod) (increase(pulsemesh_log_sync_failures_total{SERIES}[15m])) > 0",
        lasts: "0m",
        severity: "critical",
        summary: "A disk failed to sync the log",
        description: "{{ $labels.pod }} could not sync its log. What was acknowledged is safe; \
                      look at the disk of its node.",
    },
    Alert {
        name: "PulseMeshLogDamaged",
        expression: "sum by (pod) (increase(pulsemesh_log_segments_set_aside_total{SERIES}[1h])) > \
                     0",
        lasts: "0m",
        severity: "critical",
        summary: "A part of a log is damaged",
        description: "{{ $labels.pod }} set damaged segments of its log aside: pulsemesh-ingest \
                      log verify says what is in them.",
    },
];

/// For a store that is reached by CQL.
const DATABASE_ALERTS: &[Alert] = &[
    Alert {
        name: "PulseMeshStoreDown",
        expression: "max(pulsemesh_cassandra_connected{SERIES}) == 0",
        lasts: "2m",
        severity: "critical",
        summary: "No ingest pod reaches the database",
        description: "Pulses are accepted into the log until its budget is used. /readyz?verbose \
                      of an ingest pod says why.",
    },
    Alert {
        name: "PulseMeshStoreFailing",
        expression: "sum(rate(pulsemesh_cassandra_failures_total{SERIES}[5m])) / (sum(rate(\
                     pulsemesh_cassandra_requests_total{SERIES}[5m])) + sum(rate(\
                     pulsemesh_cassandra_failures_total{SERIES}[5m]))) > 0.05",
        lasts: "10m",
        severity: "warning",
        summary: "The database fails many writes",
        description: "{{ $value | humanizePercentage }} of the write requests fail and are sent \
                      again: pulsemesh_cassandra_failures_total says by which class.",
    },
];

/// The PrometheusRule of a mesh.
pub(super) fn rule(plan: &Plan, metadata: ObjectMeta) -> Value {
    let of_database = match plan.store {
        StorePlan::Embedded => &[],
        StorePlan::Managed(_) | StorePlan::External => DATABASE_ALERTS,
    };
    let rules: Vec<_> =
        ALERTS.iter().chain(of_database).map(|alert| written(plan, alert)).collect();
    json!({
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": metadata,
        "spec": {"groups": [{"name": "pulsemesh", "rules": rules}]},
    })
}

fn written(plan: &Plan, alert: &Alert) -> Value {
    json!({
        "alert": alert.name,
        "expr": alert.expression.replace("SERIES", &series(plan)),
        "for": alert.lasts,
        "labels": {
            "severity": alert.severity,
            "namespace": plan.mesh.namespace,
            "mesh": plan.mesh.name,
        },
        "annotations": {"summary": alert.summary, "description": alert.description},
    })
}
