//! Splits a query string into its parameters. Knows none of their meanings but times.

use std::borrow::Cow;

use jiff::Timestamp;

use crate::code::{Code, Reject};

/// The values of the known parameters, each given at most once.
#[derive(Debug)]
pub(super) struct Parameters<'q, const N: usize> {
    names: [&'static str; N],
    values: [Option<Cow<'q, str>>; N],
}

impl<'q, const N: usize> Parameters<'q, N> {
    /// Reads `name=value&…`; a name that is not known or comes twice is refused.
    pub(super) fn parse(query: &'q str, names: [&'static str; N]) -> Result<Self, Reject> {
        let mut values = [const { None }; N];
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name, true).ok_or_else(|| invalid(name, "is malformed"))?;
            let Some(place) = names.iter().position(|known| *known == name) else {
                return Err(invalid(&name, &unknown(&names)));
            };
            let value = decode(value, true)
                .ok_or_else(|| invalid(&name, "must be percent-encoded UTF-8"))?;
            if values[place].replace(value).is_some() {
                return Err(invalid(&name, "is given twice"));
            }
        }
        Ok(Self { names, values })
    }

    /// The value of a parameter, if it was given.
    pub(super) fn take(&mut self, name: &str) -> Option<Cow<'q, str>> {
        let place = self.names.iter().position(|known| *known == name)?;
        self.values[place].take()
    }

    /// The value of a parameter that is a time, in milliseconds since 1970.
    pub(super) fn time(&mut self, name: &str) -> Result<Option<i64>, Reject> {
        let Some(text) = self.take(name) else { return Ok(None) };
        time_ms(&text)
            .map(Some)
            .ok_or_else(|| invalid(name, "must be an RFC 3339 time or milliseconds since 1970"))
    }

    /// Refuses the first parameter that is still there.
    pub(super) fn refuse_rest(&self, why: &str) -> Result<(), Reject> {
        match self.values.iter().position(Option::is_some) {
            None => Ok(()),
            Some(place) => Err(invalid(self.names[place], why)),
        }
    }
}

fn unknown(names: &[&str]) -> String {
    if names.is_empty() {
        return "is not known; there are no parameters here".to_owned();
    }
    format!("is not known; known are {}", names.join(", "))
}

/// A refusal that names the parameter.
pub(super) fn invalid(name: &str, why: &str) -> Reject {
    Reject::new(Code::InvalidParameter, format!("parameter {name:?} {why}"))
}

/// Milliseconds since 1970 of a time in either form.
pub(super) fn time_ms(text: &str) -> Option<i64> {
    if let Ok(number) = text.parse::<i64>() {
        return Timestamp::from_millisecond(number).ok().map(|_| number);
    }
    // A `+` that was not encoded arrives as a space; no time has one there otherwise.
    let text = if text.contains(' ') { Cow::from(text.replace(' ', "+")) } else { text.into() };
    text.parse::<Timestamp>().ok().map(|time| time.as_millisecond())
}

/// Decodes percent-encoding; `form`: a plus is a space. `None`: malformed or not UTF-8.
pub(super) fn decode(text: &str, form: bool) -> Option<Cow<'_, str>> {
    if !text.bytes().any(|byte| byte == b'%' || (form && byte == b'+')) {
        return Some(text.into());
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'%' => {
                let digit = |place: usize| (*bytes.get(place)? as char).to_digit(16);
                out.push((digit(at + 1)? * 16 + digit(at + 2)?) as u8);
                at += 2;
            }
            b'+' if form => out.push(b' '),
            _ => out.push(*byte),
        }
        at += 1;
    }
    String::from_utf8(out).ok().map(Cow::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_encoding_is_undone_or_refused() {
        let cases = [
            ("plain", Some("plain")),
            ("a%20b+c", Some("a b c")),
            ("%C3%A4", Some("ä")),
            ("%c3%a4%2B", Some("ä+")),
            ("%", None),
            ("%4", None),
            ("%zz", None),
            ("%+1", None),
            ("%FF", None),
        ];
        for (text, expected) in cases {
            assert_eq!(decode(text, true).as_deref(), expected, "{text}");
        }
        assert_eq!(decode("a+b", false).as_deref(), Some("a+b"));
    }

    #[test]
    fn a_time_is_rfc_3339_or_milliseconds() {
        let cases = [
            ("0", Some(0)),
            ("1767225600000", Some(1_767_225_600_000)),
            ("2026-01-01T00:00:00Z", Some(1_767_225_600_000)),
            ("2026-01-01T02:00:00+02:00", Some(1_767_225_600_000)),
            ("2026-01-01T02:00:00 02:00", Some(1_767_225_600_000)),
            ("2026-01-01T00:00:00.123Z", Some(1_767_225_600_123)),
            ("2026-01-01", None),
            ("2026-01-01T00:00:00", None),
            ("yesterday", None),
            ("", None),
            ("9223372036854775807", None),
        ];
        for (text, expected) in cases {
            assert_eq!(time_ms(text), expected, "{text}");
        }
    }
}
