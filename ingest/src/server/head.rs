//! What the headers of a request say, read in one pass. Borrows; judges only what is asked for.

use http::{HeaderMap, HeaderValue};

use crate::code::{Code, Reject};
use crate::decode::compression::Encoding;
use crate::log::frame::Trace;
use crate::pulse::KEY_BYTES_MAX;
use crate::submission::Format;

/// Most header lines. Checked here: hyper's own bound would cost an allocation a request.
pub(super) const HEADERS_MAX: usize = 64;
/// Longest request id that is given back, in bytes.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// The headers that mean something here. Has no `Debug`: one of them is a secret.
#[derive(Default)]
pub(super) struct Head<'h> {
    content_type: Header<'h>,
    content_encoding: Header<'h>,
    idempotency_key: Header<'h>,
    traceparent: Header<'h>,
    request_id: Header<'h>,
    expect: Header<'h>,
    x_api_key: Header<'h>,
    authorization: Header<'h>,
}

/// A header that may come once.
#[derive(Debug, Clone, Copy, Default)]
enum Header<'h> {
    #[default]
    Absent,
    Once(&'h HeaderValue),
    Repeated,
}

impl<'h> Header<'h> {
    fn set(&mut self, value: &'h HeaderValue) {
        *self = match self {
            Self::Absent => Self::Once(value),
            _ => Self::Repeated,
        };
    }

    fn once(self) -> Option<&'h HeaderValue> {
        match self {
            Self::Once(value) => Some(value),
            _ => None,
        }
    }

    /// Its text; refused where it is repeated or not visible ASCII.
    fn text(self, name: &str) -> Result<Option<&'h str>, Reject> {
        let wrong = |why: &str| Reject::new(Code::InvalidHeader, format!("header {name} {why}"));
        match self {
            Self::Absent => Ok(None),
            Self::Repeated => Err(wrong("is given twice")),
            Self::Once(value) => {
                value.to_str().map(Some).map_err(|_| wrong("has bytes that are not ASCII"))
            }
        }
    }
}

impl<'h> Head<'h> {
    /// Reads the headers; refused are only too many of them.
    pub(super) fn read(headers: &'h HeaderMap) -> Result<Self, Reject> {
        if headers.len() > HEADERS_MAX {
            return Err(Code::HeadersTooLarge.into());
        }
        let mut head = Self::default();
        for (name, value) in headers {
            match name.as_str() {
                "content-type" => head.content_type.set(value),
                "content-encoding" => head.content_encoding.set(value),
                "idempotency-key" => head.idempotency_key.set(value),
                "traceparent" => head.traceparent.set(value),
                "x-request-id" => head.request_id.set(value),
                "expect" => head.expect.set(value),
                "x-api-key" => head.x_api_key.set(value),
                "authorization" => head.authorization.set(value),
                _ => {}
            }
        }
        Ok(head)
    }

    /// How the body holds its events.
    pub(super) fn format(&self) -> Result<Format, Reject> {
        let Some(text) = self.content_type.text("Content-Type")? else { return Ok(Format::Json) };
        let media = text.split(';').next().unwrap_or_default().trim();
        let is = |names: &[&str]| names.iter().any(|name| name.eq_ignore_ascii_case(media));
        // `curl -d` without a header sends the form type whatever the data is.
        if is(&["application/json", "text/plain", "application/x-www-form-urlencoded", ""]) {
            Ok(Format::Json)
        } else if is(&["application/x-ndjson", "application/ndjson", "application/jsonl"]) {
            Ok(Format::Lines)
        } else {
            let why = "must be application/json or application/x-ndjson";
            Err(Reject::new(Code::UnsupportedMediaType, format!("header Content-Type {why}")))
        }
    }

    /// How the body is compressed.
    pub(super) fn encoding(&self) -> Result<Encoding, Reject> {
        let Some(text) = self.content_encoding.text("Content-Encoding")? else {
            return Ok(Encoding::Identity);
        };
        Encoding::from_header(text).ok_or_else(|| {
            let why = "header Content-Encoding must be gzip, zstd or identity";
            Reject::new(Code::UnsupportedEncoding, why)
        })
    }

