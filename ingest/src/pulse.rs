//! A pulse: one event as a client means it, and the bounds that each of its parts keeps.
//! Knows neither HTTP nor a sink.

use std::borrow::Cow;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use rust_decimal::Decimal;
use smallvec::SmallVec;
use uuid::{Builder, Uuid};

use crate::text::{write_name, write_number, write_string};

/// Longest service, kind, status, user, SKU or unit, in bytes. One length byte in the log;
/// longer names are nearly always a value that belongs in the metadata.
pub const NAME_BYTES_MAX: usize = 255;
/// Longest `event_id` or idempotency key, in bytes.
pub const KEY_BYTES_MAX: usize = 128;
/// Most metadata entries of one pulse: enough for every label set seen in practice, and few
/// enough that a search for a repeated key stays a scan.
pub const METADATA_ENTRIES_MAX: usize = 64;
/// Longest metadata key, in bytes.
pub const METADATA_KEY_BYTES_MAX: usize = 128;
/// Longest metadata value, in bytes.
pub const METADATA_VALUE_BYTES_MAX: usize = 4096;
/// Largest payload, in bytes of JSON text.
pub const PAYLOAD_BYTES_MAX: usize = 64 * 1024;
/// Largest event as it was sent, in bytes: payload, metadata and names at their bounds fit.
pub const EVENT_BYTES_MAX: usize = 512 * 1024;
/// Deepest nesting of a JSON document.
pub const JSON_DEPTH_MAX: usize = 32;
/// Namespace, tenant, role and text of a derived id fit.
const DERIVED_NAME_BYTES: usize = 512;
/// Most events in one request.
pub const BATCH_EVENTS_MAX: usize = 10_000;
/// How far ahead of the receiver's clock an event time may lie, in milliseconds.
pub const EVENT_TIME_AHEAD_MS_MAX: i64 = 10 * 60 * 1000;

/// The shape in which a pulse was sent: which fields it may have and what they are called.
/// The number is what the log stores; it never changes its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Shape {
    /// `POST /pulse`: service, time, latency, status, metadata.
    Pulse = 0,
    /// `POST /ingest`: type, name, value, tags.
    Ingest = 1,
    /// `POST /events`: event name, user, properties.
    Events = 2,
}

impl Shape {
    /// The shape that the log wrote as `number`, if there is one.
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Pulse),
            1 => Some(Self::Ingest),
            2 => Some(Self::Events),
            _ => None,
        }
    }
}

/// One decoded event. Text is borrowed from the request where it holds no escape.
#[derive(Debug, Clone, PartialEq)]
pub struct Pulse<'a> {
    /// The client's own id (`event_id`), 1 to [`KEY_BYTES_MAX`] bytes.
    pub event_id: Option<Cow<'a, str>>,
    /// The idempotency key in the event itself, 1 to [`KEY_BYTES_MAX`] bytes.
    pub idempotency_key: Option<Cow<'a, str>>,
    /// The service that sent it; never empty.
    pub service: Cow<'a, str>,
    /// What kind of event it is; never empty.
    pub kind: Cow<'a, str>,
    /// When it happened, in milliseconds since 1970 in UTC; `None`: when it was received.
    pub event_time_ms: Option<i64>,
    /// How long it took, in milliseconds; finite.
    pub latency_ms: Option<f64>,
    /// How it ended, in the sender's own words.
    pub status: Option<Cow<'a, str>>,
    /// A measured value in the sender's own unit; finite.
    pub value: Option<f64>,
    /// Who did it.
    pub user: Option<Cow<'a, str>>,
    /// What it is billed as.
    pub usage: Option<Usage<'a>>,
    /// Named text, in the order it was sent; keys are distinct.
    pub metadata: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// Any JSON, as its text.
    pub payload: Option<Cow<'a, str>>,
}

impl<'a> Pulse<'a> {
    /// A pulse of a service, with nothing else told.
    pub fn new(service: impl Into<Cow<'a, str>>, kind: impl Into<Cow<'a, str>>) -> Self {
        Self {
            event_id: None,
            idempotency_key: None,
            service: service.into(),
            kind: kind.into(),
            event_time_ms: None,
            latency_ms: None,
            status: None,
            value: None,
            user: None,
            usage: None,
            metadata: Vec::new(),
            payload: None,
        }
    }

