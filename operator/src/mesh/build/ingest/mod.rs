//! The objects of the pods that accept pulses. Pure.

mod autoscaler;
mod drain;
mod file;
mod pod;
mod service;
mod workload;

use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

pub(in crate::mesh) use self::drain::{has_failed, is_complete};
use self::file::File;
pub(in crate::mesh) use self::workload::{replicas, replicas_of};
use super::meta;
use crate::mesh::names::{self, Component};
use crate::mesh::object::{Kind, Object};
use crate::mesh::observed::Observed;
use crate::mesh::plan::{Plan, Replicas};

/// The objects of ingest.
pub(super) fn objects(plan: &Plan, observed: &Observed) -> serde_json::Result<Vec<Object>> {
    let file = File::of(plan, observed);
    let mut objects = vec![
        Object::new(Kind::ServiceAccount, &service_account(plan))?,
        Object::new(Kind::ConfigMap, &config_map(plan, &file))?,
        Object::new(Kind::Service, &service::clients(plan))?,
        Object::new(Kind::Service, &service::admin(plan))?,
        workload::object(plan, observed, &file)?,
    ];
    if let Some(budget) = disruption_budget(plan) {
        objects.push(Object::new(Kind::PodDisruptionBudget, &budget)?);
    }
    if let Some(autoscaler) = autoscaler::object(plan) {
        objects.push(Object::new(Kind::HorizontalPodAutoscaler, &autoscaler)?);
    }
    objects.extend(drain::objects(plan, observed, &file)?);
    Ok(objects)
}

fn service_account(plan: &Plan) -> ServiceAccount {
    ServiceAccount {
        metadata: meta::of(plan, names::ingest(&plan.mesh.name), Component::Ingest),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}

fn config_map(plan: &Plan, file: &File) -> ConfigMap {
    ConfigMap {
        metadata: meta::of(plan, names::ingest(&plan.mesh.name), Component::Ingest),
        data: Some([(file::NAME.to_owned(), file.text.clone())].into()),
        ..ConfigMap::default()
    }
}

/// One pod away at a time. None for a single pod, which would only keep a node from being
/// drained.
fn disruption_budget(plan: &Plan) -> Option<PodDisruptionBudget> {
    let most = match &plan.ingest.replicas {
        Replicas::Fixed(replicas) => *replicas,
        Replicas::Autoscaled(autoscaling) => autoscaling.max_replicas,
    };
    (most > 1).then(|| PodDisruptionBudget {
        metadata: meta::of(plan, names::ingest(&plan.mesh.name), Component::Ingest),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(meta::selector(plan, Component::Ingest)),
            // One that is not ready serves nobody: it may go, and drains its log as it does.
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    })
}
