//! Makes a pulse of what an event said: required fields, defaults, and where unknown ones go.

use std::borrow::Cow;

use super::event::{Draft, UsageDraft};
use super::field::Field;
use super::metadata::{self, Entries};
use super::problem::{Outcome, Place, conflict, conflict_of, judged, missing, payload_too_large};
use super::values::Reader;
use crate::code::Code;
use crate::pulse::{JSON_DEPTH_MAX, NAME_BYTES_MAX, PAYLOAD_BYTES_MAX, Pulse, Shape, Usage};

/// Service of an event of a shape that needs none.
const SERVICE_DEFAULT: &str = "default";
/// Kind of an event of a shape that needs none.
const KIND_DEFAULT: &str = "pulse";

/// A member that no field is named like.
#[derive(Debug)]
pub(super) struct Unknown<'a> {
    pub(super) key: Cow<'a, str>,
    /// The key as it was written.
    pub(super) raw_key: &'a str,
    pub(super) value: UnknownValue<'a>,
}

#[derive(Debug)]
pub(super) enum UnknownValue<'a> {
    Null,
    Text(Cow<'a, str>),
    /// An object or array, as it was written.
    Nested(&'a str),
}

/// Makes the pulse; takes its parts out of the draft.
#[inline(always)]
pub(super) fn pulse<'a>(shape: Shape, draft: &mut Draft<'a>) -> Outcome<Pulse<'a>> {
    let mut metadata = draft.metadata.take().unwrap_or_default();
    if let Some(name) = draft.name.take() {
        metadata::add(&mut metadata, Cow::Borrowed("name"), name)?;
    }
    let mut payload = draft.payload.map(Cow::Borrowed);
    if !draft.unknown.is_empty() {
        payload = keep_nested(draft.payload, &draft.unknown)?.or(payload);
        keep_scalars(&mut metadata, std::mem::take(&mut draft.unknown))?;
    }
    let service = service(shape, draft.service.take(), &metadata)?;
    if let Some(added) = draft.tenant_metadata.take() {
        metadata::complete(&mut metadata, added);
    }
    Ok(Pulse {
        service,
        kind: kind(shape, draft.kind.take())?,
        usage: usage(draft)?,
        event_id: draft.event_id.take(),
        idempotency_key: draft.idempotency_key.take(),
        event_time_ms: draft.event_time_ms,
        latency_ms: draft.latency_ms,
        status: draft.status.take(),
        value: draft.value,
        user: draft.user.take(),
        metadata,
        payload,
    })
}

fn service<'a>(
    shape: Shape,
    given: Option<Cow<'a, str>>,
    metadata: &Entries<'a>,
) -> Outcome<Cow<'a, str>> {
    let service = match (given, shape) {
        (Some(service), _) => service,
        (None, Shape::Pulse) => return missing(Place::field("service_name")),
        (None, Shape::Events) => return Ok(Cow::Borrowed(SERVICE_DEFAULT)),
        (None, Shape::Ingest) => match metadata.iter().find(|(key, _)| key == "service") {
            Some((_, service)) => service.clone(),
            None => return Ok(Cow::Borrowed(SERVICE_DEFAULT)),
        },
    };
    match service.len() {
        0 => judged(Code::EmptyService, "the service is empty; give it a name or leave it out"),
        // Only a service from the metadata can be that long: its bound there is another.
        length if length > NAME_BYTES_MAX => {
            super::problem::too_long(Place::entry("tags", "service"), length, NAME_BYTES_MAX)
        }
        _ => Ok(service),
    }
}

fn kind<'a>(shape: Shape, given: Option<Cow<'a, str>>) -> Outcome<Cow<'a, str>> {
    let name = match shape {
        Shape::Pulse => "kind",
        Shape::Ingest => "type",
        Shape::Events => "event_name",
    };
    match given {
        Some(kind) if kind.is_empty() => {
            judged(Code::EmptyField, format!("{} is empty", Place::field(name)))
        }
        Some(kind) => Ok(kind),
        None if shape == Shape::Pulse => Ok(Cow::Borrowed(KIND_DEFAULT)),
        None => missing(Place::field(name)),
    }
}

