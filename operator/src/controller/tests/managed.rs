//! Whole looks at a mesh with all that there is: a store of three nodes, logs in claims, an
//! autoscaler and monitoring, in a cluster whose controllers work.

use serde_json::{Value, json};

use super::look::{has, settle, worker};
use super::ring::Ring;
use super::{FakeApi, NAMESPACE, mesh};
use crate::controller::worker::chain;
use crate::fake::Faults;
use crate::mesh::names;

/// What is made of such a mesh and no pod needs to run.
const APART: [&str; 5] = [
    "networkpolicies",
    "poddisruptionbudgets",
    "horizontalpodautoscalers",
    "servicemonitors",
    "prometheusrules",
];

fn everything() -> Value {
    mesh(
        "demo",
        json!({
            "ingest": {
                "autoscaling": {"minReplicas": 2, "maxReplicas": 3},
                "log": {"storage": {"size": "4Gi"}},
            },
            "store": {"cassandra": {"nodes": 3, "storage": {"size": "1Gi"}}},
            "deletionPolicy": "Delete",
        }),
    )
}

/// An API server that knows the mesh and the kinds of monitoring.
fn api() -> (FakeApi, Ring) {
    let api = FakeApi::default();
    for plural in ["servicemonitors", "prometheusrules"] {
        let name = format!("{plural}.monitoring.coreos.com");
        api.put("customresourcedefinitions", json!({"metadata": {"name": name}}));
    }
    api.put("pulsemeshes", everything());
    let ring = Ring::of(&api);
    (api, ring)
}

/// How many pods of the store have been told that their peers see them.
fn joined(api: &FakeApi) -> usize {
    let pods = api.content().into_iter().filter(|(key, _)| key.0 == "pods");
    let conditions = pods.filter_map(|(_, pod)| pod.pointer("/status/conditions").cloned());
    let is_joined = |conditions: &Value| {
        let mut conditions = conditions.as_array().into_iter().flatten();
        conditions.any(|one| one["type"] == names::JOINED && one["status"] == "True")
    };
    conditions.filter(is_joined).count()
}

#[tokio::test]
async fn a_kind_that_can_not_be_written_keeps_no_mesh_from_being_made() {
    for plural in APART {
        let (api, ring) = api();
        api.fail(Faults { broken_write: Some(plural), ..Faults::default() });
        let worker = worker(&api, ring.clone());
        for _ in 0..40 {
            let looked = Box::pin(worker.look(NAMESPACE, "demo")).await;
            let told = chain(&looked.expect_err("the failure is told"));
            assert!(told.contains("injected"), "{told}");
            api.beat();
        }
        assert_eq!(joined(&api), 3, "without {plural}");
        let others = APART.iter().filter(|other| **other != plural);
        assert!(others.into_iter().all(|other| has(&api, other)), "without {plural}");
        api.fail(Faults::default());
        settle(&api, &ring).await;
        assert!(has(&api, plural));
    }
}

#[tokio::test]
async fn nodes_are_looked_after_while_an_object_can_not_be_written() {
    let (api, ring) = api();
    api.fail(Faults { broken_write: Some("configmaps"), ..Faults::default() });
    let worker = worker(&api, ring);
    Box::pin(worker.look(NAMESPACE, "demo")).await.expect_err("the failure is told");
    assert!(has(&api, "secrets"), "credentials are made all the same");
}
