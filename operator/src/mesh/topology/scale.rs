//! One node more or less, towards the wish: the store is at rest when this is asked.

use super::ring::{Rack, is_left};
use super::{Action, Facts, StoreStep, Turn, Waiting, leave};
use crate::mesh::names;

/// More first, so that nodes that move between racks are never missed.
pub(super) fn one(facts: &Facts<'_>, step: &mut StoreStep) -> Turn {
    let racks = &facts.ring.racks;
    let lacking = racks.iter().filter(|rack| rack.existing() < rack.wished);
    if let Some(rack) = lacking.min_by_key(|rack| rack.existing()) {
        join(facts, step, rack);
        return Turn::End;
    }
    let excess = racks.iter().filter(|rack| rack.existing() > rack.wished);
    // Of equals the last, as the first was filled first.
    if let Some(rack) = excess.max_by_key(|rack| rack.existing()) {
        leave::begin(facts, step, rack);
        return Turn::End;
    }
    Turn::Next
}

/// On a claim of a node that has left only once its notes are gone and its pod too: what starts
/// there then is another node.
fn join(facts: &Facts<'_>, step: &mut StoreStep, rack: &Rack<'_>) {
    let message = format!("a node joins rack {}", rack.name);
    step.waiting.get_or_insert(Waiting::new("NodeJoining", message));
    let pod = names::store_pod(&facts.plan.mesh.name, rack.name, rack.existing());
    let claim = names::store_claim(&pod);
    if facts.observed.pods.iter().any(|other| other.metadata.name.as_ref() == Some(&pod)) {
        return;
    }
    let mut claims = facts.observed.claims.iter();
    if claims.any(|other| other.metadata.name.as_ref() == Some(&claim) && is_left(other)) {
        step.actions.push(Action::FreeClaim(claim));
        return;
    }
    if let Some(rack_step) = step.racks.get_mut(rack.name) {
        rack_step.replicas += 1;
        rack_step.partition = rack_step.replicas;
    }
}
