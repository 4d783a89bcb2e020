//! The workload of ingest: whose its replicas are, and what of it stays as it is.

use kube::core::DynamicObject;
use serde_json::{Value, json};

use crate::mesh::fixtures::{object, objects, plan};
use crate::mesh::names;
use crate::mesh::object::{Kind, Object};
use crate::mesh::observed::Observed;

const STORE: &str = "store: {cassandra: {storage: {size: 1Gi}}}";
const SCALED: &str = "autoscaling: {minReplicas: 2, maxReplicas: 5}";

fn spec(ingest: &str) -> String {
    format!("{{ingest: {{{ingest}}}, {STORE}}}")
}

/// A live object of ingest's name.
fn live(kind: Kind, manager: &str, spec: Value) -> Object {
    let resource = kind.resource();
    let operation = if manager == names::MANAGER { "Apply" } else { "Update" };
    let value: DynamicObject = serde_json::from_value(json!({
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {"name": "demo-ingest", "namespace": "shop", "managedFields": [
            {"manager": names::MANAGER, "operation": "Apply", "fieldsV1": {"f:spec": {}}},
            {"manager": manager, "operation": operation,
                "fieldsV1": {"f:spec": {"f:replicas": {}}}},
        ]},
        "spec": spec,
    }))
    .expect("an object");
    Object { kind, value }
}

/// What is applied as `replicas`.
fn replicas(ingest: &str, observed: &Observed) -> Option<i64> {
    let objects = objects(&plan(&spec(ingest)), observed);
    let workload = object(&objects, Kind::Deployment, "demo-ingest");
    workload.value.data.pointer("/spec/replicas").and_then(Value::as_i64)
}

fn seen(objects: Vec<Object>) -> Observed {
    Observed { objects, ..Observed::default() }
}

#[test]
fn replicas_are_those_of_the_spec_whatever_there_is() {
    let others = live(Kind::Deployment, "kubectl", json!({"replicas": 9}));
    for observed in [Observed::default(), seen(vec![others])] {
        assert_eq!(replicas("replicas: 3", &observed), Some(3));
        assert_eq!(replicas("replicas: 0", &observed), Some(0));
    }
}

#[test]
fn an_autoscaler_is_handed_the_live_value_and_then_left_alone() {
    let deployment =
        |manager: &str, n: i32| seen(vec![live(Kind::Deployment, manager, json!({"replicas": n}))]);
    // Not there yet: it begins with the fewest.
    assert_eq!(replicas(SCALED, &Observed::default()), Some(2));
    // Still ours: leaving it out would set it to 1.
    assert_eq!(replicas(SCALED, &deployment(names::MANAGER, 4)), Some(4));
    // Ours and out of its range, in which an autoscaler does nothing for 0.
    assert_eq!(replicas(SCALED, &deployment(names::MANAGER, 0)), Some(2));
    assert_eq!(replicas(SCALED, &deployment(names::MANAGER, 9)), Some(5));
    // Another's: not applied, whatever it is.
    assert_eq!(replicas(SCALED, &deployment("kube-controller-manager", 4)), None);
    assert_eq!(replicas(SCALED, &deployment("kube-controller-manager", 9)), None);
}

#[test]
fn a_workload_that_was_deleted_comes_back_with_the_pods_that_its_autoscaler_wants() {
    let mut autoscaler = live(
        Kind::HorizontalPodAutoscaler,
        names::MANAGER,
        json!({
            "maxReplicas": 5,
            "scaleTargetRef": {"kind": "Deployment", "name": "demo-ingest"},
        }),
    );
    autoscaler.value.data["status"] = json!({"desiredReplicas": 4});
    assert_eq!(replicas(SCALED, &seen(vec![autoscaler])), Some(4));
}

#[test]
fn an_autoscaler_targets_the_workload_that_there_is() {
    for (log, kind) in [("", "Deployment"), (", log: {storage: {size: 4Gi}}", "StatefulSet")] {
        let objects = objects(&plan(&spec(&format!("{SCALED}{log}"))), &Observed::default());
        let autoscaler = object(&objects, Kind::HorizontalPodAutoscaler, "demo-ingest");
        assert_eq!(autoscaler.value.data["spec"]["scaleTargetRef"]["kind"], kind);
        assert!(objects.iter().any(|object| object.kind.resource().kind == kind));
    }
}

