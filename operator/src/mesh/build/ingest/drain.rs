//! Jobs that write to the store what the log of a pod that was scaled in still holds. That it is
//! done is known by the Job's completion, so a Job stays for as long as its claim does. Pure.

use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64;

use super::file::File;
use super::{pod, workload};
use crate::mesh::build::meta;
use crate::mesh::names::{self, Component};
use crate::mesh::object::{Kind, Object};
use crate::mesh::observed::Observed;
use crate::mesh::plan::{Plan, StorePlan};

/// Restarts of a Job's pod. A drain waits for a store that is away by itself; this many restarts,
/// five minutes apart, are for nodes and images that fail for days.
const RESTARTS_MAX: i32 = 1_000;

/// A Job for each claim that no pod will use, and whose pod is gone.
pub(super) fn objects(
    plan: &Plan,
    observed: &Observed,
    file: &File,
) -> serde_json::Result<Vec<Object>> {
    left_behind(plan, observed)
        .into_iter()
        .map(|(ordinal, claim)| match completed(plan, observed, claim) {
            Some(done) => Ok(kept(plan, done)),
            None => Object::new(Kind::Job, &job(plan, ordinal, claim, file)?),
        })
        .collect()
}

/// Claims beyond the replicas, with their ordinals, in order. What is wanted and what there is
/// must agree: a StatefulSet that still has the pod would make it again.
fn left_behind<'a>(plan: &Plan, observed: &'a Observed) -> Vec<(i32, &'a PersistentVolumeClaim)> {
    // The embedded store lies in the claim itself: what its log holds is at home.
    if plan.ingest.claim.is_none() || plan.store == StorePlan::Embedded {
        return Vec::new();
    }
    let name = names::ingest(&plan.mesh.name);
    let wanted = workload::replicas(plan, observed);
    let live = observed.object(Kind::StatefulSet, &name).and_then(workload::replicas_of);
    // One that is not there makes no pods if none are wanted, as at the end of a mesh.
    let Some(live) = live.or(wanted.filter(|wanted| *wanted == 0)) else { return Vec::new() };
    let first = wanted.unwrap_or(live).max(live);
    let prefix = names::ingest_claim(&plan.mesh.name, 0);
    let prefix = prefix.trim_end_matches('0');
    let ordinal = |claim: &PersistentVolumeClaim| -> Option<i32> {
        claim.metadata.name.as_deref()?.strip_prefix(prefix)?.parse().ok()
    };
    let has_pod = |ordinal: i32| {
        let pod = format!("{name}-{ordinal}");
        observed.pods.iter().any(|it| it.metadata.name.as_deref() == Some(pod.as_str()))
    };
    let mut claims: Vec<_> = observed
        .claims
        .iter()
        .filter(|claim| is_bound(claim))
        .filter_map(|claim| Some((ordinal(claim)?, claim)))
        .filter(|(ordinal, _)| *ordinal >= first && !has_pod(*ordinal))
        .collect();
    claims.sort_by_key(|(ordinal, _)| *ordinal);
    claims
}

/// A claim without a volume never had a pod: there is no log in it. One that is being deleted
/// would wait for the Job.
fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
    phase == Some("Bound") && claim.metadata.deletion_timestamp.is_none()
}

fn uid(claim: &PersistentVolumeClaim) -> String {
    claim.metadata.uid.clone().unwrap_or_default()
}

/// The Job that has drained this claim; not one of the same name that was made anew.
fn completed<'a>(
    plan: &Plan,
    observed: &'a Observed,
    claim: &PersistentVolumeClaim,
) -> Option<&'a Object> {
    let uid = uid(claim);
    let of_claim = |job: &&Object| {
        let annotations = job.value.metadata.annotations.as_ref();
        job.kind == Kind::Job
            && job.value.metadata.namespace.as_deref() == Some(plan.mesh.namespace.as_str())
            && annotations.and_then(|all| all.get(names::CLAIM)) == Some(&uid)
    };
    observed.objects.iter().filter(of_claim).find(|job| is_complete(job))
}

/// Whether a Job has given up.
pub(in crate::mesh) fn has_failed(job: &Object) -> bool {
    has_condition(job, "Failed")
}

/// Whether a Job has ended well.
pub(in crate::mesh) fn is_complete(job: &Object) -> bool {
    has_condition(job, "Complete")
}

fn has_condition(job: &Object, kind: &str) -> bool {
    let conditions = job.value.data.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().any(|it| it["type"] == kind && it["status"] == "True")
}

/// A Job that is done, wanted as it is: a Job can't be changed, and another would do nothing.
fn kept(plan: &Plan, done: &Object) -> Object {
    let metadata = metadata(plan, done.name().to_owned(), annotation(done));
    let mut value = done.value.clone();
    value.metadata = metadata;
    let spec = value.data.get("spec").cloned().unwrap_or_default();
    value.data = serde_json::json!({ "spec": spec });
    Object { kind: Kind::Job, value }
}

fn annotation(job: &Object) -> String {
    let annotations = job.value.metadata.annotations.as_ref();
    annotations.and_then(|all| all.get(names::CLAIM)).cloned().unwrap_or_default()
}

fn metadata(plan: &Plan, name: String, claim_uid: String) -> ObjectMeta {
    ObjectMeta {
        annotations: Some([(names::CLAIM.to_owned(), claim_uid)].into()),
        ..meta::of(plan, name, Component::Ingest)
    }
}

fn job(
    plan: &Plan,
    ordinal: i32,
    claim: &PersistentVolumeClaim,
    file: &File,
) -> serde_json::Result<Job> {
    let template = pod::drain(plan, &names::ingest_claim(&plan.mesh.name, ordinal));
    let made_from = format!("{}{}{}", serde_json::to_string(&template)?, file.hash, uid(claim));
    #[allow(clippy::cast_possible_truncation, reason = "half of a hash is a hash")]
    let hash = xxh3_64(made_from.as_bytes()) as u32;
    Ok(Job {
        metadata: metadata(plan, names::drain(&plan.mesh.name, ordinal, hash), uid(claim)),
        spec: Some(JobSpec { backoff_limit: Some(RESTARTS_MAX), template, ..JobSpec::default() }),
        status: None,
    })
}
