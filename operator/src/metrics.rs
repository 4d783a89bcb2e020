//! Every metric of the operator, by name, with its labels. `docs/metrics.md` is checked against
//! it. Labels are words from this program, never names of meshes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Seconds, from a mesh that is as it should be to one whose nodes answer late.
const BOUNDS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 20.0, 60.0];
/// Conditions of meshes that are counted.
const CONDITIONS: [&str; 3] = ["Ready", "Reconciling", "Stalled"];
/// What a condition can be.
const STATUSES: [&str; 3] = ["True", "False", "Unknown"];

/// Label of how a reconcile ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ResultLabels {
    /// `ok`, `invalid`, `gone`, `failed` or `timeout`.
    pub result: &'static str,
}

/// Labels of a request to the API server.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    /// The plural of its kind, or `other`.
    pub resource: &'static str,
    /// As RBAC says it.
    pub verb: &'static str,
}

/// Label of a watch.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct WatchLabels {
    /// The plural of its kind.
    pub resource: String,
}

/// Labels of a condition of meshes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ConditionLabels {
    /// Its type.
    pub condition: &'static str,
    /// What it is.
    pub status: &'static str,
}

/// What was last counted of each mesh, by namespace and name.
type Counted = Arc<Mutex<BTreeMap<(String, String), Vec<ConditionLabels>>>>;

/// All metrics. Cloning shares them.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// `pulsemesh_operator_reconciles_total{result}`
    pub reconciles: Family<ResultLabels, Counter>,
    /// `pulsemesh_operator_reconcile_seconds`
    pub reconcile_time: Histogram,
    /// `pulsemesh_operator_api_requests_total{resource,verb}`
    pub api_requests: Family<RequestLabels, Counter>,
    /// `pulsemesh_operator_watch_down_seconds{resource}`
    pub watch_down: Family<WatchLabels, Gauge>,
    /// `pulsemesh_operator_leader`
    pub leader: Gauge,
    /// `pulsemesh_operator_meshes{condition,status}`
    pub meshes: Family<ConditionLabels, Gauge>,
    counted: Counted,
}

impl Metrics {
    /// Makes all metrics and registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            reconciles: Family::default(),
            reconcile_time: Histogram::new(BOUNDS),
            api_requests: Family::default(),
            watch_down: Family::default(),
            leader: Gauge::default(),
            meshes: Family::default(),
            counted: Counted::default(),
        };
        metrics.register_all(registry.sub_registry_with_prefix("pulsemesh_operator"));
        metrics
    }

    #[rustfmt::skip]
    fn register_all(&self, registry: &mut Registry) {
        registry.register("reconciles", "Looks at a mesh, by result",
            self.reconciles.clone());
        registry.register_with_unit("reconcile", "One look at a mesh", Unit::Seconds,
            self.reconcile_time.clone());
        registry.register("api_requests", "Requests that the API server answered",
            self.api_requests.clone());
        registry.register_with_unit("watch_down", "For how long a watch has been down, or 0",
            Unit::Seconds, self.watch_down.clone());
        registry.register("leader", "1 while this process acts",
            self.leader.clone());
        registry.register("meshes", "Meshes by what their conditions say",
            self.meshes.clone());
    }

    /// A look at a mesh ended.
    pub fn reconciled(&self, result: &'static str, took: Duration) {
        self.reconciles.get_or_create(&ResultLabels { result }).inc();
        self.reconcile_time.observe(took.as_secs_f64());
    }

    /// Counts a mesh by its conditions, in place of what was counted before.
    pub fn count_mesh(&self, namespace: &str, name: &str, conditions: &[Condition]) {
        let word =
            |words: &[&'static str], text: &str| words.iter().copied().find(|word| *word == text);
        let labels = conditions.iter().filter_map(|condition| {
            let status = word(&STATUSES, &condition.status)?;
            Some(ConditionLabels { condition: word(&CONDITIONS, &condition.type_)?, status })
        });
        let now: Vec<ConditionLabels> = labels.collect();
        for labels in &now {
            self.meshes.get_or_create(labels).inc();
        }
        let key = (namespace.to_owned(), name.to_owned());
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let before = counted.insert(key, now);
        self.take_back(before.iter().flatten());
    }

    /// A mesh is gone.
    pub fn forget_mesh(&self, namespace: &str, name: &str) {
        let key = (namespace.to_owned(), name.to_owned());
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let before = counted.remove(&key);
        self.take_back(before.iter().flatten());
    }

    /// Another process acts now.
    pub fn forget_all_meshes(&self) {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::take(&mut *counted);
        self.take_back(before.values().flatten());
    }

    fn take_back<'a>(&self, labels: impl Iterator<Item = &'a ConditionLabels>) {
        for labels in labels {
            self.meshes.get_or_create(labels).dec();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(type_: &str, status: &str) -> Condition {
        let mut value = serde_json::json!({"lastTransitionTime": "2026-01-01T00:00:00Z"});
        value["type"] = type_.into();
        value["status"] = status.into();
        value["message"] = "".into();
        value["reason"] = "A".into();
        serde_json::from_value(value).expect("a condition")
    }

    #[test]
    fn a_mesh_is_counted_once_by_what_it_says_now() {
        let metrics = Metrics::register(&mut Registry::default());
        let count = |condition, status| {
            metrics.meshes.get_or_create(&ConditionLabels { condition, status }).get()
        };
        metrics.count_mesh("a", "demo", &[condition("Ready", "False")]);
        metrics.count_mesh("a", "other", &[condition("Ready", "True"), condition("New", "True")]);
        assert_eq!((count("Ready", "True"), count("Ready", "False")), (1, 1));
        metrics.count_mesh("a", "demo", &[condition("Ready", "True")]);
        assert_eq!((count("Ready", "True"), count("Ready", "False")), (2, 0));
        metrics.forget_mesh("a", "demo");
        assert_eq!(count("Ready", "True"), 1);
        metrics.forget_all_meshes();
        assert_eq!(count("Ready", "True"), 0);
    }
}