    /// The idempotency key.
    pub(super) fn idempotency_key(&self) -> Result<Option<&'h str>, Reject> {
        let Some(key) = self.idempotency_key.text("Idempotency-Key")? else { return Ok(None) };
        let bytes = key.as_bytes();
        if bytes.is_empty()
            || bytes.len() > KEY_BYTES_MAX
            || !bytes.iter().all(u8::is_ascii_graphic)
        {
            let why = format!(
                "header Idempotency-Key must be 1 to {KEY_BYTES_MAX} visible ASCII characters"
            );
            return Err(Reject::new(Code::InvalidHeader, why));
        }
        Ok(Some(key))
    }

    /// The API key: the whole of `X-API-Key`, or what follows `Bearer` in `Authorization`. Other
    /// schemes are none of ours. No text that is returned here says what a key was.
    pub(super) fn api_key(&self) -> Result<Option<&'h str>, Reject> {
        let plain = self.x_api_key.text("X-API-Key")?;
        let bearer = self.authorization.text("Authorization")?.and_then(bearer);
        if let (Some(plain), Some(bearer)) = (plain, bearer)
            && plain != bearer
        {
            let why = "headers X-API-Key and Authorization have different keys; send one of them";
            return Err(Reject::new(Code::InvalidHeader, why));
        }
        Ok(plain.or(bearer))
    }

    /// The trace, as the W3C Trace Context has it: a malformed one is as none.
    pub(super) fn trace(&self) -> Option<Trace> {
        parse_traceparent(self.traceparent.once()?.as_bytes())
    }

    /// The request's id, to be given back; `None` where it is none that a log should hold.
    pub(super) fn request_id(&self) -> Option<&'h HeaderValue> {
        self.request_id.once().filter(|value| {
            let bytes = value.as_bytes();
            (1..=REQUEST_ID_BYTES_MAX).contains(&bytes.len())
                && bytes.iter().all(u8::is_ascii_graphic)
        })
    }

    /// Whether the client waits to be told to send its body.
    pub(super) fn expects_continue(&self) -> bool {
        !matches!(self.expect, Header::Absent)
    }
}

