//! Whether the store is at rest: every node that there is answers, and each says of all the same
//! nodes that they are part of the ring and alive. Nothing of the ring is changed otherwise.

use std::collections::BTreeSet;

use super::ring::{Node, Ring, member};
use super::{Facts, StoreStep, Turn, Waiting};
use crate::nodes::{Member, State, View};

/// A node that holds data and that no pod is: only a person knows whether it comes back.
const UNKNOWN_NODE: &str = "UnknownNode";

/// Ends the turn while the store is not at rest.
pub(super) fn wait(facts: &Facts<'_>, step: &mut StoreStep) -> Turn {
    match judge(&facts.ring) {
        Ok(()) => Turn::Next,
        Err(waiting) => {
            tell_person(step, &waiting);
            step.waiting.get_or_insert(waiting);
            Turn::End
        }
    }
}

/// Tells of what no time mends.
pub(super) fn tell_person(step: &mut StoreStep, waiting: &Waiting) {
    if waiting.reason == UNKNOWN_NODE {
        step.stalled.get_or_insert_with(|| waiting.clone());
    }
}

/// Why the store is not at rest.
pub(super) fn judge(ring: &Ring<'_>) -> Result<(), Waiting> {
    let mut hosts = BTreeSet::new();
    for node in ring.nodes() {
        let host = answered(node)?;
        if !hosts.insert(host) {
            return Err(unclear(format!("two pods say that they are node {host}")));
        }
    }
    let answers = || ring.nodes().filter_map(|node| Some((node, node.answer()?)));
    answers().try_for_each(|(node, view)| agrees(node, view, &hosts))
}

/// The host id of a node that answers and is noted on its claim.
fn answered<'a>(node: &Node<'a>) -> Result<&'a str, Waiting> {
    let pod = &node.pod_name;
    let Some(view) = node.answer() else {
        let why = match node.silence() {
            Some(why) => format!("pod {pod} does not answer: {why}"),
            None => format!("pod {pod} does not run yet"),
        };
        return Err(Waiting::new("NodeNotUp", why));
    };
    match node.own_state() {
        Some(State::Normal) => {}
        _ => return Err(Waiting::new("NodeJoining", format!("pod {pod} joins the ring"))),
    }
    if node.noted_host() != Some(&view.host_id) {
        return Err(Waiting::new("NodeJoining", format!("pod {pod} has just joined the ring")));
    }
    Ok(&view.host_id)
}

/// Whether one view holds exactly the nodes that there are, each of them well.
fn agrees(node: &Node<'_>, view: &View, hosts: &BTreeSet<&str>) -> Result<(), Waiting> {
    let pod = &node.pod_name;
    if let Some(missing) = hosts.iter().find(|host| member(view, host).is_none()) {
        return Err(unclear(format!("pod {pod} does not know node {missing} yet")));
    }
    for other in &view.members {
        is_well(pod, other, hosts.contains(other.host_id.as_str()))?;
    }
    Ok(())
}

fn is_well(pod: &str, other: &Member, is_ours: bool) -> Result<(), Waiting> {
    let Member { host_id, address, state, is_alive } = other;
    match (is_ours, state) {
        (false, State::Left) => Ok(()),
        (false, State::Normal | State::Leaving) => Err(Waiting::new(
            UNKNOWN_NODE,
            format!(
                "pod {pod} knows node {host_id} at {address}, which no pod is; if it is gone for \
                 good, run `nodetool removenode {host_id}` in pod {pod}"
            ),
        )),
        // The ring forgets one that has never joined.
        (false, state) => Err(unclear(format!(
            "pod {pod} knows node {host_id} at {address} as {state:?}, which no pod is"
        ))),
        (true, State::Normal) if *is_alive => Ok(()),
        (true, State::Normal) => Err(Waiting::new(
            "NodeDown",
            format!("pod {pod} does not hear node {host_id} at {address}: nothing is changed"),
        )),
        (true, state) => {
            Err(unclear(format!("pod {pod} sees node {host_id} at {address} as {state:?}")))
        }
    }
}

fn unclear(message: String) -> Waiting {
    Waiting::new("NodesDisagree", message)
}
