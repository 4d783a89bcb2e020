//! What is noted on claims, and what lets them grow. Only the claim that was seen is changed.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions, PropagationPolicy};
use serde_json::{Value, json};

use super::{Giver, PerformError, answered};
use crate::mesh::names;
use crate::mesh::topology::Leaver;
use crate::nodes::Nodes;

/// Which node's data a claim holds, from now on; what was noted of another is taken away.
pub(super) async fn note_host<N: Nodes>(
    giver: &Giver<'_, N>,
    claim: &str,
    (host_id, copies): (&str, i32),
) -> Result<(bool, String), PerformError> {
    let notes = json!({
        names::HOST_ID: host_id,
        names::COMPLETE_FOR: copies.to_string(),
        names::LEAVING: null,
        names::LEFT: null,
    });
    write(giver, claim, json!({ "metadata": { "annotations": notes } })).await?;
    Ok((true, String::new()))
}

/// Takes away all that was noted of the node before.
pub(super) async fn free<N: Nodes>(
    giver: &Giver<'_, N>,
    claim: &str,
) -> Result<(bool, String), PerformError> {
    let notes = [names::HOST_ID, names::COMPLETE_FOR, names::LEAVING, names::LEFT];
    let notes: Value = notes.iter().map(|key| ((*key).to_owned(), Value::Null)).collect();
    write(giver, claim, json!({ "metadata": { "annotations": notes } })).await?;
    Ok((true, String::new()))
}

/// Notes something of a node that leaves; `false` if it stands there already.
pub(super) async fn note<N: Nodes>(
    giver: &Giver<'_, N>,
    leaver: &Leaver,
    (key, value): (&str, &str),
) -> Result<bool, PerformError> {
    let seen = find(giver, &leaver.claim)?;
    let annotations = seen.metadata.annotations.as_ref();
    if annotations.and_then(|all| all.get(key)).is_some_and(|noted| noted == value) {
        return Ok(false);
    }
    write(giver, &leaver.claim, json!({ "metadata": { "annotations": { key: value } } })).await?;
    Ok(true)
}

/// For how many copies the data of a claim is complete.
pub(super) async fn note_complete<N: Nodes>(
    giver: &Giver<'_, N>,
    claim: &str,
    copies: i32,
) -> Result<(bool, String), PerformError> {
    let notes = json!({ names::COMPLETE_FOR: copies.to_string() });
    write(giver, claim, json!({ "metadata": { "annotations": notes } })).await?;
    Ok((true, format!("repaired the data of claim {claim} for {copies} copies")))
}

pub(super) async fn grow<N: Nodes>(
    giver: &Giver<'_, N>,
    claim: &str,
    size: &str,
) -> Result<(bool, String), PerformError> {
    let requests = json!({ "storage": size });
    write(giver, claim, json!({ "spec": { "resources": { "requests": requests } } })).await?;
    Ok((true, format!("lets claim {claim} grow to {size}")))
}

/// Deletes a StatefulSet and leaves its pods, if it is the one that was seen.
pub(super) async fn release_pods<N: Nodes>(
    giver: &Giver<'_, N>,
    name: &str,
    uid: &str,
) -> Result<(bool, String), PerformError> {
    let sets: Api<StatefulSet> = giver.api();
    let parameters = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Orphan),
        preconditions: Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None }),
        ..DeleteParams::default()
    };
    let what = format!("the release of the pods of StatefulSet {name}");
    answered(&what, sets.delete(name, &parameters)).await?;
    Ok((true, format!("makes StatefulSet {name} anew around its pods")))
}

async fn write<N: Nodes>(
    giver: &Giver<'_, N>,
    claim: &str,
    mut patch: Value,
) -> Result<(), PerformError> {
    let seen = find(giver, claim)?;
    // Another claim of the name is refused.
    patch["metadata"]["uid"] = json!(seen.metadata.uid);
    let claims: Api<PersistentVolumeClaim> = giver.api();
    let parameters =
        PatchParams { field_manager: Some(names::MANAGER.to_owned()), ..<_>::default() };
    let patch = Patch::Merge(patch);
    let written = claims.patch(claim, &parameters, &patch);
    answered(&format!("a change of claim {claim}"), written).await.map(drop)
}

fn find<'a, N>(
    giver: &Giver<'a, N>,
    name: &str,
) -> Result<&'a PersistentVolumeClaim, PerformError> {
    let mut claims = giver.observed.claims.iter();
    let found = claims.find(|claim| claim.metadata.name.as_deref() == Some(name));
    found.ok_or_else(|| PerformError::Changed(format!("claim {name}")))
}
