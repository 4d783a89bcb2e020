//! What becomes of the model when the operator's step is carried out, wholly or in part.

use super::cluster::{Claim, Cluster, Place, Set};
use super::observe::{host_id, pod_name};
use super::plan::{MESH, rack_name};
use crate::mesh::build::store::{made_from, rendered};
use crate::mesh::names;
use crate::mesh::plan::{Plan, StorePlan};
use crate::mesh::topology::{Action, Leaver, RackStep, StoreStep};
use crate::nodes::State;

/// What an operator that is killed had no time for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// It did all.
    All,
    /// It gave orders and applied nothing.
    Orders,
    /// It applied and gave no orders.
    Objects,
    /// It wrote the first note of an order and did not give it.
    FirstNote,
}

impl Cluster {
    pub(super) fn perform(&mut self, plan: &Plan, step: &StoreStep, until: Until) {
        for (pod, joined) in &step.joined {
            if let Some(place) = self.place(pod) {
                self.pods.entry(place).and_modify(|pod| pod.is_joined = joined.is_ok());
            }
        }
        if until != Until::Objects {
            for action in &step.actions {
                self.give(action, until == Until::FirstNote);
            }
        }
        if matches!(until, Until::All | Until::Objects) {
            for (index, rack) in step.racks.values().enumerate() {
                self.apply(index, rack, plan);
            }
        }
    }

    fn apply(&mut self, rack: usize, step: &RackStep, plan: &Plan) {
        let StorePlan::Managed(store) = &plan.store else { return };
        let uid = self.number();
        let (wanted, size) = (made_from(store), store.storage.size.to_string());
        let set = self.sets.entry(rack).or_insert_with(|| Set {
            uid,
            size,
            made_from: wanted.clone(),
            current: wanted.clone(),
            ..Set::default()
        });
        (set.replicas, set.partition) = (step.replicas, step.partition);
        if !step.keep_template {
            set.made_from = wanted;
            set.rendered = rendered(plan, store, rack_name(rack));
        }
    }

    fn give(&mut self, action: &Action, only_note: bool) {
        match action {
            Action::MakeCredentials => self.has_secret = true,
            Action::NoteHost { claim, host_id, copies } => {
                let notes = &mut self.claim_of(claim).notes;
                notes.clear();
                notes.insert(names::HOST_ID.to_owned(), host_id.clone());
                notes.insert(names::COMPLETE_FOR.to_owned(), copies.to_string());
            }
            Action::FreeClaim(claim) => self.claim_of(claim).notes.clear(),
            Action::Secure(_) => self.is_secured = true,
            Action::Decommission(leaver) => self.leave(leaver, only_note),
            Action::MarkLeft(leaver) => self.mark(leaver),
            Action::RaiseReplication { copies, .. } => {
                assert!(self.copies <= *copies, "copies are never lowered");
                self.copies = *copies;
            }
            Action::Repair { claim, copies, .. } => {
                let claim = self.claim_of(claim);
                if claim.is_repairing {
                    claim.notes.insert(names::COMPLETE_FOR.to_owned(), copies.to_string());
                }
                claim.is_repairing = !claim.is_repairing;
            }
            Action::GrowClaim { claim, size } => self.claim_of(claim).size = size.clone(),
            Action::ReleasePods { uid, .. } => {
                self.sets.retain(|_, set| set.uid.to_string() != *uid);
            }
        }
    }

    fn leave(&mut self, leaver: &Leaver, only_note: bool) {
        let notes = &mut self.claim_of(&leaver.claim).notes;
        notes.insert(names::LEAVING.to_owned(), leaver.host_id.clone());
        if let Some(host) = self.named(leaver).filter(|_| !only_note) {
            assert_eq!(host_id(host), leaver.host_id, "the order names the node itself");
            self.decommission(host);
        }
    }

    fn mark(&mut self, leaver: &Leaver) {
        let Some(host) = self.named(leaver) else { return };
        if self.nodes[&host].state == State::Left {
            let claim = self.claim_of(&leaver.claim);
            claim.has_left_note = true;
            let left = format!("{} {}", leaver.host_id, leaver.pod_uid);
            claim.notes.insert(names::LEFT.to_owned(), left);
        }
    }

    /// The node of the very pod that is meant.
    fn named(&self, leaver: &Leaver) -> Option<u32> {
        let pod = &self.pods[&self.place(&leaver.pod)?];
        pod.host.filter(|_| pod.uid.to_string() == leaver.pod_uid)
    }

    fn claim_of(&mut self, name: &str) -> &mut Claim {
        let pod = name.strip_prefix(names::STORE_CLAIM).expect("a claim of the store");
        let place = self.place(&pod[1..]).expect("a place");
        self.claims.get_mut(&place).expect("the claim is there")
    }

    fn place(&self, pod: &str) -> Option<Place> {
        self.claims.keys().copied().find(|place| pod_name(*place) == pod)
    }
}

/// The names of racks are in the order of their numbers.
#[test]
fn racks_of_a_step_are_in_the_order_of_the_plan() {
    assert!(names::rack(MESH, rack_name(0)) < names::rack(MESH, rack_name(1)));
}
