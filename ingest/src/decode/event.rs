//! One event: walks its object once and puts each member where it belongs. What a missing or
//! unknown field means is decided in [`super::assemble`].

use std::borrow::Cow;

use rust_decimal::Decimal;

use super::assemble::{self, Unknown, UnknownValue};
use super::field::{Field, Known, lookup};
use super::metadata::{self, Entries};
use super::number::exact_decimal;
use super::problem::{Echo, payload_too_large, wrong_type};
use super::problem::{
    Fault, Outcome, Place, conflict, duplicate, judged, too_long, too_many_entries,
};
use super::scan::{Kind, Scanner, Token};
use super::{text, time};
use crate::code::Code;
use crate::pulse::{
    JSON_DEPTH_MAX, KEY_BYTES_MAX, METADATA_ENTRIES_MAX, METADATA_KEY_BYTES_MAX,
    METADATA_VALUE_BYTES_MAX, NAME_BYTES_MAX, PAYLOAD_BYTES_MAX, Pulse, Shape,
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

/// Reads the event at the scanner's position, and leaves it behind the event's end.
pub(super) fn read<'a>(
    shape: Shape,
    text: &'a str,
    at: usize,
) -> Result<(Pulse<'a>, usize), Box<Fault>> {
    let mut reader = Reader { text, scan: Scanner::new(text.as_bytes(), at) };
    let draft = reader.event(shape)?;
    Ok((assemble::pulse(shape, draft)?, reader.scan.at()))
}

/// Reads values out of an event's text.
pub(super) struct Reader<'a> {
    text: &'a str,
    pub(super) scan: Scanner<'a>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, scan: Scanner::new(text.as_bytes(), 0) }
    }

    fn event(&mut self, shape: Shape) -> Outcome<Draft<'a>> {
        if !self.scan.take(b'{') {
            let found = self.scan.kind()?;
            let message = format!("expected an object, found {}", found.as_str());
            return judged(Code::NotAnObject, message);
        }
        let mut draft = Draft::default();
        let mut seen = 0_u32;
        let mut first = true;
        while let Some(token) = self.scan.next_key(first)? {
            first = false;
            let key = self.token_text(token);
            match lookup(shape, &key) {
                Some(Known { bit, .. }) if seen & bit != 0 => {
                    return duplicate(Place::field(&key));
                }
                Some(Known { field, bit }) => {
                    seen |= bit;
                    self.known(&mut draft, field, &key)?;
                }
                None => self.unknown(&mut draft, key, token)?,
            }
        }
        Ok(draft)
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

    fn usage_name(&mut self, place: Place<'_>) -> Outcome<Option<Cow<'a, str>>> {
        let name = self.name(place)?;
        if name.as_deref() == Some("") {
            return judged(Code::EmptyField, format!("{place} is empty"));
        }
        Ok(name)
    }

    fn amount(&mut self, place: Place<'_>) -> Outcome<Option<Decimal>> {
        let written = match self.scan.kind().map_err(|flaw| flaw.within(place))? {
            Kind::Number => Cow::Borrowed(self.number(place)?.1),
            Kind::Text => self.text_value()?,
            Kind::Null => return self.null(),
            found => return wrong_type(place, "a decimal number or its text", found),
        };
        match exact_decimal(&written) {
            Some(amount) => Ok(Some(amount)),
            None => judged(
                Code::InvalidAmount,
                format!(
                    "{place} is `{}`, which is no decimal of at most 28 digits",
                    Echo(&written)
                ),
            ),
        }
    }
}

impl<'a> Reader<'a> {
    /// Walks an object with `read`, which starts behind its brace; `None` for null.
    fn object<T>(
        &mut self,
        place: Place<'_>,
        right: &str,
        read: impl FnOnce(&mut Self) -> Outcome<T>,
    ) -> Outcome<Option<T>> {
        match self.scan.kind().map_err(|flaw| flaw.within(place))? {
            Kind::Object => {
                self.scan.take(b'{');
                read(self).map(Some)
            }
            Kind::Null => self.null(),
            found => wrong_type(place, right, found),
        }
    }

