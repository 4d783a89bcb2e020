//! What is counted of pulses that are not as a schema has them.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::{OnFailure, Reason};

/// What was not as it must be, and what follows from it: both are of a few words.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FailureLabels {
    reason: &'static str,
    on_failure: &'static str,
}

/// Of schemas.
#[derive(Debug, Clone, Default)]
pub struct SchemaMetrics {
    /// `pulsemesh_schema_failures_total{reason,on_failure}`
    failures: Family<FailureLabels, Counter>,
}

impl SchemaMetrics {
    /// Makes them and registers them under the prefix `pulsemesh`.
    pub fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("pulsemesh");
        let metrics = Self::default();
        registry.register(
            "schema_failures",
            "Pulses that were not as their tenant's schema has them",
            metrics.failures.clone(),
        );
        metrics
    }

    /// A pulse was not as it must be.
    pub(crate) fn failed(&self, reason: Reason, on_failure: OnFailure) {
        let labels = FailureLabels { reason: reason.as_str(), on_failure: on_failure.as_str() };
        self.failures.get_or_create(&labels).inc();
    }
}
