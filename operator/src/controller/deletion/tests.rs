//! The order of a deletion, from each state to the next.

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use pulsemesh_crds::DeletionPolicy::{Delete, Retain};
use serde_json::{Value, json};

use super::*;

fn labels(component: &str) -> Value {
    json!({
        "app.kubernetes.io/instance": "demo",
        "app.kubernetes.io/managed-by": "pulsemesh-operator",
        "app.kubernetes.io/component": component,
    })
}

fn object(kind: Kind, name: &str, component: &str, more: Value) -> Object {
    let resource = kind.resource();
    let mut value = json!({
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {"name": name, "uid": name, "labels": labels(component)},
    });
    if let (Value::Object(value), Value::Object(more)) = (&mut value, more) {
        value.extend(more);
    }
    Object { kind, value: serde_json::from_value(value).expect("an object") }
}

fn workload(kind: Kind, name: &str, component: &str, replicas: i32) -> Object {
    object(kind, name, component, json!({"spec": {"replicas": replicas}}))
}

fn pod(name: &str, component: &str, owner: &str) -> Pod {
    let owner = json!([{"apiVersion": "v1", "kind": owner, "name": "a", "uid": "a"}]);
    serde_json::from_value(json!({
        "metadata": {"name": name, "labels": labels(component), "ownerReferences": owner},
    }))
    .expect("a pod")
}

fn claim(name: &str, component: &str) -> PersistentVolumeClaim {
    serde_json::from_value(json!({
        "metadata": {"name": name, "uid": name, "labels": labels(component)},
    }))
    .expect("a claim")
}

/// A mesh with everything, in the middle of its life.
fn running() -> Observed {
    Observed {
        objects: vec![
            workload(Kind::Deployment, "demo-ingest", "ingest", 2),
            object(Kind::HorizontalPodAutoscaler, "demo-ingest", "ingest", json!({})),
            object(Kind::Service, "demo-ingest", "ingest", json!({})),
            workload(Kind::StatefulSet, "demo-store-rack1", "store", 1),
        ],
        pods: vec![
            pod("demo-ingest-a", "ingest", "ReplicaSet"),
            pod("demo-store-rack1-0", "store", "StatefulSet"),
        ],
        claims: vec![
            claim("data-demo-ingest-0", "ingest"),
            claim("data-demo-store-rack1-0", "store"),
        ],
        ..Observed::default()
    }
}

fn told(policy: DeletionPolicy, drains: &[Object], observed: &Observed) -> String {
    say(next("demo", policy, Some(drains), observed))
}

fn say(step: Step) -> String {
    let names = |objects: &[Object]| objects.iter().map(Object::name).collect::<Vec<_>>().join(",");
    match step {
        Step::StopIngest { delete, scale } => {
            format!("stop ingest {} {}", names(&delete), names(&scale))
        }
        Step::Drain(jobs) => format!("drain {}", names(&jobs)),
        Step::StopStore(sets) => format!("stop store {}", names(&sets)),
        Step::DeleteClaims(claims) => {
            let names = claims.iter().filter_map(|claim| claim.metadata.name.clone());
            format!("delete {}", names.collect::<Vec<_>>().join(","))
        }
        Step::DeleteJobs(jobs) => format!("delete jobs {}", names(&jobs)),
        Step::Wait(_) => "wait".to_owned(),
        Step::Finish { credentials } => format!("finish {credentials}"),
    }
}

#[test]
fn a_mesh_goes_in_order_and_each_step_waits_for_the_one_before() {
    let mut seen = running();
    assert_eq!(told(Delete, &[], &seen), "stop ingest demo-ingest demo-ingest");
    seen.objects.retain(|object| object.kind != Kind::HorizontalPodAutoscaler);
    seen.objects[0] = workload(Kind::Deployment, "demo-ingest", "ingest", 0);
    assert_eq!(told(Delete, &[], &seen), "wait");
    seen.pods.remove(0);
    assert_eq!(told(Delete, &[], &seen), "stop store demo-store-rack1");
    seen.objects.pop();
    assert_eq!(told(Delete, &[], &seen), "wait");
    seen.pods.clear();
    let mut retained = seen.clone();
    assert_eq!(told(Delete, &[], &seen), "delete data-demo-ingest-0,data-demo-store-rack1-0");
    let time: Option<Time> =
        Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).expect("a time"));
    for claim in &mut seen.claims {
        claim.metadata.deletion_timestamp = time.clone();
    }
    assert_eq!(told(Delete, &[], &seen), "wait");
    seen.claims.clear();
    assert_eq!(told(Delete, &[], &seen), "finish true");
    assert_eq!(told(Retain, &[], &retained), "finish false");
    retained.claims.clear();
    assert_eq!(told(Retain, &[], &retained), "finish false");
}

