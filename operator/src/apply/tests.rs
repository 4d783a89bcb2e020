//! Applying against an API server that fails where it hurts.

use serde_json::{Value, json};

use super::*;
use crate::fake::{FakeApi, Faults, Key};
use crate::mesh::names;

const SELECTOR: &str = "app.kubernetes.io/instance=demo";

fn mesh() -> Identity {
    Identity {
        name: "demo".to_owned(),
        namespace: "shop".to_owned(),
        uid: "mesh-uid".to_owned(),
        generation: 1,
    }
}

fn object(kind: Kind, name: &str, spec: Value) -> Object {
    let resource = kind.resource();
    let value = json!({
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {
            "name": name,
            "labels": names::labels("demo", names::Component::Ingest),
            "ownerReferences": [{
                "apiVersion": "pulsemesh.io/v1alpha1", "kind": "PulseMesh", "name": "demo",
                "uid": "mesh-uid", "controller": true,
            }],
        },
        "spec": spec,
    });
    Object { kind, value: serde_json::from_value(value).expect("an object") }
}

/// What there is, read as a reconcile does.
async fn observe(client: &Client) -> Observed {
    let mut observed = Observed::default();
    let parameters = kube::api::ListParams::default().labels(SELECTOR);
    for kind in Kind::ALL.into_iter().filter(|kind| !kind.is_optional()) {
        let list = api(client, kind, "shop").list(&parameters).await.expect("a list");
        observed.objects.extend(list.items.into_iter().map(|value| Object { kind, value }));
    }
    observed
}

async fn apply_once(api: &FakeApi, wanted: &[Object]) -> Result<Applied, ApplyError> {
    let client = api.client();
    let observed = observe(&client).await;
    apply(&client, &mesh(), wanted.to_vec(), &observed).await
}

fn first() -> Vec<Object> {
    vec![
        object(Kind::ServiceAccount, "demo-ingest", json!({})),
        object(Kind::ConfigMap, "demo-ingest", json!({"a": 1, "b": 2})),
        object(Kind::Service, "demo-ingest", json!({"ports": [{"port": 80}]})),
        object(Kind::Deployment, "demo-ingest", json!({"replicas": 2, "paused": true})),
        object(Kind::Job, "demo-drain", json!({})),
    ]
}

/// As `first`, with fields and objects less and others more, and replicas left to an autoscaler.
fn second() -> Vec<Object> {
    vec![
        object(Kind::ServiceAccount, "demo-ingest", json!({})),
        object(Kind::ConfigMap, "demo-ingest", json!({"a": 1})),
        object(Kind::Service, "demo-ingest", json!({"ports": [{"port": 81}]})),
        object(Kind::Deployment, "demo-ingest", json!({})),
        object(Kind::HorizontalPodAutoscaler, "demo-ingest", json!({"minReplicas": 1})),
    ]
}

/// The content once `first` and then `second` were applied without a fault, and the writes of
/// the second.
async fn undisturbed() -> (Vec<(Key, Value)>, Vec<String>) {
    let api = FakeApi::default();
    apply_once(&api, &first()).await.expect("applied");
    api.take_requests();
    apply_once(&api, &second()).await.expect("applied");
    let writes = api.take_writes();
    (api.content(), writes)
}

#[tokio::test]
async fn only_what_differs_is_written_and_then_nothing() {
    let (content, writes) = undisturbed().await;
    assert_eq!(
        writes,
        [
            "PATCH configmaps demo-ingest",
            "PATCH services demo-ingest",
            "PATCH deployments demo-ingest",
            "PATCH deployments demo-ingest",
            "PATCH horizontalpodautoscalers demo-ingest",
            "DELETE jobs demo-drain",
        ]
    );
    let map = content.iter().find(|(key, _)| key.0 == "configmaps").expect("the ConfigMap");
    assert_eq!(map.1["spec"], json!({"a": 1}), "what is no longer wanted is taken away");
    let api = FakeApi::default();
    apply_once(&api, &first()).await.expect("applied");
    api.take_requests();
    let applied = apply_once(&api, &first()).await.expect("applied");
    assert_eq!((api.take_writes(), applied.done), (vec![], vec![]));
}

