//! What is made for Prometheus and Grafana.

use std::collections::BTreeMap;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// What is made for Prometheus and Grafana, where the cluster knows the kinds.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Monitoring {
    /// A ServiceMonitor, so that Prometheus finds the pods.
    #[serde(default = "yes")]
    pub service_monitor: bool,
    /// A PrometheusRule with alerts.
    #[serde(default = "yes")]
    pub prometheus_rule: bool,
    /// A ConfigMap of dashboards, as Grafana's sidecar looks for.
    #[serde(default = "yes")]
    pub dashboards: bool,
    /// Labels for all of these, such as the `release` that a Prometheus selects by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

impl Default for Monitoring {
    fn default() -> Self {
        Self {
            service_monitor: true,
            prometheus_rule: true,
            dashboards: true,
            labels: BTreeMap::new(),
        }
    }
}

fn yes() -> bool {
    true
}
