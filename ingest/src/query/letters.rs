//! What is asked of dead letters and their replays, and the JSON of what is answered.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::code::{Code, Reject};
use crate::pulse::NAME_BYTES_MAX;
use crate::sink::dead_letter::{Filter, LetterPlace, SharedPlace};
use crate::sink::replay::{Behind, Listing, Order, Replay, Shown, ShownGroup};

use super::parameters::{Parameters, decode, invalid, time_ms};
use super::{bounded, limit};

/// Longest text that is looked for.
const TEXT_BYTES_MAX: usize = 256;
/// Most letters a second that can be asked for: far above what any store takes.
const RATE_MAX: u32 = 1_000_000;

/// Which page of letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letters {
    /// Which letters.
    pub filter: Filter,
    /// Behind which one.
    pub after: Option<Behind>,
    /// How many at most.
    pub limit: usize,
}

/// Reads `?reason=&kind=&service=&from=&to=&text=&limit=&cursor=`.
pub fn page(tenant: &str, query: Option<&str>) -> Result<Letters, Reject> {
    let names = ["reason", "kind", "service", "from", "to", "text", "limit", "cursor"];
    let mut parameters = Parameters::parse(query.unwrap_or_default(), names)?;
    let mut text = |name: &str, bytes_max| {
        parameters.take(name).map(|text| bounded(name, text.into(), bytes_max)).transpose()
    };
    let mut filter = Filter {
        tenant: tenant.to_owned(),
        reason: text("reason", NAME_BYTES_MAX)?,
        kind: text("kind", NAME_BYTES_MAX)?,
        service: text("service", NAME_BYTES_MAX)?,
        text: text("text", TEXT_BYTES_MAX)?,
        from_ms: None,
        to_ms: None,
    };
    filter.from_ms = parameters.time("from")?;
    filter.to_ms = parameters.time("to")?;
    let after = match parameters.take("cursor") {
        None => None,
        Some(text) => Some(
            read_cursor(&text, mark(&filter))
                .ok_or_else(|| invalid("cursor", "is not of this query; begin without one"))?,
        ),
    };
    Ok(Letters { filter, after, limit: limit(parameters.take("limit").as_deref())? })
}

/// The id in a path.
pub fn id(segment: &str) -> Result<Uuid, Reject> {
    let text = decode(segment, false).unwrap_or_default();
    // What is no id of ours is nothing that there is.
    Uuid::try_parse(&text).map_err(|_| Code::NotFound.into())
}

/// What a replay is asked with.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Asked {
    reason: Option<String>,
    kind: Option<String>,
    service: Option<String>,
    from: Option<Value>,
    to: Option<Value>,
    text: Option<String>,
    dry_run: bool,
    rate: Option<u32>,
}

/// Reads the body of `POST /v1/replays`.
pub fn order(tenant: &str, by: Option<&str>, body: &[u8]) -> Result<Order, Reject> {
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(Reject::new(Code::NotAnObject, "the body must be a JSON object"));
    }
    let asked: Asked = serde_json::from_slice(body)
        .map_err(|error| Reject::new(Code::InvalidJson, format!("the body: {error}")))?;
    if asked.rate.is_some_and(|rate| !(1..=RATE_MAX).contains(&rate)) {
        return Err(invalid("rate", &format!("must be a number from 1 to {RATE_MAX}")));
    }
    let text = |name: &str, text: Option<String>, bytes_max| {
        text.map(|text| bounded(name, text, bytes_max)).transpose()
    };
    let filter = Filter {
        tenant: tenant.to_owned(),
        reason: text("reason", asked.reason, NAME_BYTES_MAX)?,
        kind: text("kind", asked.kind, NAME_BYTES_MAX)?,
        service: text("service", asked.service, NAME_BYTES_MAX)?,
        text: text("text", asked.text, TEXT_BYTES_MAX)?,
        from_ms: time("from", asked.from)?,
        to_ms: time("to", asked.to)?,
    };
    let by = by.map(str::to_owned);
    Ok(Order { filter, only: None, dry_run: asked.dry_run, rate: asked.rate, by })
}

fn time(name: &str, value: Option<Value>) -> Result<Option<i64>, Reject> {
    let Some(value) = value else { return Ok(None) };
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let wrong = || invalid(name, "must be an RFC 3339 time or milliseconds since 1970");
    time_ms(&text).map(Some).ok_or_else(wrong)
}

#[derive(Debug, Serialize)]
struct LetterJson<'a> {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pulse_id: Option<String>,
    tenant: &'a str,
    sink: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'a str>,
    reason: &'a str,
    stage: &'a str,
    error: &'a str,
    attempts: u32,
    first_at: String,
    last_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    received_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    history: Option<Vec<AttemptJson<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
}

#[derive(Debug, Serialize)]
struct AttemptJson<'a> {
    at: String,
    rows: usize,
    error: &'a str,
}

