//! One event: walks its object once and puts each member where it belongs. What a missing or
//! unknown field means is decided in [`super::assemble`].

use std::borrow::Cow;

use rust_decimal::Decimal;

use super::assemble::{self, Unknown, UnknownValue};
use super::field::{Field, Known, lookup};
use super::metadata::{self, Entries};
use super::problem::{Fault, Outcome, Place, conflict, duplicate, judged};
use super::problem::{too_long, too_many_entries};
use super::scan::{Kind, Token};
use super::values::Reader;
use crate::code::Code;
use crate::pulse::{
    JSON_DEPTH_MAX, METADATA_ENTRIES_MAX, METADATA_KEY_BYTES_MAX, METADATA_VALUE_BYTES_MAX, Pulse,
    Shape,
};

/// What an event said, field by field, before anything is made of what it did not say.
#[derive(Debug, Default)]
pub(super) struct Draft<'a> {
    pub(super) event_id: Option<Cow<'a, str>>,
    pub(super) idempotency_key: Option<Cow<'a, str>>,
    pub(super) event_time_ms: Option<i64>,
    pub(super) latency_ms: Option<f64>,
    pub(super) status: Option<Cow<'a, str>>,
    pub(super) value: Option<f64>,
    pub(super) user: Option<Cow<'a, str>>,
    pub(super) usage: Option<UsageDraft<'a>>,
    pub(super) flat_usage: UsageDraft<'a>,
    pub(super) metadata: Option<Entries<'a>>,
    pub(super) tenant_metadata: Option<Entries<'a>>,
    pub(super) payload: Option<&'a str>,
    pub(super) service: Option<Cow<'a, str>>,
    pub(super) kind: Option<Cow<'a, str>>,
    pub(super) name: Option<Cow<'a, str>>,
    pub(super) unknown: Vec<Unknown<'a>>,
}

/// The parts of a usage that were given.
#[derive(Debug, Default, PartialEq)]
pub(super) struct UsageDraft<'a> {
    pub(super) sku: Option<Cow<'a, str>>,
    pub(super) unit: Option<Cow<'a, str>>,
    pub(super) amount: Option<Decimal>,
}

/// Reads the event at `at`; gives it with its end.
// Inlined, as all that hands a pulse on: it is 300 bytes, and each hand-over is a copy of them.
#[inline(always)]
pub(super) fn read<'a>(
    shape: Shape,
    text: &'a str,
    at: usize,
) -> Result<(Pulse<'a>, usize), Box<Fault>> {
    let mut reader = Reader::new(text, at);
    let mut draft = Draft::default();
    reader.event(shape, &mut draft)?;
    Ok((assemble::pulse(shape, &mut draft)?, reader.scan.at()))
}

impl<'a> Reader<'a> {
    fn event(&mut self, shape: Shape, draft: &mut Draft<'a>) -> Outcome<()> {
        if !self.scan.take(b'{') {
            let found = self.scan.kind()?;
            let message = format!("expected an object, found {}", found.as_str());
            return judged(Code::NotAnObject, message);
        }
        let mut seen = 0_u32;
        let mut first = true;
        while let Some(token) = self.scan.next_key(first)? {
            first = false;
            let key = self.token_text(token);
            match lookup(shape, &key) {
                // What is in front was put there here; what a client calls so means nothing beside.
                Some(Known { bit, field: Field::TenantMetadata }) if seen & bit != 0 => {
                    self.scan.skip_value(JSON_DEPTH_MAX - 1)?;
                }
                Some(Known { bit, .. }) if seen & bit != 0 => {
                    return duplicate(Place::field(&key));
                }
                Some(Known { field, bit }) => {
                    seen |= bit;
                    self.known(draft, field, &key)?;
                }
                None => self.unknown(draft, key, token)?,
            }
        }
        Ok(())
    }

