//! Metrics of shared ids and keys. Labels are words from this program.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::metrics::Level;

use super::Mode;
use super::entry::Verdict;

/// Label of how ids and keys are known.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ModeLabels {
    /// `alone`, `shared`, `local` or `refuse`.
    pub mode: &'static str,
}

/// Label of what was answered of a pulse's ids and keys.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct AnswerLabels {
    /// `new`, `taken_over`, `repeat`, `reused`, `in_flight` or `failed`.
    pub result: &'static str,
}

/// Of shared ids and keys.
#[derive(Debug, Clone, Default)]
pub struct SharingMetrics {
    /// `pulsemesh_idempotency_mode{mode}`: 1 for how ids and keys are known now.
    mode: Family<ModeLabels, Level>,
    /// `pulsemesh_idempotency_questions_total{result}`
    questions: Family<AnswerLabels, Counter>,
    /// `pulsemesh_idempotency_round_trips_total`
    round_trips: Counter,
    /// `pulsemesh_idempotency_late`
    late: Level,
    /// `pulsemesh_idempotency_forgotten_total`
    forgotten: Counter,
}

impl SharingMetrics {
    /// Makes them and registers them under the prefix `pulsemesh`.
    pub fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("pulsemesh");
        let metrics = Self::default();
        registry.register(
            "idempotency_mode",
            "1 for how ids and keys are known now",
            metrics.mode.clone(),
        );
        registry.register(
            "idempotency_questions",
            "Pulses whose ids and keys were asked of all processes",
            metrics.questions.clone(),
        );
        registry.register(
            "idempotency_round_trips",
            "Requests to what processes share",
            metrics.round_trips.clone(),
        );
        registry.register(
            "idempotency_late",
            "Ids and keys that others are not told of yet",
            metrics.late.clone(),
        );
        registry.register(
            "idempotency_forgotten",
            "Ids and keys that others were never told of",
            metrics.forgotten.clone(),
        );
        metrics
    }

    pub(super) fn set_mode(&self, mode: Mode) {
        for other in Mode::ALL {
            let labels = ModeLabels { mode: other.as_str() };
            self.mode.get_or_create(&labels).set(i64::from(other == mode));
        }
    }

    pub(super) fn answered(&self, verdict: Verdict) {
        let result = match verdict {
            Verdict::New(None) => "new",
            Verdict::New(Some(_)) => "taken_over",
            Verdict::Repeat(_) => "repeat",
            Verdict::Reused => "reused",
            Verdict::InFlight => "in_flight",
        };
        self.questions.get_or_create(&AnswerLabels { result }).inc();
    }

    pub(super) fn failed(&self, questions: usize) {
        let labels = AnswerLabels { result: "failed" };
        self.questions.get_or_create(&labels).inc_by(questions as u64);
    }

    pub(super) fn asked(&self) {
        self.round_trips.inc();
    }

    pub(super) fn set_late(&self, keys: usize) {
        self.late.set(i64::try_from(keys).unwrap_or(i64::MAX));
    }

    pub(super) fn forgot(&self) {
        self.forgotten.inc();
    }
}
