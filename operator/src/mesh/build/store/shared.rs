//! What all racks of a store share, and what every object of the store carries.

use std::collections::BTreeMap;

use kube::Resource;
use pulsemesh_crds::PulseMesh;
use serde_json::{Value, json};

use crate::mesh::names::{self, CQL_PORT, Component};
use crate::mesh::object::{Kind, Object};
use crate::mesh::plan::Plan;

/// Where nodes speak to each other.
pub(super) const INTERNODE_PORT: i32 = 7000;

/// What every object of the store carries.
pub(super) fn metadata(plan: &Plan, name: &str) -> Value {
    json!({
        "name": name,
        "namespace": plan.mesh.namespace,
        "labels": names::labels(&plan.mesh.name, Component::Store),
        "ownerReferences": [{
            "apiVersion": PulseMesh::api_version(&()),
            "kind": PulseMesh::kind(&()),
            "name": plan.mesh.name,
            "uid": plan.mesh.uid,
            "controller": true,
            "blockOwnerDeletion": true,
        }],
    })
}

pub(super) fn service_account(plan: &Plan) -> serde_json::Result<Object> {
    let object = json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata(plan, &names::store(&plan.mesh.name)),
        "automountServiceAccountToken": false,
    });
    Object::new(Kind::ServiceAccount, &object)
}

pub(super) fn config_map(
    plan: &Plan,
    files: BTreeMap<String, String>,
) -> serde_json::Result<Object> {
    let object = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(plan, &names::store(&plan.mesh.name)),
        "data": files,
    });
    Object::new(Kind::ConfigMap, &object)
}

/// Gives each pod its name. A node must be found before it is ready: it becomes ready by being
/// found.
pub(super) fn service(plan: &Plan) -> serde_json::Result<Object> {
    let port = |name: &str, port: i32| json!({"name": name, "port": port, "protocol": "TCP"});
    let object = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(plan, &names::store(&plan.mesh.name)),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": true,
            "selector": names::selector(&plan.mesh.name, Component::Store),
            "ports": [port("cql", CQL_PORT), port("internode", INTERNODE_PORT)],
        },
    });
    Object::new(Kind::Service, &object)
}

pub(super) fn disruption_budget(plan: &Plan) -> serde_json::Result<Object> {
    let object = json!({
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(plan, &names::store(&plan.mesh.name)),
        "spec": {
            "maxUnavailable": 1,
            "selector": {"matchLabels": names::selector(&plan.mesh.name, Component::Store)},
        },
    });
    Object::new(Kind::PodDisruptionBudget, &object)
}
