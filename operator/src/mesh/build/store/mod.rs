//! The nodes of a store that the operator runs: a StatefulSet for each rack, and what all racks
//! share. How a node is set up lies in its ConfigMap, so that the template of its pod, and with
//! it the pod, stays the same when nodes come and go.

mod cassandra;
mod claim;
mod pod;
mod rack;
mod scylla;
mod seeds;
mod settings;
mod shared;
#[cfg(test)]
mod tests;

use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_64;

use crate::mesh::object::Object;
use crate::mesh::observed::Observed;
use crate::mesh::plan::{Engine, ManagedPlan, Plan, StorePlan};
use crate::mesh::topology::StoreStep;

/// The container of a store's pod in which the node runs: orders are given there.
pub const CONTAINER: &str = "store";
/// Where the claim of a Cassandra node is mounted.
pub const CASSANDRA_DATA: &str = "/var/lib/cassandra";
/// Where the claim of a Scylla node is mounted.
pub const SCYLLA_DATA: &str = "/var/lib/scylla";
/// A file in the claim: its data is no longer of the ring. Whoever gets the claim next moves the
/// data to `left-<time>` before it starts. Written by the order to mark a node as left.
pub const LEFT: &str = "pulsemesh-left";
/// A file in the claim: the node has joined the ring with the data beside it, so it may start
/// again without asking anybody. Written by the pod's own startup probe.
pub const JOINED: &str = "pulsemesh-joined";

/// Where the claim of a node of this engine is mounted.
pub fn data_path(engine: &Engine) -> &'static str {
    match engine {
        Engine::Cassandra { .. } => CASSANDRA_DATA,
        Engine::Scylla { .. } => SCYLLA_DATA,
    }
}

/// All objects of the store, in the order in which they are applied; none for a store that the
/// operator does not run.
///
/// # Errors
/// When an object can't be written as JSON, which their types rule out.
pub fn objects(
    plan: &Plan,
    observed: &Observed,
    step: &StoreStep,
) -> serde_json::Result<Vec<Object>> {
    let StorePlan::Managed(managed) = &plan.store else { return Ok(Vec::new()) };
    let racks = rack::all(plan, managed, observed, step);
    let mut objects = vec![
        shared::service_account(plan)?,
        shared::config_map(plan, settings::files(plan, managed, &racks))?,
        shared::service(plan)?,
    ];
    if managed.nodes() > 1 {
        objects.push(shared::disruption_budget(plan)?);
    }
    for rack in &racks {
        objects.push(rack::stateful_set(plan, managed, rack)?);
    }
    Ok(objects)
}

/// The value of `names::MADE_FROM`: the same for all that makes the same pods, whatever the
/// version of the operator.
pub fn made_from(managed: &ManagedPlan) -> String {
    // A part that is added later must be left out where it has its default: another hash
    // restarts every node.
    let engine = match &managed.engine {
        Engine::Cassandra { heap } => json!({"cassandra": {"heap": heap}}),
        Engine::Scylla { memory, cores } => json!({"scylla": {"memory": memory, "cores": cores}}),
    };
    hash(&json!({
        "engine": engine,
        "image": managed.image,
        "datacenter": managed.datacenter,
        "resources": managed.resources,
        "pod": managed.pod,
    }))
}

/// The value of `names::RENDERED` that the pods of a rack would have if they were made now.
pub fn rendered(plan: &Plan, managed: &ManagedPlan, rack: &str) -> String {
    hash(&pod::template(plan, managed, rack))
}

/// Of the text, which has the keys in their order.
fn hash(value: &Value) -> String {
    format!("{:016x}", xxh3_64(value.to_string().as_bytes()))
}
