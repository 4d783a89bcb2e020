//! Whether a pulse posted now would be stored.

use super::Facts;
use super::conditions::Told;
use super::pods::{self, AllCounted};
use crate::mesh::names::Component;
use crate::mesh::plan::StorePlan;
use crate::nodes::State;

/// The keyspace whose rows must be written.
const KEYSPACE: &str = "pulsemesh";
/// Troubles of pods that are told at once; more say the same.
const TROUBLES_MAX: usize = 3;

/// The condition `Ready`.
pub(super) fn told(facts: &Facts<'_>, counted: &AllCounted) -> Told {
    if facts.is_deleted() {
        return Told::no("Deleting", "the mesh is being deleted");
    }
    let ingest = &counted.ingest;
    let accepting = format!("{} of {} ingest pods accept pulses", ingest.ready, ingest.desired);
    let both = match counted.store {
        Some(store) => {
            format!("{accepting}; {} of {} nodes of the store are up", store.ready, store.desired)
        }
        None => accepting,
    };
    if ingest.ready == 0 {
        if ingest.desired == 0 {
            let message = "no ingest pods are wanted: set spec.ingest.replicas to 1 or more";
            return Told::no("NoReplicas", message);
        }
        return Told::no("IngestNotReady", with_troubles(facts, Component::Ingest, both));
    }
    if !is_store_up(facts, counted) {
        let message = match &facts.step.waiting {
            Some(waiting) => format!("{both}; {}", waiting.message),
            None => both,
        };
        return Told::no("StoreNotReady", with_troubles(facts, Component::Store, message));
    }
    if let Some(message) = closed_to_all(facts) {
        return Told::no("NoTenants", message);
    }
    Told::yes("Accepting", both)
}

/// What to do where every request needs a key, and there is none.
fn closed_to_all(facts: &Facts<'_>) -> Option<String> {
    let by_tenants = facts.plan.is_ok_and(|plan| plan.ingest.access.by_tenants);
    let none = by_tenants && facts.observed.tenants.unwrap_or_default() == 0;
    none.then(|| {
        format!(
            "every request needs the key of a tenant, and no PulseTenant with a key names this \
             mesh: make one with spec.mesh: {}, or set spec.ingest.tenants.required to false",
            facts.name()
        )
    })
}

/// Whether enough nodes are up for a quorum of every row: as many of the ring may be down as a
/// quorum of the copies leaves over. A store that is not ours is judged by ingest, which asks it
/// where an answer depends on it.
fn is_store_up(facts: &Facts<'_>, counted: &AllCounted) -> bool {
    let Some(store) = counted.store else { return true };
    let copies = copies(facts).max(1);
    let down = ring(facts).max(store.ready) - store.ready;
    store.ready > copies / 2 && down <= (copies - 1) / 2
}

/// Copies of each row, as the nodes say or as they will be.
fn copies(facts: &Facts<'_>) -> i32 {
    let told = facts.observed.views.values().flatten();
    let told = told.filter_map(|view| view.replication.get(KEYSPACE).copied()).max();
    let planned = match facts.plan {
        Ok(plan) => match &plan.store {
            StorePlan::Managed(managed) => managed.replication_factor,
            StorePlan::Embedded | StorePlan::External => 1,
        },
        Err(_) => 1,
    };
    told.unwrap_or(planned)
}

/// Nodes that hold data, by the view that knows most of them.
fn ring(facts: &Facts<'_>) -> i32 {
    let views = facts.observed.views.values().flatten();
    let holding = views.map(|view| {
        let members = view.members.iter();
        members.filter(|it| matches!(it.state, State::Normal | State::Leaving)).count()
    });
    i32::try_from(holding.max().unwrap_or_default()).unwrap_or(i32::MAX)
}

fn with_troubles(facts: &Facts<'_>, component: Component, message: String) -> String {
    let mut parts = vec![message];
    let staying = pods::staying(facts, component);
    parts.extend(staying.into_iter().filter_map(pods::trouble).take(TROUBLES_MAX));
    parts.join("; ")
}