    /// Reads the value of a field into the draft.
    fn known(&mut self, draft: &mut Draft<'a>, field: Field, key: &str) -> Outcome<()> {
        let place = Place::field(key);
        match field {
            Field::Service => set(&mut draft.service, self.name(place)?, field),
            Field::Kind => set(&mut draft.kind, self.name(place)?, field),
            Field::Status => set(&mut draft.status, self.name(place)?, field),
            Field::User => set(&mut draft.user, self.name(place)?, field),
            Field::EventTime => set(&mut draft.event_time_ms, self.time(place)?, field),
            Field::Latency => set(&mut draft.latency_ms, self.double(place)?, field),
            Field::Value => set(&mut draft.value, self.double(place)?, field),
            Field::EventId => set(&mut draft.event_id, self.id(place)?, field),
            Field::IdempotencyKey => set(&mut draft.idempotency_key, self.id(place)?, field),
            Field::Metadata => self.metadata(draft, place, key),
            Field::TenantMetadata => {
                let read = |reader: &mut Self| metadata::read(reader, key);
                draft.tenant_metadata = self.object(place, "an object of texts", read)?;
                Ok(())
            }
            Field::Payload => self.payload(draft, place),
            Field::Usage => set(&mut draft.usage, self.usage(place, key)?, field),
            Field::Sku => set(&mut draft.flat_usage.sku, self.usage_name(place)?, field),
            Field::Unit => set(&mut draft.flat_usage.unit, self.usage_name(place)?, field),
            Field::Amount => set(&mut draft.flat_usage.amount, self.amount(place)?, field),
            Field::Name => {
                set(&mut draft.name, self.text_up_to(place, METADATA_VALUE_BYTES_MAX)?, field)
            }
        }
    }

    /// Keeps a member that no field is named like. Keys are compared one by one, so their
    /// number has a bound.
    fn unknown(&mut self, draft: &mut Draft<'a>, key: Cow<'a, str>, token: Token) -> Outcome<()> {
        let place = Place::field(&key);
        if draft.unknown.iter().any(|unknown| unknown.key == key) {
            return duplicate(place);
        }
        if draft.unknown.len() == METADATA_ENTRIES_MAX {
            return too_many_entries();
        }
        let value = match self.scan.kind().map_err(|flaw| flaw.within(place))? {
            Kind::Object | Kind::Array => UnknownValue::Nested(self.verbatim(place)?),
            _ => match self.scalar(place, METADATA_VALUE_BYTES_MAX)? {
                None => UnknownValue::Null,
                Some(_) if key.len() > METADATA_KEY_BYTES_MAX => {
                    return too_long(place, key.len(), METADATA_KEY_BYTES_MAX);
                }
                Some(value) => UnknownValue::Text(value),
            },
        };
        let raw_key = self.raw(token.start, token.end);
        draft.unknown.push(Unknown { key, raw_key, value });
        Ok(())
    }

    fn metadata(&mut self, draft: &mut Draft<'a>, place: Place<'_>, key: &str) -> Outcome<()> {
        let entries =
            self.object(place, "an object of texts", |reader| metadata::read(reader, key))?;
        match (&draft.metadata, entries) {
            (Some(before), Some(entries)) if !metadata::same(before, &entries) => {
                conflict(Field::Metadata)
            }
            (None, entries) => {
                draft.metadata = entries;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn payload(&mut self, draft: &mut Draft<'a>, place: Place<'_>) -> Outcome<()> {
        let value = self.verbatim(place)?;
        match draft.payload {
            _ if value == "null" => Ok(()),
            Some(before) if !assemble::same_json(before, value) => conflict(Field::Payload),
            Some(_) => Ok(()),
            None => {
                draft.payload = Some(value);
                Ok(())
            }
        }
    }

    fn usage(&mut self, place: Place<'_>, parent: &str) -> Outcome<Option<UsageDraft<'a>>> {
        self.object(place, "an object of `sku`, `unit` and `amount`", |reader| {
            let mut usage = UsageDraft::default();
            let mut seen = 0_u32;
            let mut first = true;
            while let Some(token) = reader.scan.next_key(first)? {
                first = false;
                let key = reader.token_text(token);
                let place = Place::entry(parent, &key);
                let bit = match &*key {
                    "sku" => 1,
                    "unit" => 2,
                    "amount" => 4,
                    _ => {
                        let right = "`sku`, `unit` and `amount` alone";
                        return judged(
                            Code::WrongType,
                            format!("{place} is unknown: usage has {right}"),
                        );
                    }
                };
                if seen & bit != 0 {
                    return duplicate(place);
                }
                seen |= bit;
                match bit {
                    1 => usage.sku = reader.usage_name(place)?,
                    2 => usage.unit = reader.usage_name(place)?,
                    _ => usage.amount = reader.amount(place)?,
                }
            }
            Ok(usage)
        })
    }
}

/// Fills a field. A second name may only repeat its value; null leaves it alone.
#[inline]
fn set<T: PartialEq>(slot: &mut Option<T>, value: Option<T>, field: Field) -> Outcome<()> {
    match (&slot, value) {
        (None, Some(value)) => *slot = Some(value),
        (Some(before), Some(value)) if *before != value => return conflict(field),
        _ => {}
    }
    Ok(())
}
