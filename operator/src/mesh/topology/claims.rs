//! Claims that grow: first each claim, then the StatefulSet, which can't be changed there, is made
//! anew around its pods. Nothing ever shrinks.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use pulsemesh_crds::quantity::Size;

use super::ring::Rack;
use super::{Action, Facts, StoreStep, Turn, Waiting};

/// Lets claims grow, also while nodes are down: a full one may be why.
pub(super) fn grow(facts: &Facts<'_>, step: &mut StoreStep) -> Turn {
    let size = &facts.store.storage.size;
    let nodes = facts.ring.nodes();
    for claim in nodes.filter_map(|node| node.claim).filter(|claim| is_small(facts, claim)) {
        let name = claim.metadata.name.clone().unwrap_or_default();
        if facts.observed.can_grow(claim) {
            step.actions.push(Action::GrowClaim { claim: name, size: size.to_string() });
        } else {
            let message = format!(
                "claim {name} can't grow to {size}: its storage class does not \
                                   allow it; move to a class that has allowVolumeExpansion"
            );
            step.stalled = Some(Waiting::new("ClaimCannotGrow", message));
        }
    }
    Turn::Next
}

/// Has the StatefulSet of one rack made anew once all its claims have grown.
pub(super) fn release(facts: &Facts<'_>, step: &mut StoreStep) -> Turn {
    let mut racks = facts.ring.racks.iter();
    let Some(set) = racks.find_map(|rack| outgrown(facts, rack)) else { return Turn::Next };
    let (Some(name), Some(uid)) = (&set.metadata.name, &set.metadata.uid) else {
        return Turn::Next;
    };
    let message = format!("StatefulSet {name} is made anew around its pods, with larger claims");
    step.waiting = Some(Waiting::new("ClaimsGrow", message));
    step.actions.push(Action::ReleasePods { name: name.clone(), uid: uid.clone() });
    Turn::End
}

fn outgrown<'r>(facts: &Facts<'_>, rack: &'r Rack<'_>) -> Option<&'r StatefulSet> {
    let set = rack.set.as_ref()?;
    let templates = set.spec.volume_claim_templates.as_ref()?;
    let is_outgrown = templates.iter().any(|claim| is_small(facts, claim));
    let mut claims = rack.nodes.iter().filter_map(|node| node.claim);
    (is_outgrown && !claims.any(|claim| is_small(facts, claim))).then_some(set)
}

/// Whether it asks for less than is wished; one that can't be read does not.
fn is_small(facts: &Facts<'_>, claim: &PersistentVolumeClaim) -> bool {
    let asked = || {
        let requests = claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?;
        Size(requests.get("storage")?.0.clone()).bytes()
    };
    asked().zip(facts.store.storage.size.bytes()).is_some_and(|(asked, wished)| asked < wished)
}
