//! One node more or less, towards the wish: the store is at rest when this is asked.

use super::ring::Rack;
use super::{Facts, StoreStep, Turn, Waiting, leave};

/// More first, so that nodes that move between racks are never missed.
pub(super) fn one(facts: &Facts<'_>, step: &mut StoreStep) -> Turn {
    let racks = &facts.ring.racks;
    let lacking = racks.iter().filter(|rack| rack.existing() < rack.wished);
    if let Some(rack) = lacking.min_by_key(|rack| rack.existing()) {
        join(step, rack);
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

fn join(step: &mut StoreStep, rack: &Rack<'_>) {
    let Some(rack_step) = step.racks.get_mut(rack.name) else { return };
    let was_held = rack_step.partition >= rack_step.replicas;
    rack_step.replicas += 1;
    if was_held {
        rack_step.partition = rack_step.replicas;
    }
    let message = format!("a node joins rack {}", rack.name);
    step.waiting.get_or_insert(Waiting::new("NodeJoining", message));
}
