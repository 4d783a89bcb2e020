//! The one mapping from outcomes to answers: status, headers and body. Knows no server and
//! decides nothing about pulses. Bodies are written by hand: they are small, their layout is
//! fixed, and they are on the path of every request.

pub mod rate;

use std::time::Duration;

use crate::code::{Code, Reject};
use crate::limits::Standing;
use crate::submission::{Ack, EventError, Receipt, Refusal};
use crate::text::write_string;

/// Most errors that an answer lists; of further ones it gives the number by code. Enough to
/// find what is wrong with a batch, and an answer stays below the size of its request.
pub const ERRORS_LISTED_MAX: usize = 100;
/// Most bytes of one listed error's message: it may quote the event.
const MESSAGE_BYTES_MAX: usize = 512;
/// Longest time that an answer asks a client to stay away, in seconds.
const RETRY_AFTER_S_MAX: u64 = 3_600;

/// How a client that gave no key, or none that is known, can give one (RFC 6750).
const CHALLENGE: &str = "Bearer realm=\"pulsemesh\"";
const PROBLEM_TYPE: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/blob/main/docs/errors.md#");

/// How an answer's body is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Media {
    /// JSON.
    Json,
    /// An RFC 9457 problem document.
    Problem,
    /// Metrics in the OpenMetrics text format, which Prometheus reads.
    Metrics,
}

impl Media {
    /// The `Content-Type`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Problem => "application/problem+json",
            Self::Metrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status; also the metric label.
    pub status: u16,
    /// How the body is to be read.
    pub media: Media,
    /// The body.
    pub body: Vec<u8>,
    /// `Retry-After`, in seconds.
    pub retry_after_s: Option<u64>,
    /// `Allow`.
    pub allow: Option<&'static str>,
    /// `WWW-Authenticate`.
    pub authenticate: Option<&'static str>,
    /// `RateLimit` and `RateLimit-Policy`.
    pub limits: Option<Standing>,
}

impl Answer {
    /// A JSON answer.
    pub fn json(status: u16, body: Vec<u8>) -> Self {
        Self {
            status,
            media: Media::Json,
            body,
            retry_after_s: None,
            allow: None,
            authenticate: None,
            limits: None,
        }
    }

    /// A problem document. A status that asks to come back later gets a `Retry-After`: the
    /// given time, else a second, spread by `jitter` (0 to 1).
    pub fn problem(reject: &Reject, retry_after: Option<Duration>, jitter: f64) -> Self {
        let status = reject.code.status();
        let mut body = open_problem(reject, status);
        body.push(b'}');
        Self {
            status,
            media: Media::Problem,
            body,
            retry_after_s: retry_after_s(reject.code, retry_after, jitter),
            allow: None,
            authenticate: (status == 401).then_some(CHALLENGE),
            limits: None,
        }
    }

    /// The answer to a request that was refused as a whole.
    pub fn refusal(refusal: &Refusal, jitter: f64) -> Self {
        Self::problem(&refusal.reject, refusal.retry_after, jitter)
    }

    /// The answer to a request of which each event was judged. `ids`: it was asked for the ids.
    pub fn receipt(receipt: &Receipt, ids: bool, jitter: f64) -> Self {
        if !receipt.single {
            return batch(receipt, ids, jitter);
        }
        match receipt.errors.first() {
            Some(error) => Self::problem(&error.reject, None, jitter),
            None => Self::json(status_of(receipt.ack), single(receipt)),
        }
    }
}

fn status_of(ack: Ack) -> u16 {
    if ack == Ack::Stored { 200 } else { 202 }
}

/// `{"id":"…","ack":"durable"}`, in one exact allocation.
fn single(receipt: &Receipt) -> Vec<u8> {
    let mut buffer = uuid::Uuid::encode_buffer();
    let id = receipt.ids.first().copied().flatten().unwrap_or_default();
    let repeat: &[u8] = if receipt.duplicates > 0 { b"\",\"duplicate\":true}" } else { b"\"}" };
    [
        b"{\"id\":\"",
        id.as_hyphenated().encode_lower(&mut buffer).as_bytes(),
        b"\",\"ack\":\"",
        receipt.ack.as_str().as_bytes(),
        repeat,
    ]
    .concat()
}

fn batch(receipt: &Receipt, ids: bool, jitter: f64) -> Answer {
    let none = receipt.accepted == 0 && receipt.duplicates == 0;
    if none {
        let reject = Reject::from(cause_of_none(receipt));
        let status = reject.code.status();
        let mut body = open_problem(&reject, status);
        body.push(b',');
        write_counts(&mut body, receipt, ids);
        body.push(b'}');
        let retry_after_s = retry_after_s(reject.code, None, jitter);
        return Answer { media: Media::Problem, retry_after_s, ..Answer::json(status, body) };
    }
    let mut body = Vec::with_capacity(128 + if ids { receipt.ids.len() * 39 } else { 0 });
    body.push(b'{');
    write_counts(&mut body, receipt, ids);
    body.push(b'}');
    Answer::json(status_of(receipt.ack), body)
}

