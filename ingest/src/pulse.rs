//! A pulse: one event as a client means it, and the bounds that each of its parts keeps.
//! Knows neither HTTP nor a sink.

use std::borrow::Cow;

use rust_decimal::Decimal;
use uuid::Uuid;

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
    let mut name = Vec::with_capacity(tenant.len() + role.len() + text.len() + 2);
    for part in [tenant, role] {
        name.extend_from_slice(part.as_bytes());
        name.push(0);
    }
    name.extend_from_slice(text.as_bytes());
    Uuid::new_v5(&Uuid::NAMESPACE_OID, &name)
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
}
