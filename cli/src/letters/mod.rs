//! `dlq`: dead letters looked at, given up and replayed.

mod replay;

use std::io;
use std::num::NonZeroU64;

use clap::{Args, Subcommand};
use http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::client::{Call, Client};
use crate::output::{Output, Table, details, number, text};
use crate::pages::{Pages, parse, rows};
use crate::target::Target;
use crate::{EXIT_OK, time};

const COLUMNS: &[&str] = &["ID", "REASON", "SERVICE", "KIND", "TRIES", "LAST", "ERROR"];

const EXAMPLES: &str = "\
Examples:
  pulsemesh dlq groups
  pulsemesh dlq list --reason refused --service checkout --from 1d
  pulsemesh dlq show 019c1425-7c00-7d5e-9f0a-3b1f6f0c2a11
  pulsemesh dlq replay 019c1425-7c00-7d5e-9f0a-3b1f6f0c2a11 --edit mended.json
  pulsemesh dlq replay --reason refused --dry-run
  pulsemesh dlq replay --reason refused --rate 1000 --watch
  pulsemesh dlq jobs
  pulsemesh dlq discard 019c1425-7c00-7d5e-9f0a-3b1f6f0c2a11

Looking wants a key that may read; replaying and giving up want one of kind admin.";

/// What is done with dead letters.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum LettersCommand {
    /// List letters, the newest first
    List(ListArguments),
    /// Count letters by reason
    Groups,
    /// Show one letter with its history and original bytes
    Show {
        /// The id of the letter
        id: String,
    },
    /// Write letters to their sink again: one by its id, or many as a job
    Replay(replay::ReplayArguments),
    /// Give letters up, for good
    Discard {
        /// The ids of the letters
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
    /// List replays, the newest first
    Jobs,
    /// Show a replay
    Job(replay::JobArguments),
    /// Let a replay wait
    Pause {
        /// The id of the replay
        id: String,
    },
    /// Let a replay go on
    Resume(replay::JobArguments),
    /// End a replay
    Cancel {
        /// The id of the replay
        id: String,
    },
}

/// Which letters.
#[derive(Debug, Args)]
pub(crate) struct FilterArguments {
    /// Only with this reason
    #[arg(long, value_name = "CODE")]
    reason: Option<String>,
    /// Only of this kind
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// Only of this service
    #[arg(long, value_name = "SERVICE")]
    service: Option<String>,
    /// First tried from here on: RFC 3339, or how long ago
    #[arg(long, value_name = "TIME", value_parser = time::point)]
    from: Option<Timestamp>,
    /// First tried before this
    #[arg(long, value_name = "TIME", value_parser = time::point)]
    to: Option<Timestamp>,
    /// Only where this occurs in the error or in the original bytes
    #[arg(long, value_name = "TEXT")]
    text: Option<String>,
}

/// What is listed.
#[derive(Debug, Args)]
pub(crate) struct ListArguments {
    #[command(flatten)]
    filter: FilterArguments,
    /// Most letters
    #[arg(long, value_name = "NUMBER", default_value = "100")]
    limit: NonZeroU64,
    /// All there are, however many
    #[arg(long, conflicts_with = "limit")]
    all: bool,
}

/// Does it.
///
/// # Errors
/// When the server refuses, or the output can't be written.
pub(crate) fn run(
    client: &Client,
    command: &LettersCommand,
    out: &mut Output,
) -> anyhow::Result<u8> {
    match command {
        LettersCommand::List(arguments) => list(client, arguments, out)?,
        LettersCommand::Groups => groups(client, out)?,
        LettersCommand::Show { id } => {
            let call = Call::get(Target::new("/v1/dead-letters").segment(id));
            show(&client.ask_json(&call)?, out)?;
        }
        LettersCommand::Discard { ids } => discard(client, ids, out)?,
        LettersCommand::Jobs => replay::list(client, out)?,
        LettersCommand::Replay(arguments) => return replay::run(client, arguments, out),
        LettersCommand::Job(arguments) => return replay::job(client, arguments, None, out),
        LettersCommand::Resume(arguments) => {
            return replay::job(client, arguments, Some("resume"), out);
        }
        LettersCommand::Pause { id } => return replay::steer(client, id, "pause", out),
        LettersCommand::Cancel { id } => return replay::steer(client, id, "cancel", out),
    }
    Ok(EXIT_OK)
}

fn list(client: &Client, arguments: &ListArguments, out: &mut Output) -> anyhow::Result<()> {
    let FilterArguments { reason, kind, service, from, to, text } = &arguments.filter;
    let target = Target::new("/v1/dead-letters")
        .with_some("reason", reason.as_ref())
        .with_some("kind", kind.as_ref())
        .with_some("service", service.as_ref())
        .with_some("from", *from)
        .with_some("to", *to)
        .with_some("text", text.as_ref());
    let mut left = if arguments.all { u64::MAX } else { arguments.limit.get() };
    let mut pages = Pages::new(client, target);
    let mut table = Table::new(COLUMNS);
    while let Some(page) = pages.next(left)? {
        for letter in page.rows("dead_letters") {
            left = left.saturating_sub(1);
            if out.json { out.row(&letter)? } else { table.row(cells(&parse(&letter))) }
        }
        table.print(out)?;
    }
    Ok(())
}

/// Prints letters as a table.
///
/// # Errors
/// When they can't be written.
pub(crate) fn print(letters: &[Value], out: &mut Output) -> io::Result<()> {
    let mut table = Table::new(COLUMNS);
    letters.iter().for_each(|letter| table.row(cells(letter)));
    table.print(out)
}

fn cells(letter: &Value) -> [String; 7] {
    ["id", "reason", "service", "kind", "attempts", "last_at", "error"]
        .map(|name| text(&letter[name]))
}

fn groups(client: &Client, out: &mut Output) -> anyhow::Result<()> {
    let answer = client.ask_json(&Call::get(Target::new("/v1/dead-letters/groups")))?;
    let mut table = Table::new(&["REASON", "LETTERS", "SAMPLE", "ERROR"]);
    for group in rows(&answer, "groups") {
        if out.json {
            out.json(group)?;
            continue;
        }
        let count = number(group["count"].as_u64().unwrap_or_default());
        let sample = &group["sample"];
        table.row([text(&group["reason"]), count, text(&sample["id"]), text(&sample["error"])]);
    }
    table.print(out)?;
    Ok(())
}

fn show(letter: &Value, out: &mut Output) -> io::Result<()> {
    if out.json { out.json(letter) } else { details(out, letter) }
}

fn discard(client: &Client, ids: &[String], out: &mut Output) -> anyhow::Result<()> {
    for id in ids {
        let target = Target::new("/v1/dead-letters").segment(id);
        client.ask(&Call::new(Method::DELETE, target))?;
        if out.json {
            out.json(&json!({ "discarded": id }))?;
        } else {
            out.line(&format!("{id}  given up"))?;
        }
    }
    Ok(())
}
