//! The pod of a node: what both engines have in common. Nothing here depends on how many nodes
//! or racks there are.

use serde_json::{Map, Value, json};

use super::shared::INTERNODE_PORT;
use super::{cassandra, scylla};
use crate::mesh::names::{self, CQL_PORT, Component};
use crate::mesh::plan::{Engine, ManagedPlan, Plan};

/// The user and group of the official images; what a claim's files belong to.
const USER: i64 = 999;
/// A drain writes what is in memory, a quarter of the heap at most, and the last mutations: tens
/// of seconds on a busy disk. Five minutes bound it without ever being felt.
const GRACE_SECONDS: i64 = 300;
/// Of the grace: what the process itself may take to end after the drain.
const END_SECONDS: i64 = 60;
/// How often a start is looked for. Each look is a process of some milliseconds.
const STARTUP_PERIOD_SECONDS: i64 = 3;
/// Taking over the data of others ends before CQL is answered, and may take hours; a day is
/// beyond any that still moves.
const STARTUP_FAILURES_MAX: i64 = 24 * 3600 / STARTUP_PERIOD_SECONDS;

/// What an engine brings into the pod.
pub(super) struct Parts {
    /// The init container, without what all containers have.
    pub(super) prepare: Value,
    /// The container, without what all containers have.
    pub(super) store: Value,
    pub(super) volumes: Vec<Value>,
}

/// The template of a rack's pods, without the hash of itself.
pub(super) fn template(plan: &Plan, managed: &ManagedPlan, rack: &str) -> Value {
    let parts = match &managed.engine {
        Engine::Cassandra { heap } => cassandra::parts(plan, heap, rack),
        Engine::Scylla { memory, cores } => scylla::parts(plan, memory, *cores, rack),
    };
    let mut labels = json!(managed.pod.labels);
    for (key, value) in names::labels(&plan.mesh.name, Component::Store) {
        labels[key] = json!(value);
    }
    labels[names::RACK] = json!(rack);
    let mut annotations = json!(managed.pod.annotations);
    annotations[names::MADE_FROM] = json!(super::made_from(managed));
    json!({
        "metadata": {"labels": labels, "annotations": annotations},
        "spec": spec(plan, managed, rack, parts),
    })
}

fn spec(plan: &Plan, managed: &ManagedPlan, rack: &str, parts: Parts) -> Value {
    let mut spec = json!({
        "serviceAccountName": names::store(&plan.mesh.name),
        "automountServiceAccountToken": false,
        // Variables of services could be taken for settings.
        "enableServiceLinks": false,
        "terminationGracePeriodSeconds": grace_seconds(managed),
        "readinessGates": [{"conditionType": names::JOINED}],
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "initContainers": [container(managed, parts.prepare)],
        "containers": [with_probes(container(managed, parts.store), managed)],
        "volumes": parts.volumes,
    });
    place(&mut spec, plan, managed, rack);
    spec
}

/// What all containers have.
fn container(managed: &ManagedPlan, mut container: Value) -> Value {
    container["image"] = json!(managed.image);
    container["imagePullPolicy"] = json!("IfNotPresent");
    // The same for both: only then can the pod have the class Guaranteed.
    container["resources"] = json!(managed.resources);
    container["securityContext"] = json!({
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true,
        "capabilities": {"drop": ["ALL"]},
    });
    container
}

