//! The next step of a mesh that is being deleted, from what is seen now alone: ingest hands over
//! what its log holds and goes first, then the store, then, if the mesh says so, claims and
//! credentials. Nothing is forced: pods may take their grace. Pure.

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use pulsemesh_crds::DeletionPolicy;
use serde_json::Value;

use crate::mesh::names;
use crate::mesh::object::{Kind, Object};
use crate::mesh::observed::Observed;

/// The next step; writes of one step may be done in any order and again.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    /// Take autoscalers away and scale ingest to nothing.
    StopIngest {
        /// Autoscalers, which would scale it up again.
        delete: Vec<Object>,
        /// Workloads that still want pods.
        scale: Vec<Object>,
    },
    /// Have the logs that pods left behind drained by these Jobs.
    Drain(Vec<Object>),
    /// Delete these workloads of the store; their pods stop in order.
    StopStore(Vec<Object>),
    /// Delete these claims.
    DeleteClaims(Vec<PersistentVolumeClaim>),
    /// Delete these Jobs with their pods, which hold claims that are being deleted.
    DeleteJobs(Vec<Object>),
    /// Wait, for a reason that a person is told.
    Wait(String),
    /// Delete the credentials, if there are any and the policy says so, and let the mesh go.
    Finish {
        /// Whether the credentials go too.
        credentials: bool,
    },
}

/// The next step of the mesh of this name. `drains` are the Jobs that drain what the claims of
/// ingest still hold; empty where their data goes with the store or stays with the claims, `None`
/// where that is not known.
pub(super) fn next(
    mesh: &str,
    policy: DeletionPolicy,
    drains: Option<&[Object]>,
    observed: &Observed,
) -> Step {
    let steps = [
        stop_ingest(observed),
        match drains {
            Some(drains) => drain(drains, observed),
            None => undrained(mesh, observed),
        },
        stop_store(observed),
        claims(mesh, policy, observed),
    ];
    let finish = Step::Finish { credentials: policy == DeletionPolicy::Delete };
    steps.into_iter().flatten().next().unwrap_or(finish)
}

fn stop_ingest(observed: &Observed) -> Option<Step> {
    let stay = |object: &&Object| object.value.metadata.deletion_timestamp.is_none();
    let delete: Vec<Object> = of(observed, names::Component::Ingest)
        .filter(|object| object.kind == Kind::HorizontalPodAutoscaler)
        .filter(stay)
        .cloned()
        .collect();
    let wants_pods = |object: &&Object| {
        object.value.data.pointer("/spec/replicas").and_then(Value::as_i64) != Some(0)
    };
    let scale: Vec<Object> = of(observed, names::Component::Ingest)
        .filter(|object| matches!(object.kind, Kind::Deployment | Kind::StatefulSet))
        .filter(stay)
        .filter(wants_pods)
        .cloned()
        .collect();
    if !delete.is_empty() || !scale.is_empty() {
        return Some(Step::StopIngest { delete, scale });
    }
    let pods = pods(observed, names::Component::Ingest);
    (pods > 0).then(|| {
        Step::Wait(format!(
            "{pods} pods of ingest write what their log holds to the store; each may take its \
             grace period"
        ))
    })
}

fn drain(drains: &[Object], observed: &Observed) -> Option<Step> {
    let missing: Vec<Object> = drains
        .iter()
        .filter(|job| observed.object(Kind::Job, job.name()).is_none())
        .cloned()
        .collect();
    if !missing.is_empty() {
        return Some(Step::Drain(missing));
    }
    let undone = drains.iter().filter(|job| {
        let seen = observed.object(Kind::Job, job.name());
        let succeeded = seen.and_then(|seen| seen.value.data.pointer("/status/succeeded"));
        succeeded.and_then(Value::as_i64).unwrap_or(0) < 1
    });
    let undone: Vec<&str> = undone.map(Object::name).collect();
    (!undone.is_empty()).then(|| {
        Step::Wait(format!(
            "Jobs write what is left in logs to the store: {}. To let the mesh go without them, \
             set deletionPolicy to Retain, which keeps the claims",
            undone.join(", ")
        ))
    })
}

