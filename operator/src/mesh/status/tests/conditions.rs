//! Each condition, from what is seen: status, reason, and what a person reads.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use super::{CASSANDRA, Seen, pod};
use crate::mesh::fixtures::with_spec;
use crate::mesh::names::Component;
use crate::mesh::object::Kind;
use crate::mesh::topology::Waiting;

const EMBEDDED: &str = "{store: {embedded: {}}}";
const EXTERNAL: &str = "{store: {external: {cassandra: {nodes: ['a:9042'], \
                        credentialsSecret: {name: login}}}}}";

fn running() -> Seen {
    Seen::running(with_spec(CASSANDRA), 2, 3)
}

#[test]
fn a_mesh_that_runs_is_ready_and_settled() {
    let seen = running();
    seen.tells("Ready", "True", "Accepting", "2 of 2 ingest pods accept pulses; 3 of 3 nodes");
    seen.tells("Reconciling", "False", "Settled", "as the spec says");
    seen.tells("Stalled", "False", "NotStalled", "");
    for mesh in [EMBEDDED, EXTERNAL] {
        let seen = Seen::running(with_spec(mesh), 1, 0);
        seen.tells("Ready", "True", "Accepting", "1 of 1 ingest pods accept pulses");
        seen.tells("Reconciling", "False", "Settled", "");
        assert_eq!(seen.status().store, None);
    }
}

#[test]
fn a_mesh_that_needs_keys_is_ready_once_somebody_has_one() {
    let closed = "{ingest: {tenants: {required: true}}, store: {embedded: {}}}";
    let mut seen = Seen::running(with_spec(closed), 1, 0);
    for (tenants, ready) in [(None, "False"), (Some(0), "False"), (Some(2), "True")] {
        seen.observed.tenants = tenants;
        let reason = if ready == "True" { "Accepting" } else { "NoTenants" };
        let part = if ready == "True" { "1 of 1" } else { "make one with spec.mesh: demo" };
        seen.tells("Ready", ready, reason, part);
        seen.tells("Stalled", "False", "NotStalled", "");
        assert_eq!(seen.status().tenants, tenants);
    }
    assert_eq!(running().status().tenants, None);
    let encrypted = "{ingest: {tls: {secretName: t}, service: {port: 443}}, store: {embedded: {}}}";
    for (spec, url) in [
        (encrypted, "https://demo-ingest.shop.svc.cluster.local"),
        (EMBEDDED, "http://demo-ingest.shop.svc.cluster.local"),
    ] {
        let told = Seen::running(with_spec(spec), 1, 0).status();
        assert_eq!(told.endpoints.and_then(|it| it.ingest).as_deref(), Some(url));
    }
}

#[test]
fn a_mesh_of_which_nothing_is_there_is_not_ready() {
    let seen = Seen::nothing(with_spec(CASSANDRA));
    seen.tells("Ready", "False", "IngestNotReady", "0 of 2 ingest pods");
    seen.tells("Reconciling", "True", "StartingIngest", "not there yet");
    let counts = seen.status();
    assert_eq!(counts.ingest.and_then(|it| it.summary).as_deref(), Some("0/2"));
    assert_eq!(counts.store.and_then(|it| it.summary).as_deref(), Some("0/3"));
}

#[test]
fn a_store_is_up_while_a_quorum_of_every_row_is() {
    for (ring, up, is_ready) in [
        (1, 1, true),
        (1, 0, false),
        (2, 2, true),
        (2, 1, false),
        (3, 3, true),
        (3, 2, true),
        (3, 1, false),
        (5, 4, true),
        (5, 3, false),
    ] {
        let mut seen = running();
        seen.nodes(ring, up);
        let reason = if is_ready { "Accepting" } else { "StoreNotReady" };
        let status = if is_ready { "True" } else { "False" };
        seen.tells("Ready", status, reason, &format!("{up} of 3 nodes"));
    }
}

#[test]
fn the_first_nodes_of_a_store_are_not_enough_for_its_copies() {
    let mut seen = running();
    seen.nodes(1, 1);
    seen.observed.views.clear();
    seen.tells("Ready", "False", "StoreNotReady", "1 of 3 nodes");
    seen.nodes(2, 2);
    seen.observed.views.clear();
    seen.tells("Ready", "True", "Accepting", "2 of 3 nodes");
}

