//! The controller against an API server that fails where it hurts.

mod claims;
mod look;
mod managed;
mod namespace;
mod ring;
mod slow_store;
mod watching;

use prometheus_client::registry::Registry;
use serde_json::{Value, json};

use crate::client::Clients;
use crate::fake::FakeApi;
use crate::mesh::validate::Defaults;
use crate::metrics::{Metrics, ResultLabels};
use crate::nodes::Unreachable;

const NAMESPACE: &str = "shop";

fn defaults() -> Defaults {
    crate::mesh::fixtures::defaults()
}

fn metrics() -> Metrics {
    Metrics::register(&mut Registry::default())
}

fn clients(api: &FakeApi) -> Clients {
    Clients { requests: api.client(), watches: api.client() }
}

/// A mesh as a cluster has it; its spec is whatever it is.
fn mesh(name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "pulsemesh.io/v1alpha1", "kind": "PulseMesh",
        "metadata": {"name": name, "namespace": NAMESPACE, "uid": format!("uid-of-{name}")},
        "spec": spec,
    })
}

/// A mesh that needs no nodes.
fn external(name: &str) -> Value {
    mesh(name, json!({"store": {"external": {"cassandra": {"nodes": ["a.example:9042"]}}}}))
}

fn count(metrics: &Metrics, result: &'static str) -> u64 {
    metrics.reconciles.get_or_create(&ResultLabels { result }).get()
}
