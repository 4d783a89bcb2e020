//! From a request's body to frames: every event judged alone, its id fixed, what was accepted
//! laid out for the log. No waiting and no I/O.

use std::ops::Range;

use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_128;

use crate::code::{Code, Reject};
use crate::decode::time::check_event_time;
use crate::decode::{Decoder, decode_event};
use crate::log::frame::{Entry, Envelope, FrameBuilder};
use crate::pulse::{BATCH_EVENTS_MAX, Pulse};
use crate::submission::{EventError, Submission};

use super::identity::{Names, new_id};

/// What judging needs beside the request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// Now, in microseconds since 1970.
    pub(super) now_us: i64,
    /// How old an event may be, in milliseconds.
    pub(super) retention_ms: i64,
}

/// An event that its client named, and that therefore needs a reservation before its frame.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) index: usize,
    pub(super) names: Names,
    pub(super) event_time_ms: i64,
    pub(super) body_hash: u128,
    /// Where in the body it lies.
    pub(super) range: Range<usize>,
}

/// What became of a request's events.
#[derive(Debug, Default)]
pub(super) struct Judged {
    /// How many events there were.
    pub(super) events: usize,
    /// How many are in the frames.
    pub(super) framed: u64,
    /// Whether the body was one single object.
    pub(super) single: bool,
    pub(super) ids: Vec<Option<Uuid>>,
    pub(super) errors: Vec<EventError>,
    pub(super) named: Vec<Named>,
}

/// Judges all events of a request; those that are good and unnamed are put into `frames`.
pub(super) fn judge(
    rules: Rules,
    submission: &Submission<'_>,
    frames: &mut Vec<u8>,
) -> Result<Judged, Reject> {
    let mut judged = Judged::default();
    let place_matters = submission.idempotency_key.is_some() && holds_several(submission);
    let envelope = envelope(rules, submission);
    let mut builder = FrameBuilder::new(frames, &envelope);
    let mut decoder = Decoder::new(submission.shape, submission.format, submission.body);
    for (index, decoded) in decoder.by_ref().enumerate() {
        if index == BATCH_EVENTS_MAX {
            return Err(Code::BatchTooLong.into());
        }
        judged.events += 1;
        let good = decoded.pulse.and_then(|pulse| Ok((event_time(rules, &pulse)?, pulse)));
        let id = match good {
            Err(reject) => {
                judged.errors.push(EventError { index, reject });
                None
            }
            Ok((event_time_ms, pulse)) => {
                let key = submission.idempotency_key;
                match Names::of(submission.tenant, &pulse, key, place_matters.then_some(index)) {
                    None => {
                        let id = new_id(rules.now_us);
                        if builder.is_full() {
                            builder.roll(&envelope);
                        }
                        builder.push(&Entry {
                            id,
                            event_time_ms,
                            shard: 0,
                            service: &pulse.service,
                            kind: &pulse.kind,
                            key: None,
                            body_hash: None,
                            raw: decoded.raw,
                        });
                        Some(id)
                    }
                    Some(names) => {
                        let id = names.id;
                        let named = name(submission, index, names, event_time_ms, decoded.raw);
                        judged.named.push(named);
                        Some(id)
                    }
                }
            }
        };
        if submission.ids || index == 0 {
            judged.ids.push(id);
        }
    }
    judged.framed = builder.finish();
    judged.single = decoder.is_single();
    if judged.events == 0 { Err(Code::EmptyBody.into()) } else { Ok(judged) }
}

/// Puts named events, whose reservations are held, into frames of their own. `fixed` gives the
/// id and time that the reservation has for the event.
pub(super) fn frame_named<'n>(
    rules: Rules,
    submission: &Submission<'_>,
    named: impl Iterator<Item = &'n Named>,
    frames: &mut Vec<u8>,
) -> u64 {
    let envelope = envelope(rules, submission);
    let mut builder = FrameBuilder::new(frames, &envelope);
    for event in named {
        let raw = &submission.body[event.range.clone()];
        // It was decoded before and kept only by its place, since most requests name nothing
        // and the few that do need not hold all their events decoded at once.
        let Ok(pulse) = decode_event(submission.shape, raw) else { continue };
        if builder.is_full() {
            builder.roll(&envelope);
        }
        builder.push(&Entry {
            id: event.names.id,
            event_time_ms: event.event_time_ms,
            shard: 0,
            service: &pulse.service,
            kind: &pulse.kind,
            key: event.names.key.as_deref(),
            body_hash: Some(event.body_hash),
            raw,
        });
    }
    builder.finish()
}

fn envelope<'a>(rules: Rules, submission: &Submission<'a>) -> Envelope<'a> {
    Envelope {
        tenant: submission.tenant,
        shape: submission.shape,
        received_at_us: rules.now_us,
        trace: submission.trace,
    }
}

fn event_time(rules: Rules, pulse: &Pulse<'_>) -> Result<i64, Reject> {
    let now_ms = rules.now_us / 1000;
    match pulse.event_time_ms {
        None => Ok(now_ms),
        Some(time) => check_event_time(time, now_ms, rules.retention_ms).map(|()| time),
    }
}

fn name(
    submission: &Submission<'_>,
    index: usize,
    names: Names,
    event_time_ms: i64,
    raw: &[u8],
) -> Named {
    let start = raw.as_ptr().addr() - submission.body.as_ptr().addr();
    let range = start..start + raw.len();
    Named { index, names, event_time_ms, body_hash: xxh3_128(raw), range }
}

fn holds_several(submission: &Submission<'_>) -> bool {
    let mut decoder = Decoder::new(submission.shape, submission.format, submission.body);
    decoder.by_ref().take(2).count() > 1 || !decoder.is_single()
}
