//! The next step of a store that the operator runs: which racks have how many pods of which
//! template, and which orders are given to nodes. Level-triggered: from what is seen now alone,
//! whatever was done before; what is unknown means wait. Pure.

mod claims;
mod copies;
mod credentials;
mod joined;
mod leave;
mod ring;
mod roll;
mod scale;
mod settled;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;

use super::observed::Observed;
use super::plan::{ManagedPlan, Plan, StorePlan};
use ring::Ring;
use roll::Template;

/// The next step of a store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreStep {
    /// By the rack's name.
    pub racks: BTreeMap<String, RackStep>,
    /// Orders, in the order in which they are given; none that must wait for another.
    pub actions: Vec<Action>,
    /// For each pod of the store of which anything is known: whether its peers see it up; why
    /// not. What was said of the others before stays.
    pub joined: BTreeMap<String, Result<(), String>>,
    /// What is waited for, and what a new wish has to wait for: reason (CamelCase) and message.
    pub waiting: Option<Waiting>,
    /// What nobody but a person can mend.
    pub stalled: Option<Waiting>,
    /// A newer operator would make other pods; they are made with the next change of the spec.
    pub update_pending: bool,
}

/// A reason in CamelCase, and a message for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// As in a condition.
    pub reason: &'static str,
    /// What is waited for, and what to do if it lasts.
    pub message: String,
}

impl Waiting {
    fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

/// What the StatefulSet of a rack shall be now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RackStep {
    /// How many pods.
    pub replicas: i32,
    /// Pods from this ordinal on get a changed template; `replicas` holds all back.
    pub partition: i32,
    /// Whether the template stays as it is in the cluster, though another would be made now.
    pub keep_template: bool,
}

/// An order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Make the credentials; only where no claim holds data of earlier ones.
    MakeCredentials,
    /// Note on a claim whose data it holds, so that a node is known while it does not answer.
    NoteHost {
        /// The claim.
        claim: String,
        /// The host id that its node has told.
        host_id: String,
        /// For how many copies of each row the node has joined, and so holds all its data.
        copies: i32,
    },
    /// Take all notes from this claim of a node that has left: a new node starts on it, and from
    /// now on its data may be of the ring.
    FreeClaim(String),
    /// Make the login on this pod's node and take the image's own away.
    Secure(String),
    /// Begin to hand over the data of a node, or see to it that this goes on.
    Decommission(Leaver),
    /// Note on the claim of a node that its data is no longer of the ring.
    MarkLeft(Leaver),
    /// Raise the copies of a keyspace through this pod's node.
    RaiseReplication {
        /// The pod.
        pod: String,
        /// The keyspace.
        keyspace: String,
        /// The copies.
        copies: i32,
    },
    /// Repair this pod's node for this many copies of each row, and note it on its claim once
    /// that is done; another number is another repair.
    Repair {
        /// The pod.
        pod: String,
        /// Its claim.
        claim: String,
        /// The copies.
        copies: i32,
    },
    /// Let a claim grow.
    GrowClaim {
        /// The claim.
        claim: String,
        /// Its size, as a quantity.
        size: String,
    },
    /// Delete a StatefulSet and leave its pods, so that it can be made anew with other claims.
    ReleasePods {
        /// The StatefulSet.
        name: String,
        /// Which one of that name.
        uid: String,
    },
}

/// A node that leaves, so exactly that none of the same name is ever meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaver {
    /// Its pod.
    pub pod: String,
    /// Which one of that name.
    pub pod_uid: String,
    /// Its claim.
    pub claim: String,
    /// Its host id.
    pub host_id: String,
}

/// All that is decided from.
struct Facts<'a> {
    plan: &'a Plan,
    store: &'a ManagedPlan,
    observed: &'a Observed,
    ring: Ring<'a>,
}

/// Whether what comes later has to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// It may change something too.
    Next,
    /// This is the one change, or what has to end before any.
    End,
}

/// Who may change the store, in this order: the first that ends the turn is the only one.
const TURNS: [fn(&Facts<'_>, &mut StoreStep) -> Turn; 10] = [
    claims::grow,
    credentials::make,
    ring::note_hosts,
    leave::go_on,
    credentials::secure,
    roll::go_on,
    settled::wait,
    copies::raise,
    claims::release,
    scale::one,
];

/// Decides the next step; empty for a store that the operator does not run.
pub fn next(plan: &Plan, observed: &Observed) -> StoreStep {
    let StorePlan::Managed(store) = &plan.store else { return StoreStep::default() };
    let facts = facts(plan, store, observed);
    let mut step = racks_as_they_are(&facts);
    step.joined = joined::judge(&facts.ring);
    for turn in TURNS {
        if turn(&facts, &mut step) == Turn::End {
            break;
        }
    }
    step
}

/// The step that leaves the ring as it is and needs no view: what was taken away comes back, and no
/// pod gets another template, comes or leaves. It is where [`next`] begins.
pub fn as_it_is(plan: &Plan, observed: &Observed) -> StoreStep {
    let StorePlan::Managed(store) = &plan.store else { return StoreStep::default() };
    racks_as_they_are(&facts(plan, store, observed))
}

fn facts<'a>(plan: &'a Plan, store: &'a ManagedPlan, observed: &'a Observed) -> Facts<'a> {
    Facts { plan, store, observed, ring: Ring::read(&plan.mesh.name, store, observed) }
}

/// Racks as they are: what was taken away comes back, and no change of the template reaches a
/// pod by itself.
fn racks_as_they_are(facts: &Facts<'_>) -> StoreStep {
    let mut step = StoreStep::default();
    for rack in &facts.ring.racks {
        let template = roll::template(facts, rack);
        let replicas = rack.existing();
        let live = rack.partition().filter(|_| template != Template::Changed);
        let partition = live.unwrap_or(replicas);
        let keep_template = matches!(template, Template::Kept(_));
        step.update_pending |= template == Template::Kept(true);
        step.racks.insert(rack.name.to_owned(), RackStep { replicas, partition, keep_template });
    }
    step
}
