//! What Prometheus and Grafana are given. Pure.

mod alerts;
mod dashboard;
mod panels;
mod scrape;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::meta;
use crate::mesh::names::{self, Component};
use crate::mesh::object::{Kind, Object};
use crate::mesh::observed::Observed;
use crate::mesh::plan::Plan;

/// By which Grafana's sidecar finds dashboards.
const DASHBOARD_LABEL: &str = "grafana_dashboard";

/// The objects for monitoring, of the kinds that the cluster knows.
pub(super) fn objects(plan: &Plan, observed: &Observed) -> serde_json::Result<Vec<Object>> {
    let wanted = &plan.monitoring;
    let knows = |kind: Kind| observed.optional_kinds.contains(&kind);
    let mut objects = Vec::new();
    if wanted.dashboards {
        objects.push(Object::new(Kind::ConfigMap, &dashboards(plan)?)?);
    }
    if wanted.service_monitor && knows(Kind::ServiceMonitor) {
        let metadata = metadata(plan, names::ingest(&plan.mesh.name));
        objects.push(Object::new(Kind::ServiceMonitor, &scrape::monitor(plan, metadata))?);
    }
    if wanted.prometheus_rule && knows(Kind::PrometheusRule) {
        let metadata = metadata(plan, names::ingest(&plan.mesh.name));
        objects.push(Object::new(Kind::PrometheusRule, &alerts::rule(plan, metadata))?);
    }
    Ok(objects)
}

fn dashboards(plan: &Plan) -> serde_json::Result<ConfigMap> {
    let mut metadata = metadata(plan, names::dashboards(&plan.mesh.name));
    let label = (DASHBOARD_LABEL.to_owned(), "1".to_owned());
    metadata.labels.get_or_insert_default().extend([label]);
    // Grafana knows a dashboard by its file's name too, over all namespaces.
    let file = format!("pulsemesh-{}-{}.json", plan.mesh.namespace, plan.mesh.name);
    let text = serde_json::to_string_pretty(&dashboard::dashboard(plan))?;
    Ok(ConfigMap { metadata, data: Some([(file, text)].into()), ..ConfigMap::default() })
}

/// The user's labels, by which a Prometheus may select, beneath the operator's own.
fn metadata(plan: &Plan, name: String) -> ObjectMeta {
    let mut metadata = meta::of(plan, name, Component::Ingest);
    let mut labels: BTreeMap<_, _> = plan.monitoring.labels.clone();
    labels.extend(metadata.labels.unwrap_or_default());
    metadata.labels = Some(labels);
    metadata
}

/// What selects the series of a mesh in a query; its ServiceMonitor writes these labels.
fn series(plan: &Plan) -> String {
    format!("namespace=\"{}\",mesh=\"{}\"", plan.mesh.namespace, plan.mesh.name)
}
