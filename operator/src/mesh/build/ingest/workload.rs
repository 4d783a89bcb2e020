//! The workload of ingest: a Deployment whose pods keep their logs, or a StatefulSet whose claims
//! do. Pure.

use k8s_openapi::api::apps::v1::{
    Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment, StatefulSet,
    StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec, StatefulSetUpdateStrategy,
};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use pulsemesh_crds::ingest::{Autoscaling, Storage};

use super::file::File;
use super::pod;
use crate::mesh::build::meta;
use crate::mesh::names::{self, CLAIM_TEMPLATE, Component, MANAGER};
use crate::mesh::object::{Kind, Object};
use crate::mesh::observed::Observed;
use crate::mesh::plan::{Plan, Replicas};

/// Time that a new pod must have been ready before the next old one goes: a version that ends
/// right after its start stops the rollout, and endpoints have reached every node.
const SETTLED_SECONDS: i32 = 5;
/// Former templates that are kept to look at.
const HISTORY: i32 = 3;

/// Which kind the workload is.
pub(in crate::mesh) fn kind(plan: &Plan) -> Kind {
    if plan.ingest.claim.is_some() { Kind::StatefulSet } else { Kind::Deployment }
}

/// The workload.
pub(super) fn object(plan: &Plan, observed: &Observed, file: &File) -> serde_json::Result<Object> {
    let replicas = replicas(plan, observed);
    match &plan.ingest.claim {
        None => Object::new(Kind::Deployment, &deployment(plan, replicas, file)),
        Some(storage) => {
            let storage = as_it_is(plan, observed, storage);
            Object::new(Kind::StatefulSet, &stateful_set(plan, replicas, file, storage))
        }
    }
}

fn deployment(plan: &Plan, replicas: Option<i32>, file: &File) -> Deployment {
    Deployment {
        metadata: meta::of(plan, names::ingest(&plan.mesh.name), Component::Ingest),
        spec: DeploymentSpec {
            replicas,
            selector: meta::selector(plan, Component::Ingest),
            template: pod::template(plan, file),
            min_ready_seconds: Some(SETTLED_SECONDS),
            revision_history_limit: Some(HISTORY),
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".to_owned()),
                // Never fewer than wanted: the new one accepts before the old one stops.
                rolling_update: Some(RollingUpdateDeployment {
                    max_surge: Some(IntOrString::Int(1)),
                    max_unavailable: Some(IntOrString::Int(0)),
                }),
            }),
            ..DeploymentSpec::default()
        },
        status: None,
    }
}

fn stateful_set(plan: &Plan, replicas: Option<i32>, file: &File, storage: Storage) -> StatefulSet {
    StatefulSet {
        metadata: meta::of(plan, names::ingest(&plan.mesh.name), Component::Ingest),
        spec: StatefulSetSpec {
            replicas,
            selector: meta::selector(plan, Component::Ingest),
            template: pod::template(plan, file),
            service_name: Some(names::ingest_admin(&plan.mesh.name)),
            // Pods know nothing of each other; updates are one at a time all the same.
            pod_management_policy: Some("Parallel".to_owned()),
            min_ready_seconds: Some(SETTLED_SECONDS),
            revision_history_limit: Some(HISTORY),
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: None,
            }),
            // What a claim holds was acknowledged: it goes at the end of an ordered deletion.
            persistent_volume_claim_retention_policy: Some(
                StatefulSetPersistentVolumeClaimRetentionPolicy {
                    when_deleted: Some("Retain".to_owned()),
                    when_scaled: Some("Retain".to_owned()),
                },
            ),
            volume_claim_templates: Some(vec![claim(plan, storage)]),
            ..StatefulSetSpec::default()
        },
        status: None,
    }
}

fn claim(plan: &Plan, storage: Storage) -> PersistentVolumeClaim {
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(CLAIM_TEMPLATE.to_owned()),
            labels: Some(names::labels(&plan.mesh.name, Component::Ingest)),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            storage_class_name: storage.storage_class_name,
            resources: Some(VolumeResourceRequirements {
                requests: Some([("storage".to_owned(), Quantity(storage.size.0))].into()),
                limits: None,
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }
}

/// The claims of a StatefulSet that exists can't be changed in it: the size stays, whatever is
/// wanted, until it is made anew.
fn as_it_is(plan: &Plan, observed: &Observed, wanted: &Storage) -> Storage {
    let live: Option<StatefulSet> =
        observed.typed(Kind::StatefulSet, &names::ingest(&plan.mesh.name));
    let size = live
        .and_then(|live| live.spec.volume_claim_templates?.into_iter().next()?.spec)
        .and_then(|spec| spec.resources?.requests?.remove("storage"));
    match size {
        Some(Quantity(size)) => Storage {
            size: size.as_str().into(),
            storage_class_name: wanted.storage_class_name.clone(),
        },
        None => wanted.clone(),
    }
}

/// How many pods are applied; `None` leaves the number to the autoscaler. It is left out only
/// once it belongs to another manager: an apply without a field that is still ours alone would
/// set it back to 1.
pub(in crate::mesh) fn replicas(plan: &Plan, observed: &Observed) -> Option<i32> {
    let autoscaling = match &plan.ingest.replicas {
        Replicas::Fixed(replicas) => return Some(*replicas),
        Replicas::Autoscaled(autoscaling) => autoscaling,
    };
    let name = names::ingest(&plan.mesh.name);
    match observed.object(kind(plan), &name) {
        Some(live) if !is_ours(live) => None,
        Some(live) => Some(within(autoscaling, replicas_of(live).unwrap_or_default())),
        None => {
            let last = observed
                .typed::<HorizontalPodAutoscaler>(Kind::HorizontalPodAutoscaler, &name)
                .and_then(|autoscaler| Some(autoscaler.status?.desired_replicas));
            Some(within(autoscaling, last.unwrap_or_default()))
        }
    }
}

fn within(autoscaling: &Autoscaling, replicas: i32) -> i32 {
    replicas.min(autoscaling.max_replicas).max(autoscaling.min_replicas)
}

/// The replicas that a live workload is told to have.
pub(in crate::mesh) fn replicas_of(live: &Object) -> Option<i32> {
    live.value.data.pointer("/spec/replicas")?.as_i64()?.try_into().ok()
}

/// Whether the live value of `replicas` is one that the operator applied.
fn is_ours(live: &Object) -> bool {
    live.value.metadata.managed_fields.iter().flatten().any(|entry| {
        entry.manager.as_deref() == Some(MANAGER)
            && entry.operation.as_deref() == Some("Apply")
            && entry
                .fields_v1
                .as_ref()
                .is_some_and(|fields| fields.0.pointer("/f:spec/f:replicas").is_some())
    })
}
