//! Whether something is being changed, and what is waited for.

use super::Facts;
use super::conditions::Told;
use super::pods::{self, AllCounted};
use crate::mesh::build;
use crate::mesh::names::Component;
use crate::mesh::object::{Kind, Object};

/// The condition `Reconciling`.
pub(super) fn told(facts: &Facts<'_>, counted: &AllCounted) -> Told {
    if let Some(failure) = facts.failure {
        return Told::yes("Retrying", format!("{failure}; it is tried again"));
    }
    if facts.is_deleted() {
        let waiting = facts.step.waiting.as_ref().map(|waiting| waiting.message.as_str());
        let message = waiting.unwrap_or("ingest drains its log, then the store stops");
        return Told::yes("Deleting", message);
    }
    if facts.plan.is_err() {
        return Told::no("InvalidSpec", "nothing is changed until the spec is corrected");
    }
    if facts.mesh.spec.paused {
        return Told::no("Paused", "nothing is changed while spec.paused is true");
    }
    if let Some(waiting) = &facts.step.waiting {
        return Told::yes(waiting.reason, waiting.message.clone());
    }
    if !facts.step.actions.is_empty() {
        return Told::yes("ChangingStore", "nodes of the store were given orders");
    }
    if facts.changed > 0 {
        return Told::yes("Applying", "objects were changed");
    }
    if let Some(told) = rollout(facts, counted).or_else(|| draining(facts)) {
        return told;
    }
    if facts.step.update_pending {
        let message = "all is as the spec says; this version of the operator would make other \
                       store pods, which happens with the next change of spec.store";
        return Told::no("UpdatePending", message);
    }
    Told::no("Settled", "all is as the spec says")
}

/// Pods that are not yet those of the spec.
fn rollout(facts: &Facts<'_>, counted: &AllCounted) -> Option<Told> {
    let ingest = &counted.ingest;
    let Some(workload) = pods::workload(facts) else {
        return Some(Told::yes("StartingIngest", "the workload of ingest is not there yet"));
    };
    let updated = updated(workload).unwrap_or_default();
    if updated < ingest.desired {
        let message = format!("{updated} of {} ingest pods have the new template", ingest.desired);
        return Some(Told::yes("RollingIngest", message));
    }
    if ingest.ready < ingest.desired {
        let message = format!("{} of {} ingest pods are ready", ingest.ready, ingest.desired);
        return Some(Told::yes("StartingIngest", message));
    }
    if ingest.there > ingest.desired {
        let message = format!("{} ingest pods, {} wanted", ingest.there, ingest.desired);
        return Some(Told::yes("StoppingIngest", message));
    }
    let store = counted.store.filter(|store| store.ready < store.desired)?;
    let message = format!("{} of {} nodes of the store are up", store.ready, store.desired);
    Some(Told::yes("StartingStore", message))
}

/// Pods of the newest template, once the controller has seen it.
fn updated(workload: &Object) -> Option<i32> {
    let data = &workload.value.data;
    let seen = data.pointer("/status/observedGeneration").and_then(|it| it.as_i64());
    if seen < workload.value.metadata.generation {
        return None;
    }
    data.pointer("/status/updatedReplicas")?.as_i64()?.try_into().ok()
}

/// Logs that are still being written to the store by pods that stop, or by Jobs.
fn draining(facts: &Facts<'_>) -> Option<Told> {
    let stopping: Vec<_> = pods::of(facts, Component::Ingest)
        .filter(|pod| pod.metadata.deletion_timestamp.is_some())
        .map(pods::name)
        .collect();
    if !stopping.is_empty() {
        let message = format!("{} write their logs to the store and stop", stopping.join(", "));
        return Some(Told::yes("DrainingIngest", message));
    }
    let jobs: Vec<_> = facts
        .observed
        .objects
        .iter()
        .filter(|object| object.kind == Kind::Job)
        .filter(|job| !build::is_complete(job) && !build::has_failed(job))
        .map(Object::name)
        .collect();
    (!jobs.is_empty()).then(|| {
        let message = format!("{} write logs left behind to the store", jobs.join(", "));
        Told::yes("DrainingIngest", message)
    })
}
