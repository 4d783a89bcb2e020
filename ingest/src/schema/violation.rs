//! Why a pulse is not as its tenant's schema has it: where, what, and as one of a few words that
//! may be a label. Never tells the value itself: answers and lists stay small.

use std::fmt;

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind as Kind;

/// Longest place that is told; names in payloads are the clients' own.
const PATH_BYTES_MAX: usize = 256;
/// Longest reason that is told; a schema may have long lists of what is allowed.
const MESSAGE_BYTES_MAX: usize = 512;

/// What kind of demand was not met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Something is missing.
    Required,
    /// A value of another type.
    Type,
    /// A value that is none of those that may be.
    Enum,
    /// Text of another form.
    Pattern,
    /// A number that is too large, too small or between.
    Range,
    /// Too long or too short, too many or too few.
    Length,
    /// Something that may not be there.
    Additional,
    /// Anything else.
    Other,
}

impl Reason {
    /// Its name as a label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Type => "type",
            Self::Enum => "enum",
            Self::Pattern => "pattern",
            Self::Range => "range",
            Self::Length => "length",
            Self::Additional => "additional",
            Self::Other => "other",
        }
    }

    fn of(kind: &Kind) -> Self {
        match kind {
            Kind::Required { .. } => Self::Required,
            Kind::Type { .. } => Self::Type,
            Kind::Enum { .. } | Kind::Constant { .. } => Self::Enum,
            Kind::Pattern { .. } | Kind::Format { .. } => Self::Pattern,
            Kind::Minimum { .. }
            | Kind::Maximum { .. }
            | Kind::ExclusiveMinimum { .. }
            | Kind::ExclusiveMaximum { .. }
            | Kind::MultipleOf { .. } => Self::Range,
            Kind::MinLength { .. }
            | Kind::MaxLength { .. }
            | Kind::MinItems { .. }
            | Kind::MaxItems { .. }
            | Kind::MinProperties { .. }
            | Kind::MaxProperties { .. } => Self::Length,
            Kind::AdditionalItems { .. }
            | Kind::AdditionalProperties { .. }
            | Kind::UnevaluatedItems { .. }
            | Kind::UnevaluatedProperties { .. }
            | Kind::FalseSchema
            | Kind::PropertyNames { .. } => Self::Additional,
            _ => Self::Other,
        }
    }
}

/// The first thing about a pulse that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Where, as a JSON Pointer into the pulse; empty: in the pulse as a whole.
    pub path: String,
    /// What, for a person.
    pub message: String,
    /// What kind.
    pub reason: Reason,
}

impl Violation {
    pub(super) fn missing(path: String) -> Self {
        Self {
            path: cut(path, PATH_BYTES_MAX),
            message: "is missing".into(),
            reason: Reason::Required,
        }
    }

    pub(super) fn unreadable() -> Self {
        let message = "has a number that no schema can be asked about".to_owned();
        Self { path: "/payload".to_owned(), message, reason: Reason::Other }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.path {
            "" => write!(f, "the pulse: {}", self.message),
            path => write!(f, "`{path}`: {}", self.message),
        }
    }
}

impl From<&ValidationError<'_>> for Violation {
    fn from(error: &ValidationError<'_>) -> Self {
        let place = error.instance_path().as_str();
        let reason = Reason::of(error.kind());
        if let Kind::Required { property } = error.kind()
            && let Some(name) = property.as_str()
        {
            return Self::missing(format!("{place}/{}", escaped(name)));
        }
        let message = cut(error.masked().to_string(), MESSAGE_BYTES_MAX);
        Self { path: cut(place.to_owned(), PATH_BYTES_MAX), message, reason }
    }
}

/// A name as a part of a JSON Pointer (RFC 6901).
pub(super) fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

fn cut(mut text: String, bytes_max: usize) -> String {
    text.truncate(text.floor_char_boundary(bytes_max));
    text
}