/// Waits while there are claims of ingest whose logs would go undrained.
fn undrained(mesh: &str, observed: &Observed) -> Option<Step> {
    let holds_a_log = |claim: &&PersistentVolumeClaim| {
        let metadata = &claim.metadata;
        let is_ours = is_claim_of(metadata, mesh) && is_of(metadata, names::Component::Ingest);
        is_ours && metadata.deletion_timestamp.is_none()
    };
    let claims = observed.claims.iter().filter(holds_a_log).count();
    (claims > 0).then(|| {
        Step::Wait(format!(
            "{claims} claims may hold pulses that the store does not have, and a spec with errors \
             does not say where that is: correct the spec, or set deletionPolicy to Retain, which \
             keeps the claims"
        ))
    })
}

fn stop_store(observed: &Observed) -> Option<Step> {
    let sets: Vec<Object> = of(observed, names::Component::Store)
        .filter(|object| object.kind == Kind::StatefulSet)
        .cloned()
        .collect();
    let stay: Vec<Object> = sets
        .iter()
        .filter(|object| object.value.metadata.deletion_timestamp.is_none())
        .cloned()
        .collect();
    if !stay.is_empty() {
        return Some(Step::StopStore(stay));
    }
    let pods = pods(observed, names::Component::Store);
    (pods > 0 || !sets.is_empty()).then(|| {
        Step::Wait(format!("{pods} pods of the store write their memory to disk and stop"))
    })
}

fn claims(mesh: &str, policy: DeletionPolicy, observed: &Observed) -> Option<Step> {
    if policy == DeletionPolicy::Retain {
        return None;
    }
    let ours = |claim: &&PersistentVolumeClaim| is_claim_of(&claim.metadata, mesh);
    let claims: Vec<&PersistentVolumeClaim> = observed.claims.iter().filter(ours).collect();
    let left: Vec<PersistentVolumeClaim> = claims
        .iter()
        .filter(|claim| claim.metadata.deletion_timestamp.is_none())
        .map(|claim| (*claim).clone())
        .collect();
    if !left.is_empty() {
        return Some(Step::DeleteClaims(left));
    }
    if claims.is_empty() {
        return None;
    }
    // A claim stays for as long as any pod names it, also one that has ended. Not before: a claim
    // that stays would get another Job.
    let jobs: Vec<Object> = of(observed, names::Component::Ingest)
        .filter(|object| object.kind == Kind::Job)
        .filter(|object| object.value.metadata.deletion_timestamp.is_none())
        .cloned()
        .collect();
    if !jobs.is_empty() {
        return Some(Step::DeleteJobs(jobs));
    }
    Some(Step::Wait(format!("{} claims are being deleted", claims.len())))
}

/// Whether a claim was made for a pod of this mesh: its labels say so, and its name, which a
/// person who copied labels does not choose like this.
fn is_claim_of(metadata: &ObjectMeta, mesh: &str) -> bool {
    let label = |key: &str| metadata.labels.as_ref().and_then(|labels| labels.get(key));
    let name = metadata.name.as_deref().unwrap_or_default();
    let ordinal = name.rsplit_once('-').map(|(_, ordinal)| ordinal).unwrap_or_default();
    label("app.kubernetes.io/instance").map(String::as_str) == Some(mesh)
        && label("app.kubernetes.io/managed-by").map(String::as_str) == Some(names::MANAGER)
        && !ordinal.is_empty()
        && ordinal.bytes().all(|byte| byte.is_ascii_digit())
        && [names::ingest(mesh), names::store(mesh)]
            .iter()
            .any(|owner| name.contains(&format!("-{owner}-")))
}

/// Objects of a component.
fn of(observed: &Observed, component: names::Component) -> impl Iterator<Item = &Object> {
    observed.objects.iter().filter(move |object| is_of(&object.value.metadata, component))
}

/// How many pods of a component there are; those of Jobs are not among them.
fn pods(observed: &Observed, component: names::Component) -> usize {
    let is_job = |pod: &Pod| {
        let owners = pod.metadata.owner_references.as_deref().unwrap_or_default();
        owners.iter().any(|owner| owner.kind == "Job")
    };
    let pods = observed.pods.iter();
    pods.filter(|pod| is_of(&pod.metadata, component) && !is_job(pod)).count()
}

fn is_of(metadata: &ObjectMeta, component: names::Component) -> bool {
    let labels = metadata.labels.as_ref();
    let label = labels.and_then(|labels| labels.get("app.kubernetes.io/component"));
    label.map(String::as_str) == Some(component.as_str())
}

#[cfg(test)]
mod tests;
