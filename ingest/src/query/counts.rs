//! Windowed counts: what is asked, and how minutes become the buckets of an answer.

use std::collections::BTreeMap;

use crate::code::Reject;
use crate::store::{Count, CountQuery};
use crate::text::write_string;

use super::answer::write_time;
use super::parameters::{Parameters, invalid};

/// The unit in which pulses are counted.
const MINUTE_MS: i64 = 60_000;
/// Window when none is given.
const WINDOW_MS_DEFAULT: i64 = 5 * MINUTE_MS;
/// Longest window: 31 days of minutes are what one answer is willing to add up.
const WINDOW_MS_MAX: i64 = 31 * 24 * 60 * MINUTE_MS;
/// Most buckets of a series: a point for each pixel of a wide chart.
const BUCKETS_MAX: i64 = 1_500;

/// What `GET /v1/counts` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts {
    /// Which minutes.
    pub query: CountQuery,
    /// Length of a bucket of the series, in milliseconds; `None`: no series.
    pub step_ms: Option<i64>,
}

/// Reads `?window=5m&from=&to=&step=&by=kind`. `to` is now unless given, and the window ends
/// there; `from` takes the window's place. Both ends are widened to whole minutes.
pub fn parse(tenant: &str, query: Option<&str>, now_ms: i64) -> Result<Counts, Reject> {
    let names = ["window", "from", "to", "step", "by"];
    let mut parameters = Parameters::parse(query.unwrap_or_default(), names)?;
    if parameters.take("by").is_some_and(|by| by != "kind") {
        return Err(invalid("by", "must be kind"));
    }
    let window = duration(parameters.take("window").as_deref(), "window")?;
    let to = parameters.time("to")?.unwrap_or(now_ms);
    let from = match (parameters.time("from")?, window) {
        (Some(_), Some(_)) => return Err(invalid("window", "can't be given together with from")),
        (Some(from), None) => from,
        (None, window) => to - window.unwrap_or(WINDOW_MS_DEFAULT),
    };
    let from_ms = from.div_euclid(MINUTE_MS) * MINUTE_MS;
    let to_ms = (to + MINUTE_MS - 1).div_euclid(MINUTE_MS) * MINUTE_MS;
    if from > to || to_ms - from_ms > WINDOW_MS_MAX + MINUTE_MS {
        let name = if window.is_some() { "window" } else { "from" };
        return Err(invalid(name, "must be before the end of the range, by 31 days at most"));
    }
    let step_ms = duration(parameters.take("step").as_deref(), "step")?;
    if step_ms.is_some_and(|step| (to_ms - from_ms) / step > BUCKETS_MAX) {
        return Err(invalid("step", &format!("must divide it into at most {BUCKETS_MAX} buckets")));
    }
    let query = CountQuery { tenant: tenant.to_owned(), from_ms, to_ms };
    Ok(Counts { query, step_ms })
}

/// A whole number of minutes, hours or days: `5m`, `2h`, `7d`.
fn duration(text: Option<&str>, name: &str) -> Result<Option<i64>, Reject> {
    let Some(text) = text else { return Ok(None) };
    let wrong = || invalid(name, "must be a number with m, h or d, such as 5m; at most 31d");
    let unit_ms = match text.as_bytes().last() {
        Some(b'm') => MINUTE_MS,
        Some(b'h') => 60 * MINUTE_MS,
        Some(b'd') => 24 * 60 * MINUTE_MS,
        _ => return Err(wrong()),
    };
    let digits = &text[..text.len() - 1];
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    digits
        .parse::<i64>()
        .ok()
        .and_then(|number| number.checked_mul(unit_ms))
        .filter(|length| (1..=WINDOW_MS_MAX).contains(length))
        .map(Some)
        .ok_or_else(wrong)
}

/// Writes `{"from":…,"to":…,"counts":[{"kind","pulses"}],"total":n}`, with a `series` of the
/// same when a step was asked for. Buckets without pulses are left out.
pub fn write(out: &mut Vec<u8>, asked: &Counts, counts: &[Count]) {
    out.push(b'{');
    let CountQuery { from_ms, to_ms, .. } = asked.query;
    write_bucket(out, from_ms, to_ms, counts);
    if let Some(step_ms) = asked.step_ms {
        out.extend_from_slice(b",\"series\":[");
        let bucket_of = |count: &Count| (count.minute_ms - from_ms).div_euclid(step_ms);
        let mut buckets = counts.chunk_by(|a, b| bucket_of(a) == bucket_of(b)).peekable();
        while let Some(bucket) = buckets.next() {
            let start = from_ms + bucket_of(&bucket[0]) * step_ms;
            out.push(b'{');
            write_bucket(out, start, (start + step_ms).min(to_ms), bucket);
            out.extend_from_slice(if buckets.peek().is_some() { b"}," } else { b"}" });
        }
        out.push(b']');
    }
    out.push(b'}');
}

fn write_bucket(out: &mut Vec<u8>, from_ms: i64, to_ms: i64, counts: &[Count]) {
    let mut kinds = BTreeMap::<&str, u64>::new();
    for count in counts {
        *kinds.entry(&count.kind).or_default() += count.pulses;
    }
    out.extend_from_slice(b"\"from\":");
    write_time(out, from_ms);
    out.extend_from_slice(b",\"to\":");
    write_time(out, to_ms);
    out.extend_from_slice(b",\"counts\":[");
    for (place, (kind, pulses)) in kinds.iter().enumerate() {
        out.extend_from_slice(if place > 0 { b",{\"kind\":" } else { b"{\"kind\":" });
        write_string(out, kind);
        out.extend_from_slice(b",\"pulses\":");
        out.extend_from_slice(itoa::Buffer::new().format(*pulses).as_bytes());
        out.push(b'}');
    }
    out.extend_from_slice(b"],\"total\":");
    out.extend_from_slice(itoa::Buffer::new().format(kinds.values().sum::<u64>()).as_bytes());
}