#[test]
fn logs_are_drained_after_ingest_has_gone_and_before_anything_else() {
    let job = |succeeded: i32| {
        object(Kind::Job, "demo-drain-0", "ingest", json!({"status": {"succeeded": succeeded}}))
    };
    let mut seen = running();
    assert!(told(Delete, &[job(0)], &seen).starts_with("stop ingest"));
    seen.objects.drain(..2);
    seen.pods[0] = pod("demo-drain-0-x", "ingest", "Job");
    assert_eq!(told(Delete, &[job(0)], &seen), "drain demo-drain-0");
    seen.objects.push(job(0));
    assert_eq!(told(Delete, &[job(0)], &seen), "wait");
    seen.objects.pop();
    seen.objects.push(job(1));
    assert_eq!(told(Delete, &[job(0)], &seen), "stop store demo-store-rack1");
}

#[test]
fn jobs_go_once_every_claim_is_being_deleted_and_not_before() {
    let mut seen = running();
    seen.objects = vec![object(Kind::Job, "demo-drain-0", "ingest", json!({}))];
    seen.pods = vec![pod("demo-drain-0-x", "ingest", "Job")];
    let time = json!("2026-01-01T00:00:00Z");
    let time: Option<Time> = Some(serde_json::from_value(time).expect("a time"));
    seen.claims[0].metadata.deletion_timestamp = time.clone();
    assert_eq!(told(Delete, &[], &seen), "delete data-demo-store-rack1-0");
    seen.claims[1].metadata.deletion_timestamp = time.clone();
    assert_eq!(told(Delete, &[], &seen), "delete jobs demo-drain-0");
    assert_eq!(told(Retain, &[], &seen), "finish false", "they go with the mesh");
    seen.objects[0].value.metadata.deletion_timestamp = time;
    assert_eq!(told(Delete, &[], &seen), "wait");
}

#[test]
fn claims_of_ingest_stay_while_nobody_knows_where_their_logs_belong() {
    let mut seen = running();
    let step = |seen: &Observed| say(next("demo", Delete, None, seen));
    assert!(step(&seen).starts_with("stop ingest"), "each pod drains its own log");
    seen.objects.clear();
    seen.pods.clear();
    assert_eq!(step(&seen), "wait");
    seen.claims.remove(0);
    assert_eq!(step(&seen), "delete data-demo-store-rack1-0", "there is no log");
}

#[test]
fn a_set_that_is_being_deleted_is_waited_for() {
    let mut seen = Observed::default();
    let mut set = workload(Kind::StatefulSet, "demo-store-rack1", "store", 1);
    set.value.metadata.deletion_timestamp =
        serde_json::from_value(json!("2026-01-01T00:00:00Z")).expect("a time");
    seen.objects.push(set);
    assert_eq!(told(Delete, &[], &seen), "wait");
}

#[test]
fn only_claims_with_the_labels_and_the_name_of_the_mesh_are_deleted() {
    let mut others = claim("data-demo-store-rack1-0", "store");
    let labels = others.metadata.labels.as_mut().expect("labels");
    labels.insert("app.kubernetes.io/instance".to_owned(), "other".to_owned());
    let seen = Observed {
        claims: vec![
            others,
            claim("backup-of-demo", "store"),
            claim("demo-store", "store"),
            claim("data-demo-store-rack1-x", "store"),
            claim("data-demo2-store-rack1-0", "store"),
        ],
        ..Observed::default()
    };
    assert_eq!(told(Delete, &[], &seen), "finish true");
}