fn bearer(credentials: &str) -> Option<&str> {
    let (scheme, key) = credentials.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

/// `00-<32 hex digits>-<16 hex digits>-<2 hex digits>`; a later version may have more behind.
fn parse_traceparent(text: &[u8]) -> Option<Trace> {
    let [version, trace_id, span_id, flags] = [0..2, 3..35, 36..52, 53..55].map(|at| text.get(at));
    let version = hex::<1>(version?)?[0];
    let dashes = [2, 35, 52].iter().all(|at| text.get(*at) == Some(&b'-'));
    let ends = text.len() == 55 || (version > 0 && text.get(55) == Some(&b'-'));
    let trace = Trace { trace_id: hex(trace_id?)?, span_id: hex(span_id?)? };
    hex::<1>(flags?)?;
    let none = trace.trace_id == [0; 16] || trace.span_id == [0; 8];
    (version != 0xff && dashes && ends && !none).then_some(trace)
}

fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut out = [0; N];
    for (pair, byte) in text.chunks_exact(2).zip(&mut out) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in list {
            let value = HeaderValue::from_bytes(value.as_bytes()).expect("a header value");
            headers.append(HeaderName::from_static(name), value);
        }
        headers
    }

    #[test]
    fn a_content_type_says_how_events_are_held() {
        let cases = [
            ("application/json", Ok(Format::Json)),
            ("Application/JSON; charset=utf-8", Ok(Format::Json)),
            ("text/plain", Ok(Format::Json)),
            ("application/x-www-form-urlencoded", Ok(Format::Json)),
            ("application/x-ndjson", Ok(Format::Lines)),
            ("application/jsonl ;x", Ok(Format::Lines)),
            ("application/xml", Err(Code::UnsupportedMediaType)),
            ("application/jsonx", Err(Code::UnsupportedMediaType)),
        ];
        for (text, expected) in cases {
            let headers = headers(&[("content-type", text)]);
            let head = Head::read(&headers).expect("few headers");
            assert_eq!(head.format().map_err(|reject| reject.code), expected, "{text}");
        }
        assert_eq!(Head::default().format(), Ok(Format::Json));
    }

    #[test]
    fn a_key_is_visible_ascii_and_given_once() {
        let long = "k".repeat(KEY_BYTES_MAX + 1);
        for wrong in ["", "a b", "ä", long.as_str()] {
            let headers = headers(&[("idempotency-key", wrong)]);
            let head = Head::read(&headers).expect("few headers");
            let code = head.idempotency_key().map_err(|reject| reject.code);
            assert_eq!(code, Err(Code::InvalidHeader), "{wrong}");
        }
        let twice = headers(&[("idempotency-key", "a"), ("idempotency-key", "a")]);
        assert!(Head::read(&twice).expect("few headers").idempotency_key().is_err());
        let once = headers(&[("idempotency-key", "order-1/é".trim_end_matches("/é"))]);
        let head = Head::read(&once).expect("few headers");
        assert_eq!(head.idempotency_key(), Ok(Some("order-1")));
    }

    #[test]
    fn a_malformed_trace_is_as_none() {
        let id = "0af7651916cd43dd8448eb211c80319c";
        let span = "b7ad6b7169203331";
        let cases = [
            (format!("00-{id}-{span}-01"), true),
            (format!("01-{id}-{span}-01-later"), true),
            (format!("00-{id}-{span}-01-later"), false),
            (format!("ff-{id}-{span}-01"), false),
            (format!("00-{}-{span}-01", "0".repeat(32)), false),
            (format!("00-{id}-{}-01", "0".repeat(16)), false),
            (format!("00-{}-{span}-01", id.to_uppercase()), false),
            (format!("00_{id}-{span}-01"), false),
            (format!("00-{id}-{span}"), false),
            (String::new(), false),
        ];
        for (text, sound) in cases {
            let headers = headers(&[("traceparent", &text)]);
            let trace = Head::read(&headers).expect("few headers").trace();
            assert_eq!(trace.is_some(), sound, "{text}");
            if let Some(trace) = trace {
                assert_eq!((trace.trace_id[0], trace.span_id[7]), (0x0a, 0x31));
            }
        }
    }

    #[test]
    fn a_key_comes_in_either_header_or_the_same_in_both() {
        let cases: &[(&[(&'static str, &str)], _)] = &[
            (&[], Ok(None)),
            (&[("x-api-key", "k1")], Ok(Some("k1"))),
            (&[("authorization", "Bearer k1")], Ok(Some("k1"))),
            (&[("authorization", "bearer  k1 ")], Ok(Some("k1"))),
            (&[("x-api-key", "k1"), ("authorization", "Bearer k1")], Ok(Some("k1"))),
            (&[("x-api-key", "k1"), ("authorization", "Basic azE=")], Ok(Some("k1"))),
            (&[("authorization", "Basic azE=")], Ok(None)),
            (&[("authorization", "Bearer")], Ok(None)),
            (&[("x-api-key", "k1"), ("authorization", "Bearer k2")], Err(Code::InvalidHeader)),
            (&[("x-api-key", "k1"), ("x-api-key", "k1")], Err(Code::InvalidHeader)),
            (&[("authorization", "Bearer k"), ("authorization", "b")], Err(Code::InvalidHeader)),
            (&[("x-api-key", "ä")], Err(Code::InvalidHeader)),
        ];
        for (list, expected) in cases {
            let headers = headers(list);
            let head = Head::read(&headers).expect("few headers");
            assert_eq!(head.api_key().map_err(|reject| reject.code), *expected, "{list:?}");
        }
    }

    #[test]
    fn only_a_sane_request_id_is_given_back() {
        let long = "x".repeat(REQUEST_ID_BYTES_MAX + 1);
        for (text, given) in [("abc-1", true), ("a b", false), ("", false), (&long, false)] {
            let headers = headers(&[("x-request-id", text)]);
            let head = Head::read(&headers).expect("few headers");
            assert_eq!(head.request_id().is_some(), given, "{text}");
        }
    }

    #[test]
    fn too_many_headers_are_refused() {
        let names = headers(&[("x-a", "1"); HEADERS_MAX + 1]);
        let refused = Head::read(&names).map(drop).map_err(|reject| reject.code);
        assert_eq!(refused, Err(Code::HeadersTooLarge));
    }
}
