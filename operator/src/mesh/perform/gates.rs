//! The readiness gate of a store's pod: whether its peers see it up. Written only when it differs.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::{Giver, PerformError, answered};
use crate::mesh::names;
use crate::nodes::Nodes;

/// Whether it was written.
pub(super) async fn tell<N: Nodes>(
    giver: &Giver<'_, N>,
    name: &str,
    joined: Result<&(), &String>,
) -> Result<bool, PerformError> {
    let Some(pod) = giver.pod(name) else { return Ok(false) };
    let (status, reason, message) = match joined {
        Ok(()) => ("True", "Joined", ""),
        Err(why) => ("False", "NotJoined", why.as_str()),
    };
    if says(pod, status, message) {
        return Ok(false);
    }
    let patch = json!({
        // Another pod of the name is refused.
        "metadata": { "uid": pod.metadata.uid },
        "status": { "conditions": [{
            "type": names::JOINED,
            "status": status,
            "reason": reason,
            "message": message,
            "lastTransitionTime": Time(jiff::Timestamp::now()),
        }] },
    });
    let pods: Api<Pod> = giver.api();
    let parameters =
        PatchParams { field_manager: Some(names::MANAGER.to_owned()), ..<_>::default() };
    let patch = Patch::Strategic(patch);
    let written = pods.patch_status(name, &parameters, &patch);
    answered(&format!("a note on pod {name} that its peers see it"), written).await?;
    Ok(true)
}

fn says(pod: &Pod, status: &str, message: &str) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| {
        let told = condition.message.as_deref().unwrap_or_default();
        condition.type_ == names::JOINED && condition.status == status && told == message
    })
}