#[inline]
fn usage<'a>(draft: &mut Draft<'a>) -> Outcome<Option<Usage<'a>>> {
    if draft.usage.is_none() && draft.flat_usage == UsageDraft::default() {
        return Ok(None);
    }
    let object = draft.usage.take().map(|usage| whole(usage, "usage")).transpose()?;
    let flat = std::mem::take(&mut draft.flat_usage);
    let flat = if flat == UsageDraft::default() { None } else { Some(whole(flat, "")?) };
    match (object, flat) {
        (Some(object), Some(flat)) if object != flat => conflict(Field::Usage),
        (object, flat) => Ok(object.or(flat)),
    }
}

/// A usage needs all of its parts.
fn whole<'a>(draft: UsageDraft<'a>, parent: &str) -> Outcome<Usage<'a>> {
    match draft {
        UsageDraft { sku: Some(sku), unit: Some(unit), amount: Some(amount) } => {
            Ok(Usage { sku, unit, amount })
        }
        UsageDraft { sku: None, .. } => missing(Place::entry(parent, "sku")),
        UsageDraft { unit: None, .. } => missing(Place::entry(parent, "unit")),
        UsageDraft { amount: None, .. } => missing(Place::entry(parent, "amount")),
    }
}

fn keep_scalars<'a>(metadata: &mut Entries<'a>, unknown: Vec<Unknown<'a>>) -> Outcome<()> {
    for Unknown { key, value, .. } in unknown {
        if let UnknownValue::Text(value) = value {
            metadata::add(metadata, key, value)?;
        }
    }
    Ok(())
}

/// The payload with the unknown objects and arrays as members; `None` where there are none.
/// Each member was judged one level down in the event, and is one level down here.
fn keep_nested<'a>(
    payload: Option<&'a str>,
    unknown: &[Unknown<'a>],
) -> Outcome<Option<Cow<'a, str>>> {
    let mut members = String::new();
    for Unknown { raw_key, value, .. } in unknown {
        if let UnknownValue::Nested(value) = value {
            for part in [",\"", *raw_key, "\":", *value] {
                members.push_str(part);
            }
        }
    }
    if members.is_empty() {
        return Ok(None);
    }
    let merged = match payload {
        None => format!("{{{}}}", members.trim_start_matches(',')),
        Some(payload) => match payload.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            Some(inner) => {
                judge_members(payload, unknown)?;
                let is_empty = inner.trim_ascii().is_empty();
                let members = if is_empty { members.trim_start_matches(',') } else { &members };
                format!("{{{inner}{members}}}")
            }
            None => format!("{{\"payload\":{payload}{members}}}"),
        },
    };
    if merged.len() > PAYLOAD_BYTES_MAX {
        return payload_too_large(Place::field("payload"), merged.len());
    }
    Ok(Some(Cow::Owned(merged)))
}

/// Refuses a payload with a member of the name of an unknown field.
fn judge_members(payload: &str, unknown: &[Unknown<'_>]) -> Outcome<()> {
    let mut reader = Reader::new(payload, 0);
    reader.scan.take(b'{');
    let mut first = true;
    while let Some(token) = reader.scan.next_key(first)? {
        first = false;
        let key = reader.token_text(token);
        let is_nested = |other: &&Unknown<'_>| matches!(other.value, UnknownValue::Nested(_));
        if unknown.iter().filter(is_nested).any(|other| other.key == key) {
            return conflict_of(&key, "payload");
        }
        reader.scan.skip_value(JSON_DEPTH_MAX)?;
    }
    Ok(())
}

/// Whether two JSON texts mean the same: both are sound and within the depth.
pub(super) fn same_json(one: &str, other: &str) -> bool {
    let value = |text| serde_json::from_str::<serde_json::Value>(text).ok();
    one == other || value(one).is_some_and(|one| value(other) == Some(one))
}
