//! Metrics of the limits of tenants. Labels are words from this program.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::code::Code;
use crate::metrics::Level;

/// Label of why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RefusalLabels {
    /// `too_many_requests`, `too_many_pulses` or `limits_unavailable`.
    pub code: &'static str,
}

/// Label of how limits are counted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ModeLabels {
    /// `alone`, `shared`, `local` or `refuse`.
    pub mode: &'static str,
}

/// Label of how a question for a part of a shared limit ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LeaseLabels {
    /// `granted`, `delayed` or `failed`.
    pub result: &'static str,
}

/// Of the limits of tenants.
#[derive(Debug, Clone, Default)]
pub struct LimitMetrics {
    /// `pulsemesh_requests_limited_total{code}`
    limited: Family<RefusalLabels, Counter>,
    /// `pulsemesh_limit_leases_total{result}`
    leases: Family<LeaseLabels, Counter>,
    /// `pulsemesh_limits_mode{mode}`: 1 for how limits are counted now.
    mode: Family<ModeLabels, Level>,
}

impl LimitMetrics {
    /// Makes them and registers them under the prefix `pulsemesh`.
    pub fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("pulsemesh");
        let metrics = Self::default();
        registry.register(
            "requests_limited",
            "Requests refused for a limit of their tenant",
            metrics.limited.clone(),
        );
        registry.register(
            "limit_leases",
            "Questions to Redis for a part of a limit",
            metrics.leases.clone(),
        );
        registry.register(
            "limits_mode",
            "1 for how the limits of tenants are counted now",
            metrics.mode.clone(),
        );
        metrics
    }

    /// A request was refused.
    pub(crate) fn refused(&self, code: Code) {
        self.limited.get_or_create(&RefusalLabels { code: code.as_str() }).inc();
    }

    /// Limits are counted in this way from now on.
    pub(crate) fn set_mode(&self, mode: &'static str) {
        for other in ["alone", "shared", "local", "refuse"] {
            let level = i64::from(other == mode);
            self.mode.get_or_create(&ModeLabels { mode: other }).set(level);
        }
    }

    /// Redis was asked for a part of a limit.
    pub(crate) fn lease(&self, result: &'static str) {
        self.leases.get_or_create(&LeaseLabels { result }).inc();
    }
}
