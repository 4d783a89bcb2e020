//! One condition, with the time of its last change.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use pulsemesh_crds::status::MeshStatus;

/// Longest message that an API server takes.
const MESSAGE_BYTES_MAX: usize = 32_768;

/// Of which generation something is told, and when.
#[derive(Debug, Clone, Copy)]
pub(super) struct ToldAt {
    pub(super) generation: Option<i64>,
    pub(super) now: Timestamp,
}

/// What a condition says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) kind: &'static str,
    pub(super) holds: bool,
    /// CamelCase.
    pub(super) reason: String,
    /// For a person.
    pub(super) message: String,
}

impl Told {
    pub(super) fn yes(reason: &str, message: impl Into<String>) -> Self {
        Self { kind: "", holds: true, reason: reason.to_owned(), message: message.into() }
    }

    pub(super) fn no(reason: &str, message: impl Into<String>) -> Self {
        Self { holds: false, ..Self::yes(reason, message) }
    }
}

/// The condition; its time is the former one's unless its status has changed.
pub(super) fn condition(told_at: &ToldAt, former: &MeshStatus, told: Told) -> Condition {
    let status = if told.holds { "True" } else { "False" };
    let same = former.conditions.iter().find(|it| it.type_ == told.kind && it.status == status);
    let since = match same {
        Some(condition) => condition.last_transition_time.clone(),
        None => Time(whole_second(told_at.now)),
    };
    Condition {
        type_: told.kind.to_owned(),
        status: status.to_owned(),
        reason: told.reason,
        message: shortened(told.message),
        last_transition_time: since,
        observed_generation: told_at.generation,
    }
}

/// As Kubernetes writes times.
fn whole_second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

fn shortened(mut message: String) -> String {
    if message.len() > MESSAGE_BYTES_MAX {
        let mut end = MESSAGE_BYTES_MAX - 3;
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        message.truncate(end);
        message.push('…');
    }
    message
}
