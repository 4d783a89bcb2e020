//! Bytes to pulses, in one pass and without a document tree: each field is needed once, the
//! original bytes are kept, and repeated keys must be seen. Judges each event alone. Knows
//! neither HTTP nor the clock; counts nothing.
//!
//! A well-formed event that is refused costs only itself. So does a line. Where an event in an
//! array or in a row of objects is no JSON, nobody can tell where the next one starts: it and
//! all that follows are one refusal.

pub mod compression;
pub mod time;

mod assemble;
mod event;
mod field;
mod metadata;
mod number;
mod problem;
mod scan;
mod text;
mod values;

#[cfg(test)]
mod tests;

pub(crate) use field::TENANT_METADATA;
use problem::{Fault, syntax_message};
use scan::{Flaw, RECOVERY_DEPTH_MAX, Scanner};

use crate::code::{Code, Reject};
use crate::pulse::{EVENT_BYTES_MAX, Pulse, Shape};
use crate::submission::Format;

/// One event of a body: its bytes and what they mean.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded<'a> {
    /// The event as it was sent, without the whitespace around it. For one that is no JSON,
    /// its line, or all from its start to the end of the body.
    pub raw: &'a [u8],
    /// What it means, or why it is refused.
    pub pulse: Result<Pulse<'a>, Reject>,
}

/// Decodes one event, with nothing but whitespace around it.
///
/// # Errors
/// The first reason for which the event is refused. Offsets in messages count from the start
/// of `raw`.
pub fn decode_event(shape: Shape, raw: &[u8]) -> Result<Pulse<'_>, Reject> {
    if raw.len() > EVENT_BYTES_MAX {
        return Err(event_too_large(raw.len()));
    }
    let text = std::str::from_utf8(raw).map_err(|error| invalid_utf8(error.valid_up_to()))?;
    let mut start = Scanner::new(raw, 0);
    start.space();
    let judged = judge(shape, text, start.at(), EVENT);
    let mut end = Scanner::new(raw, judged.end.unwrap_or(raw.len()));
    end.space();
    if end.at() < raw.len() {
        let message = syntax_message(raw, end.at(), "the end", EVENT);
        return Err(Reject::new(Code::InvalidJson, message));
    }
    judged.pulse
}

/// What offsets in messages count from.
const BODY: &str = "the body";
const EVENT: &str = "the event";

struct Judged<'a> {
    pulse: Result<Pulse<'a>, Reject>,
    /// Where the event ends; `None` where that can't be known.
    end: Option<usize>,
}

/// Judges the event that starts at `start` of a text that messages call `of`.
#[inline]
fn judge<'a>(shape: Shape, text: &'a str, start: usize, of: &str) -> Judged<'a> {
    match event::read(shape, text, start) {
        Ok((_, end)) if end - start > EVENT_BYTES_MAX => {
            Judged { pulse: Err(event_too_large(end - start)), end: Some(end) }
        }
        Ok((pulse, end)) => Judged { pulse: Ok(pulse), end: Some(end) },
        Err(fault) => refused(text, start, *fault, of),
    }
}

/// A refused event ends where its value ends, if it is a value at all.
#[cold]
fn refused<'a>(text: &'a str, start: usize, fault: Fault, of: &str) -> Judged<'a> {
    let bytes = text.as_bytes();
    let (reject, end) = match (value_end(bytes, start), fault) {
        (Ok(end), _) if end - start > EVENT_BYTES_MAX => (event_too_large(end - start), Some(end)),
        (Ok(end), Fault::Judged(reject)) => (reject, Some(end)),
        (Ok(end), Fault::Syntax { at, expected }) => {
            let message = syntax_message(&bytes[start..], at - start, expected, EVENT);
            (Reject::new(Code::InvalidJson, message), Some(end))
        }
        (Err(flaw), fault) => (broken(bytes, flaw, fault, of), None),
    };
    Judged { pulse: Err(reject), end }
}

/// Why an event without an end is refused: what was found on the way to it, or else `fault`.
fn broken(bytes: &[u8], flaw: Flaw, fault: Fault, of: &str) -> Reject {
    match (flaw, fault) {
        (_, Fault::Syntax { at, expected }) | (Flaw::Syntax { at, expected }, _) => {
            let message = syntax_message(bytes, at, expected, of);
            Reject::new(Code::InvalidJson, message)
        }
        (_, Fault::Judged(reject)) => reject,
    }
}

/// Where the value at `start` ends, for a value that need not be sound to have an end.
fn value_end(bytes: &[u8], start: usize) -> Result<usize, Flaw> {
    let mut scan = Scanner::lenient(bytes, start);
    scan.skip_value(RECOVERY_DEPTH_MAX).map(|()| scan.at())
}

#[cold]
fn event_too_large(bytes: usize) -> Reject {
    let message = format!("the event has {bytes} bytes; at most {EVENT_BYTES_MAX} are allowed");
    Reject::new(Code::EventTooLarge, message)
}

#[cold]
fn invalid_utf8(at: usize) -> Reject {
    Reject::new(Code::InvalidUtf8, format!("byte {at} of the event is not UTF-8"))
}

/// The events of a body, one by one as they are asked for.
#[derive(Debug)]
pub struct Decoder<'a> {
    shape: Shape,
    body: &'a [u8],
    /// The body, where all of it is UTF-8. Otherwise, and for lines, each event is checked alone.
    text: Option<&'a str>,
    at: usize,
    state: State,
    /// An array, or lines.
    is_batch: bool,
    events: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Lines,
    /// Before the body's first event.
    Start,
    /// Between objects that stand one behind the other.
    Row,
    /// Behind an array's bracket.
    ArrayStart,
    /// Behind an array's event.
    ArrayNext,
    /// Behind an array.
    ArrayEnd,
    Ended,
}

