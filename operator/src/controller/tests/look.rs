//! Whole looks at a mesh: all objects, steady, after crashes, and to its end.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::{Value, json};

use super::ring::Ring;
use super::{FakeApi, NAMESPACE, defaults, external, metrics};
use crate::controller::kinds::OptionalKinds;
use crate::controller::under_way::UnderWay;
use crate::controller::worker::{Failures, Next, Turns, Worker};
use crate::events::Events;
use crate::fake::{Faults, Key};
use crate::nodes::Nodes;

pub(super) fn worker<N: Nodes>(api: &FakeApi, nodes: N) -> Worker<N> {
    Worker {
        events: Events::new(api.client(), "test".to_owned()),
        client: api.client(),
        nodes,
        defaults: defaults(),
        metrics: metrics(),
        resync: Duration::from_secs(300),
        timeout: Duration::from_secs(10),
        kinds: OptionalKinds::default(),
        failures: Failures::default(),
        turns: Turns::new(2),
        under_way: UnderWay::default(),
        tenants: Arc::default(),
    }
}

/// Looks at `demo` until nothing is done any more; as the queue does, again after a failure. How
/// many looks failed.
pub(super) async fn settle(api: &FakeApi, ring: &Ring) -> usize {
    settle_with(api, "demo", ring.clone(), || ring.take_orders()).await
}

/// The same at any mesh with any nodes, which tell how many orders they were given.
pub(super) async fn settle_with<N: Nodes>(
    api: &FakeApi,
    name: &str,
    nodes: N,
    take_orders: impl Fn() -> usize,
) -> usize {
    let worker = worker(api, nodes);
    let (mut failures, mut last) = (0, String::new());
    for _ in 0..60 {
        api.take_requests();
        let looked = Box::pin(worker.look(NAMESPACE, name)).await;
        failures += usize::from(looked.is_err());
        let writes = api.take_writes();
        let is_quiet = take_orders() == 0 && writes.is_empty();
        let is_steady = !api.beat();
        if looked.is_ok() && is_quiet && is_steady {
            return failures;
        }
        last = format!("{looked:?} {writes:?}");
    }
    unreachable!("it never settles: {last}")
}

/// Deletes the mesh, as a person does.
pub(super) async fn delete(api: &FakeApi) {
    let meshes: kube::Api<pulsemesh_crds::PulseMesh> =
        kube::Api::namespaced(api.client(), NAMESPACE);
    while meshes.delete("demo", &kube::api::DeleteParams::default()).await.is_err() {}
}

pub(super) fn has(api: &FakeApi, plural: &str) -> bool {
    api.content().iter().any(|(key, _)| key.0 == plural)
}

pub(super) fn without_times(mut content: Vec<(Key, Value)>) -> Vec<(Key, Value)> {
    for (_, object) in &mut content {
        let conditions = object.pointer_mut("/status/conditions").and_then(Value::as_array_mut);
        for condition in conditions.into_iter().flatten() {
            condition["lastTransitionTime"] = Value::Null;
        }
    }
    content
}

#[tokio::test]
async fn a_mesh_is_made_and_then_nothing_is_written() {
    let api = FakeApi::default();
    api.put("pulsemeshes", external("demo"));
    assert_eq!(settle(&api, &Ring::of(&api)).await, 0);
    assert!(has(&api, "deployments") && has(&api, "services") && has(&api, "configmaps"));
    let worker = worker(&api, Ring::of(&api));
    api.take_requests();
    let next = Box::pin(worker.look(NAMESPACE, "demo")).await.expect("looked");
    assert!(matches!(next, Next::In(_)));
    let requests = api.take_requests();
    assert!(requests.iter().all(|request| request.starts_with("GET")), "{requests:?}");
    assert!(requests.len() <= 16, "{}: {requests:?}", requests.len());
}