#[test]
fn a_node_whose_peers_do_not_see_it_is_not_up_though_its_pod_is_ready() {
    let mut seen = Seen::running(with_spec(CASSANDRA), 2, 1);
    seen.step.joined.insert("demo-store-rack1-0".to_owned(), Err("unseen".to_owned()));
    seen.tells("Ready", "False", "StoreNotReady", "0 of 3 nodes");
    seen.step.joined.clear();
    seen.tells("Ready", "True", "Accepting", "1 of 3 nodes");
}

#[test]
fn what_keeps_pods_from_starting_is_told_in_words_that_stay() {
    let waiting = |reason: &str| {
        json!([{"name": "ingest", "image": "example/x:1", "imageID": "", "ready": false,
            "restartCount": 3, "state": {"waiting": {"reason": reason, "message": "back-off 10s"}},
            "lastState": {"terminated": {"exitCode": 2, "reason": "Error"}}}])
    };
    for (reason, expected) in [
        ("ErrImagePull", "demo-ingest-0 can't pull image example/x:1"),
        ("ImagePullBackOff", "demo-ingest-0 can't pull image example/x:1"),
        (
            "CrashLoopBackOff",
            "demo-ingest-0 ends after each start (Error, exit code 2): see kubectl",
        ),
        ("CreateContainerConfigError", "demo-ingest-0 waits: CreateContainerConfigError"),
    ] {
        let mut seen = running();
        let mut stuck = serde_json::to_value(pod(Component::Ingest, 0, false)).expect("JSON");
        stuck["status"]["containerStatuses"] = waiting(reason);
        seen.observed.pods.retain(|pod| super::super::pods::name(pod).contains("-store-"));
        seen.observed.pods.push(serde_json::from_value(stuck).expect("a pod"));
        seen.tells("Ready", "False", "IngestNotReady", expected);
        assert!(!seen.condition("Ready").message.contains("back-off"));
    }
    let mut seen = running();
    let mut homeless = serde_json::to_value(pod(Component::Ingest, 0, false)).expect("JSON");
    homeless["status"]["conditions"] =
        json!([{"type": "PodScheduled", "status": "False", "message": "0/1 nodes: cpu"}]);
    seen.observed.pods = vec![serde_json::from_value(homeless).expect("a pod")];
    seen.tells("Ready", "False", "IngestNotReady", "is not scheduled: 0/1 nodes: cpu");
}

#[test]
fn a_spec_that_is_wrong_stalls_and_what_runs_stays_ready() {
    let mut seen = running();
    seen.mesh.status = Some(seen.status());
    let before = seen.status();
    seen.mesh.spec.ingest.settings.insert("ack".to_owned(), "stored".to_owned());
    seen.mesh.spec.ingest.settings.insert("foo".to_owned(), "1".to_owned());
    seen.mesh.metadata.generation = Some(8);
    seen.tells("Stalled", "True", "InvalidSpec", "spec.ingest.settings.ack: `ack` is set by");
    seen.tells("Stalled", "True", "InvalidSpec", "; spec.ingest.settings.foo: ");
    seen.tells("Reconciling", "False", "InvalidSpec", "until the spec is corrected");
    seen.tells("Ready", "True", "Accepting", "2 of 2 ingest pods");
    let after = seen.status();
    assert_eq!(after.observed_generation, Some(8));
    assert_eq!(after.store, before.store);
    assert_eq!((after.endpoints, after.promise), (before.endpoints, before.promise));
}

#[test]
fn what_the_store_waits_for_is_told() {
    let waiting =
        || Some(Waiting { reason: "Decommissioning", message: "node 2 hands over".to_owned() });
    let mut seen = running();
    seen.step.waiting = waiting();
    seen.tells("Reconciling", "True", "Decommissioning", "node 2 hands over");
    seen.step.waiting = None;
    seen.step.stalled = waiting();
    seen.tells("Stalled", "True", "Decommissioning", "node 2 hands over");
    seen.step.stalled = None;
    seen.step.update_pending = true;
    seen.tells("Reconciling", "False", "UpdatePending", "with the next change of spec.store");
}

#[test]
fn what_is_being_changed_is_told() {
    let mut seen = running();
    seen.failure = Some("apply Deployment demo-ingest: forbidden");
    seen.tells("Reconciling", "True", "Retrying", "demo-ingest: forbidden; it is tried again");
    seen.failure = None;
    seen.changed = 2;
    seen.tells("Reconciling", "True", "Applying", "objects were changed");
    seen.changed = 0;
    seen.object(Kind::Deployment).value.data["status"]["updatedReplicas"] = json!(1);
    seen.tells("Reconciling", "True", "RollingIngest", "1 of 2 ingest pods");
    seen.object(Kind::Deployment).value.data["status"] =
        json!({"observedGeneration": 2, "updatedReplicas": 2});
    seen.tells("Reconciling", "True", "RollingIngest", "0 of 2 ingest pods");

    let mut seen = running();
    seen.observed.pods.push(pod(Component::Ingest, 2, true));
    seen.tells("Reconciling", "True", "StoppingIngest", "3 ingest pods, 2 wanted");
    let stopping = seen.observed.pods.last_mut().expect("a pod");
    stopping.metadata.deletion_timestamp = Some(Time(seen.now));
    seen.tells("Reconciling", "True", "DrainingIngest", "demo-ingest-2 write their logs");
    seen.mesh.spec.paused = true;
    seen.tells("Reconciling", "False", "Paused", "while spec.paused is true");
}