/// None starts a JVM. CQL is answered once a node has all its data and is part of the ring: the
/// startup probe notes that in the claim, and a node with the note may start again alone.
fn with_probes(mut container: Value, managed: &ManagedPlan) -> Value {
    let (data, joined) = (super::data_path(&managed.engine), super::JOINED);
    let started = format!("exec 3<>\"/dev/tcp/$POD_IP/{CQL_PORT}\" && touch {data}/{joined}");
    let cql = json!({"port": CQL_PORT});
    container["startupProbe"] = json!({
        "exec": {"command": ["bash", "-c", started]},
        "periodSeconds": STARTUP_PERIOD_SECONDS,
        "timeoutSeconds": 5,
        "failureThreshold": STARTUP_FAILURES_MAX,
    });
    container["readinessProbe"] =
        json!({"tcpSocket": cql, "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 3});
    // Ten minutes: a node whose disk failed, or that has left the ring, closes its port and can
    // still be asked why; one that is slow is never killed for it.
    container["livenessProbe"] = json!({
        "tcpSocket": cql,
        "periodSeconds": 30,
        "timeoutSeconds": 10,
        "failureThreshold": 20,
    });
    container["lifecycle"] =
        json!({"preStop": {"exec": {"command": ["sh", "-c", drain(managed)]}}});
    container
}

/// A drain that fails or hangs must not keep the process from ending by itself.
fn drain(managed: &ManagedPlan) -> String {
    let grace = grace_seconds(managed);
    let seconds = (grace - END_SECONDS).max(grace / 2);
    format!("timeout {seconds} nodetool drain || true")
}

fn grace_seconds(managed: &ManagedPlan) -> i64 {
    managed.pod.termination_grace_period_seconds.unwrap_or(GRACE_SECONDS)
}

/// Where the pod runs.
fn place(spec: &mut Value, plan: &Plan, managed: &ManagedPlan, rack: &str) {
    let pod = &managed.pod;
    let affinity = pod.affinity.as_ref().map_or_else(|| apart(plan, rack), |own| json!(own));
    let secrets: Vec<Value> = pod.image_pull_secrets.iter().map(|n| json!({"name": n})).collect();
    let mut fields = Map::new();
    fields.insert("affinity".to_owned(), affinity);
    fields.insert("nodeSelector".to_owned(), json!(pod.node_selector));
    fields.insert("tolerations".to_owned(), json!(pod.tolerations));
    fields.insert("topologySpreadConstraints".to_owned(), json!(pod.topology_spread_constraints));
    fields.insert("imagePullSecrets".to_owned(), json!(secrets));
    fields.insert("priorityClassName".to_owned(), json!(pod.priority_class_name));
    for (key, value) in fields {
        if !is_empty(&value) {
            spec[key] = value;
        }
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

/// A wish, not a condition: a cluster may have fewer machines than the store has nodes. Each
/// node on a machine of its own, each rack in zones where no other is, as replicas are spread
/// over racks.
fn apart(plan: &Plan, rack: &str) -> Value {
    let term = |weight: i32, topology: &str, selector: Value| {
        let term = json!({"labelSelector": selector, "topologyKey": topology});
        json!({"weight": weight, "podAffinityTerm": term})
    };
    let store = json!(names::selector(&plan.mesh.name, Component::Store));
    let others = json!({
        "matchLabels": store,
        "matchExpressions": [{"key": names::RACK, "operator": "NotIn", "values": [rack]}],
    });
    json!({
        "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
            term(100, "kubernetes.io/hostname", json!({"matchLabels": store})),
            term(50, "topology.kubernetes.io/zone", others),
        ]},
    })
}

/// A volume that lives as long as the pod, of at most this size.
pub(super) fn scratch(name: &str, size: &str) -> Value {
    json!({"name": name, "emptyDir": {"sizeLimit": size}})
}

/// The ConfigMap of the store.
pub(super) fn settings(plan: &Plan) -> Value {
    json!({"name": "settings", "configMap": {"name": names::store(&plan.mesh.name)}})
}

pub(super) fn ports() -> Value {
    let port = |name: &str, port: i32| json!({"name": name, "containerPort": port});
    json!([port("cql", CQL_PORT), port("internode", INTERNODE_PORT)])
}

pub(super) fn mount(volume: &str, path: &str) -> Value {
    json!({"name": volume, "mountPath": path})
}

pub(super) fn read_only(volume: &str, path: &str) -> Value {
    json!({"name": volume, "mountPath": path, "readOnly": true})
}

pub(super) fn from_pod(variable: &str, field: &str) -> Value {
    json!({"name": variable, "valueFrom": {"fieldRef": {"fieldPath": field}}})
}

pub(super) fn variable(name: &str, value: &str) -> Value {
    json!({"name": name, "value": value})
}
