//! The kinds of objects that are made for a mesh, and one such object without its type. In the
//! order in which they are applied; they are taken away in the opposite one.

use k8s_openapi::Resource;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A kind that is applied, pruned and watched. Claims and the credentials are not among them:
/// they have rules of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The identity of pods.
    ServiceAccount,
    /// Settings and dashboards.
    ConfigMap,
    /// How pods are reached.
    Service,
    /// Who may reach pods.
    NetworkPolicy,
    /// How many pods may be away.
    PodDisruptionBudget,
    /// The store's nodes of a rack, or ingest with claims.
    StatefulSet,
    /// Ingest.
    Deployment,
    /// Chooses ingest's replicas.
    HorizontalPodAutoscaler,
    /// Drains the log of a pod that is gone.
    Job,
    /// Optional: makes Prometheus find the pods.
    ServiceMonitor,
    /// Optional: alerts.
    PrometheusRule,
}

impl Kind {
    /// In the order in which they are applied.
    pub const ALL: [Self; 11] = [
        Self::ServiceAccount,
        Self::ConfigMap,
        Self::Service,
        Self::NetworkPolicy,
        Self::PodDisruptionBudget,
        Self::StatefulSet,
        Self::Deployment,
        Self::HorizontalPodAutoscaler,
        Self::Job,
        Self::ServiceMonitor,
        Self::PrometheusRule,
    ];

    /// Whether a cluster may not know it.
    pub fn is_optional(self) -> bool {
        matches!(self, Self::ServiceMonitor | Self::PrometheusRule)
    }

    /// Its group, version, name and plural.
    pub fn resource(self) -> ApiResource {
        fn of<K: Resource>() -> ApiResource {
            ApiResource::from_gvk_with_plural(
                &GroupVersionKind::gvk(K::GROUP, K::VERSION, K::KIND),
                K::URL_PATH_SEGMENT,
            )
        }
        fn monitoring(kind: &str, plural: &str) -> ApiResource {
            let kind = GroupVersionKind::gvk("monitoring.coreos.com", "v1", kind);
            ApiResource::from_gvk_with_plural(&kind, plural)
        }
        match self {
            Self::ServiceAccount => of::<ServiceAccount>(),
            Self::ConfigMap => of::<ConfigMap>(),
            Self::Service => of::<Service>(),
            Self::NetworkPolicy => of::<NetworkPolicy>(),
            Self::PodDisruptionBudget => of::<PodDisruptionBudget>(),
            Self::StatefulSet => of::<StatefulSet>(),
            Self::Deployment => of::<Deployment>(),
            Self::HorizontalPodAutoscaler => of::<HorizontalPodAutoscaler>(),
            Self::Job => of::<Job>(),
            Self::ServiceMonitor => monitoring("ServiceMonitor", "servicemonitors"),
            Self::PrometheusRule => monitoring("PrometheusRule", "prometheusrules"),
        }
    }
}

/// An object of one of the kinds: one that is wanted, with only the fields that the operator
/// owns, or one that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// Its kind.
    pub kind: Kind,
    /// The whole of it, with `apiVersion` and `kind`.
    pub value: DynamicObject,
}

impl Object {
    /// Of a typed object.
    ///
    /// # Errors
    /// When it can't be written as JSON, which its type rules out.
    pub fn new<K: Serialize>(kind: Kind, typed: &K) -> serde_json::Result<Self> {
        Ok(Self { kind, value: serde_json::from_value(serde_json::to_value(typed)?)? })
    }

    /// As its type.
    ///
    /// # Errors
    /// When it is of another one.
    pub fn typed<K: DeserializeOwned>(&self) -> serde_json::Result<K> {
        serde_json::from_value(serde_json::to_value(&self.value)?)
    }

    /// Its name; empty if it has none.
    pub fn name(&self) -> &str {
        self.value.metadata.name.as_deref().unwrap_or_default()
    }
}
