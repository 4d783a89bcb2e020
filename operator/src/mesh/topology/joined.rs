//! Whether each node may serve: as its peers see it, not as it sees itself, because a node is up
//! for itself first.

use std::collections::BTreeMap;

use super::ring::{Node, Ring};
use crate::nodes::State;

/// For each pod of which anything is known. One peer that sees it up is enough; where none
/// answers, its own word counts; where it does not answer either, nothing is said, because what
/// keeps the operator from asking need not keep clients.
pub(super) fn judge(ring: &Ring<'_>) -> BTreeMap<String, Result<(), String>> {
    let judged = ring.nodes().filter(|node| node.pod.is_some());
    judged.filter_map(|node| Some((node.pod_name.clone(), of(ring, node)?))).collect()
}

/// `None` where nothing is known.
pub(super) fn of(ring: &Ring<'_>, node: &Node<'_>) -> Option<Result<(), String>> {
    let said = ring.said_by_others(node);
    if said.is_empty() {
        let is_lone =
            ring.nodes().all(|other| other.pod_name == node.pod_name || other.answer().is_none());
        return match node.own_state() {
            Some(state) if is_lone && serves(state) => Some(Ok(())),
            Some(state) => Some(Err(format!("it is not part of the ring yet: {state:?}"))),
            // Not known to anybody, though others answer.
            None if !is_lone => Some(Err("it has not joined the ring yet".to_owned())),
            None => None,
        };
    }
    let is_up = said.iter().flatten().any(|seen| serves(seen.state) && seen.is_alive);
    Some(if is_up { Ok(()) } else { Err("no other node sees it up".to_owned()) })
}

/// One that hands its data over serves until it is out.
fn serves(state: State) -> bool {
    matches!(state, State::Normal | State::Leaving)
}
