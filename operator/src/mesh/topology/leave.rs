//! A node that leaves: begun for one node at a time, gone on with until it is out, whatever is
//! wished by then. Its pod goes only once all other nodes that answer say that it has left.

use super::ring::{Node, Rack, Ring};
use super::{Action, Facts, StoreStep, Turn, Waiting, settled};
use crate::nodes::State;

/// How far a node is out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// It was told, or hands its data over.
    Leaving,
    /// All others that answer say that it has left.
    Left,
    /// That was noted on its claim, and nobody says otherwise: its pod may go.
    Marked,
}

/// Goes on with a leave that was begun, by the operator or by hand.
pub(super) fn go_on(facts: &Facts<'_>, step: &mut StoreStep) -> Turn {
    for rack in &facts.ring.racks {
        for (ordinal, node) in rack.nodes.iter().enumerate() {
            if let Some(progress) = progress(&facts.ring, node) {
                further(facts, step, (rack, ordinal, progress));
                return Turn::End;
            }
        }
    }
    Turn::Next
}

fn progress(ring: &Ring<'_>, node: &Node<'_>) -> Option<Progress> {
    let said = ring.said_by_others(node);
    let by_others = || said.iter().map(|seen| seen.map(|seen| seen.state));
    let own = node.own_state();
    // Somebody else has to say so, and nobody who answers, itself among them, otherwise.
    let some = |wanted| by_others().any(|state| state == Some(wanted));
    let is_out = matches!(own, None | Some(State::Left));
    if is_out && some(State::Left) && by_others().all(|state| state == Some(State::Left)) {
        return Some(if node.is_marked() { Progress::Marked } else { Progress::Left });
    }
    // They forget who has left after days; the note says that they knew.
    if node.is_marked() && is_out && !said.is_empty() {
        let gone = |state| matches!(state, None | Some(State::Left));
        return Some(if by_others().all(gone) { Progress::Marked } else { Progress::Leaving });
    }
    let begun = node.is_told_to_leave()
        || node.is_marked()
        || matches!(own, Some(State::Leaving | State::Left))
        || some(State::Leaving)
        || some(State::Left);
    begun.then_some(Progress::Leaving)
}

fn further(facts: &Facts<'_>, step: &mut StoreStep, seen: (&Rack<'_>, usize, Progress)) {
    let (rack, ordinal, progress) = seen;
    let node = &rack.nodes[ordinal];
    let is_last = ordinal + 1 == rack.nodes.len();
    let pod = &node.pod_name;
    match (progress, node.leaver()) {
        (Progress::Marked, _) if is_last => shrink(step, rack),
        (Progress::Marked, _) => {
            step.stalled = Some(Waiting::new(
                "NodeLeftByHand",
                format!(
                    "pod {pod} has left and is not the last of its rack: delete the pod, and \
                         it joins again as a new node"
                ),
            ));
        }
        (Progress::Left, Some(leaver)) => step.actions.push(Action::MarkLeft(leaver)),
        (Progress::Leaving, Some(leaver)) if may_go_on(&facts.ring, node) => {
            step.actions.push(Action::Decommission(leaver));
        }
        (Progress::Left | Progress::Leaving, _) => {}
    }
    let deferred = if facts.ring.nodes().count() == wished(facts) + 1 {
        String::new()
    } else {
        format!(" before the wish for {} nodes is met", wished(facts))
    };
    let message = format!("pod {pod} hands its data to the others and leaves{deferred}");
    step.waiting.get_or_insert(Waiting::new("NodeLeaving", message));
}

fn wished(facts: &Facts<'_>) -> usize {
    usize::try_from(facts.store.nodes()).unwrap_or_default()
}

fn shrink(step: &mut StoreStep, rack: &Rack<'_>) {
    if let Some(rack_step) = step.racks.get_mut(rack.name) {
        rack_step.replicas -= 1;
        rack_step.partition = rack_step.partition.min(rack_step.replicas);
    }
}

/// Whether the node itself takes part still, and no other is down.
fn may_go_on(ring: &Ring<'_>, leaver: &Node<'_>) -> bool {
    let is_part = matches!(leaver.own_state(), Some(State::Normal | State::Leaving));
    let others = || ring.nodes().filter(|node| node.pod_name != leaver.pod_name);
    is_part && others().all(|node| node.own_state() == Some(State::Normal)) && {
        let views = ring.nodes().filter_map(Node::answer);
        views.flat_map(|view| &view.members).all(|seen| seen.is_alive || seen.state == State::Left)
    }
}

/// Tells the last node of a rack to leave, if what is wished is possible.
pub(super) fn begin(facts: &Facts<'_>, step: &mut StoreStep, rack: &Rack<'_>) {
    if let Some(refusal) = refusal(facts) {
        step.stalled = Some(refusal);
        return;
    }
    let Some(leaver) = rack.nodes.last().and_then(Node::leaver) else { return };
    debug_assert!(settled::judge(&facts.ring).is_ok(), "a leave begins at rest alone");
    let message = format!("pod {} is told to leave", leaver.pod);
    step.waiting = Some(Waiting::new("NodeLeaving", message));
    step.actions.push(Action::Decommission(leaver));
}

/// Why so few nodes can't be: any keyspace, also one that a person made, keeps its copies.
fn refusal(facts: &Facts<'_>) -> Option<Waiting> {
    let views = facts.ring.nodes().filter_map(Node::answer);
    let copies = views.flat_map(|view| &view.replication);
    let (keyspace, copies) = copies.max_by_key(|(_, copies)| **copies)?;
    let nodes = facts.store.nodes();
    (nodes < *copies).then(|| {
        Waiting::new(
            "TooFewNodes",
            format!(
                "{nodes} nodes can't hold the {copies} copies of each row that keyspace \
                 {keyspace} has: wish for at least {copies}, or lower its copies by hand first"
            ),
        )
    })
}
