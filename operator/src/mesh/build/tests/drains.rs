//! Jobs for logs that were left behind: when there is one, that it stays once it is done, and that
//! its pod is restricted and gets no requests of clients.

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::core::DynamicObject;
use serde_json::json;

use super::restricted::{broken, template};
use crate::mesh::fixtures::{objects, plan};
use crate::mesh::names::{self, Component};
use crate::mesh::object::{Kind, Object};
use crate::mesh::observed::Observed;

fn spec(replicas: i32, more: &str) -> String {
    format!(
        "{{ingest: {{replicas: {replicas}, log: {{storage: {{size: 4Gi}}}}{more}}}, \
         store: {{cassandra: {{storage: {{size: 1Gi}}}}}}}}"
    )
}

fn stateful_set(replicas: i32) -> Object {
    let value: DynamicObject = serde_json::from_value(json!({
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "demo-ingest", "namespace": "shop"},
        "spec": {"replicas": replicas},
    }))
    .expect("an object");
    Object { kind: Kind::StatefulSet, value }
}

fn claim(ordinal: i32, phase: &str) -> PersistentVolumeClaim {
    let claim = json!({
        "metadata": {"name": names::ingest_claim("demo", ordinal), "uid": format!("uid-{ordinal}")},
        "status": {"phase": phase},
    });
    serde_json::from_value(claim).expect("a claim")
}

fn pod(ordinal: i32) -> Pod {
    let pod = json!({"metadata": {"name": format!("demo-ingest-{ordinal}")}});
    serde_json::from_value(pod).expect("a pod")
}

/// A StatefulSet of two pods that had four, all claims there.
fn scaled_in() -> Observed {
    Observed {
        objects: vec![stateful_set(2)],
        pods: vec![pod(0), pod(1)],
        claims: (0..4).map(|ordinal| claim(ordinal, "Bound")).collect(),
        ..Observed::default()
    }
}

fn jobs(spec: &str, observed: &Observed) -> Vec<Object> {
    let objects = objects(&plan(spec), observed);
    objects.into_iter().filter(|object| object.kind == Kind::Job).collect()
}

/// The claims that are drained.
fn drained(spec: &str, observed: &Observed) -> Vec<String> {
    let claim = |job: Object| {
        let volumes = job.value.data["spec"]["template"]["spec"]["volumes"].clone();
        let mut names = volumes.as_array().expect("volumes").iter().filter_map(|volume| {
            Some(volume.pointer("/persistentVolumeClaim/claimName")?.as_str()?.to_owned())
        });
        names.next().expect("a claim")
    };
    jobs(spec, observed).into_iter().map(claim).collect()
}

#[test]
fn each_claim_beyond_the_replicas_whose_pod_is_gone_is_drained() {
    let both = ["data-demo-ingest-2", "data-demo-ingest-3"];
    assert_eq!(drained(&spec(2, ""), &scaled_in()), both);
    let mut observed = scaled_in();
    observed.pods.push(pod(2));
    assert_eq!(drained(&spec(2, ""), &observed), ["data-demo-ingest-3"], "a pod still stops");
}

#[test]
fn nothing_is_drained_that_a_pod_has_or_will_have() {
    // Wanted again, though the StatefulSet does not know yet.
    assert_eq!(drained(&spec(4, ""), &scaled_in()), [""; 0]);
    // No longer wanted, and the StatefulSet does not know yet.
    let mut observed = scaled_in();
    observed.objects = vec![stateful_set(4)];
    assert_eq!(drained(&spec(2, ""), &observed), [""; 0]);
    // No StatefulSet: whether it will have pods is not known.
    observed.objects.clear();
    assert_eq!(drained(&spec(2, ""), &observed), [""; 0]);
    // It will have none.
    observed.pods.clear();
    assert_eq!(drained(&spec(0, ""), &observed).len(), 4);
    // Under an autoscaler what counts is what it has set.
    let scaled = spec(1, ", autoscaling: {minReplicas: 1, maxReplicas: 9}");
    let both = ["data-demo-ingest-2", "data-demo-ingest-3"];
    assert_eq!(drained(&scaled, &scaled_in()), both);
}

#[test]
fn a_claim_that_never_had_a_pod_or_is_being_deleted_is_let_be() {
    let mut observed = scaled_in();
    observed.claims[2] = claim(2, "Pending");
    let deleted = &mut observed.claims[3].metadata;
    let time = jiff::Timestamp::UNIX_EPOCH;
    deleted.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(time));
    assert_eq!(drained(&spec(2, ""), &observed), [""; 0]);
}

#[test]
fn a_job_that_is_done_stays_as_it_is_for_as_long_as_its_claim() {
    let mut observed = scaled_in();
    let mut done = jobs(&spec(2, ""), &observed).remove(0);
    done.value.metadata.resource_version = Some("7".to_owned());
    done.value.data["spec"]["selector"] = json!({"matchLabels": {"controller-uid": "x"}});
    done.value.data["status"] = json!({"conditions": [{"type": "Complete", "status": "True"}]});
    observed.objects.push(done.clone());

    // Other settings: the Job of the other claim is another one, this one is not run again.
    let changed = spec(2, ", batch: {size: 77}");
    let first = jobs(&changed, &observed).remove(0);
    assert_eq!(first.name(), done.name());
    assert_eq!(first.value.data["spec"], done.value.data["spec"]);
    assert_eq!(first.value.metadata.resource_version, None);
    assert!(first.value.data.get("status").is_none());
    let other = |spec: &str| jobs(spec, &observed).remove(1).name().to_owned();
    assert_ne!(other(&changed), other(&spec(2, "")));

    // The claim was deleted and made anew: there is something to drain again.
    observed.claims[2].metadata.uid = Some("another".to_owned());
    assert_ne!(jobs(&spec(2, ""), &observed)[0].name(), done.name());
}

#[test]
fn the_pod_of_a_job_is_restricted_and_no_service_selects_it() {
    let job = jobs(&spec(2, ""), &scaled_in()).remove(0);
    let template = template(&job).expect("a template");
    assert_eq!(broken(&template), Vec::<String>::new());
    let labels = template.metadata.and_then(|meta| meta.labels).expect("labels");
    let selector = names::selector("demo", Component::Ingest);
    assert!(selector.iter().any(|(key, value)| labels.get(key) != Some(value)), "{labels:?}");
    let containers = template.spec.expect("a spec").containers;
    let args = containers[0].args.clone().expect("arguments").join(" ");
    assert_eq!(args, "log drain /var/lib/pulsemesh --config /etc/pulsemesh/ingest.toml");
    // A label of the pod holds it, and the longest name of a mesh has 30 characters.
    let longest = names::drain(&"m".repeat(30), 499, u32::MAX);
    assert!(longest.len() <= 63, "{longest}");
}

#[test]
fn pods_that_keep_their_logs_themselves_leave_none_behind() {
    let observed = scaled_in();
    let spec = "{ingest: {replicas: 2}, store: {cassandra: {storage: {size: 1Gi}}}}";
    assert_eq!(jobs(spec, &observed).len(), 0);
    let embedded = "{ingest: {replicas: 0}, store: {embedded: {}}}";
    assert_eq!(jobs(embedded, &observed).len(), 0);
}
