//! The names that a pulse's fields have in each shape: the one list of aliases.

use crate::pulse::Shape;

/// A field of a pulse, whatever it is called in the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    EventId,
    IdempotencyKey,
    EventTime,
    Latency,
    Status,
    Value,
    User,
    Usage,
    Sku,
    Unit,
    Amount,
    Metadata,
    Payload,
    Service,
    Kind,
    Name,
    TenantMetadata,
}

impl Field {
    /// Every name that it has in some shape, for messages.
    pub(super) const fn names(self) -> &'static str {
        match self {
            Self::EventId => "`event_id` and `id`",
            Self::IdempotencyKey => "`idempotency_key`",
            Self::EventTime => "`event_time`, `timestamp` and `time`",
            Self::Latency => "`latency_ms` and `duration_ms`",
            Self::Status => "`status`",
            Self::Value => "`value`",
            Self::User => "`user` and `user_id`",
            Self::Usage | Self::Sku | Self::Unit | Self::Amount => {
                "`usage` and `sku`, `unit`, `amount`"
            }
            Self::Metadata => "`metadata`, `tags` and `labels`",
            Self::Payload => "`payload`, `properties` and `data`",
            Self::Service => "`service_name`, `service` and (in /events) `source`",
            Self::Kind => "`kind`, `type` and (in /events) `event_name`, `event_type`",
            Self::Name => "`name`",
            Self::TenantMetadata => "`tenant_metadata`",
        }
    }
}

/// A name of a field: each has its own bit, by which a repeated one is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) field: Field,
    pub(super) bit: u32,
}

/// The field that `key` names in an event of this shape; `None`: the key is not known there.
#[inline]
pub(super) fn lookup(shape: Shape, key: &str) -> Option<Known> {
    let (field, number) = by_length(key)?;
    let is_known = match number {
        EVENTS_ONLY.. => shape == Shape::Events,
        INGEST_ONLY => shape == Shape::Ingest,
        _ => true,
    };
    is_known.then_some(Known { field, bit: 1 << number })
}

/// What an event's tenant adds to its metadata, put in front of its own fields before the log.
pub(crate) const TENANT_METADATA: &str = "tenant_metadata";

const INGEST_ONLY: u32 = 27;
const EVENTS_ONLY: u32 = 28;

/// Lengths first: the compiler then compares each name as one or two words.
#[inline]
fn by_length(key: &str) -> Option<(Field, u32)> {
    Some(match key.len() {
        2 if key == "id" => (Field::EventId, 0),
        3 if key == "sku" => (Field::Sku, 1),
        4 => match key {
            "type" => (Field::Kind, 2),
            "kind" => (Field::Kind, 3),
            "tags" => (Field::Metadata, 4),
            "time" => (Field::EventTime, 5),
            "user" => (Field::User, 6),
            "unit" => (Field::Unit, 7),
            "data" => (Field::Payload, 8),
            "name" => (Field::Name, INGEST_ONLY),
            _ => return None,
        },
        5 => match key {
            "value" => (Field::Value, 9),
            "usage" => (Field::Usage, 10),
            _ => return None,
        },
        6 => match key {
            "status" => (Field::Status, 11),
            "amount" => (Field::Amount, 12),
            "labels" => (Field::Metadata, 13),
            "source" => (Field::Service, EVENTS_ONLY),
            _ => return None,
        },
        7 => match key {
            "service" => (Field::Service, 14),
            "user_id" => (Field::User, 15),
            "payload" => (Field::Payload, 16),
            _ => return None,
        },
        8 => match key {
            "metadata" => (Field::Metadata, 17),
            "event_id" => (Field::EventId, 18),
            _ => return None,
        },
        9 if key == "timestamp" => (Field::EventTime, 19),
        10 => match key {
            "event_time" => (Field::EventTime, 20),
            "latency_ms" => (Field::Latency, 21),
            "properties" => (Field::Payload, 22),
            "event_name" => (Field::Kind, EVENTS_ONLY + 1),
            "event_type" => (Field::Kind, EVENTS_ONLY + 2),
            _ => return None,
        },
        11 if key == "duration_ms" => (Field::Latency, 23),
        12 if key == "service_name" => (Field::Service, 24),
        15 => match key {
            "idempotency_key" => (Field::IdempotencyKey, 25),
            TENANT_METADATA => (Field::TenantMetadata, 26),
            _ => return None,
        },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERYWHERE: &[&str] = &[
        "id",
        "sku",
        "type",
        "kind",
        "tags",
        "time",
        "user",
        "unit",
        "data",
        "value",
        "usage",
        "status",
        "amount",
        "labels",
        "service",
        "user_id",
        "payload",
        "metadata",
        "event_id",
        "timestamp",
        "event_time",
        "latency_ms",
        "properties",
        "duration_ms",
        "service_name",
        "idempotency_key",
        "tenant_metadata",
    ];

    #[test]
    fn each_name_has_its_own_bit_and_the_shapes_differ_only_in_four_names() {
        for shape in [Shape::Pulse, Shape::Ingest, Shape::Events] {
            let mut seen = 0_u32;
            for key in EVERYWHERE {
                let known = lookup(shape, key).expect(key);
                assert_eq!(seen & known.bit, 0, "{key}");
                seen |= known.bit;
                assert!(known.field.names().contains(key) || key == &"id", "{key}");
            }
            let only = |key| lookup(shape, key).filter(|known| seen & known.bit == 0).is_some();
            assert_eq!(only("name"), shape == Shape::Ingest);
            for key in ["source", "event_name", "event_type"] {
                assert_eq!(only(key), shape == Shape::Events, "{key}");
            }
        }
        for key in ["", "ID", "service_nam", "service-name", "kinds", "idempotency-key"] {
            assert_eq!(lookup(Shape::Events, key), None, "{key}");
        }
    }
}
