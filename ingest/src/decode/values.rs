//! Reads the values of an event's members: each of its kind, within its bounds, or refused by
//! name. `None` is null everywhere.

use std::borrow::Cow;

use rust_decimal::Decimal;

use super::number::{Number, exact_decimal};
use super::problem::{Echo, Outcome, Place, judged, payload_too_large, too_long, wrong_type};
use super::scan::{Kind, Scanner, Token};
use super::{text, time};
use crate::code::Code;
use crate::pulse::{JSON_DEPTH_MAX, KEY_BYTES_MAX, NAME_BYTES_MAX, PAYLOAD_BYTES_MAX};

/// Reads values out of an event's text.
pub(super) struct Reader<'a> {
    text: &'a str,
    pub(super) scan: Scanner<'a>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str, at: usize) -> Self {
        Self { text, scan: Scanner::new(text.as_bytes(), at) }
    }

    /// Walks an object with `read`, which starts behind its brace; `None` for null.
    pub(super) fn object<T>(
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
    pub(super) fn verbatim(&mut self, place: Place<'_>) -> Outcome<&'a str> {
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
    pub(super) fn name(&mut self, place: Place<'_>) -> Outcome<Option<Cow<'a, str>>> {
        self.text_up_to(place, NAME_BYTES_MAX)
    }

    #[inline]
    pub(super) fn text_up_to(
        &mut self,
        place: Place<'_>,
        bytes_max: usize,
    ) -> Outcome<Option<Cow<'a, str>>> {
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

    pub(super) fn id(&mut self, place: Place<'_>) -> Outcome<Option<Cow<'a, str>>> {
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
    pub(super) fn double(&mut self, place: Place<'_>) -> Outcome<Option<f64>> {
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
    pub(super) fn time(&mut self, place: Place<'_>) -> Outcome<Option<i64>> {
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

    pub(super) fn usage_name(&mut self, place: Place<'_>) -> Outcome<Option<Cow<'a, str>>> {
        let name = self.name(place)?;
        if name.as_deref() == Some("") {
            return judged(Code::EmptyField, format!("{place} is empty"));
        }
        Ok(name)
    }

    pub(super) fn amount(&mut self, place: Place<'_>) -> Outcome<Option<Decimal>> {
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

    #[inline]
    fn number(&mut self, place: Place<'_>) -> Outcome<(Number, &'a str)> {
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
    pub(super) fn raw(&self, start: usize, end: usize) -> &'a str {
        self.text.get(start..end).unwrap_or_default()
    }
}
