//! Meshes in a namespace that is being deleted: what was theirs goes, and nothing can be made anew.

use std::time::Duration;

use serde_json::{Value, json};

use super::look::{settle, worker};
use super::ring::Ring;
use super::{FakeApi, NAMESPACE, external, mesh};
use crate::controller::worker::Next;
use crate::fake::Faults;

/// What a look writes to a mesh that had all when this was taken away.
async fn writes_without(mesh: Value, gone: &[(&str, &str)]) -> Vec<String> {
    let api = FakeApi::default();
    let ring = Ring::of(&api);
    api.put("pulsemeshes", mesh);
    settle(&api, &ring).await;
    api.fail(Faults { namespace_ends: true, ..Faults::default() });
    for (plural, name) in gone {
        assert!(api.object(plural, NAMESPACE, name).is_some(), "{plural} {name} is made");
        api.remove(plural, name);
    }
    let worker = worker(&api, ring);
    api.take_requests();
    let next = Box::pin(worker.look(NAMESPACE, "demo")).await.expect("it is no failure");
    assert_eq!(next, Next::In(Duration::from_secs(30)));
    api.take_writes()
}

fn managed() -> Value {
    let store = json!({"cassandra": {"nodes": 1, "storage": {"size": "1Gi"}}});
    mesh("demo", json!({"store": store}))
}

#[tokio::test]
async fn nothing_is_tried_after_the_first_object_that_is_refused() {
    let (policy, service) = (("networkpolicies", "demo-ingest"), ("services", "demo-ingest"));
    let deployment = ("deployments", "demo-ingest");
    for (mesh, gone, expected) in [
        (external("demo"), [service, deployment], "PATCH services demo-ingest"),
        (managed(), [service, deployment], "PATCH services demo-ingest"),
        // Nothing waits for it, and no other is tried all the same.
        (external("demo"), [policy, deployment], "PATCH networkpolicies demo-ingest"),
    ] {
        assert_eq!(writes_without(mesh, &gone).await, [expected], "without {gone:?}");
    }
}

#[tokio::test]
async fn credentials_that_are_refused_are_no_failure_either() {
    let api = FakeApi::default();
    api.put("pulsemeshes", managed());
    api.fail(Faults { broken_write: Some("secrets"), ..Faults::default() });
    let worker = worker(&api, Ring::of(&api));
    Box::pin(worker.look(NAMESPACE, "demo")).await.expect_err("all else is made");
    api.fail(Faults { namespace_ends: true, ..Faults::default() });
    api.take_requests();
    let next = Box::pin(worker.look(NAMESPACE, "demo")).await.expect("it is no failure");
    assert_eq!(next, Next::In(Duration::from_secs(30)));
    assert_eq!(api.take_writes(), ["POST secrets "], "and its status tells nothing new");
}
