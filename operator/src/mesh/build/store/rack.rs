//! The StatefulSet of a rack. What the step says of it wins over the plan; of a rack that the
//! step does not name, nothing is changed.

use k8s_openapi::api::apps::v1::StatefulSet;
use serde_json::{Value, json};

use super::{claim, pod, shared};
use crate::mesh::names::{self, Component};
use crate::mesh::object::{Kind, Object};
use crate::mesh::observed::Observed;
use crate::mesh::plan::{ManagedPlan, Plan};
use crate::mesh::topology::{RackStep, StoreStep};

/// A rack as it shall be now.
#[derive(Debug)]
pub(super) struct Rack {
    pub(super) name: String,
    pub(super) step: RackStep,
    live: Option<StatefulSet>,
}

/// The racks of the plan in its order, then those that only the step still knows.
pub(super) fn all(
    plan: &Plan,
    managed: &ManagedPlan,
    observed: &Observed,
    step: &StoreStep,
) -> Vec<Rack> {
    let planned = managed.racks.iter().map(|rack| &rack.name);
    let others = step.racks.keys().filter(|name| !managed.racks.iter().any(|r| r.name == **name));
    planned
        .chain(others)
        .filter_map(|name| {
            let live = observed.typed(Kind::StatefulSet, &names::rack(&plan.mesh.name, name));
            let step = step.racks.get(name).cloned().or_else(|| live.as_ref().map(unchanged))?;
            Some(Rack { name: name.clone(), step, live })
        })
        .collect()
}

/// An object that is not made is taken away: one that nothing was decided on is made as it is.
fn unchanged(live: &StatefulSet) -> RackStep {
    let replicas = live.spec.replicas.unwrap_or(1);
    RackStep { replicas, partition: replicas, keep_template: true }
}

pub(super) fn stateful_set(
    plan: &Plan,
    managed: &ManagedPlan,
    rack: &Rack,
) -> serde_json::Result<Object> {
    let mut metadata = shared::metadata(plan, &names::rack(&plan.mesh.name, &rack.name));
    metadata["labels"][names::RACK] = json!(rack.name);
    let object = json!({
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": metadata,
        "spec": {
            "serviceName": names::store(&plan.mesh.name),
            "replicas": rack.step.replicas,
            "podManagementPolicy": "Parallel",
            "updateStrategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"partition": rack.step.partition},
            },
            // Claims are never taken away by the StatefulSet: the operator does it, last of all.
            "persistentVolumeClaimRetentionPolicy": {
                "whenDeleted": "Retain",
                "whenScaled": "Retain",
            },
            "selector": {"matchLabels": selector(plan, &rack.name)},
            "template": template(plan, managed, rack)?,
            "volumeClaimTemplates": [claim::template(plan, managed, rack.live.as_ref())?],
        },
    });
    Object::new(Kind::StatefulSet, &object)
}

/// What selects the pods of a rack.
fn selector(plan: &Plan, rack: &str) -> Value {
    let mut selector = json!(names::selector(&plan.mesh.name, Component::Store));
    selector[names::RACK] = json!(rack);
    selector
}

fn template(plan: &Plan, managed: &ManagedPlan, rack: &Rack) -> serde_json::Result<Value> {
    if rack.step.keep_template
        && let Some(live) = &rack.live
    {
        return serde_json::to_value(&live.spec.template);
    }
    let mut template = pod::template(plan, managed, &rack.name);
    template["metadata"]["annotations"][names::RENDERED] =
        json!(super::rendered(plan, managed, &rack.name));
    Ok(template)
}
