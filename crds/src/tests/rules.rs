//! Each rule both ways: what it lets through, and what a user reads when it does not.

use super::{mesh, with_spec};

/// Whether creating a mesh with this spec is refused with words that hold `refusal`; `""`: it is
/// accepted.
#[track_caller]
fn check(spec: &str, refusal: &str) {
    let outcome = with_spec(spec).validate_cel();
    judge(outcome.map_err(|errors| errors.to_string()), spec, refusal);
}

/// The same for a change from one spec to another.
#[track_caller]
fn check_change(old: &str, new: &str, refusal: &str) {
    let outcome = with_spec(new).validate_cel_update(&with_spec(old));
    judge(outcome.map_err(|errors| errors.to_string()), new, refusal);
}

#[track_caller]
fn judge(outcome: Result<(), String>, spec: &str, refusal: &str) {
    match outcome {
        Ok(()) => assert!(refusal.is_empty(), "accepted: {spec}"),
        Err(message) => {
            assert!(!refusal.is_empty() && message.contains(refusal), "{spec}\n{message}");
        }
    }
}

const CASSANDRA: &str = "cassandra: {nodes: 3, storage: {size: 10Gi}";

fn cassandra(more: &str) -> String {
    format!("{{store: {{{CASSANDRA}{more}}}}}}}")
}

#[test]
fn a_mesh_has_exactly_one_store() {
    let refusal = "exactly one of embedded, cassandra, scylla and external";
    check("{store: {embedded: {}}}", "");
    check("{store: {scylla: {nodes: 1, storage: {size: 1Gi}}}}", "");
    check("{store: {}}", refusal);
    check("{store: {embedded: {}, scylla: {nodes: 1, storage: {size: 1Gi}}}}", refusal);
    check("{store: {external: {}}}", "external needs cassandra");
    check("{store: {external: {cassandra: {nodes: ['a:9042']}}}}", "");
}

#[test]
fn the_embedded_store_lies_in_one_pod() {
    let refusal = "the embedded store lies in one pod";
    check("{ingest: {replicas: 1}, store: {embedded: {}}}", "");
    check("{ingest: {replicas: 0}, store: {embedded: {}}}", "");
    check("{ingest: {replicas: 2}, store: {embedded: {}}}", refusal);
    check("{ingest: {autoscaling: {maxReplicas: 2}}, store: {embedded: {}}}", refusal);
    let log = "{ingest: {log: {storage: {size: 10Gi}}}, store: {embedded: {}}}";
    check(log, "the log lies in store.embedded.storage");
}

#[test]
fn the_kind_of_store_stays() {
    let embedded = "{store: {embedded: {}}}";
    check_change(embedded, "{store: {embedded: {retention: 1d}}}", "");
    check_change(embedded, &cassandra(""), "the kind of store can't be changed");
}

#[test]
fn an_autoscaler_has_a_range() {
    let spec =
        |range: &str| format!("{{ingest: {{autoscaling: {{{range}}}}}, store: {{{CASSANDRA}}}}}}}");
    check(&spec("minReplicas: 2, maxReplicas: 2"), "");
    check(&spec("minReplicas: 3, maxReplicas: 2"), "minReplicas is above maxReplicas");
}

#[test]
fn the_log_fits_its_claim_which_comes_and_goes_with_the_mesh() {
    let spec = |log: &str| format!("{{ingest: {{log: {{{log}}}}}, store: {{{CASSANDRA}}}}}}}");
    check(&spec("budget: 1Gi, storage: {size: 2Gi}"), "");
    check(&spec("budget: 1Gi, storage: {size: 2047Mi}"), "below twice log.budget");
    let (without, with) = (spec("budget: 1Gi"), spec("budget: 1Gi, storage: {size: 4Gi}"));
    check_change(&without, &spec("budget: 2Gi"), "");
    check_change(&without, &with, "can't be added or taken away");
    check_change(&with, &without, "can't be added or taken away");
}

#[test]
fn a_claim_grows_and_keeps_its_class() {
    let sized = |size: &str| format!("{{store: {{cassandra: {{storage: {{{size}}}}}}}}}");
    let old = sized("size: 10Gi, storageClassName: a");
    check_change(&old, &sized("size: 20Gi, storageClassName: a"), "");
    check_change(&old, &sized("size: 10240Mi, storageClassName: a"), "");
    check_change(&old, &sized("size: 5Gi, storageClassName: a"), "never shrink");
    check_change(&old, &sized("size: 10Gi, storageClassName: b"), "storage class");
    check_change(&old, &sized("size: 10Gi"), "storage class");
}

#[test]
fn replicas_and_racks_fit_the_nodes() {
    check(&cassandra(", replicationFactor: 3"), "");
    check(&cassandra(", replicationFactor: 4"), "replicationFactor is above nodes");
    check(&cassandra(", racks: [a, b, c]"), "");
    check(&cassandra(", racks: [a, b, c, d]"), "more racks than nodes");
}

#[test]
fn what_replicas_are_placed_by_is_never_taken_away() {
    let old = cassandra(", replicationFactor: 2, racks: [a, b]");
    check_change(&old, &cassandra(", replicationFactor: 3, racks: [a, b, c]"), "");
    check_change(&old, &cassandra(", replicationFactor: 1, racks: [a, b]"), "can't be lowered");
    check_change(&old, &cassandra(", racks: [a, b]"), "can't be lowered");
    check_change(&old, &cassandra(", replicationFactor: 2, racks: [a, c]"), "never removed");
    check_change(&old, &cassandra(", replicationFactor: 2"), "never removed");
    let renamed = cassandra(", replicationFactor: 2, racks: [a, b], datacenter: other");
    check_change(&old, &renamed, "the name of the datacenter");
}

#[test]
fn a_name_leaves_room_for_those_of_its_pods() {
    let named = |name: &str| {
        mesh(&format!(
            "{{apiVersion: pulsemesh.io/v1alpha1, kind: PulseMesh, metadata: {{name: {name}}}, \
             spec: {{store: {{embedded: {{}}}}}}}}"
        ))
    };
    for (name, refusal) in [
        ("a".repeat(30), None),
        ("a".repeat(31), Some("at most 30 characters")),
        ("team.mesh".to_owned(), Some("begins with a letter")),
        ("1st".to_owned(), Some("begins with a letter")),
    ] {
        let outcome = named(&name).validate_cel().map_err(|errors| errors.to_string());
        match (outcome, refusal) {
            (Ok(()), None) => {}
            (Err(message), Some(refusal)) => assert!(message.contains(refusal), "{message}"),
            (outcome, _) => assert!(outcome.is_ok() == refusal.is_none(), "{name}: {outcome:?}"),
        }
    }
}
