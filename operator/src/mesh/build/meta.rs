//! What is written on every object of a mesh. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use kube::Resource;
use pulsemesh_crds::PulseMesh;

use crate::mesh::names::{self, Component};
use crate::mesh::plan::Plan;

/// Name, namespace, labels and owner of an object.
pub(in crate::mesh) fn of(plan: &Plan, name: String, component: Component) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(plan.mesh.namespace.clone()),
        labels: Some(names::labels(&plan.mesh.name, component)),
        owner_references: Some(vec![owner(plan)]),
        ..ObjectMeta::default()
    }
}

/// The mesh as the controller of an object.
fn owner(plan: &Plan) -> OwnerReference {
    OwnerReference {
        api_version: PulseMesh::api_version(&()).into_owned(),
        kind: PulseMesh::kind(&()).into_owned(),
        name: plan.mesh.name.clone(),
        uid: plan.mesh.uid.clone(),
        controller: Some(true),
        block_owner_deletion: None,
    }
}

/// Selects the pods of a component.
pub(in crate::mesh) fn selector(plan: &Plan, component: Component) -> LabelSelector {
    LabelSelector {
        match_labels: Some(names::selector(&plan.mesh.name, component)),
        match_expressions: None,
    }
}

/// Nothing where there is nothing, so that the operator owns no empty field.
pub(in crate::mesh) fn some<T: Default + PartialEq>(value: T) -> Option<T> {
    (value != T::default()).then_some(value)
}
