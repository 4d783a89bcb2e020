//! Stores whose nodes don't answer: what needs no answer must not wait for one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kube::Api;
use kube::api::DeleteParams;
use pulsemesh_crds::PulseMesh;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::look::{settle_with, worker};
use super::watching::{run_with, until};
use super::{FakeApi, NAMESPACE, Unreachable, count, external, mesh};
use crate::fake::{Faults, Key};
use crate::mesh::names::{self, Component};
use crate::nodes::{NodeRef, Nodes, NodesError, View};

/// For a changed object, from the change on.
const BACK_MAX: Duration = Duration::from_secs(1);

/// What nothing that is wanted has for a hash.
const OTHER: &str = "other";

/// Nodes that hang until they are let go.
#[derive(Debug, Clone)]
struct Hung {
    asked: Arc<AtomicUsize>,
    go: Arc<Semaphore>,
}

impl Hung {
    fn new() -> Self {
        Self { asked: Arc::default(), go: Arc::new(Semaphore::new(0)) }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Nodes for Hung {
    async fn view(&self, node: &NodeRef) -> Result<View, NodesError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        drop(self.go.acquire().await);
        Unreachable.view(node).await
    }

    async fn secure(&self, node: &NodeRef) -> Result<(), NodesError> {
        Unreachable.secure(node).await
    }

    async fn decommission(&self, node: &NodeRef) -> Result<(), NodesError> {
        Unreachable.decommission(node).await
    }

    async fn mark_left(&self, node: &NodeRef) -> Result<(), NodesError> {
        Unreachable.mark_left(node).await
    }

    async fn raise_replication(
        &self,
        node: &NodeRef,
        keyspace: &str,
        datacenter: &str,
        copies: i32,
    ) -> Result<(), NodesError> {
        Unreachable.raise_replication(node, keyspace, datacenter, copies).await
    }

    async fn repaired(&self, node: &NodeRef, reason: &str) -> Result<bool, NodesError> {
        Unreachable.repaired(node, reason).await
    }
}

/// A mesh with a store, as it was left by an earlier operator: a node runs.
async fn running(api: &FakeApi, name: &str) {
    let store = json!({"cassandra": {"nodes": 1, "storage": {"size": "1Gi"}}});
    api.put("pulsemeshes", mesh(name, json!({"store": store})));
    settle_with(api, name, Unreachable, || 0).await;
    let sets = children(api, name).into_keys().filter(|(plural, ..)| plural == "statefulsets");
    let sets: Vec<String> = sets.map(|(.., set)| set).collect();
    assert!(!sets.is_empty(), "a store is made");
    for set in sets {
        let pod = format!("{set}-0");
        let labels = names::labels(name, Component::Store);
        let metadata = |name: &str| json!({"name": name, "namespace": NAMESPACE, "labels": labels});
        let claim = names::store_claim(&pod);
        let storage = json!({"resources": {"requests": {"storage": "1Gi"}}});
        api.put("persistentvolumeclaims", json!({"metadata": metadata(&claim), "spec": storage}));
        let status = json!({"phase": "Running", "podIP": "10.0.0.1"});
        api.put("pods", json!({"metadata": metadata(&pod), "status": status}));
    }
    settle_with(api, name, Unreachable, || 0).await;
}

/// What was made for a mesh.
fn children(api: &FakeApi, mesh: &str) -> BTreeMap<Key, Value> {
    let uid = format!("uid-of-{mesh}");
    let is_child = |object: &Value| object["metadata"]["ownerReferences"][0]["uid"] == uid.as_str();
    api.content().into_iter().filter(|(_, object)| is_child(object)).collect()
}

fn object(api: &FakeApi, plural: &str, name: &str) -> Option<Value> {
    api.object(plural, NAMESPACE, name)
}

#[tokio::test]
async fn what_is_taken_away_or_changed_is_back_within_a_second_while_a_node_hangs() {
    let (api, nodes) = (FakeApi::default(), Hung::new());
    running(&api, "demo").await;
    let running = run_with(&api, &[], nodes.clone());
    until("its node is asked", || nodes.asked() == 1).await;
    let mut slowest = (Duration::ZERO, String::new());
    let children = children(&api, "demo");
    let kinds = ["statefulsets", "deployments", "services", "configmaps", "networkpolicies"];
    for kind in kinds {
        assert!(children.keys().any(|(plural, ..)| plural == kind), "{kind} are made");
    }
    for ((plural, _, name), made) in &children {
        let is_back = || {
            let object = object(&api, plural, name);
            object.is_some_and(|object| object["metadata"]["annotations"][names::APPLIED] != OTHER)
        };
        let mut changed = made.clone();
        changed["metadata"]["annotations"][names::APPLIED] = OTHER.into();
        for change in [None, Some(changed)] {
            match change {
                None => api.remove(plural, name),
                Some(changed) => api.put(plural, changed),
            }
            let begun = Instant::now();
            until(&format!("{plural} {name} is back"), is_back).await;
            slowest = slowest.max((begun.elapsed(), format!("{plural} {name}")));
        }
    }
    assert!(slowest.0 < BACK_MAX, "{slowest:?}");
    assert_eq!((nodes.asked(), count(&running.metrics, "ok")), (1, 0), "the look goes on");
    nodes.go.add_permits(1000);
    until("the look ends", || count(&running.metrics, "ok") > 0).await;
    assert_eq!(count(&running.metrics, "failed"), 0);
}

#[tokio::test]
async fn meshes_whose_nodes_hang_hold_up_no_other_and_not_each_other() {
    let (api, nodes) = (FakeApi::default(), Hung::new());
    let names: Vec<String> = (0..18).map(|number| format!("hung{number}")).collect();
    for name in &names {
        running(&api, name).await;
    }
    api.put("pulsemeshes", external("sound"));
    let running = run_with(&api, &[], nodes.clone());
    until("a mesh without nodes is looked at", || count(&running.metrics, "ok") > 0).await;
    until("nodes of many are asked", || nodes.asked() == 16).await;
    let services: Vec<String> = names.iter().map(|name| names::ingest(name)).collect();
    for service in &services {
        api.remove("services", service);
    }
    let is_there = |service: &String| object(&api, "services", service).is_some();
    until("what was deleted is back", || services.iter().all(is_there)).await;
    assert_eq!(nodes.asked(), 16, "the others wait for their turn");
    nodes.go.add_permits(1000);
    until("all are looked at", || count(&running.metrics, "ok") > names.len() as u64).await;
}

#[tokio::test]
async fn a_look_that_waits_for_nodes_ends_when_the_namespace_takes_nothing_more() {
    let (api, nodes) = (FakeApi::default(), Hung::new());
    running(&api, "demo").await;
    let running = run_with(&api, &[], nodes.clone());
    until("its node is asked", || nodes.asked() == 1).await;
    api.take_requests();
    api.fail(Faults { namespace_ends: true, ..Faults::default() });
    api.remove("services", &names::ingest("demo"));
    until("the look ends", || count(&running.metrics, "ok") > 0).await;
    assert_eq!((nodes.asked(), count(&running.metrics, "failed")), (1, 0));
    let writes = api.take_writes();
    // What triggered while it went on may have begun another.
    let refused = writes.iter().filter(|write| *write == "PATCH services demo-ingest").count();
    assert!(refused == writes.len() && (1..=2).contains(&refused), "{writes:?}");
}

#[tokio::test]
async fn a_mesh_is_deleted_without_asking_its_nodes() {
    let (api, nodes) = (FakeApi::default(), Hung::new());
    running(&api, "demo").await;
    let _running = run_with(&api, &[], nodes.clone());
    until("its node is asked", || nodes.asked() == 1).await;
    let meshes: Api<PulseMesh> = Api::namespaced(api.client(), NAMESPACE);
    meshes.delete("demo", &DeleteParams::default()).await.expect("deleted");
    until("ingest stops", || {
        let ingest = object(&api, "deployments", &names::ingest("demo"));
        ingest.is_some_and(|ingest| ingest["spec"]["replicas"] == 0)
    })
    .await;
    until("the store stops", || !api.content().iter().any(|(key, _)| key.0 == "statefulsets"))
        .await;
    let pods = api.content().into_iter().filter(|(key, _)| key.0 == "pods");
    pods.for_each(|(key, _)| api.remove("pods", &key.2));
    until("it is gone", || object(&api, "pulsemeshes", "demo").is_none()).await;
    assert_eq!(nodes.asked(), 1);
}

#[tokio::test]
async fn a_steady_mesh_with_a_store_is_read_once_and_one_that_was_put_back_twice() {
    let api = FakeApi::default();
    running(&api, "demo").await;
    let worker = worker(&api, Unreachable);
    let look = async || {
        api.take_requests();
        // Its node does not answer, which the status tells already.
        Box::pin(worker.look(NAMESPACE, "demo")).await.expect("looked");
        let all = api.take_requests();
        all.into_iter().partition::<Vec<_>, _>(|request| request.starts_with("GET"))
    };
    look().await;
    let (reads, writes) = look().await;
    assert!(writes.is_empty(), "{writes:?}");
    assert!(reads.len() <= 16, "{}: {reads:?}", reads.len());
    let once = reads.len();
    api.remove("services", &names::ingest("demo"));
    let (reads, writes) = look().await;
    let made = writes.iter().filter(|write| write.starts_with("PATCH services"));
    assert_eq!(made.count(), 1, "{writes:?}");
    // Whether its name is taken is one more.
    assert!(reads.len() <= 2 * once + 1, "{}: {reads:?}", reads.len());
}

#[tokio::test]
async fn an_object_that_can_not_be_put_back_keeps_nobody_from_asking_the_nodes() {
    let (api, nodes) = (FakeApi::default(), Hung::new());
    running(&api, "demo").await;
    api.remove("services", &names::ingest("demo"));
    api.fail(Faults { write_fails_after: Some(0), ..Faults::default() });
    let running = run_with(&api, &[], nodes.clone());
    until("its node is asked", || nodes.asked() == 1).await;
    assert!(api.has_failed());
    nodes.go.add_permits(1000);
    until("it is looked at", || count(&running.metrics, "ok") > 0).await;
    assert!(object(&api, "services", &names::ingest("demo")).is_some());
}