#[tokio::test]
async fn of_many_meshes_few_are_read_before_the_first_is_made() {
    let api = FakeApi::default();
    let names: Vec<String> = (0..20).map(|number| format!("mesh-{number}")).collect();
    names.iter().for_each(|name| api.put("pulsemeshes", external(name)));
    let worker = worker(&api, Ring::of(&api));
    let looks = names.iter().map(|name| Box::pin(worker.look(NAMESPACE, name)));
    let looked: Vec<_> = looks.collect::<FuturesUnordered<_>>().collect().await;
    assert!(looked.iter().all(Result::is_ok), "{looked:?}");
    let (mut under_way, mut most) = (0_usize, 0);
    for request in api.take_requests() {
        if request.starts_with("GET pulsemeshes ") {
            under_way += 1;
        } else if request.starts_with("PATCH pulsemeshes/status ") {
            under_way -= 1;
        }
        most = most.max(under_way);
    }
    assert_eq!(most, 2, "as many as may act at once");
}

#[tokio::test]
async fn a_crash_at_any_write_of_a_mesh_converges_to_the_same_objects() {
    let calm = FakeApi::default();
    calm.put("pulsemeshes", external("demo"));
    settle(&calm, &Ring::of(&calm)).await;
    let expected = without_times(calm.content());
    for answer_is_lost in [false, true] {
        let mut met = 0;
        for at in 0.. {
            let api = FakeApi::default();
            api.put("pulsemeshes", external("demo"));
            api.fail(Faults { write_fails_after: Some(at), answer_is_lost, ..Faults::default() });
            met += settle(&api, &Ring::of(&api)).await;
            let content = without_times(api.content());
            assert_eq!(content, expected, "write {at} fails, lost: {answer_is_lost}");
            if !api.has_failed() {
                break;
            }
        }
        assert!(met >= 5, "{met} writes failed");
    }
}

#[tokio::test]
async fn a_deleted_mesh_goes_in_order_also_after_crashes() {
    for at in 0..8 {
        let api = FakeApi::default();
        api.put("pulsemeshes", external("demo"));
        settle(&api, &Ring::of(&api)).await;
        api.fail(Faults { write_fails_after: Some(at), ..Faults::default() });
        delete(&api).await;
        settle(&api, &Ring::of(&api)).await;
        assert_eq!(api.content(), [], "write {at} fails");
    }
}

#[tokio::test]
async fn a_paused_mesh_is_left_as_it_is() {
    let api = FakeApi::default();
    let mut mesh = external("demo");
    mesh["spec"]["paused"] = json!(true);
    api.put("pulsemeshes", mesh);
    settle(&api, &Ring::of(&api)).await;
    assert!(!has(&api, "deployments"));
}

/// What the conditions of the mesh say, by their types.
fn told(api: &FakeApi) -> Vec<(String, String)> {
    let mesh = api.content().into_iter().find(|(key, _)| key.0 == "pulsemeshes");
    let conditions = mesh.expect("the mesh").1["status"]["conditions"].take();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let conditions = conditions.as_array().into_iter().flatten();
    conditions.map(|one| (text(&one["type"]), text(&one["status"]))).collect()
}

#[tokio::test]
async fn a_spec_that_can_not_be_read_is_told_once_and_all_else_stays() {
    let api = FakeApi::default();
    let ring = Ring::of(&api);
    api.put("pulsemeshes", external("demo"));
    settle(&api, &ring).await;
    let spec = |api: &FakeApi, store: Value| {
        api.change("pulsemeshes", |mesh| mesh["spec"]["store"] = store.clone());
    };
    spec(&api, json!(5));
    let worker = worker(&api, ring.clone());
    for writes in [1, 0] {
        api.take_requests();
        let next = Box::pin(worker.look(NAMESPACE, "demo")).await.expect("looked");
        assert_eq!((next, api.take_writes().len()), (Next::Invalid, writes));
        let expected = [("Ready", "False"), ("Reconciling", "False"), ("Stalled", "True")];
        let expected = expected.map(|(kind, status)| (kind.to_owned(), status.to_owned()));
        assert_eq!(told(&api), expected);
    }
    let mesh = api.content().into_iter().find(|(key, _)| key.0 == "pulsemeshes");
    let status = mesh.expect("the mesh").1["status"].take();
    assert!(status["endpoints"]["ingest"].is_string(), "{status}");
    spec(&api, external("demo")["spec"]["store"].take());
    settle(&api, &ring).await;
    assert!(told(&api).contains(&("Stalled".to_owned(), "False".to_owned())));
}