/// Why nothing of a batch was accepted: what passes by itself comes first, for a sender gives up
/// what is answered as its own mistake.
fn cause_of_none(receipt: &Receipt) -> Code {
    let codes = || receipt.errors.iter().map(|error| error.reject.code);
    let passing =
        [503, 429, 409].into_iter().find_map(|status| codes().find(|code| code.status() == status));
    // Then what is kept here, and must not be sent again.
    let dead = codes().find(|code| *code == Code::DeadLettered);
    passing.or(dead).unwrap_or(Code::NoneAccepted)
}

fn write_counts(out: &mut Vec<u8>, receipt: &Receipt, ids: bool) {
    let counts = [
        ("\"accepted\":", receipt.accepted),
        (",\"rejected\":", receipt.errors.len()),
        (",\"duplicates\":", receipt.duplicates),
    ];
    for (name, count) in counts {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(itoa::Buffer::new().format(count).as_bytes());
    }
    out.extend_from_slice(b",\"ack\":\"");
    out.extend_from_slice(receipt.ack.as_str().as_bytes());
    out.extend_from_slice(b"\",\"errors\":");
    let listed = receipt.errors.len().min(ERRORS_LISTED_MAX);
    write_list(out, &receipt.errors[..listed], write_error);
    if listed < receipt.errors.len() {
        write_unlisted(out, &receipt.errors[listed..]);
    }
    if ids {
        out.extend_from_slice(b",\"ids\":");
        write_list(out, &receipt.ids, write_id);
    }
}

fn write_list<T>(out: &mut Vec<u8>, items: &[T], write: fn(&mut Vec<u8>, &T)) {
    out.push(b'[');
    for (place, item) in items.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        write(out, item);
    }
    out.push(b']');
}

fn write_error(out: &mut Vec<u8>, error: &EventError) {
    out.extend_from_slice(b"{\"index\":");
    out.extend_from_slice(itoa::Buffer::new().format(error.index).as_bytes());
    out.extend_from_slice(b",\"code\":\"");
    out.extend_from_slice(error.reject.code.as_str().as_bytes());
    out.extend_from_slice(b"\",\"message\":");
    write_string(out, cut(&error.reject.message));
    out.push(b'}');
}

fn write_unlisted(out: &mut Vec<u8>, errors: &[EventError]) {
    out.extend_from_slice(b",\"unlisted_errors\":");
    let mut first = true;
    for code in Code::ALL {
        let count = errors.iter().filter(|error| error.reject.code == *code).count();
        if count > 0 {
            out.push(if first { b'{' } else { b',' });
            first = false;
            write_string(out, code.as_str());
            out.push(b':');
            out.extend_from_slice(itoa::Buffer::new().format(count).as_bytes());
        }
    }
    out.push(b'}');
}

fn write_id(out: &mut Vec<u8>, id: &Option<uuid::Uuid>) {
    match id {
        None => out.extend_from_slice(b"null"),
        Some(id) => {
            let mut buffer = uuid::Uuid::encode_buffer();
            out.push(b'"');
            out.extend_from_slice(id.as_hyphenated().encode_lower(&mut buffer).as_bytes());
            out.push(b'"');
        }
    }
}

/// A problem document without its closing brace.
fn open_problem(reject: &Reject, status: u16) -> Vec<u8> {
    let mut out = Vec::with_capacity(320);
    let code = reject.code.as_str();
    for part in ["{\"type\":\"", PROBLEM_TYPE, code, "\",\"title\":\"", reject.code.title()] {
        out.extend_from_slice(part.as_bytes());
    }
    out.extend_from_slice(b"\",\"status\":");
    out.extend_from_slice(itoa::Buffer::new().format(status).as_bytes());
    for part in [",\"code\":\"", code, "\""] {
        out.extend_from_slice(part.as_bytes());
    }
    // Where nothing is known beyond the code, its title has said it.
    if reject.message != reject.code.title() {
        out.extend_from_slice(b",\"detail\":");
        write_string(&mut out, cut(&reject.message));
    }
    out
}

/// A message that quotes its event must not make the answer larger than the request.
fn cut(message: &str) -> &str {
    &message[..message.floor_char_boundary(MESSAGE_BYTES_MAX)]
}

/// Seconds to stay away: rounded up, at least 1, and up to half as much again by `jitter`, so
/// that the clients refused together do not come back together. `None` where waiting does not
/// help.
fn retry_after_s(code: Code, wanted: Option<Duration>, jitter: f64) -> Option<u64> {
    let passes = matches!(code.status(), 409 | 429 | 503)
        && !matches!(code, Code::AckNotAvailable | Code::ReplayEnded);
    if !passes {
        return wanted.map(|wanted| wanted.as_secs().clamp(1, RETRY_AFTER_S_MAX));
    }
    let wanted = wanted.unwrap_or(Duration::from_secs(1)).as_secs_f64();
    let spread = wanted.max(1.0) * (1.0 + 0.5 * jitter.clamp(0.0, 1.0));
    Some((spread.ceil() as u64).clamp(1, RETRY_AFTER_S_MAX))
}

#[cfg(test)]
mod tests;
