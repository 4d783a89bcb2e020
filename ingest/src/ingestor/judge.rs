//! From a request's body to frames: every event judged alone, its id fixed, what was accepted
//! laid out for the log. No waiting and no I/O.

use std::ops::Range;

use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_128;

use crate::code::{Code, Reject};
use crate::decode::Decoder;
use crate::decode::time::check_event_time;
use crate::log::frame::{Entry, Envelope, FrameBuilder};
use crate::pulse::{BATCH_EVENTS_MAX, Pulse};
use crate::reservation::Fixed;
use crate::retention::{ClassNumber, RetentionClasses};
use crate::store::Store;
use crate::submission::{EventError, Submission};
use crate::tenant::Tenant;

use super::check::{Failure, check};
use super::enrich::Enrichment;
use super::identity::{Names, new_id};

/// What judging needs beside the request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules<'a> {
    /// Now, in microseconds since 1970.
    pub(super) now_us: i64,
    /// How old an event may be, in milliseconds.
    pub(super) retention_ms: i64,
    /// The class of the rows.
    pub(super) class: ClassNumber,
    /// The classes that there are beside the default one.
    pub(super) classes: &'a RetentionClasses,
    /// Says how rows are spread.
    pub(super) store: Option<&'a dyn Store>,
}

impl Rules<'_> {
    /// The same with what the tenant's retention class says.
    fn of(self, tenant: &Tenant) -> Self {
        let Some(class) = self.classes.find(&tenant.retention_class) else { return self };
        let retention_ms = i64::try_from(class.retention.as_millis()).unwrap_or(i64::MAX);
        Self { retention_ms, class: class.number, ..self }
    }

    fn shard(self, tenant: &str, pulse: &Pulse<'_>, event_time_ms: i64, raw: &[u8]) -> u16 {
        let spread =
            |store: &dyn Store| store.shard_of(tenant, &pulse.service, event_time_ms, raw.len());
        self.class.with_spread(self.store.map_or(0, spread))
    }
}

/// An event that its client named, and that therefore needs a reservation before its frame.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) index: usize,
    pub(super) names: Names,
    /// What its reservation will hold, and its record.
    pub(super) fixed: Fixed,
    pub(super) service: String,
    pub(super) kind: String,
    /// Why it is to be a dead letter.
    pub(super) refused: Option<String>,
    /// Where in the body it lies.
    pub(super) range: Range<usize>,
}

/// An event that may be accepted.
struct Good<'a> {
    raw: &'a [u8],
    pulse: Pulse<'a>,
    event_time_ms: i64,
    shard: u16,
    /// Why it is to be a dead letter.
    refused: Option<String>,
}

impl<'a> Good<'a> {
    /// Its frame, where its client did not name it.
    fn entry<'e>(&'e self, id: Uuid, raw: &'e [u8]) -> Entry<'e> {
        Entry {
            id,
            event_time_ms: self.event_time_ms,
            shard: self.shard,
            service: &self.pulse.service,
            kind: &self.pulse.kind,
            key: None,
            body_hash: None,
            refused: self.refused.as_deref(),
            raw,
        }
    }

    fn named(self, index: usize, names: Names, now_us: i64, range: Range<usize>) -> Named {
        let fixed = Fixed {
            id: names.id,
            event_time_ms: self.event_time_ms,
            received_at_us: now_us,
            body_hash: xxh3_128(self.raw),
            shard: self.shard,
        };
        let (service, kind) = (self.pulse.service.into(), self.pulse.kind.into());
        Named { index, names, fixed, service, kind, refused: self.refused, range }
    }
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
    /// What was not as a schema has it.
    pub(super) failures: Vec<Failure>,
}

/// Judges all events of a request; those that are good and unnamed are put into `frames`.
pub(super) fn judge(
    rules: Rules<'_>,
    submission: &Submission<'_>,
    frames: &mut Vec<u8>,
) -> Result<Judged, Reject> {
    let mut judged = Judged::default();
    let rules = rules.of(submission.tenant);
    let tenant = &*submission.tenant.name;
    let envelope = envelope(rules, submission);
    let mut enrichment = Enrichment::of(submission.tenant);
    let mut builder = FrameBuilder::new(frames, &envelope);
    let mut decoder = Decoder::new(submission.shape, submission.format, submission.body);
    while let Some(decoded) = decoder.next() {
        let index = judged.events;
        if index == BATCH_EVENTS_MAX {
            return Err(Code::BatchTooLong.into());
        }
        judged.events += 1;
        let raw = decoded.raw;
        let good = decoded.pulse.and_then(|pulse| {
            let event_time_ms = event_time(rules, &pulse)?;
            let refused = check(submission, &mut enrichment, (raw, &pulse), &mut judged.failures)?;
            let shard = rules.shard(tenant, &pulse, event_time_ms, raw);
            Ok(Good { raw, pulse, event_time_ms, shard, refused })
        });
        let id = match good {
            Err(reject) => {
                judged.errors.push(EventError { index, reject });
                None
            }
            Ok(good) => {
                let key = submission.idempotency_key;
                let place = (!decoder.is_alone()).then_some(index);
                let id = match Names::of(tenant, &good.pulse, key, place) {
                    None => {
                        let id = new_id(rules.now_us);
                        let raw = enrichment.apply(raw);
                        builder.push_in(&envelope, &good.entry(id, raw));
                        id
                    }
                    Some(names) => {
                        let id = names.id;
                        let range = range_in(submission.body, raw);
                        judged.named.push(good.named(index, names, rules.now_us, range));
                        id
                    }
                };
                Some(id)
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

/// Puts named events, whose reservations are held, into frames of their own, with what the
/// reservations have fixed.
pub(super) fn frame_named<'n>(
    rules: Rules<'_>,
    submission: &Submission<'_>,
    named: impl Iterator<Item = &'n Named>,
    frames: &mut Vec<u8>,
) -> u64 {
    let envelope = envelope(rules, submission);
    let mut enrichment = Enrichment::of(submission.tenant);
    let mut builder = FrameBuilder::new(frames, &envelope);
    for event in named {
        let raw = &submission.body[event.range.clone()];
        let entry = Entry {
            id: event.fixed.id,
            event_time_ms: event.fixed.event_time_ms,
            shard: event.fixed.shard,
            service: &event.service,
            kind: &event.kind,
            key: event.names.key.as_deref(),
            body_hash: Some(event.fixed.body_hash),
            refused: event.refused.as_deref(),
            raw: enrichment.apply(raw),
        };
        builder.push_in(&envelope, &entry);
    }
    builder.finish()
}

fn envelope<'a>(rules: Rules<'_>, submission: &Submission<'a>) -> Envelope<'a> {
    Envelope {
        tenant: &submission.tenant.name,
        shape: submission.shape,
        received_at_us: rules.now_us,
        trace: submission.trace,
    }
}

fn event_time(rules: Rules<'_>, pulse: &Pulse<'_>) -> Result<i64, Reject> {
    let now_ms = rules.now_us / 1000;
    match pulse.event_time_ms {
        None => Ok(now_ms),
        Some(time) => check_event_time(time, now_ms, rules.retention_ms).map(|()| time),
    }
}

/// Where in the body a part of it lies.
fn range_in(body: &[u8], part: &[u8]) -> Range<usize> {
    let start = part.as_ptr().addr() - body.as_ptr().addr();
    start..start + part.len()
}
