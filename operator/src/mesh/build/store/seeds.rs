//! Whom a node asks first about the ring.

use super::rack::Rack;
use crate::mesh::names;
use crate::mesh::plan::Plan;

/// With one rack: the second still answers while the first is away.
const PODS_OF_ONE_RACK: i32 = 2;
const PODS_OF_EACH_RACK: i32 = 1;

/// The first pods of each rack, by name. One alone means that the ring has or shall have one node
/// so far: it is the one that may begin without asking anybody. Never empty.
pub(super) fn of(plan: &Plan, racks: &[Rack]) -> Vec<String> {
    let used = racks.iter().filter(|rack| rack.step.replicas > 0).count();
    let most = if used > 1 { PODS_OF_EACH_RACK } else { PODS_OF_ONE_RACK };
    let mut seeds: Vec<String> = racks
        .iter()
        .flat_map(|rack| (0..rack.step.replicas.min(most)).map(|n| host(plan, &rack.name, n)))
        .collect();
    if let (true, Some(rack)) = (seeds.is_empty(), racks.first()) {
        seeds.push(host(plan, &rack.name, 0));
    }
    seeds
}

/// The name of a pod within its namespace.
fn host(plan: &Plan, rack: &str, ordinal: i32) -> String {
    let mesh = &plan.mesh.name;
    format!(
        "{}-{ordinal}.{}.{}.svc",
        names::rack(mesh, rack),
        names::store(mesh),
        plan.mesh.namespace
    )
}
