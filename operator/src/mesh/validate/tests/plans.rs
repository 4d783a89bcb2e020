//! What is made of what a spec leaves unsaid.

use k8s_openapi::api::core::v1::ResourceRequirements;

use crate::mesh::fixtures::plan;
use crate::mesh::plan::{ManagedPlan, StorePlan};

#[track_caller]
fn managed(store: &str) -> ManagedPlan {
    match plan(&format!("{{store: {{{store}}}}}")).store {
        StorePlan::Managed(managed) => *managed,
        other => unreachable!("{other:?}"),
    }
}

#[test]
fn nodes_are_spread_evenly_and_the_first_racks_get_one_more() {
    for (nodes, racks, expected) in [
        (1, "", vec![("rack1", 1)]),
        (3, "", vec![("rack1", 3)]),
        (3, "racks: [a, b, c],", vec![("a", 1), ("b", 1), ("c", 1)]),
        (5, "racks: [c, a, b],", vec![("c", 2), ("a", 2), ("b", 1)]),
        (7, "racks: [a, b, c],", vec![("a", 3), ("b", 2), ("c", 2)]),
    ] {
        let plan =
            managed(&format!("cassandra: {{nodes: {nodes}, {racks} storage: {{size: 1Gi}}}}"));
        let spread: Vec<_> =
            plan.racks.iter().map(|rack| (rack.name.as_str(), rack.nodes)).collect();
        assert_eq!(spread, expected);
        assert_eq!(plan.nodes(), nodes);
    }
}

#[test]
fn rows_have_three_copies_or_as_many_as_there_are_nodes() {
    for (nodes, wanted, expected) in
        [(1, "", 1), (2, "", 2), (3, "", 3), (9, "", 3), (5, "replicationFactor: 5,", 5)]
    {
        let spec = format!("cassandra: {{nodes: {nodes}, {wanted} storage: {{size: 1Gi}}}}");
        assert_eq!(managed(&spec).replication_factor, expected, "{spec}");
    }
}

/// The amounts of one resource: requested, limited.
fn amounts<'a>(
    resources: &'a ResourceRequirements,
    name: &str,
) -> (Option<&'a str>, Option<&'a str>) {
    let of = |amounts: &'a Option<std::collections::BTreeMap<String, _>>| {
        amounts.as_ref()?.get(name).map(
            |amount: &k8s_openapi::apimachinery::pkg::api::resource::Quantity| amount.0.as_str(),
        )
    };
    (of(&resources.requests), of(&resources.limits))
}

#[test]
fn a_node_has_twice_its_heap_and_what_lies_outside_of_it() {
    for (heap, memory, cpu) in
        [("512Mi", "1536Mi", "250m"), ("1Gi", "2560Mi", "500m"), ("8Gi", "16896Mi", "4000m")]
    {
        let plan = managed(&format!("cassandra: {{heap: {heap}, storage: {{size: 1Gi}}}}"));
        assert_eq!(amounts(&plan.resources, "memory"), (Some(memory), Some(memory)), "{heap}");
        assert_eq!(amounts(&plan.resources, "cpu"), (Some(cpu), None), "{heap}");
    }
    let plan = managed("scylla: {memory: 8Gi, cores: 4, storage: {size: 1Gi}}");
    assert_eq!(amounts(&plan.resources, "memory"), (Some("9268Mi"), Some("9268Mi")));
    assert_eq!(amounts(&plan.resources, "cpu"), (Some("4"), Some("4")));
}

#[test]
fn ingest_has_the_memory_of_its_bounds_and_no_limit_of_processor_time() {
    let of = |ingest: &str| {
        let spec =
            format!("{{ingest: {{{ingest}}}, store: {{cassandra: {{storage: {{size: 1Gi}}}}}}}}");
        plan(&spec).ingest.resources
    };
    let usual = of("");
    assert_eq!(amounts(&usual, "memory"), (Some("128Mi"), Some("512Mi")));
    assert_eq!(amounts(&usual, "cpu"), (Some("100m"), None));
    let scaled = of("autoscaling: {maxReplicas: 3}");
    assert_eq!(amounts(&scaled, "cpu"), (Some("250m"), None));
    let more = of("buffer: {size: 1Gi}, batch: {workers: 8}");
    assert_eq!(amounts(&more, "memory"), (Some("400Mi"), Some("1600Mi")));
    let own = of("resources: {limits: {memory: 1Gi}}");
    assert_eq!(amounts(&own, "memory"), (None, Some("1Gi")));
}

#[test]
fn the_promise_says_what_an_answer_survives() {
    for (ingest, part) in [
        ("ack: Durable", "does not survive the loss of the node"),
        ("log: {storage: {size: 4Gi}}", "it survives the container, the pod and the node"),
        ("ack: Stored", "200 means that the database has the pulse"),
        ("ack: Memory", "202 means that the pulse is in memory:"),
        ("ack: Memory, buffer: {overflow: Drop}", "dropped and counted"),
    ] {
        let spec =
            format!("{{ingest: {{{ingest}}}, store: {{cassandra: {{storage: {{size: 1Gi}}}}}}}}");
        let promise = plan(&spec).ingest.promise;
        assert!(promise.contains(part), "{ingest}: {promise}");
    }
    let promise = plan("{store: {embedded: {}}}").ingest.promise;
    assert!(promise.contains("reaches the embedded store"), "{promise}");
}