impl<'a> LetterJson<'a> {
    /// A letter, with its bytes and history if it is `whole`.
    fn new(shown: &'a Shown, whole: bool) -> Self {
        let letter = &shown.letter;
        let record = letter.record();
        let attempts = letter.history.iter().map(|attempt| AttemptJson {
            at: time_us(attempt.at_us),
            rows: attempt.rows,
            error: &attempt.message,
        });
        let body = |raw: &[u8]| String::from_utf8_lossy(raw).into_owned();
        Self {
            id: shown.id.to_string(),
            pulse_id: record.map(|record| record.entry.id.to_string()),
            tenant: &letter.tenant,
            sink: &letter.sink,
            service: record.map(|record| record.entry.service),
            kind: record.map(|record| record.entry.kind),
            reason: &letter.code,
            stage: &letter.stage,
            error: &letter.message,
            attempts: letter.attempts,
            first_at: time_us(letter.first_at_us),
            last_at: time_us(letter.last_at_us),
            event_time: record.map(|record| time_text(record.entry.event_time_ms)),
            received_at: record.map(|record| time_us(record.envelope.received_at_us)),
            history: whole.then(|| attempts.collect()),
            body: record.filter(|_| whole).map(|record| body(record.entry.raw)),
        }
    }
}

/// `{"dead_letters":[…],"next":cursor or null,"complete":true}`.
pub fn page_json(asked: &Letters, page: &Listing) -> Vec<u8> {
    let letters: Vec<_> = page.letters.iter().map(|shown| LetterJson::new(shown, false)).collect();
    let next = page.next.as_ref().map(|behind| write_cursor(behind, mark(&asked.filter)));
    let complete = page.complete;
    json(&serde_json::json!({ "dead_letters": letters, "next": next, "complete": complete }))
}

/// Letters as a page has them.
pub(super) fn values(letters: &[Shown]) -> Vec<Value> {
    let value = |shown| serde_json::to_value(LetterJson::new(shown, false)).unwrap_or_default();
    letters.iter().map(value).collect()
}

/// One letter with its bytes and history.
pub fn letter_json(shown: &Shown) -> Vec<u8> {
    json(&LetterJson::new(shown, true))
}

/// `{"groups":[{"reason","count","sample"}],"complete":true}`.
pub fn groups_json(groups: &[ShownGroup], complete: bool) -> Vec<u8> {
    let group = |group: &ShownGroup| {
        let sample = group.sample.as_ref().map(|shown| LetterJson::new(shown, true));
        serde_json::json!({ "reason": group.reason, "count": group.count, "sample": sample })
    };
    let groups: Vec<_> = groups.iter().map(group).collect();
    json(&serde_json::json!({ "groups": groups, "complete": complete }))
}

/// One replay.
pub fn replay_json(replay: &Replay) -> Vec<u8> {
    json(&replay_value(replay))
}

/// `{"replays":[…]}`, the newest first.
pub fn replays_json(replays: &[Replay]) -> Vec<u8> {
    let replays: Vec<_> = replays.iter().map(replay_value).collect();
    json(&serde_json::json!({ "replays": replays }))
}

fn replay_value(replay: &Replay) -> Value {
    let Replay { id, order, phase, letters, looked_at, counts, sample, .. } = replay;
    let Filter { tenant: _, reason, kind, service, from_ms, to_ms, text: sought } = &order.filter;
    let filter = serde_json::json!({
        "reason": reason, "kind": kind, "service": service, "text": sought,
        "from": from_ms.map(time_text), "to": to_ms.map(time_text), "id": order.only.map(text),
    });
    let given = |(_, value): &(String, Value)| !value.is_null();
    let filter: Value = match filter {
        Value::Object(fields) => Value::Object(fields.into_iter().filter(given).collect()),
        other => other,
    };
    serde_json::json!({
        "id": text(*id),
        "state": phase.as_str(),
        "dry_run": order.dry_run,
        "filter": filter,
        "rate": order.rate,
        "asked_by": order.by,
        "created_at": time_us(replay.created_at_us),
        "ended_at": replay.ended_at_us.map(time_us),
        "progress": { "letters": letters, "looked_at": looked_at },
        "counts": counts,
        "sample": sample.iter().map(|id| text(*id)).collect::<Vec<_>>(),
    })
}

/// The answer to an edited pulse that took a letter's place.
pub fn edited_json(id: Option<Uuid>, from: Option<Uuid>, letter: Uuid) -> Vec<u8> {
    json(&serde_json::json!({
        "id": id.map(text), "edited_from": from.map(text), "dead_letter": text(letter),
    }))
}

fn text(id: Uuid) -> String {
    id.to_string()
}

pub(super) fn json(value: &impl Serialize) -> Vec<u8> {
    // Nothing here has a key that is no text, which alone can fail.
    serde_json::to_vec(value).unwrap_or_default()
}

