//! `search`: pulses by id, by key or by what they are, each with its line of life.

use std::io;
use std::num::NonZeroU64;

use clap::{ArgGroup, Args};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::client::{Call, Client};
use crate::letters;
use crate::output::{Colour, Output, Table, one_line, pairs, plain, text};
use crate::pages::{Page, Pages, parse, rows};
use crate::target::Target;
use crate::{EXIT_NOTHING, EXIT_OK, EXIT_PARTLY, time};

/// Members of a step that have a place of their own.
const STEP_COLUMNS: [&str; 3] = ["at", "step", "sink"];

const EXAMPLES: &str = "\
Examples:
  pulsemesh search 019c1425-7c00-7d5e-9f0a-3b1f6f0c2a11
  pulsemesh search order-1
  pulsemesh search --key request-7
  pulsemesh search --service checkout --status failed --user u-7 --from 1h

An id is the one that was answered, the text that was sent as event_id, or that of a dead letter.
Each pulse is shown with its line of life: received, deduplicated, logged, stored by which sink,
or dead-lettered and replayed, and when.

With --json it is one document: pulses (each with life), letters, next, complete.
Exits with 4 when nothing is found, and with 3 when the answer is not complete.";

/// What is looked for: exactly one of an id, a key and a service.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
#[command(group(ArgGroup::new("sought").required(true).args(["id", "key", "service"])))]
pub(crate) struct SearchArguments {
    /// The id of a pulse or of a dead letter
    #[arg(value_name = "ID")]
    id: Option<String>,
    /// The idempotency key that it was sent with
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// The service, with any of the filters below
    #[arg(long, value_name = "SERVICE")]
    service: Option<String>,
    /// Only of this kind
    #[arg(long, value_name = "KIND", requires = "service")]
    kind: Option<String>,
    /// Only with this status
    #[arg(long, value_name = "TEXT", requires = "service")]
    status: Option<String>,
    /// Only about this user
    #[arg(long, value_name = "TEXT", requires = "service")]
    user: Option<String>,
    /// Event times from here on: RFC 3339, or how long ago
    #[arg(long, value_name = "TIME", value_parser = time::point, requires = "service")]
    from: Option<Timestamp>,
    /// Event times before this
    #[arg(long, value_name = "TIME", value_parser = time::point, requires = "service")]
    to: Option<Timestamp>,
    /// Most pulses
    #[arg(long, value_name = "NUMBER", default_value = "20", requires = "service")]
    limit: NonZeroU64,
}

/// Prints what is found.
///
/// # Errors
/// When the server refuses, or the output can't be written.
pub(crate) fn run(
    client: &Client,
    arguments: &SearchArguments,
    out: &mut Output,
) -> anyhow::Result<u8> {
    let found = &find(client, arguments)?;
    let Found { pulses, letters, complete, .. } = found;
    let nothing = pulses.is_empty() && letters.is_empty();
    if out.json {
        let text = serde_json::to_string(found)?;
        out.line(&one_line(&text))?;
    } else {
        for pulse in pulses {
            print(&parse(pulse), out)?;
        }
        let letters: Vec<Value> = letters.iter().map(|letter| parse(letter)).collect();
        letters::print(&letters, out)?;
        let missing = if *complete { "" } else { "the answer is not complete: ask again, or less" };
        let none = if nothing { "there is no such pulse or letter" } else { "" };
        for text in [none, missing].into_iter().filter(|text| !text.is_empty()) {
            // The exit code says it too.
            let _ = io::Write::write_all(&mut io::stderr(), format!("{text}\n").as_bytes());
        }
    }
    Ok(match (*complete, nothing) {
        (false, _) => EXIT_PARTLY,
        (true, true) => EXIT_NOTHING,
        (true, false) => EXIT_OK,
    })
}

fn find(client: &Client, arguments: &SearchArguments) -> anyhow::Result<Found> {
    let SearchArguments { id, key, service, kind, status, user, from, to, limit } = arguments;
    let target = Target::new("/v1/search")
        .with_some("id", id.as_ref())
        .with_some("idempotency_key", key.as_ref())
        .with_some("service", service.as_ref())
        .with_some("kind", kind.as_ref())
        .with_some("status", status.as_ref())
        .with_some("user", user.as_ref())
        .with_some("from", *from)
        .with_some("to", *to);
    let mut found = Found { complete: true, ..Found::default() };
    if service.is_none() {
        found.take(&Page::ask(client, &Call::get(target))?);
        return Ok(found);
    }
    let mut pages = Pages::new(client, target);
    while let Some(page) = pages.next(limit.get().saturating_sub(found.pulses.len() as u64))? {
        found.take(&page);
    }
    Ok(found)
}

/// All pages as one document.
#[derive(Debug, Default, Serialize)]
struct Found {
    pulses: Vec<Box<RawValue>>,
    letters: Vec<Box<RawValue>>,
    next: Value,
    complete: bool,
}

impl Found {
    fn take(&mut self, page: &Page) {
        self.pulses.extend(page.rows("pulses"));
        self.letters.extend(page.rows("letters"));
        self.next = page.value("next");
        self.complete &= page.value("complete") != false;
    }
}

fn print(pulse: &Value, out: &mut Output) -> io::Result<()> {
    let head = ["id", "service", "kind", "event_time"].map(|name| plain(&text(&pulse[name])));
    let head = out.paint(&head.join("  "), Colour::Bold);
    out.line(&head)?;
    let shown = ["id", "service", "kind", "event_time", "tenant", "life"];
    let rest = without(pulse, &shown);
    if !rest.is_empty() {
        out.line(&format!("  {}", plain(&rest)))?;
    }
    let mut table = Table::new(&["  AT", "STEP", "BY", ""]);
    for step in rows(pulse, "life") {
        let [at, name, sink] = STEP_COLUMNS.map(|column| text(&step[column]));
        let at = if at.is_empty() { "-" } else { &at };
        table.row([format!("  {at}"), name, sink, without(step, &STEP_COLUMNS)]);
    }
    table.print(out)
}

/// The other members of an object.
fn without(object: &Value, names: &[&str]) -> String {
    let mut rest: Map<String, Value> = object.as_object().cloned().unwrap_or_default();
    rest.retain(|name, _| !names.contains(&name.as_str()));
    pairs(&Value::Object(rest))
}
