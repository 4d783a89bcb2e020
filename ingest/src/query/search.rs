//! What `GET /v1/search` asks for, and the JSON of its answer. Pure.

use serde_json::Value;
use xxhash_rust::xxh3::Xxh3;

use crate::code::Reject;
use crate::pulse::{EVENT_TIME_AHEAD_MS_MAX, KEY_BYTES_MAX, NAME_BYTES_MAX};
use crate::sink::replay::{Behind, Shown};
use crate::store::{Position, PulseQuery, Row};

use super::life::Step;
use super::parameters::{Parameters, invalid};
use super::{bounded, cursor, letters, limit};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Search {
    /// One pulse.
    One(One),
    /// The newest of a service.
    Recent(Recent),
}

/// One pulse by a name of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct One {
    /// The name.
    pub name: Name,
    /// Behind which letter its letters are looked for.
    pub after: Option<Behind>,
    mark: u64,
}

/// A name of a pulse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Name {
    /// Its id, the client's own text for it, or the id of a letter.
    Id(String),
    /// The idempotency key that it was accepted under.
    Key(String),
}

/// The newest pulses of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recent {
    /// Which are looked at; its limit is how many are wanted.
    pub query: PulseQuery,
    kind: Option<String>,
    status: Option<String>,
    user: Option<String>,
    mark: u64,
}

impl One {
    /// The cursor with which the search goes on behind a letter.
    pub fn cursor(&self, behind: &Behind) -> String {
        letters::write_cursor(behind, self.mark)
    }
}

impl Recent {
    /// Whether a row is one of those that are asked for.
    pub fn fits(&self, row: &Row) -> bool {
        let is = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
        };
        is(&self.kind, Some(&row.kind))
            && is(&self.status, row.status.as_deref())
            && is(&self.user, row.user.as_deref())
    }

    /// The cursor with which the search goes on behind a row.
    pub fn cursor(&self, position: Position) -> String {
        cursor::encode(position, self.mark)
    }
}

/// Reads `?id=`, `?idempotency_key=` (each with `&cursor=`), or
/// `?service=&kind=&status=&user=&from=&to=&limit=&cursor=`.
pub fn parse(tenant: &str, query: Option<&str>, now_ms: i64) -> Result<Search, Reject> {
    let names = [
        "id",
        "idempotency_key",
        "service",
        "kind",
        "status",
        "user",
        "from",
        "to",
        "limit",
        "cursor",
    ];
    let mut parameters = Parameters::parse(query.unwrap_or_default(), names)?;
    for (parameter, name) in
        [("id", Name::Id as fn(String) -> Name), ("idempotency_key", Name::Key)]
    {
        let Some(text) = parameters.take(parameter) else { continue };
        let text = bounded(parameter, text.into(), KEY_BYTES_MAX)?;
        let mark = mark(&[Some(tenant), Some(parameter), Some(&text)]);
        let after = match parameters.take("cursor") {
            None => None,
            Some(text) => Some(letters::read_cursor(&text, mark).ok_or_else(foreign)?),
        };
        parameters.refuse_rest(&format!("can't be given together with {parameter}"))?;
        return Ok(Search::One(One { name: name(text), after, mark }));
    }
    recent(tenant, &mut parameters, now_ms).map(Search::Recent)
}

fn recent(
    tenant: &str,
    parameters: &mut Parameters<'_, 10>,
    now_ms: i64,
) -> Result<Recent, Reject> {
    let mut text = |name: &str| {
        let text = parameters.take(name);
        text.map(|text| bounded(name, text.into(), NAME_BYTES_MAX)).transpose()
    };
    let why = "is required, or id, or idempotency_key";
    let service = text("service")?.ok_or_else(|| invalid("service", why))?;
    let (kind, status, user) = (text("kind")?, text("status")?, text("user")?);
    let (from, to) = (parameters.time("from")?, parameters.time("to")?);
    let times = [from, to].map(|time| time.map(|time| time.to_string()));
    let mark = mark(&[
        Some(tenant),
        Some("service"),
        Some(&service),
        kind.as_deref(),
        status.as_deref(),
        user.as_deref(),
        times[0].as_deref(),
        times[1].as_deref(),
    ]);
    let after = match parameters.take("cursor") {
        None => None,
        Some(text) => Some(cursor::decode(&text, mark).ok_or_else(foreign)?),
    };
    let limit = limit(parameters.take("limit").as_deref())?;
    let (from_ms, to_ms) = (from.unwrap_or(0), to.unwrap_or(now_ms + EVENT_TIME_AHEAD_MS_MAX + 1));
    if from.is_some() && from_ms > to_ms {
        return Err(invalid("from", "is after the end of the range"));
    }
    let tenant = tenant.to_owned();
    let query = PulseQuery { tenant, service, from_ms, to_ms, limit, after };
    Ok(Recent { query, kind, status, user, mark })
}

