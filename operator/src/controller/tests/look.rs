//! Whole looks at a mesh: all objects, steady, after crashes, and to its end.

use std::time::Duration;

use kube::Client;
use serde_json::{Value, json};

use super::{FakeApi, Metrics, NAMESPACE, Unreachable, defaults, external, metrics};
use crate::controller::kinds::OptionalKinds;
use crate::controller::under_way::UnderWay;
use crate::controller::worker::{Failures, Next, Turns, Worker};
use crate::events::Events;
use crate::fake::{Faults, Key};

pub(super) fn worker(client: Client, metrics: Metrics) -> Worker<Unreachable> {
    Worker {
        events: Events::new(client.clone(), "test".to_owned()),
        client,
        nodes: Unreachable,
        defaults: defaults(),
        metrics,
        resync: Duration::from_secs(300),
        timeout: Duration::from_secs(10),
        kinds: OptionalKinds::default(),
        failures: Failures::default(),
        turns: Turns::new(2),
        under_way: UnderWay::default(),
    }
}

/// Looks until nothing is written any more; as the queue does, again after a failure.
pub(super) async fn settle(api: &FakeApi, name: &str) -> usize {
    let worker = worker(api.client(), metrics());
    let (mut failures, mut last) = (0, String::new());
    for _ in 0..50 {
        api.take_requests();
        let looked = Box::pin(worker.look(NAMESPACE, name)).await;
        failures += usize::from(looked.is_err());
        let writes = api.take_writes();
        if looked.is_ok() && writes.is_empty() {
            return failures;
        }
        last = format!("{looked:?} {writes:?}");
    }
    unreachable!("it never settles: {last}")
}

fn has(api: &FakeApi, plural: &str) -> bool {
    api.content().iter().any(|(key, _)| key.0 == plural)
}

fn without_times(mut content: Vec<(Key, Value)>) -> Vec<(Key, Value)> {
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
    assert_eq!(settle(&api, "demo").await, 0);
    assert!(has(&api, "deployments") && has(&api, "services") && has(&api, "configmaps"));
    let worker = worker(api.client(), metrics());
    api.take_requests();
    let next = Box::pin(worker.look(NAMESPACE, "demo")).await.expect("looked");
    assert!(matches!(next, Next::In(_)));
    let requests = api.take_requests();
    assert!(requests.iter().all(|request| request.starts_with("GET")), "{requests:?}");
    assert!(requests.len() <= 16, "{}: {requests:?}", requests.len());
}

#[tokio::test]
async fn a_crash_at_any_write_of_a_mesh_converges_to_the_same_objects() {
    let calm = FakeApi::default();
    calm.put("pulsemeshes", external("demo"));
    settle(&calm, "demo").await;
    let expected = without_times(calm.content());
    for answer_is_lost in [false, true] {
        let mut met = 0;
        for at in 0.. {
            let api = FakeApi::default();
            api.put("pulsemeshes", external("demo"));
            api.fail(Faults { write_fails_after: Some(at), answer_is_lost, ..Faults::default() });
            met += settle(&api, "demo").await;
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
        settle(&api, "demo").await;
        api.fail(Faults { write_fails_after: Some(at), ..Faults::default() });
        let delete = api.client();
        let meshes: kube::Api<pulsemesh_crds::PulseMesh> = kube::Api::namespaced(delete, NAMESPACE);
        while meshes.delete("demo", &kube::api::DeleteParams::default()).await.is_err() {}
        settle(&api, "demo").await;
        assert_eq!(api.content(), [], "write {at} fails");
    }
}

#[tokio::test]
async fn a_paused_mesh_is_left_as_it_is() {
    let api = FakeApi::default();
    let mut mesh = external("demo");
    mesh["spec"]["paused"] = json!(true);
    api.put("pulsemeshes", mesh);
    settle(&api, "demo").await;
    assert!(!has(&api, "deployments"));
}
