//! Whole looks at a mesh with all that there is: a store of three nodes, logs in claims, an
//! autoscaler and monitoring, in a cluster whose controllers work.

use std::time::Duration;

use serde_json::{Value, json};

use super::look::{delete, has, settle, without_times, worker};
use super::ring::Ring;
use super::{FakeApi, NAMESPACE, mesh};
use crate::controller::worker::{Next, chain};
use crate::fake::{Faults, Key};
use crate::mesh::names;

/// What is made of such a mesh and no pod needs to run.
const APART: [&str; 5] = [
    "networkpolicies",
    "poddisruptionbudgets",
    "horizontalpodautoscalers",
    "servicemonitors",
    "prometheusrules",
];

/// Lists of eleven kinds, pods, claims and storage classes, the mesh and its credentials.
const REQUESTS_MAX: usize = 16;

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
    with(everything())
}

fn with(mesh: Value) -> (FakeApi, Ring) {
    let api = FakeApi::default();
    for plural in ["servicemonitors", "prometheusrules"] {
        let name = format!("{plural}.monitoring.coreos.com");
        api.put("customresourcedefinitions", json!({"metadata": {"name": name}}));
    }
    api.put("pulsemeshes", mesh);
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

/// What a look at a mesh with these changes takes once nothing is written any more.
async fn steady_requests(change: impl Fn(&mut Value)) -> Vec<String> {
    let mut mesh = everything();
    change(&mut mesh);
    let (api, ring) = with(mesh);
    assert_eq!(settle(&api, &ring).await, 0);
    let worker = worker(&api, ring);
    // Once more: a process asks for the optional kinds now and then.
    Box::pin(worker.look(NAMESPACE, "demo")).await.expect("looked");
    api.take_requests();
    Box::pin(worker.look(NAMESPACE, "demo")).await.expect("looked");
    api.take_requests()
}

#[tokio::test]
async fn a_look_at_a_steady_mesh_takes_as_many_reads_however_many_nodes_and_pods_there_are() {
    let few = steady_requests(|_| ()).await;
    assert!(few.iter().all(|request| request.starts_with("GET")), "{few:?}");
    assert!(few.len() <= REQUESTS_MAX, "{}: {few:?}", few.len());
    let many = steady_requests(|mesh| {
        mesh["spec"]["store"]["cassandra"]["nodes"] = json!(6);
        mesh["spec"]["ingest"]["autoscaling"]["maxReplicas"] = json!(9);
    });
    assert_eq!(many.await.len(), few.len());
}

#[tokio::test]
async fn a_store_is_looked_at_often_only_while_there_are_nodes_to_ask() {
    let (api, ring) = api();
    let worker = worker(&api, ring);
    let look = async || Box::pin(worker.look(NAMESPACE, "demo")).await.expect("looked");
    // It makes the credentials.
    assert_eq!(look().await, Next::In(Duration::from_secs(2)));
    let seldom = Next::In(Duration::from_secs(30));
    assert_eq!((look().await, look().await), (seldom, seldom), "none of its pods runs");
    while api.object("pods", NAMESPACE, "demo-store-rack1-0").is_none() {
        assert_eq!(look().await, seldom, "what changes triggers");
        api.beat();
    }
    assert_eq!(look().await, Next::In(Duration::from_secs(2)), "a node is to join");
}

/// All objects without what tells the time, or in which order things were made.
fn comparable(api: &FakeApi) -> Vec<(Key, Value)> {
    let mut content = without_times(api.content());
    for (_, object) in &mut content {
        for path in ["/status/podIP", "/status/observedGeneration"] {
            if let Some(value) = object.pointer_mut(path) {
                *value = Value::Null;
            }
        }
        let owners = object.pointer_mut("/metadata/ownerReferences").and_then(Value::as_array_mut);
        for owner in owners.into_iter().flatten() {
            owner["uid"] = Value::Null;
        }
    }
    content
}

/// Goes on from here to the end, and from each moment once for each write that fails then. How
/// many failed; the end is always the same.
async fn fail_at_each_write(api: &FakeApi, ring: &Ring, answer_is_lost: bool) -> usize {
    let calm = api.fork();
    settle(&calm, &ring.fork(&calm)).await;
    let expected = comparable(&calm);
    let mut met = 0;
    for look in 0.. {
        let before = api.fork();
        let ring_before = ring.fork(&before);
        api.take_requests();
        let looked = Box::pin(worker(api, ring.clone()).look(NAMESPACE, "demo")).await;
        looked.expect("nothing fails");
        let writes = api.take_writes().len();
        for at in 0..writes {
            let api = before.fork();
            api.fail(Faults { write_fails_after: Some(at), answer_is_lost, ..Faults::default() });
            settle(&api, &ring_before.fork(&api)).await;
            assert!(api.has_failed(), "look {look}, write {at}");
            assert_eq!(comparable(&api), expected, "look {look}, write {at} fails");
            met += 1;
        }
        if !api.beat() && writes == 0 && ring.take_orders() == 0 {
            return met;
        }
    }
    met
}

/// Makes a mesh with everything, then deletes it, with each write failing in turn.
async fn crash_at_each_write(answer_is_lost: bool) {
    let mut mesh = everything();
    // A second node joins as a third does, and thousands of looks take a while.
    mesh["spec"]["store"]["cassandra"]["nodes"] = json!(2);
    let (api, ring) = with(mesh);
    let made = fail_at_each_write(&api, &ring, answer_is_lost).await;
    assert!(made >= 35, "{made} writes failed");
    assert_eq!(joined(&api), 2);
    delete(&api).await;
    let deleted = fail_at_each_write(&api, &ring, answer_is_lost).await;
    assert!(deleted >= 8, "{deleted} writes failed");
    let left = api.content().into_iter().filter(|(key, _)| key.0 != "customresourcedefinitions");
    assert_eq!(left.collect::<Vec<_>>(), []);
}

#[tokio::test]
async fn a_write_that_fails_at_any_moment_changes_nothing_of_the_end() {
    crash_at_each_write(false).await;
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_at_any_moment_changes_nothing_of_the_end() {
    crash_at_each_write(true).await;
}