#[tokio::test]
async fn replicas_stay_when_an_autoscaler_takes_over() {
    let (content, _) = undisturbed().await;
    let workload = content.iter().find(|(key, _)| key.0 == "deployments").expect("ingest");
    assert_eq!(workload.1["spec"]["replicas"], 2);
    assert_eq!(workload.1["spec"].get("paused"), None);
}

#[tokio::test]
async fn a_crash_at_any_write_converges_to_the_same_objects() {
    let (expected, _) = undisturbed().await;
    for answer_is_lost in [false, true] {
        let mut met = 0;
        for at in 0.. {
            let api = FakeApi::default();
            api.fail(Faults { write_fails_after: Some(at), answer_is_lost, ..Faults::default() });
            for wanted in [first(), second()] {
                // As the queue does: again until it is done.
                let is_done = |it: Result<Applied, _>| it.is_ok_and(|it| it.failed.is_empty());
                while !is_done(apply_once(&api, &wanted).await) {
                    met += 1;
                }
            }
            assert_eq!(api.content(), expected, "write {at} fails, lost: {answer_is_lost}");
            assert_eq!(apply_once(&api, &second()).await.expect("applied").done, []);
            if !api.has_failed() {
                break;
            }
        }
        assert!(met >= 10, "{met} writes failed");
    }
}

#[tokio::test]
async fn what_is_changed_or_deleted_by_others_is_brought_back() {
    let api = FakeApi::default();
    apply_once(&api, &first()).await.expect("applied");
    let expected = api.content();
    for (plural, name) in [("services", "demo-ingest"), ("deployments", "demo-ingest")] {
        api.remove(plural, name);
        apply_once(&api, &first()).await.expect("applied");
        assert_eq!(api.content(), expected, "{plural}");
    }
    let (_, mut service) =
        api.content().into_iter().find(|(key, _)| key.0 == "services").expect("the Service");
    service["spec"]["ports"] = json!([{"port": 22}]);
    api.put("services", service);
    apply_once(&api, &first()).await.expect("applied");
    assert_eq!(api.content(), expected);
}

#[tokio::test]
async fn an_object_of_somebody_else_is_never_taken_over() {
    let api = FakeApi::default();
    let theirs = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "demo-ingest", "namespace": "shop"}, "spec": {"theirs": true},
    });
    api.put("services", theirs);
    let applied = apply_once(&api, &first()).await.expect("all else is applied");
    assert_eq!(applied.refused.len(), 1);
    assert!(applied.refused[0].contains("was not made for this mesh"), "{:?}", applied.refused);
    assert_eq!(applied.done.len(), first().len() - 1);
    let content = api.content();
    let service = content.iter().find(|(key, _)| key.0 == "services").expect("theirs");
    assert_eq!(service.1["spec"], json!({"theirs": true}));
}

#[tokio::test]
async fn an_object_of_ours_that_lost_its_labels_gets_them_back() {
    let api = FakeApi::default();
    apply_once(&api, &first()).await.expect("applied");
    let expected = api.content();
    let (_, mut service) =
        expected.iter().find(|(key, _)| key.0 == "services").cloned().expect("the Service");
    service["metadata"]["labels"] = json!({});
    api.put("services", service);
    apply_once(&api, &first()).await.expect("applied");
    assert_eq!(api.content(), expected);
}

fn api_error(code: u16, reason: &str, message: &str) -> Error {
    let status = json!({"status": "Failure", "code": code, "reason": reason,
                        "message": message});
    Error::Api(Box::new(serde_json::from_value(status).expect("a status")))
}

#[test]
fn what_is_refused_for_good_is_told_and_all_else_is_tried_again() {
    let tell = |code, reason, message| {
        refusal(&api_error(code, reason, message), Kind::StatefulSet, "a").unwrap_or_default()
    };
    let fields = "Forbidden: updates to statefulset spec for fields other than 'replicas'";
    assert!(tell(422, "Invalid", fields).contains("set it back"));
    assert!(tell(422, "Invalid", "spec.clusterIP: field is immutable").contains("set it back"));
    assert!(tell(422, "Invalid", "spec.x: Required").ends_with("spec.x: Required"));
    assert!(tell(400, "BadRequest", "strict decoding").contains("refuses"));
    for (code, reason) in [(403, "Forbidden"), (409, "Conflict"), (500, ""), (503, "")] {
        assert_eq!(tell(code, reason, "no"), "");
    }
}