pub(super) fn time_us(time_us: i64) -> String {
    time_text(time_us.div_euclid(1000))
}

fn time_text(time_ms: i64) -> String {
    Timestamp::from_millisecond(time_ms).map_or_else(|_| String::new(), |time| format!("{time:.3}"))
}

/// What tells queries apart: everything but the limit, which may change from page to page.
fn mark(filter: &Filter) -> u64 {
    xxhash_rust::xxh3::xxh3_64(&json(filter))
}

pub(super) fn write_cursor(behind: &Behind, mark: u64) -> String {
    match behind {
        Behind::Here(place) => format!("{mark:016x}{:016x}{:08x}", place.segment, place.offset),
        Behind::Shared(SharedPlace { at_ms, group, sink, log, seq }) => {
            let log = log.simple();
            format!("{mark:016x}s{at_ms:016x}{group:04x}{log}{seq:016x}{sink}")
        }
    }
}

pub(super) fn read_cursor(text: &str, expected: u64) -> Option<Behind> {
    let (begin, rest) = text.split_at_checked(16)?;
    if let Some(place) = rest.strip_prefix('s') {
        let place = read_shared(place)?;
        let mark = u64::from_str_radix(begin, 16).ok()?;
        return (mark == expected).then_some(Behind::Shared(place));
    }
    if text.len() != 40 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let number = |from: usize, to: usize| u64::from_str_radix(&text[from..to], 16).ok();
    let (mark, segment, offset) = (number(0, 16)?, number(16, 32)?, number(32, 40)?);
    let place = LetterPlace { segment, offset: offset as u32 };
    (mark == expected).then_some(Behind::Here(place))
}

fn read_shared(text: &str) -> Option<SharedPlace> {
    let (at_ms, rest) = text.split_at_checked(16)?;
    let (group, rest) = rest.split_at_checked(4)?;
    let (log, rest) = rest.split_at_checked(32)?;
    let (seq, sink) = rest.split_at_checked(16)?;
    Some(SharedPlace {
        at_ms: i64::from_str_radix(at_ms, 16).ok()?,
        group: i16::from_str_radix(group, 16).ok()?,
        sink: sink.to_owned(),
        log: Uuid::try_parse(log).ok()?,
        seq: u64::from_str_radix(seq, 16).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_of_letters_says_what_it_means_and_refuses_the_rest_by_name() {
        let query = "reason=bad&kind=k&service=s&from=0&to=1970-01-01T00:00:01Z&text=x&limit=7";
        let asked = page("t", Some(query)).expect("valid");
        let filter = Filter {
            tenant: "t".into(),
            reason: Some("bad".into()),
            kind: Some("k".into()),
            service: Some("s".into()),
            from_ms: Some(0),
            to_ms: Some(1000),
            text: Some("x".into()),
        };
        assert_eq!(asked, Letters { filter, after: None, limit: 7 });
        for wrong in ["reason=", "limit=0", "cursor=x", "from=then", "other=1", "kind=a&kind=b"] {
            let refused = page("t", Some(wrong)).map_err(|reject| reject.code);
            assert_eq!(refused, Err(Code::InvalidParameter), "{wrong}");
        }
    }

    #[test]
    fn a_cursor_goes_on_with_its_own_query_alone() {
        let here = Behind::Here(LetterPlace { segment: u64::MAX, offset: 9 });
        let log = Uuid::from_u128(7);
        let place = SharedPlace { at_ms: 5, group: 9, sink: "store".into(), log, seq: u64::MAX };
        for behind in [here, Behind::Shared(place)] {
            let asked = page("t", Some("reason=bad")).expect("valid");
            let cursor = write_cursor(&behind, mark(&asked.filter));
            let next = page("t", Some(&format!("reason=bad&cursor={cursor}"))).expect("valid");
            assert_eq!(next.after, Some(behind));
            for (tenant, query) in [("u", "reason=bad"), ("t", "reason=worse"), ("t", "")] {
                let refused = page(tenant, Some(&format!("{query}&cursor={cursor}")));
                assert!(refused.is_err(), "{tenant} {query}");
            }
        }
    }

    #[test]
    fn a_replay_is_asked_for_in_strict_json() {
        let asked = order("t", Some("ops"), br#"{"kind":"k","from":5,"rate":100,"dry_run":true}"#);
        let asked = asked.expect("valid");
        assert_eq!((asked.rate, asked.dry_run), (Some(100), true));
        assert_eq!((asked.filter.kind.as_deref(), asked.filter.from_ms), (Some("k"), Some(5)));
        assert_eq!(order("t", None, b"{}").expect("all").filter, Filter::of("t"));
        for wrong in
            ["", "[]", "{\"knd\":1}", "{\"rate\":0}", "{\"from\":\"then\"}", "{\"text\":\"\"}"]
        {
            assert!(order("t", None, wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
