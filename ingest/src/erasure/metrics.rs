//! Metrics of erasures.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

use crate::metrics::Level;

/// Of erasures.
#[derive(Debug, Clone, Default)]
pub struct ErasureMetrics {
    /// `pulsemesh_erasures_running`
    pub running: Level,
    /// `pulsemesh_erased_rows_total`
    pub rows: Counter,
}

impl ErasureMetrics {
    /// Registers them.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("pulsemesh");
        let metrics = Self::default();
        registry.register(
            "erasures_running",
            "Erasures that have not ended",
            metrics.running.clone(),
        );
        registry.register("erased_rows", "Rows erased from the store", metrics.rows.clone());
        metrics
    }
}
