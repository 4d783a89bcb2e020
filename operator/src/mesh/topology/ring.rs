//! What was read, by rack and ordinal: the nodes that there are, what each says and what is said
//! of each. A node is its host id, never its pod's name or address alone.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};

use super::{Action, Facts, Leaver, StoreStep, Turn};
use crate::mesh::names;
use crate::mesh::object::Kind;
use crate::mesh::observed::Observed;
use crate::mesh::plan::ManagedPlan;
use crate::nodes::{Member, State, View};

/// The nodes that there are.
pub(super) struct Ring<'a> {
    /// In the order of the plan.
    pub(super) racks: Vec<Rack<'a>>,
}

/// A rack.
pub(super) struct Rack<'a> {
    pub(super) name: &'a str,
    /// How many nodes it shall have.
    pub(super) wished: i32,
    pub(super) set: Option<StatefulSet>,
    /// By ordinal, without gaps.
    pub(super) nodes: Vec<Node<'a>>,
}

/// A place for a node: there is a claim with its data, or a pod is asked for.
pub(super) struct Node<'a> {
    pub(super) pod_name: String,
    pub(super) claim_name: String,
    pub(super) pod: Option<&'a Pod>,
    pub(super) claim: Option<&'a PersistentVolumeClaim>,
    view: Option<&'a Result<View, String>>,
}

impl<'a> Ring<'a> {
    pub(super) fn read(mesh: &str, store: &'a ManagedPlan, observed: &'a Observed) -> Self {
        let rack = |wish: &'a crate::mesh::plan::RackPlan| {
            let set: Option<StatefulSet> =
                observed.typed(Kind::StatefulSet, &names::rack(mesh, &wish.name));
            let node = |ordinal| Node::read(names::store_pod(mesh, &wish.name, ordinal), observed);
            let nodes = (0..existing(mesh, &wish.name, set.as_ref(), observed)).map(node);
            let nodes = nodes.collect();
            Rack { name: &wish.name, wished: wish.nodes, set, nodes }
        };
        Self { racks: store.racks.iter().map(rack).collect() }
    }

    /// All of all racks.
    pub(super) fn nodes(&self) -> impl Iterator<Item = &Node<'a>> {
        self.racks.iter().flat_map(|rack| &rack.nodes)
    }

    /// What the nodes but this one say of it, those alone that answer; `None` where one does not
    /// know it.
    pub(super) fn said_by_others(&self, node: &Node<'a>) -> Vec<Option<&'a Member>> {
        let Some(host) = node.host() else { return Vec::new() };
        let others = self.nodes().filter(|other| other.pod_name != node.pod_name);
        others.filter_map(Node::answer).map(|view| member(view, host)).collect()
    }
}

/// How many pods the StatefulSet has, or must get back: for as many as there are claims whose data
/// is of the ring.
fn existing(mesh: &str, rack: &str, set: Option<&StatefulSet>, observed: &Observed) -> i32 {
    let prefix = format!("{}-", names::rack(mesh, rack));
    let ordinal = |pod: &str| pod.strip_prefix(&prefix)?.parse::<i32>().ok();
    let claims = observed.claims.iter().filter(|claim| !is_left(claim)).filter_map(|claim| {
        let name = claim.metadata.name.as_deref()?;
        ordinal(name.strip_prefix(names::STORE_CLAIM)?.strip_prefix('-')?)
    });
    let asked = set.and_then(|set| set.spec.replicas).unwrap_or_default();
    // Without their StatefulSet, pods alone tell of a place whose claim is marked already.
    let pods = observed.pods.iter().filter(|_| set.is_none());
    let pods = pods.filter_map(|pod| ordinal(pod.metadata.name.as_deref()?));
    claims.chain(pods).map(|ordinal| ordinal.saturating_add(1)).fold(asked, i32::max)
}

impl Rack<'_> {
    /// How many nodes it has.
    pub(super) fn existing(&self) -> i32 {
        i32::try_from(self.nodes.len()).unwrap_or(i32::MAX)
    }

    /// From which ordinal on pods get a changed template now.
    pub(super) fn partition(&self) -> Option<i32> {
        let strategy = self.set.as_ref()?.spec.update_strategy.as_ref()?;
        strategy.rolling_update.as_ref()?.partition
    }
}

