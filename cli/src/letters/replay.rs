//! Replays: of one letter, and of many as a job that is watched and steered.

use std::fs;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use serde_json::{Map, Value};

use crate::EXIT_OK;
use crate::client::{Call, Client};
use crate::failure::Usage;
use crate::job::{self, Job};
use crate::output::{Output, Table, details, text};
use crate::pages::rows;
use crate::target::Target;

use super::FilterArguments;

const REPLAYS: &str = "/v1/replays";
const COLUMNS: &[&str] = &["ID", "STATE", "CREATED", "LETTERS", "COUNTS", "FILTER"];

/// What is replayed.
#[derive(Debug, Args)]
pub(crate) struct ReplayArguments {
    /// One letter by its id; without, all that the filters let through
    #[arg(value_name = "ID", conflicts_with_all = [
        "reason", "kind", "service", "from", "to", "text", "all", "dry_run", "rate", "watch",
    ])]
    id: Option<String>,
    /// Store this pulse in the letter's place, in the shape of the original; - is standard input
    #[arg(long, value_name = "FILE", requires = "id")]
    edit: Option<PathBuf>,
    #[command(flatten)]
    filter: FilterArguments,
    /// All letters, without a filter
    #[arg(long, conflicts_with_all = ["reason", "kind", "service", "from", "to", "text"])]
    all: bool,
    /// Only count, and name ten of them
    #[arg(long)]
    dry_run: bool,
    /// Most letters a second
    #[arg(long, value_name = "NUMBER")]
    rate: Option<NonZeroU64>,
    /// Wait for its end
    #[arg(long)]
    watch: bool,
}

/// A replay.
#[derive(Debug, Args)]
pub(crate) struct JobArguments {
    /// The id of the replay
    id: String,
    /// Wait for its end
    #[arg(long)]
    watch: bool,
}

/// Begins a replay.
///
/// # Errors
/// When the server refuses, a file can't be read, or the output can't be written.
pub(super) fn run(
    client: &Client,
    arguments: &ReplayArguments,
    out: &mut Output,
) -> anyhow::Result<u8> {
    if let Some(id) = &arguments.id {
        return one(client, id, arguments.edit.as_deref(), out);
    }
    let body = order(arguments)?.to_string();
    let call = Call::post(Target::new(REPLAYS)).json(body.as_bytes());
    let job = Job::new(client.ask_json(&call)?);
    let job = if arguments.watch { job::watch(client, REPLAYS, job, out.json)? } else { job };
    job.print(out)
}

fn order(arguments: &ReplayArguments) -> Result<Value, Usage> {
    let FilterArguments { reason, kind, service, from, to, text } = &arguments.filter;
    let texts = [("reason", reason), ("kind", kind), ("service", service), ("text", text)];
    let texts = texts.map(|(name, text)| (name, text.clone()));
    let times = [("from", from), ("to", to)];
    let times = times.map(|(name, time)| (name, time.map(|time| time.to_string())));
    let given = |(name, value): (&str, Option<String>)| Some((name.to_owned(), value?.into()));
    let mut order: Map<String, Value> = texts.into_iter().chain(times).filter_map(given).collect();
    if order.is_empty() && !arguments.all {
        let how = "give the id of a letter, a filter such as --reason, or --all";
        return Err(Usage(how.to_owned()));
    }
    if arguments.dry_run {
        order.insert("dry_run".to_owned(), true.into());
    }
    if let Some(rate) = arguments.rate {
        order.insert("rate".to_owned(), rate.get().into());
    }
    Ok(Value::Object(order))
}

/// One letter, or an edited pulse in its place.
fn one(client: &Client, id: &str, edit: Option<&Path>, out: &mut Output) -> anyhow::Result<u8> {
    let target = Target::new("/v1/dead-letters").segment(id).segment("replay");
    let body = edit.map(read).transpose()?;
    let mut call = Call::post(target);
    if let Some(body) = &body {
        call = call.json(body);
    }
    let answer = client.ask_json(&call)?;
    if body.is_none() {
        return Job::new(answer).print(out);
    }
    if out.json {
        out.json(&answer)?
    } else {
        details(out, &answer)?
    }
    Ok(EXIT_OK)
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let read = || {
        if path == Path::new("-") {
            let mut text = Vec::new();
            std::io::Read::read_to_end(&mut std::io::stdin(), &mut text)?;
            return Ok(text);
        }
        fs::read(path)
    };
    let body = read().with_context(|| format!("read {}", path.display()))?;
    // Without a body the letter would be replayed as it is.
    anyhow::ensure!(!body.trim_ascii().is_empty(), "{} is empty", path.display());
    Ok(body)
}

/// Prints all replays of the tenant.
///
/// # Errors
/// When the server refuses, or the output can't be written.
pub(super) fn list(client: &Client, out: &mut Output) -> anyhow::Result<()> {
    let answer = client.ask_json(&Call::get(Target::new(REPLAYS)))?;
    let mut table = Table::new(COLUMNS);
    for job in rows(&answer, "replays") {
        if out.json {
            out.json(job)?;
            continue;
        }
        let state = if job["dry_run"] == true { " (dry run)" } else { "" };
        let state = format!("{}{state}", text(&job["state"]));
        let [created, counts, filter] =
            ["created_at", "counts", "filter"].map(|name| text(&job[name]));
        let letters = text(&job["progress"]["letters"]);
        table.row([text(&job["id"]), state, created, letters, counts, filter]);
    }
    table.print(out)?;
    Ok(())
}

/// Shows a replay, after it was told to do something; or its end.
///
/// # Errors
/// When the server refuses, or the output can't be written.
pub(super) fn job(
    client: &Client,
    arguments: &JobArguments,
    step: Option<&str>,
    out: &mut Output,
) -> anyhow::Result<u8> {
    let target = Target::new(REPLAYS).segment(&arguments.id);
    let call = match step {
        Some(step) => Call::post(target.segment(step)),
        None => Call::get(target),
    };
    let job = Job::new(client.ask_json(&call)?);
    let job = if arguments.watch { job::watch(client, REPLAYS, job, out.json)? } else { job };
    job.print(out)
}

/// Tells a replay to do something.
///
/// # Errors
/// When the server refuses, or the output can't be written.
pub(super) fn steer(client: &Client, id: &str, step: &str, out: &mut Output) -> anyhow::Result<u8> {
    let call = Call::post(Target::new(REPLAYS).segment(id).segment(step));
    let answer = client.ask_json(&call)?;
    if out.json {
        out.json(&answer)?
    } else {
        details(out, &answer)?
    }
    Ok(EXIT_OK)
}