#[test]
fn a_missing_secret_or_key_stalls_and_the_operator_s_own_does_not() {
    let mut seen = Seen::running(with_spec(EXTERNAL), 1, 0);
    seen.observed.secrets.insert("login".to_owned(), None);
    seen.tells(
        "Stalled",
        "True",
        "SecretMissing",
        "Secret login is missing: make it with username",
    );
    seen.observed.secrets.insert("login".to_owned(), Some(["username".to_owned()].into()));
    seen.tells("Stalled", "True", "SecretMissing", "Secret login lacks password");
    let keys = ["username", "password"].map(str::to_owned);
    seen.observed.secrets.insert("login".to_owned(), Some(keys.into()));
    seen.tells("Stalled", "False", "NotStalled", "");
    let mut seen = running();
    seen.observed.secrets.insert("demo-store-credentials".to_owned(), None);
    seen.tells("Stalled", "False", "NotStalled", "");
}

#[test]
fn a_mesh_without_pods_says_that_none_are_wanted() {
    let spec = "{ingest: {replicas: 0}, store: {embedded: {}}}";
    let seen = Seen::running(with_spec(spec), 0, 0);
    seen.tells("Ready", "False", "NoReplicas", "set spec.ingest.replicas");
    seen.tells("Reconciling", "False", "Settled", "");
}

#[test]
fn a_mesh_that_is_deleted_says_so() {
    let mut seen = running();
    seen.mesh.metadata.deletion_timestamp = Some(Time(seen.now));
    seen.tells("Ready", "False", "Deleting", "");
    seen.tells("Reconciling", "True", "Deleting", "ingest drains its log");
    let message = "2 pods of the store stop".to_owned();
    seen.step.waiting = Some(Waiting { reason: "Deleting", message });
    seen.tells("Reconciling", "True", "Deleting", "2 pods of the store stop");
}

#[test]
fn claims_that_can_not_grow_and_drains_that_gave_up_wait_for_a_person() {
    let spec = |size: &str| {
        with_spec(&format!(
            "{{ingest: {{log: {{storage: {{size: {size}}}}}}}, \
             store: {{external: {{cassandra: {{nodes: ['a:9042']}}}}}}}}"
        ))
    };
    let mut seen = Seen::running(spec("4Gi"), 1, 0);
    let claim = json!({"metadata": {"name": "data-demo-ingest-0"},
        "spec": {"resources": {"requests": {"storage": "4Gi"}}}});
    seen.observed.claims.push(serde_json::from_value(claim).expect("a claim"));
    seen.tells("Stalled", "False", "NotStalled", "");
    seen.mesh = spec("8Gi");
    seen.tells("Stalled", "False", "NotStalled", "");
    seen.observed.growable_classes = Some(std::collections::BTreeSet::new());
    seen.tells("Stalled", "True", "ClaimsCannotGrow", "data-demo-ingest-0 can't grow");
    seen.mesh = spec("4Gi");
    for (condition, stalled, reconciling) in [
        ("Failed", ("True", "DrainFailed", "see kubectl logs job/demo-drain"), "Settled"),
        ("Complete", ("False", "NotStalled", ""), "Settled"),
        ("Suspended", ("False", "NotStalled", ""), "DrainingIngest"),
    ] {
        let mut job = seen.observed.objects[0].clone();
        job.kind = Kind::Job;
        job.value.metadata.name = Some("demo-drain".to_owned());
        job.value.data = json!({"spec": {"template": {}},
            "status": {"conditions": [{"type": condition, "status": "True"}]}});
        let mut seen = Seen { observed: seen.observed.clone(), ..Seen::nothing(spec("4Gi")) };
        seen.observed.objects.push(job);
        seen.tells("Stalled", stalled.0, stalled.1, stalled.2);
        assert_eq!(seen.condition("Reconciling").reason, reconciling, "{condition}");
    }
}
