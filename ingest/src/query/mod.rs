//! What a request's parameters mean, and the JSON of query answers. Pure: neither asks a store
//! nor knows a server. Strict: an unknown, repeated or malformed parameter is refused by name.

pub mod answer;
pub mod counts;
pub mod cursor;
pub mod erasures;
pub mod letters;
pub mod life;
#[cfg(test)]
mod life_tests;
mod parameters;
pub mod search;

use crate::code::Reject;
use crate::pulse::{EVENT_TIME_AHEAD_MS_MAX, KEY_BYTES_MAX, NAME_BYTES_MAX};
use crate::store::{PAGE_ROWS_MAX, PulseQuery};
use crate::submission::Ack;

use parameters::{Parameters, invalid};

/// Rows of a page when no limit is given.
pub const PAGE_ROWS_DEFAULT: usize = 100;

/// The parameters of a submission.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Submit {
    /// The level that was asked for.
    pub ack: Option<Ack>,
    /// Whether each event's id is asked for.
    pub ids: bool,
}

/// Reads `?ack=memory|durable|stored&ids=true|false`.
pub fn submit(query: Option<&str>) -> Result<Submit, Reject> {
    let Some(query) = query else { return Ok(Submit::default()) };
    let mut parameters = Parameters::parse(query, ["ack", "ids"])?;
    let ack = match parameters.take("ack") {
        None => None,
        Some(name) => Some(
            Ack::from_name(&name)
                .ok_or_else(|| invalid("ack", "must be memory, durable or stored"))?,
        ),
    };
    let ids = match parameters.take("ids").as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(invalid("ids", "must be true or false")),
    };
    Ok(Submit { ack, ids })
}

/// Refuses every parameter.
pub fn none(query: Option<&str>) -> Result<(), Reject> {
    Parameters::parse(query.unwrap_or_default(), []).map(drop)
}

/// What `GET /v1/pulses` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pulses {
    /// Rows of a service.
    Page(Page),
    /// The one pulse that was accepted under an idempotency key.
    Key(String),
}

/// A page of a service's rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Which rows are looked at; its limit is how many are wanted.
    pub query: PulseQuery,
    /// Only these of them.
    pub kind: Option<String>,
    /// What the next page's cursor must carry.
    pub mark: u64,
}

/// Reads `?service=&kind=&from=&to=&limit=&cursor=`, or `?idempotency_key=` alone. Without `from`
/// it begins with the oldest row, without `to` it ends with the newest.
pub fn pulses(tenant: &str, query: Option<&str>, now_ms: i64) -> Result<Pulses, Reject> {
    let names = ["service", "kind", "from", "to", "limit", "cursor", "idempotency_key"];
    let mut parameters = Parameters::parse(query.unwrap_or_default(), names)?;
    if let Some(key) = parameters.take("idempotency_key") {
        parameters.refuse_rest("can't be given together with idempotency_key")?;
        return Ok(Pulses::Key(bounded("idempotency_key", key.into(), KEY_BYTES_MAX)?));
    }
    let service = parameters.take("service").ok_or_else(|| invalid("service", "is required"))?;
    let service = bounded("service", service.into(), NAME_BYTES_MAX)?;
    let kind = parameters.take("kind");
    let kind = kind.map(|kind| bounded("kind", kind.into(), NAME_BYTES_MAX)).transpose()?;
    let from = parameters.time("from")?;
    let to = parameters.time("to")?;
    let mark = cursor::mark(tenant, &service, kind.as_deref(), (from, to));
    let after = match parameters.take("cursor") {
        None => None,
        Some(text) => Some(
            cursor::decode(&text, mark)
                .ok_or_else(|| invalid("cursor", "is not of this query; begin without one"))?,
        ),
    };
    let limit = limit(parameters.take("limit").as_deref())?;
    let from_ms = from.unwrap_or(0);
    let to_ms = to.unwrap_or(now_ms + EVENT_TIME_AHEAD_MS_MAX + 1);
    if from.is_some() && from_ms > to_ms {
        return Err(invalid("from", "is after the end of the range"));
    }
    let tenant = tenant.to_owned();
    let query = PulseQuery { tenant, service, from_ms, to_ms, limit, after };
    Ok(Pulses::Page(Page { query, kind, mark }))
}

fn limit(text: Option<&str>) -> Result<usize, Reject> {
    let Some(text) = text else { return Ok(PAGE_ROWS_DEFAULT) };
    text.parse()
        .ok()
        .filter(|limit| (1..=PAGE_ROWS_MAX).contains(limit))
        .ok_or_else(|| invalid("limit", &format!("must be a number from 1 to {PAGE_ROWS_MAX}")))
}

/// Reads the last segment of `/v1/pulses/{id}`: a UUID, or the text that the client sent as
/// `event_id`.
pub fn event_id(segment: &str) -> Result<String, Reject> {
    let text = parameters::decode(segment, false)
        .ok_or_else(|| invalid("id", "must be percent-encoded UTF-8"))?;
    bounded("id", text.into_owned(), KEY_BYTES_MAX)
}

fn bounded(name: &str, text: String, bytes_max: usize) -> Result<String, Reject> {
    if text.is_empty() || text.len() > bytes_max {
        return Err(invalid(name, &format!("must be 1 to {bytes_max} bytes long")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
