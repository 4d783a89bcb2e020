//! The claim of each node. A StatefulSet's claims can't be changed: as long as it is there, they
//! are what they are, and the operator makes it anew once the claims themselves have grown.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use serde_json::{Value, json};

use crate::mesh::names::{self, Component};
use crate::mesh::plan::{ManagedPlan, Plan};

/// The volume's name; a claim is called `data-<pod>`.
pub(super) const VOLUME: &str = "data";

/// The template of the claims.
pub(super) fn template(
    plan: &Plan,
    managed: &ManagedPlan,
    live: Option<&StatefulSet>,
) -> serde_json::Result<Value> {
    let claims = live.and_then(|set| set.spec.volume_claim_templates.as_ref());
    if let Some(claim) = claims.and_then(|claims| claims.iter().find(|c| is_ours(c))) {
        return of_live(claim);
    }
    let mut spec = json!({
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": managed.storage.size}},
    });
    if let Some(class) = &managed.storage.storage_class_name {
        spec["storageClassName"] = json!(class);
    }
    Ok(claim(json!(names::labels(&plan.mesh.name, Component::Store)), spec))
}

fn is_ours(claim: &PersistentVolumeClaim) -> bool {
    claim.metadata.name.as_deref() == Some(VOLUME)
}

/// Only the fields that were set: the same claim gives the same bytes, read or made.
fn of_live(live: &PersistentVolumeClaim) -> serde_json::Result<Value> {
    let mut spec = serde_json::to_value(&live.spec)?;
    if let Some(fields) = spec.as_object_mut() {
        fields.retain(|key, _| matches!(&**key, "accessModes" | "resources" | "storageClassName"));
    }
    Ok(claim(json!(live.metadata.labels), spec))
}

fn claim(labels: Value, spec: Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": VOLUME, "labels": labels},
        "spec": spec,
    })
}
