//! The next step of a store that the operator runs: which racks have how many pods of which
//! template, and which orders are given to nodes. Level-triggered: from what is seen now alone,
//! whatever was done before; what is unknown means wait. Pure.

use std::collections::BTreeMap;

use super::observed::Observed;
use super::plan::Plan;

/// The next step of a store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreStep {
    /// By the rack's name.
    pub racks: BTreeMap<String, RackStep>,
    /// Orders, in the order in which they are given; none that must wait for another.
    pub actions: Vec<Action>,
    /// For each pod of the store: whether its peers see it up; why not.
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
    /// Make the login on this pod's node and take the image's own away.
    Secure(String),
    /// Begin to hand over the data of this pod's node.
    Decommission(String),
    /// Note on the claim of this pod that its data is no longer of the ring.
    MarkLeft(String),
    /// Raise the copies of a keyspace through this pod's node.
    RaiseReplication {
        /// The pod.
        pod: String,
        /// The keyspace.
        keyspace: String,
        /// The copies.
        copies: i32,
    },
    /// Repair this pod's node, for this reason.
    Repair {
        /// The pod.
        pod: String,
        /// Why; another reason is another repair.
        reason: String,
    },
    /// Let a claim grow to this many bytes.
    GrowClaim {
        /// The claim.
        claim: String,
        /// Its size.
        size: String,
    },
    /// Delete a StatefulSet and leave its pods, so that it can be made anew with other claims.
    ReleasePods(String),
}

/// Decides the next step; empty for a store that the operator does not run.
pub fn next(_plan: &Plan, _observed: &Observed) -> StoreStep {
    StoreStep::default()
}