fn foreign() -> Reject {
    invalid("cursor", "is not of this query; begin without one")
}

/// What tells searches apart: everything but the limit.
fn mark(texts: &[Option<&str>]) -> u64 {
    let mut hash = Xxh3::new();
    for text in texts {
        let length = text.map_or(u64::MAX, |text| text.len() as u64);
        hash.update(&length.to_le_bytes());
        hash.update(text.unwrap_or_default().as_bytes());
    }
    hash.digest()
}

/// Writes `{"pulses":[…],"letters":[…],"next":…,"complete":…}`.
#[derive(Debug)]
pub struct Writer {
    out: Vec<u8>,
    pulses: usize,
}

impl Default for Writer {
    fn default() -> Self {
        Self { out: b"{\"pulses\":[".to_vec(), pulses: 0 }
    }
}

impl Writer {
    /// Adds a pulse with its line of life.
    pub fn push(&mut self, row: &Row, life: &[Step]) {
        if self.pulses > 0 {
            self.out.push(b',');
        }
        row.write_json(&mut self.out);
        // A row is an object with members.
        self.out.pop();
        self.out.extend_from_slice(b",\"life\":");
        // No key here is anything but text, which alone can fail.
        self.out.extend(serde_json::to_vec(life).unwrap_or_default());
        self.out.push(b'}');
        self.pulses += 1;
    }

    /// Pulses so far.
    pub fn pulses(&self) -> usize {
        self.pulses
    }

    /// Bytes so far.
    pub fn bytes(&self) -> usize {
        self.out.len()
    }

    /// Ends the answer. `complete`: nothing was left out but what `next` leads to in a full page.
    pub fn finish(mut self, shown: &[Shown], next: Option<String>, complete: bool) -> Vec<u8> {
        let rest = [
            (",\"letters\":", Value::Array(letters::values(shown))),
            (",\"next\":", next.into()),
            (",\"complete\":", complete.into()),
        ];
        self.out.push(b']');
        for (name, value) in rest {
            self.out.extend_from_slice(name.as_bytes());
            self.out.extend_from_slice(value.to_string().as_bytes());
        }
        self.out.push(b'}');
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::Code;

    #[test]
    fn a_search_says_what_it_means_and_refuses_the_rest_by_name() {
        let parsed = |query| parse("t", Some(query), 0).expect(query);
        let name = |query| match parsed(query) {
            Search::One(one) => Some(one.name),
            Search::Recent(_) => None,
        };
        assert_eq!(name("id=a%2Fb"), Some(Name::Id("a/b".into())));
        assert_eq!(name("idempotency_key=k"), Some(Name::Key("k".into())));
        let recent = recent_of("service=s&kind=k&status=ok&user=u&from=1&to=9&limit=3");
        assert_eq!((recent.query.from_ms, recent.query.to_ms, recent.query.limit), (1, 9, 3));
        let cases = [
            ("", "service"),
            ("id=", "id"),
            ("id=a&service=s", "service"),
            ("id=a&idempotency_key=b", "idempotency_key"),
            ("service=s&limit=0", "limit"),
            ("service=s&from=9&to=1", "from"),
            ("service=s&cursor=x", "cursor"),
            ("id=a&cursor=x", "cursor"),
            ("id=a&limit=1", "limit"),
            ("other=1", "other"),
        ];
        for (query, named) in cases {
            let reject = parse("t", Some(query), 0).expect_err(query);
            assert_eq!(reject.code, Code::InvalidParameter, "{query}");
            assert!(reject.message.contains(&format!("{named:?}")), "{query}: {}", reject.message);
        }
    }

    fn recent_of(query: &str) -> Recent {
        let Search::Recent(recent) = parse("t", Some(query), 0).expect(query) else {
            unreachable!("asked by service")
        };
        recent
    }

    #[test]
    fn a_cursor_goes_on_with_its_own_search_alone() {
        let recent = recent_of("service=s&kind=k");
        let position = Position { event_time_ms: 7, id: uuid::Uuid::from_u128(9) };
        let next = recent.cursor(position);
        let again = recent_of(&format!("service=s&kind=k&limit=5&cursor={next}"));
        assert_eq!(again.query.after, Some(position));
        let others = [("u", "service=s&kind=k"), ("t", "service=s&status=k"), ("t", "service=s")];
        for (tenant, query) in others {
            assert!(parse(tenant, Some(&format!("{query}&cursor={next}")), 0).is_err(), "{query}");
        }
    }
}