impl<'a> Node<'a> {
    fn read(pod_name: String, observed: &'a Observed) -> Self {
        let claim_name = names::store_claim(&pod_name);
        let is = |name: &Option<String>, wanted: &str| name.as_deref() == Some(wanted);
        let pod = observed.pods.iter().find(|pod| is(&pod.metadata.name, &pod_name));
        let mut claims = observed.claims.iter();
        let claim = claims.find(|claim| is(&claim.metadata.name, &claim_name));
        let view = observed.views.get(&pod_name);
        Self { pod_name, claim_name, pod, claim, view }
    }

    /// What it says of all, if it answers.
    pub(super) fn answer(&self) -> Option<&'a View> {
        self.view?.as_ref().ok()
    }

    /// Why it says nothing, if it was asked.
    pub(super) fn silence(&self) -> Option<&'a str> {
        self.view?.as_ref().err().map(String::as_str)
    }

    /// What it says of itself.
    pub(super) fn own_state(&self) -> Option<State> {
        let view = self.answer()?;
        Some(member(view, &view.host_id).map_or(State::Unknown, |own| own.state))
    }

    /// Which node it is, as it says, or as it has said when it was asked last; unknown where a
    /// new pod starts on the claim of a node that has left.
    pub(super) fn host(&self) -> Option<&'a str> {
        let own = self.answer().map(|view| view.host_id.as_str());
        let noted = self.noted_host().filter(|_| self.is_marked() || !self.has_left_claim());
        own.or(noted)
    }

    /// The host id on its claim.
    pub(super) fn noted_host(&self) -> Option<&'a str> {
        note(self.claim?, names::HOST_ID)
    }

    /// For how many copies its data is complete, as noted.
    pub(super) fn complete_for(&self) -> i32 {
        let noted = self.claim.and_then(|claim| note(claim, names::COMPLETE_FOR));
        noted.and_then(|copies| copies.parse().ok()).unwrap_or_default()
    }

    /// Whether it was told to leave.
    pub(super) fn is_told_to_leave(&self) -> bool {
        let told = self.claim.and_then(|claim| note(claim, names::LEAVING));
        told.is_some() && told == self.host()
    }

    /// Whether it was noted of this very pod that its node has left.
    pub(super) fn is_marked(&self) -> bool {
        let uid = self.pod.and_then(|pod| pod.metadata.uid.as_deref());
        let left = self.claim.and_then(left);
        left.is_some() && left == self.noted_host().zip(uid)
    }

    fn has_left_claim(&self) -> bool {
        self.claim.is_some_and(is_left)
    }

    /// As orders to leave name it; `None` while anything of it is unknown.
    pub(super) fn leaver(&self) -> Option<Leaver> {
        Some(Leaver {
            pod: self.pod_name.clone(),
            pod_uid: self.pod?.metadata.uid.clone()?,
            claim: self.claim?.metadata.name.clone()?,
            host_id: self.host()?.to_owned(),
        })
    }
}

/// What a view tells of a node.
pub(super) fn member<'a>(view: &'a View, host: &str) -> Option<&'a Member> {
    view.members.iter().find(|member| member.host_id == host)
}

/// Notes which node a claim's data is of, once that node holds some; and that it is nobody's any
/// more where a new pod has started on the claim of one that has left.
pub(super) fn note_hosts(facts: &Facts<'_>, step: &mut StoreStep) -> Turn {
    let complete = |view: &View| super::copies::fewest(std::iter::once(view)).unwrap_or(1);
    for node in facts.ring.nodes() {
        let is_reused = node.pod.is_some() && node.has_left_claim() && !node.is_marked();
        if is_reused && node.answer().is_none() {
            step.actions.push(Action::FreeClaim(node.claim_name.clone()));
        }
        let (Some(view), Some(_)) = (node.answer(), node.claim) else { continue };
        if node.noted_host() != Some(&view.host_id) && node.own_state() == Some(State::Normal) {
            step.actions.push(Action::NoteHost {
                claim: node.claim_name.clone(),
                host_id: view.host_id.clone(),
                copies: complete(view),
            });
        }
    }
    Turn::Next
}

fn note<'a>(claim: &'a PersistentVolumeClaim, key: &str) -> Option<&'a str> {
    claim.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

/// The host id and the pod's uid of who has left.
fn left(claim: &PersistentVolumeClaim) -> Option<(&str, &str)> {
    note(claim, names::LEFT)?.split_once(' ')
}

/// Whether the data of the claim is no longer of the ring.
pub(super) fn is_left(claim: &PersistentVolumeClaim) -> bool {
    let left = left(claim).map(|(host, _)| host);
    left.is_some() && left == note(claim, names::HOST_ID)
}
