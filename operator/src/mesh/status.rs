//! What is told of a mesh: conditions, endpoints, counts. Pure; a time changes only with the
//! status of its condition, so that telling the same twice is no difference.

use jiff::Timestamp;
use pulsemesh_crds::PulseMesh;
use pulsemesh_crds::status::MeshStatus;

use super::observed::Observed;
use super::plan::Plan;
use super::topology::StoreStep;
use super::validate::{Defaults, Problem};

/// All that a status is made from.
#[derive(Debug)]
pub struct Facts<'a> {
    /// As it was read, with its former status.
    pub mesh: &'a PulseMesh,
    /// What it shall be, or what is wrong with it.
    pub plan: Result<&'a Plan, &'a [Problem]>,
    /// What there was, before anything was applied.
    pub observed: &'a Observed,
    /// The store's step.
    pub step: &'a StoreStep,
    /// What this reconcile could not do, with its reason in words for a person.
    pub failure: Option<&'a str>,
    /// How many objects this reconcile changed.
    pub changed: usize,
    /// What the operator sets for all.
    pub defaults: &'a Defaults,
    /// Now.
    pub now: Timestamp,
}

/// The status; equal to the former one when nothing is to be told.
pub fn status(facts: &Facts<'_>) -> MeshStatus {
    facts.mesh.status.clone().unwrap_or_default()
}