#[test]
fn the_claims_of_a_stateful_set_that_exists_keep_their_size_in_it() {
    let size = |observed: &Observed| {
        let objects = objects(&plan(&spec("log: {storage: {size: 8Gi}}")), observed);
        let set = object(&objects, Kind::StatefulSet, "demo-ingest");
        let path = "/spec/volumeClaimTemplates/0/spec/resources/requests/storage";
        set.value.data.pointer(path).and_then(Value::as_str).map(str::to_owned)
    };
    assert_eq!(size(&Observed::default()).as_deref(), Some("8Gi"));
    let former = live(
        Kind::StatefulSet,
        names::MANAGER,
        json!({
            "serviceName": "demo-ingest-admin",
            "selector": {},
            "template": {},
            "volumeClaimTemplates":
                [{"spec": {"resources": {"requests": {"storage": "4Gi"}}}}],
        }),
    );
    assert_eq!(size(&seen(vec![former])).as_deref(), Some("4Gi"));
}

#[test]
fn only_more_than_one_pod_has_a_disruption_budget() {
    for (ingest, expected) in [
        ("replicas: 0", false),
        ("replicas: 1", false),
        ("replicas: 2", true),
        ("autoscaling: {maxReplicas: 1}", false),
        (SCALED, true),
    ] {
        let objects = objects(&plan(&spec(ingest)), &Observed::default());
        let is_budget = |object: &Object| {
            object.kind == Kind::PodDisruptionBudget && object.name() == "demo-ingest"
        };
        assert_eq!(objects.iter().any(is_budget), expected, "{ingest}");
    }
}

#[test]
fn other_settings_are_other_pods_and_more_copies_of_rows_are_not() {
    let hash = |spec: &str| {
        let objects = objects(&plan(spec), &Observed::default());
        let workload = object(&objects, Kind::Deployment, "demo-ingest");
        let path = "/spec/template/metadata/annotations/pulsemesh.io~1settings";
        workload.value.data.pointer(path).and_then(Value::as_str).expect("a hash").to_owned()
    };
    let nodes = |nodes: i32, retention: &str| {
        format!(
            "{{store: {{cassandra: {{nodes: {nodes}, retention: {retention}, \
             storage: {{size: 1Gi}}}}}}}}"
        )
    };
    assert_eq!(hash(&nodes(1, "7d")), hash(&nodes(3, "7d")));
    assert_ne!(hash(&nodes(1, "7d")), hash(&nodes(1, "8d")));
}

#[test]
fn what_users_write_on_pods_is_on_them_beneath_what_selects_them() {
    let pod = "pod: {labels: {team: a}, annotations: {example.com/x: b}, imagePullSecrets: [pull], \
               priorityClassName: high, nodeSelector: {disk: fast}, \
               tolerations: [{key: spot, operator: Exists}], affinity: {nodeAffinity: {}}}";
    let objects = objects(&plan(&spec(pod)), &Observed::default());
    let workload = object(&objects, Kind::Deployment, "demo-ingest");
    let template = &workload.value.data["spec"]["template"];
    let (metadata, spec) = (&template["metadata"], &template["spec"]);
    assert_eq!(metadata["labels"]["team"], "a");
    assert_eq!(metadata["labels"]["app.kubernetes.io/component"], "ingest");
    assert_eq!(metadata["annotations"]["example.com/x"], "b");
    assert_eq!(spec["imagePullSecrets"], json!([{"name": "pull"}]));
    assert_eq!(spec["priorityClassName"], "high");
    assert_eq!(spec["nodeSelector"], json!({"disk": "fast"}));
    assert_eq!(spec["tolerations"], json!([{"key": "spot", "operator": "Exists"}]));
    assert_eq!(spec["affinity"], json!({"nodeAffinity": {}}), "instead of the operator's");
}
