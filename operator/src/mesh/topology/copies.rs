//! Copies of each row: raised once there are nodes for them, never lowered, and then filled by a
//! repair of each node in turn.

use super::ring::Node;
use super::{Action, Facts, StoreStep, Turn, Waiting};
use crate::nodes::View;

/// Keyspaces whose copies the operator raises: those that every store has, and the ingest's.
pub(super) const KEYSPACES: [&str; 4] =
    ["system_auth", "system_distributed", "system_traces", "pulsemesh"];

/// Raises copies where there are nodes for them, then repairs; ends the turn until that is done.
pub(super) fn raise(facts: &Facts<'_>, step: &mut StoreStep) -> Turn {
    let wanted = facts.store.replication_factor;
    let enough = facts.ring.nodes().count() >= usize::try_from(wanted).unwrap_or(usize::MAX);
    let Some(pod) = facts.ring.nodes().next().map(|node| &node.pod_name) else { return Turn::Next };
    for keyspace in KEYSPACES {
        let copies = views(facts).filter_map(|view| view.replication.get(keyspace)).min();
        if enough && copies.is_some_and(|copies| *copies < wanted) {
            let (pod, keyspace) = (pod.clone(), keyspace.to_owned());
            step.actions.push(Action::RaiseReplication { pod, keyspace, copies: wanted });
        }
    }
    if step.actions.iter().any(|action| matches!(action, Action::RaiseReplication { .. })) {
        let message = format!("rows get {wanted} copies each");
        step.waiting = Some(Waiting::new("Replication", message));
        return Turn::End;
    }
    repair(facts, step)
}

/// Repairs the first node whose data is not complete for the copies that all keyspaces have.
fn repair(facts: &Facts<'_>, step: &mut StoreStep) -> Turn {
    let Some(copies) = fewest(views(facts)) else { return Turn::Next };
    let mut incomplete = facts.ring.nodes().filter(|node| node.complete_for() < copies);
    let Some(node) = incomplete.next() else { return Turn::Next };
    let (pod, claim) = (node.pod_name.clone(), node.claim_name.clone());
    let message = format!("pod {pod} is repaired for {copies} copies of each row");
    step.waiting = Some(Waiting::new("Repair", message));
    step.actions.push(Action::Repair { pod, claim, copies });
    Turn::End
}

/// The fewest copies that any of the keyspaces has; `None` where there is none of them.
pub(super) fn fewest<'a>(views: impl Iterator<Item = &'a View>) -> Option<i32> {
    let copies = views
        .flat_map(|view| KEYSPACES.iter().filter_map(|keyspace| view.replication.get(*keyspace)));
    copies.copied().min()
}

fn views<'a>(facts: &'a Facts<'_>) -> impl Iterator<Item = &'a View> {
    facts.ring.nodes().filter_map(Node::answer)
}
