//! Makes Prometheus find the pods. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};

use crate::mesh::names::{self, Component};
use crate::mesh::plan::Plan;

/// The ServiceMonitor of a mesh. Only the headless Service has a port of this name.
pub(super) fn monitor(plan: &Plan, metadata: ObjectMeta) -> Value {
    json!({
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "ServiceMonitor",
        "metadata": metadata,
        "spec": {
            "selector": {"matchLabels": names::selector(&plan.mesh.name, Component::Ingest)},
            "endpoints": [{
                "port": "admin",
                "path": "/metrics",
                "relabelings": [
                    {"action": "replace", "targetLabel": "mesh", "replacement": plan.mesh.name},
                    // The port's name, which would push the metrics' own `endpoint` aside.
                    {"action": "labeldrop", "regex": "endpoint"},
                ],
            }],
        },
    })
}