impl<'a> Decoder<'a> {
    /// Starts on a body. Checks its encoding; decodes nothing yet.
    pub fn new(shape: Shape, format: Format, body: &'a [u8]) -> Self {
        let (state, text) = match format {
            Format::Lines => (State::Lines, None),
            Format::Json => (State::Start, std::str::from_utf8(body).ok()),
        };
        let is_batch = format == Format::Lines;
        Self { shape, body, text, at: 0, state, is_batch, events: 0 }
    }

    /// Whether the body was exactly one event, neither in an array nor sent as lines: it is
    /// answered in the short form. Known once the iteration has ended.
    pub fn is_single(&self) -> bool {
        self.state == State::Ended && !self.is_batch && self.events == 1
    }

    /// Whether the body is one event, as far as can be known behind its first: the event stands in
    /// no array, was not sent as a line, and nothing is behind it.
    pub(crate) fn is_alone(&self) -> bool {
        let rest = self.body.get(self.at..).unwrap_or_default();
        let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
        self.events == 1 && !self.is_batch && rest.iter().all(is_space)
    }

    fn next_line(&mut self) -> Option<Decoded<'a>> {
        while let Some(rest) = self.body.get(self.at..).filter(|rest| !rest.is_empty()) {
            let length = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
            self.at += length + 1;
            let raw = trim(&rest[..length]);
            if !raw.is_empty() {
                return Some(Decoded { raw, pulse: decode_event(self.shape, raw) });
            }
        }
        None
    }

    /// Steps to the start of the next event of a JSON body; `None` when there is none.
    fn step(&mut self) -> Result<Option<usize>, Flaw> {
        let mut scan = Scanner::new(self.body, self.at);
        scan.space();
        if self.state == State::Start {
            self.is_batch = scan.take(b'[');
            self.state = if self.is_batch { State::ArrayStart } else { State::Row };
            scan.space();
        }
        let is_end = scan.peek().is_none();
        let ends = match self.state {
            State::Row | State::ArrayEnd if is_end => true,
            State::ArrayStart | State::ArrayNext if scan.take(b']') => {
                self.state = State::ArrayEnd;
                scan.space();
                scan.peek().is_none()
            }
            _ => false,
        };
        self.at = scan.at();
        match self.state {
            _ if ends => return Ok(None),
            State::ArrayEnd => return Err(scan.syntax("the end")),
            State::ArrayNext if !scan.take(b',') => return Err(scan.syntax("`,` or `]`")),
            _ => {}
        }
        scan.space();
        Ok(Some(scan.at()))
    }

    fn next_value(&mut self) -> Option<Decoded<'a>> {
        let judged = match self.step() {
            Ok(None) => return None,
            Ok(Some(start)) => {
                self.at = start;
                match self.text {
                    Some(text) => judge(self.shape, text, start, BODY),
                    None => self.judge_bytes(start),
                }
            }
            Err(flaw) => self.no_event(flaw),
        };
        let start = self.at;
        let Some(end) = judged.end else { return Some(self.rest(judged.pulse)) };
        self.at = end;
        if self.is_batch {
            self.state = State::ArrayNext;
        }
        Some(Decoded { raw: &self.body[start..end], pulse: judged.pulse })
    }

    /// Judges an event of a body that is not UTF-8 in all of its parts.
    #[cold]
    fn judge_bytes(&self, start: usize) -> Judged<'a> {
        match value_end(self.body, start) {
            Ok(end) => {
                let raw = &self.body[start..end];
                Judged { pulse: decode_event(self.shape, raw), end: Some(end) }
            }
            Err(flaw) => self.no_event(flaw),
        }
    }

    #[cold]
    fn no_event(&self, flaw: Flaw) -> Judged<'a> {
        let rest = &self.body[self.at..];
        let reject = match (flaw, std::str::from_utf8(rest)) {
            (Flaw::Syntax { at, .. }, Err(error)) if self.at + error.valid_up_to() <= at => {
                invalid_utf8(error.valid_up_to())
            }
            (flaw, _) => broken(self.body, flaw, *Box::<Fault>::from(flaw), BODY),
        };
        Judged { pulse: Err(reject), end: None }
    }

    /// The last event: nobody knows where it ends.
    #[cold]
    fn rest(&mut self, pulse: Result<Pulse<'a>, Reject>) -> Decoded<'a> {
        let raw = &self.body[self.at..];
        self.at = self.body.len();
        self.state = State::Ended;
        let pulse = pulse.map_err(|mut reject| {
            reject.message.push_str("; nothing behind it was read");
            reject
        });
        Decoded { raw, pulse }
    }
}

impl<'a> Iterator for Decoder<'a> {
    type Item = Decoded<'a>;

    #[inline]
    fn next(&mut self) -> Option<Decoded<'a>> {
        let decoded = match self.state {
            State::Ended => None,
            State::Lines => self.next_line(),
            _ => self.next_value(),
        };
        match decoded {
            Some(_) => self.events += 1,
            None => self.state = State::Ended,
        }
        decoded
    }
}

/// Without JSON's whitespace around it.
fn trim(line: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r');
    let start = line.iter().position(|byte| !is_space(byte)).unwrap_or(line.len());
    let end = line.iter().rposition(|byte| !is_space(byte)).map_or(start, |last| last + 1);
    &line[start..end]
}
