//! What is wrong with an event, said for a person: which field, what was found, what is right.
//! Never repeats more than [`ECHO_CHARS_MAX`] characters of the input.

use std::fmt::{self, Display, Write};

use super::field::Field;
use super::scan::{Flaw, Kind};
use crate::code::{Code, Reject};
use crate::pulse::{JSON_DEPTH_MAX, METADATA_ENTRIES_MAX, PAYLOAD_BYTES_MAX};

/// Most characters of a client's text in a message: messages go into logs and answers.
pub(super) const ECHO_CHARS_MAX: usize = 40;

/// Why an event was not decoded. Boxed where it travels: it is rare, and a small error keeps
/// the results of the hot path in registers.
#[derive(Debug)]
pub(super) enum Fault {
    /// The text is no JSON at byte `at`.
    Syntax { at: usize, expected: &'static str },
    /// The event is JSON and is refused.
    Judged(Reject),
}

pub(super) type Outcome<T> = Result<T, Box<Fault>>;

/// Where in an event something stands: a field, or an entry of one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'p> {
    parent: &'p str,
    key: &'p str,
}

impl<'p> Place<'p> {
    pub(super) fn field(key: &'p str) -> Self {
        Self { parent: "", key }
    }

    pub(super) fn entry(parent: &'p str, key: &'p str) -> Self {
        Self { parent, key }
    }
}

impl Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('`')?;
        if !self.parent.is_empty() {
            write!(f, "{}.", self.parent)?;
        }
        write!(f, "{}`", Echo(self.key))
    }
}

/// A client's text, cut and with control characters escaped.
pub(super) struct Echo<'t>(pub(super) &'t str);

impl Display for Echo<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut chars = self.0.chars();
        for char in chars.by_ref().take(ECHO_CHARS_MAX) {
            if char.is_control() {
                write!(f, "{}", char.escape_default())?
            } else {
                f.write_char(char)?
            }
        }
        if chars.next().is_some() { f.write_char('…') } else { Ok(()) }
    }
}

#[cold]
pub(super) fn judged<T>(code: Code, message: impl Into<String>) -> Outcome<T> {
    Err(Box::new(Fault::Judged(Reject::new(code, message))))
}

impl Flaw {
    /// This flaw, found in the value at `place`.
    #[cold]
    pub(super) fn within(self, place: Place<'_>) -> Box<Fault> {
        let (code, message) = match self {
            Self::Syntax { at, expected } => return Box::new(Fault::Syntax { at, expected }),
            Self::NotANumber => (
                Code::NotANumber,
                format!("{place} is or holds NaN, which JSON has no number for; leave it out"),
            ),
            Self::Infinite => (
                Code::InfiniteNumber,
                format!("{place} is or holds Infinity, which JSON has no number for; leave it out"),
            ),
            Self::TooDeep => (
                Code::NestingTooDeep,
                format!("{place} makes the event deeper than {JSON_DEPTH_MAX} levels"),
            ),
        };
        Box::new(Fault::Judged(Reject::new(code, message)))
    }
}

impl From<Flaw> for Box<Fault> {
    fn from(flaw: Flaw) -> Self {
        flaw.within(Place::field("the event"))
    }
}

/// How an `expected` of [`Fault::Syntax`] is said, with what stands there instead. `of` names
/// what offsets count from.
#[cold]
pub(super) fn syntax_message(bytes: &[u8], at: usize, expected: &str, of: &str) -> String {
    let found = match bytes.get(at) {
        None => "the end".to_owned(),
        Some(byte @ 0x21..=0x7E) => format!("`{}`", char::from(*byte)),
        Some(0xEF) if bytes[at..].starts_with(b"\xEF\xBB\xBF") => "a byte order mark".to_owned(),
        Some(byte) => format!("byte 0x{byte:02x}"),
    };
    format!("expected {expected} at byte {at} of {of}, found {found}")
}

#[cold]
pub(super) fn wrong_type<T>(place: Place<'_>, right: &str, found: Kind) -> Outcome<T> {
    judged(Code::WrongType, format!("{place} must be {right}, found {}", found.as_str()))
}

#[cold]
pub(super) fn too_long<T>(place: Place<'_>, bytes: usize, bytes_max: usize) -> Outcome<T> {
    let message = format!("{place} has {bytes} bytes; at most {bytes_max} are allowed");
    judged(Code::StringTooLong, message)
}

#[cold]
pub(super) fn duplicate<T>(place: Place<'_>) -> Outcome<T> {
    judged(Code::DuplicateKey, format!("{place} occurs twice"))
}

#[cold]
pub(super) fn conflict<T>(field: Field) -> Outcome<T> {
    let message = format!("{} are names of one field and have different values", field.names());
    judged(Code::ConflictingFields, message)
}

#[cold]
pub(super) fn missing<T>(place: Place<'_>) -> Outcome<T> {
    judged(Code::MissingField, format!("{place} is missing"))
}

#[cold]
pub(super) fn too_many_entries<T>() -> Outcome<T> {
    let message = format!("more than {METADATA_ENTRIES_MAX} metadata entries and unknown fields");
    judged(Code::TooManyMetadata, message)
}

#[cold]
pub(super) fn payload_too_large<T>(place: Place<'_>, bytes: usize) -> Outcome<T> {
    let message = format!("{place} has {bytes} bytes; at most {PAYLOAD_BYTES_MAX} are allowed");
    judged(Code::PayloadTooLarge, message)
}

/// The same name inside and outside of `field` has different values.
#[cold]
pub(super) fn conflict_of<T>(key: &str, field: &str) -> Outcome<T> {
    let (outside, inside) = (Place::field(key), Place::entry(field, key));
    let message = format!("{outside} and {inside} would be one entry and have different values");
    judged(Code::ConflictingFields, message)
}