    /// Appends it as one line of JSON in the shape of [`Shape::Pulse`], without a line end.
    /// Text and numbers that no pulse may hold are written as they are, for the decoder to
    /// refuse by name.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"service\":");
        write_string(out, &self.service);
        let texts = [
            ("kind", Some(&self.kind)),
            ("event_id", self.event_id.as_ref()),
            ("idempotency_key", self.idempotency_key.as_ref()),
            ("status", self.status.as_ref()),
            ("user", self.user.as_ref()),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                write_name(out, name);
                write_string(out, text);
            }
        }
        if let Some(time) = self.event_time_ms {
            write_name(out, "event_time");
            out.extend_from_slice(itoa::Buffer::new().format(time).as_bytes());
        }
        for (name, number) in [("latency_ms", self.latency_ms), ("value", self.value)] {
            if let Some(number) = number {
                write_name(out, name);
                write_number(out, number);
            }
        }
        self.write_parts(out);
        out.push(b'}');
    }

    fn write_parts(&self, out: &mut Vec<u8>) {
        if let Some(Usage { sku, unit, amount }) = &self.usage {
            write_usage(out, sku, unit, amount);
        }
        write_metadata(out, &self.metadata);
        if let Some(payload) = &self.payload {
            write_name(out, "payload");
            out.extend_from_slice(payload.as_bytes());
        }
    }
}

/// Appends the field `usage` of an object.
pub(crate) fn write_usage(out: &mut Vec<u8>, sku: &str, unit: &str, amount: &Decimal) {
    write_name(out, "usage");
    out.extend_from_slice(b"{\"sku\":");
    write_string(out, sku);
    write_name(out, "unit");
    write_string(out, unit);
    write_name(out, "amount");
    write_string(out, &amount.to_string());
    out.push(b'}');
}

/// Appends the field `metadata` of an object, where there is any.
pub(crate) fn write_metadata<T: AsRef<str>>(out: &mut Vec<u8>, metadata: &[(T, T)]) {
    if metadata.is_empty() {
        return;
    }
    write_name(out, "metadata");
    for (index, (key, value)) in metadata.iter().enumerate() {
        out.push(if index == 0 { b'{' } else { b',' });
        write_string(out, key.as_ref());
        out.push(b':');
        write_string(out, value.as_ref());
    }
    out.push(b'}');
}

/// An amount of something that is billed.
#[derive(Debug, Clone, PartialEq)]
pub struct Usage<'a> {
    /// What is counted.
    pub sku: Cow<'a, str>,
    /// In which unit.
    pub unit: Cow<'a, str>,
    /// How much; exact.
    pub amount: Decimal,
}

/// The id of a pulse whose client named it `event_id`: a UUID as it is, any other text as the
/// UUIDv5 of tenant and text, so that the text finds the row again.
pub fn id_from_text(tenant: &str, event_id: &str) -> Uuid {
    // Only the canonical form is taken as it is: a UUID has several spellings, and two
    // spellings of one id must not become two ids, nor one text two meanings.
    match Uuid::try_parse(event_id) {
        Ok(id) if event_id.len() == 36 => id,
        _ => derived_id(tenant, "id", event_id),
    }
}

/// The id of a pulse that came with an idempotency key and no id of its own.
pub fn id_from_key(tenant: &str, key: &str) -> Uuid {
    derived_id(tenant, "key", key)
}

fn derived_id(tenant: &str, role: &str, text: &str) -> Uuid {
    // As `Uuid::new_v5` has it, with a SHA-1 that takes a quarter of the time.
    let mut name = SmallVec::<[u8; DERIVED_NAME_BYTES]>::from_slice(Uuid::NAMESPACE_OID.as_bytes());
    for part in [tenant, role] {
        name.extend_from_slice(part.as_bytes());
        name.push(0);
    }
    name.extend_from_slice(text.as_bytes());
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, &name);
    let start = hash.as_ref().first_chunk().copied().unwrap_or_default();
    Builder::from_sha1_bytes(start).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canonical_uuid_is_kept_and_other_text_depends_on_the_tenant() {
        let uuid = "01890a5d-ac96-774b-bcce-b302099a8057";
        assert_eq!(id_from_text("a", uuid).to_string(), uuid);
        assert_eq!(id_from_text("a", &uuid.to_uppercase()).to_string(), uuid);
        assert_ne!(id_from_text("a", "order-1"), id_from_text("b", "order-1"));
        assert_ne!(id_from_text("a", "order-1"), id_from_key("a", "order-1"));
    }

    #[test]
    fn derived_ids_are_those_of_version_5() {
        for (tenant, text) in [("a", "order-1"), ("", ""), ("tenant", &*"x".repeat(600))] {
            let name = format!("{tenant}\0key\0{text}");
            let id = Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes());
            assert_eq!(id_from_key(tenant, text), id);
        }
    }
}
