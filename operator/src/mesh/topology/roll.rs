//! A changed template reaches one pod after the other, rack after rack: the next only once all
//! nodes are at rest, unless the pod is not up anyway and the change may be what mends it.

use k8s_openapi::api::core::v1::Pod;

use super::ring::{Node, Rack};
use super::{Facts, StoreStep, Turn, Waiting, settled};
use crate::mesh::build::store::{made_from, rendered};
use crate::mesh::names;
use crate::nodes::State;

/// What a pod carries of the template that it was made from.
const REVISION: &str = "controller-revision-hash";

/// What becomes of the template of a rack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Template {
    /// It is made as it would be made now, which for its pods is no change.
    Same,
    /// It stays as it is; `true` where an operator of another version has made it.
    Kept(bool),
    /// The spec asks for another.
    Changed,
}

/// What an operator of another version has made stays until the spec changes. Where the same
/// would be made now, what others have changed in it is taken back.
pub(super) fn template(facts: &Facts<'_>, rack: &Rack<'_>) -> Template {
    let Some(set) = &rack.set else { return Template::Same };
    let noted = |key| {
        let template = &set.spec.template;
        template.metadata.as_ref()?.annotations.as_ref()?.get(key).map(String::as_str)
    };
    if noted(names::MADE_FROM) != Some(&made_from(facts.store)) {
        return Template::Changed;
    }
    match noted(names::RENDERED) {
        Some(live) if live == rendered(facts.plan, facts.store, rack.name) => Template::Same,
        live => Template::Kept(live.is_some()),
    }
}

/// Goes on with pods that are of an older template; ends the turn until there is none.
pub(super) fn go_on(facts: &Facts<'_>, step: &mut StoreStep) -> Turn {
    let racks = &facts.ring.racks;
    let is_changing = |rack: &&Rack<'_>| template(facts, rack) == Template::Changed;
    if let Some(rack) = racks.iter().find(|rack| is_changing(rack) || !is_seen(rack)) {
        let message = format!("rack {} gets a changed template", rack.name);
        step.waiting.get_or_insert(Waiting::new("Rolling", message));
        return Turn::End;
    }
    let outdated: Vec<_> =
        racks.iter().filter_map(|rack| Some((rack, last_outdated(rack)?))).collect();
    if outdated.is_empty() {
        return finish(facts, step);
    }
    let broken = |at: &&(&Rack<'_>, usize)| is_broken(facts, &at.0.nodes[at.1]);
    let begun = |at: &&(&Rack<'_>, usize)| at.0.partition() < Some(at.0.existing());
    let chosen = outdated.iter().find(broken).map(|at| (at, None)).or_else(|| {
        let at = outdated.iter().find(begun).or(outdated.first())?;
        Some((at, settled::judge(&facts.ring).err()))
    });
    if let Some((&(rack, ordinal), unrest)) = chosen {
        if unrest.is_none() {
            release(facts, step, (rack.name, ordinal));
        }
        if let Some(waiting) = &unrest {
            settled::tell_person(step, waiting);
        }
        let pod = &rack.nodes[ordinal].pod_name;
        let unrest = unrest.map(|waiting| format!(", once {}", waiting.message));
        let message = format!("pod {pod} gets the changed template{}", unrest.unwrap_or_default());
        step.waiting.get_or_insert(Waiting::new("Rolling", message));
    }
    Turn::End
}

/// Holds all pods but those of this rack from this ordinal on.
fn release(facts: &Facts<'_>, step: &mut StoreStep, (name, ordinal): (&str, usize)) {
    for rack in &facts.ring.racks {
        if let Some(rack_step) = step.racks.get_mut(rack.name) {
            let chosen = i32::try_from(ordinal).ok().filter(|_| rack.name == name);
            rack_step.partition = chosen.unwrap_or(rack_step.replicas);
        }
    }
}

/// Holds all pods again once the last is up.
fn finish(facts: &Facts<'_>, step: &mut StoreStep) -> Turn {
    if settled::judge(&facts.ring).is_ok() {
        for rack_step in step.racks.values_mut() {
            rack_step.partition = rack_step.replicas;
        }
    }
    Turn::Next
}

/// Whether the StatefulSet's controller has seen the last change.
fn is_seen(rack: &Rack<'_>) -> bool {
    let Some(set) = &rack.set else { return true };
    let seen = set.status.as_ref().and_then(|status| status.observed_generation);
    seen >= set.metadata.generation
}

fn last_outdated(rack: &Rack<'_>) -> Option<usize> {
    let wanted = rack.set.as_ref()?.status.as_ref()?.update_revision.as_ref()?;
    let is_outdated = |node: &Node<'_>| {
        let labels = node.pod.and_then(|pod| pod.metadata.labels.as_ref());
        labels.and_then(|labels| labels.get(REVISION)).is_some_and(|revision| revision != wanted)
    };
    rack.nodes.iter().rposition(is_outdated)
}

/// Whether nothing is lost when its pod is made anew: it does not answer, nobody hears it, and
/// the kubelet finds it not ready either.
fn is_broken(facts: &Facts<'_>, node: &Node<'_>) -> bool {
    let said = facts.ring.said_by_others(node);
    let is_heard = said.iter().flatten().any(|seen| seen.is_alive && seen.state != State::Left);
    node.answer().is_none() && !is_heard && node.pod.is_some_and(|pod| !has_ready_containers(pod))
}

fn has_ready_containers(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition.type_ == "ContainersReady" && condition.status == "True")
}