    /// Any value, as its text.
    fn verbatim(&mut self, place: Place<'_>) -> Outcome<&'a str> {
        let start = self.scan.at();
        // The event itself is the first level.
        self.scan.skip_value(JSON_DEPTH_MAX - 1).map_err(|flaw| flaw.within(place))?;
        let value = self.raw(start, self.scan.at());
        if value.len() > PAYLOAD_BYTES_MAX {
            return payload_too_large(place, value.len());
        }
        Ok(value)
    }

    /// Text, a number or a boolean as text; `None` for null.
    pub(super) fn scalar(
        &mut self,
        place: Place<'_>,
        bytes_max: usize,
    ) -> Outcome<Option<Cow<'a, str>>> {
        let value = match self.scan.kind().map_err(|flaw| flaw.within(place))? {
            Kind::Text => self.text_value()?,
            Kind::Number => Cow::Borrowed(self.number(place)?.1),
            Kind::Bool => Cow::Borrowed(self.scan.literal()?),
            Kind::Null => return self.null(),
            found => return wrong_type(place, "text, a number or a boolean", found),
        };
        if value.len() > bytes_max {
            return too_long(place, value.len(), bytes_max);
        }
        Ok(Some(value))
    }

    #[inline]
    fn name(&mut self, place: Place<'_>) -> Outcome<Option<Cow<'a, str>>> {
        self.text_up_to(place, NAME_BYTES_MAX)
    }

    #[inline]
    fn text_up_to(&mut self, place: Place<'_>, bytes_max: usize) -> Outcome<Option<Cow<'a, str>>> {
        let value = match self.scan.kind().map_err(|flaw| flaw.within(place))? {
            Kind::Text => self.text_value()?,
            Kind::Null => return self.null(),
            found => return wrong_type(place, "text", found),
        };
        if value.len() > bytes_max {
            return too_long(place, value.len(), bytes_max);
        }
        Ok(Some(value))
    }

    fn id(&mut self, place: Place<'_>) -> Outcome<Option<Cow<'a, str>>> {
        let id = self.text_up_to(place, KEY_BYTES_MAX)?;
        match id.as_deref() {
            Some("") => judged(Code::InvalidId, format!("{place} is empty")),
            Some(text) if text.chars().any(char::is_control) => {
                judged(Code::InvalidId, format!("{place} has control characters"))
            }
            _ => Ok(id),
        }
    }

    #[inline]
    fn double(&mut self, place: Place<'_>) -> Outcome<Option<f64>> {
        match self.scan.kind().map_err(|flaw| flaw.within(place))? {
            Kind::Number => self.finite(place).map(Some),
            Kind::Null => self.null(),
            found => wrong_type(place, "a number", found),
        }
    }

    fn finite(&mut self, place: Place<'_>) -> Outcome<f64> {
        let (number, written) = self.number(place)?;
        match number.to_f64(written) {
            Some(value) => Ok(value),
            None => judged(
                Code::NumberOutOfRange,
                format!("{place} is {}, beyond the range of a double", Echo(written)),
            ),
        }
    }

    #[inline]
    fn time(&mut self, place: Place<'_>) -> Outcome<Option<i64>> {
        let (time_ms, written) = match self.scan.kind().map_err(|flaw| flaw.within(place))? {
            Kind::Text => {
                let written = self.text_value()?;
                (time::parse_rfc3339_ms(&written), written)
            }
            Kind::Number => {
                let at = self.scan;
                let (number, written) = self.number(place)?;
                let time_ms = number.to_integer(written);
                if time_ms.is_none() {
                    self.scan = at;
                    self.finite(place)?;
                }
                (time_ms, Cow::Borrowed(written))
            }
            Kind::Null => return self.null(),
            found => return wrong_type(place, "RFC 3339 text or epoch milliseconds", found),
        };
        if time_ms.is_some() {
            return Ok(time_ms);
        }
        let message = format!(
            "{place} is `{}`; right is RFC 3339 as `2026-11-21T08:00:00.123Z`, or an integer of \
             epoch milliseconds",
            Echo(&written)
        );
        judged(Code::InvalidTime, message)
    }

    #[inline]
    fn number(&mut self, place: Place<'_>) -> Outcome<(super::number::Number, &'a str)> {
        let number = self.scan.number().map_err(|flaw| flaw.within(place))?;
        Ok((number, self.raw(number.start, number.end)))
    }

    fn null<T>(&mut self) -> Outcome<Option<T>> {
        self.scan.literal()?;
        Ok(None)
    }

    #[inline]
    fn text_value(&mut self) -> Outcome<Cow<'a, str>> {
        let token = self.scan.text()?;
        Ok(self.token_text(token))
    }

    /// What a token means.
    #[inline]
    pub(super) fn token_text(&self, token: Token) -> Cow<'a, str> {
        let raw = self.raw(token.start, token.end);
        if token.escaped { Cow::Owned(text::unescape(raw)) } else { Cow::Borrowed(raw) }
    }

    /// The text at `start..end`, which begin and end at ASCII.
    #[inline]
    fn raw(&self, start: usize, end: usize) -> &'a str {
        self.text.get(start..end).unwrap_or_default()
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
