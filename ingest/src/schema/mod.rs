//! What a tenant demands of its pulses of a kind: members that must be there, and a JSON Schema.
//! Judges one pulse at a time; knows neither HTTP, nor the log, nor where definitions come from.

mod definition;
mod metrics;
#[cfg(test)]
mod tests;
mod violation;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use jsonschema::Validator;
use serde_json::Value;

use crate::pulse::Pulse;

pub(crate) use definition::{Bounds, SchemaText};
pub use metrics::SchemaMetrics;
pub use pulsemesh_schemas::OnFailure;
pub use violation::{Reason, Violation};

/// The word that dead letters and refusals have for it.
pub const SCHEMA_VIOLATION: &str = "schema_violation";

/// All demands of one tenant, by kind.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Schemas {
    by_kind: HashMap<Box<str>, Rule>,
}

impl Schemas {
    /// What is demanded of a kind; `None`: nothing.
    pub fn of(&self, kind: &str) -> Option<&Rule> {
        self.by_kind.get(kind)
    }

    /// Whether nothing is demanded at all.
    pub fn is_empty(&self) -> bool {
        self.by_kind.is_empty()
    }

    /// The same, with every pulse refused that fails.
    #[must_use]
    pub fn rejecting(&self) -> Self {
        let strict = |rule: &Rule| Rule { on_failure: OnFailure::Reject, ..rule.clone() };
        Self {
            by_kind: self.by_kind.iter().map(|(kind, rule)| (kind.clone(), strict(rule))).collect(),
        }
    }
}

/// What is demanded of pulses of one kind.
#[derive(Clone)]
pub struct Rule {
    required: Box<[Path]>,
    schema: Option<Schema>,
    on_failure: OnFailure,
}

/// A schema that was compiled, and what tells it from others.
#[derive(Clone)]
struct Schema {
    validator: Arc<Validator>,
    digest: u128,
}

/// Where something must be: names of members, from the outermost on.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Path(Box<[Box<str>]>);

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        let digest = |rule: &Self| rule.schema.as_ref().map(|schema| schema.digest);
        self.required == other.required
            && self.on_failure == other.on_failure
            && digest(self) == digest(other)
    }
}

impl Eq for Rule {}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rule").field("on_failure", &self.on_failure).finish_non_exhaustive()
    }
}

impl Rule {
    /// What happens to a pulse that fails.
    pub fn on_failure(&self) -> OnFailure {
        self.on_failure
    }

    /// Judges a pulse as `POST /pulse` would have it, whatever it was sent as: one rule holds for
    /// all shapes, and another name of a field is no way around it.
    ///
    /// # Errors
    /// The first thing that is not as it must be.
    pub fn check(&self, pulse: &Pulse<'_>) -> Result<(), Violation> {
        let mut text = Vec::with_capacity(256);
        pulse.write_json(&mut text);
        let value: Value = serde_json::from_slice(&text).map_err(|_| Violation::unreadable())?;
        if let Some(path) = self.required.iter().find(|path| !path.leads_somewhere(&value)) {
            return Err(Violation::missing(path.pointer()));
        }
        match &self.schema {
            Some(schema) => schema.validator.validate(&value).map_err(|error| (&error).into()),
            None => Ok(()),
        }
    }
}

impl Path {
    fn leads_somewhere(&self, value: &Value) -> bool {
        let found = self.0.iter().try_fold(value, |value, name| value.get(&**name));
        found.is_some_and(|value| !value.is_null())
    }

    /// As a JSON Pointer (RFC 6901).
    fn pointer(&self) -> String {
        self.0.iter().fold(String::new(), |text, name| text + "/" + &violation::escaped(name))
    }
}
