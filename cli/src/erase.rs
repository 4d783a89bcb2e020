//! `erase`: deletes all that a tenant has, as a job, after somebody has typed its name.

use std::io::{self, BufRead, IsTerminal, Write};

use clap::{Args, Subcommand};
use serde_json::json;

use crate::EXIT_OK;
use crate::client::{Call, Client};
use crate::failure::Usage;
use crate::job::{self, Job};
use crate::output::{Output, Table, text};
use crate::pages::rows;
use crate::target::Target;

const ERASURES: &str = "/v1/erasures";

const EXAMPLES: &str = "\
Examples:
  pulsemesh erase start
  pulsemesh erase start --confirm checkout --watch
  pulsemesh erase list

It wants a key of kind admin. What was erased does not come back.";

/// What is done.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum EraseCommand {
    /// Delete all pulses and dead letters of the tenant that the key belongs to
    Start(StartArguments),
    /// List erasures
    List,
    /// Show an erasure
    Show {
        /// The id of the erasure
        id: String,
        /// Wait for its end
        #[arg(long)]
        watch: bool,
    },
    /// End an erasure; what it has deleted does not come back
    Cancel {
        /// The id of the erasure
        id: String,
    },
}

/// How it begins.
#[derive(Debug, Args)]
pub(crate) struct StartArguments {
    /// The tenant's name, in place of typing it when asked
    #[arg(long, value_name = "TENANT")]
    confirm: Option<String>,
    /// Wait for its end
    #[arg(long)]
    watch: bool,
}

/// Does it.
///
/// # Errors
/// When the server refuses, nobody has confirmed it, or the output can't be written.
pub(crate) fn run(client: &Client, command: &EraseCommand, out: &mut Output) -> anyhow::Result<u8> {
    let one = |id: &str| Target::new(ERASURES).segment(id);
    let (call, body);
    let watch = match command {
        EraseCommand::List => return list(client, out),
        EraseCommand::Start(arguments) => {
            let tenant = match &arguments.confirm {
                Some(tenant) => tenant.clone(),
                None => ask(client)?,
            };
            body = json!({ "confirm": tenant }).to_string();
            call = Call::post(Target::new(ERASURES)).json(body.as_bytes());
            arguments.watch
        }
        EraseCommand::Show { id, watch } => {
            call = Call::get(one(id));
            *watch
        }
        EraseCommand::Cancel { id } => {
            call = Call::post(one(id).segment("cancel"));
            false
        }
    };
    let job = Job::new(client.ask_json(&call)?);
    if matches!(command, EraseCommand::Cancel { .. }) {
        job.print(out)?;
        return Ok(EXIT_OK);
    }
    let job = if watch { job::watch(client, ERASURES, job, out.json)? } else { job };
    job.print(out)
}

/// Has the name typed. The server compares it with the tenant of the key.
fn ask(client: &Client) -> anyhow::Result<String> {
    if !io::stdin().is_terminal() {
        let how = "nobody is there to confirm it: give the tenant's name as --confirm";
        return Err(Usage(how.to_owned()).into());
    }
    let mut err = io::stderr();
    writeln!(
        err,
        "This deletes all pulses and dead letters of the key's tenant at {},",
        client.url()
    )?;
    write!(err, "for good. Type the name of the tenant to go on: ")?;
    err.flush()?;
    let mut name = String::new();
    io::stdin().lock().read_line(&mut name)?;
    let name = name.trim();
    anyhow::ensure!(!name.is_empty(), "nothing was typed, and nothing is deleted");
    Ok(name.to_owned())
}

fn list(client: &Client, out: &mut Output) -> anyhow::Result<u8> {
    let answer = client.ask_json(&Call::get(Target::new(ERASURES)))?;
    let mut table = Table::new(&["ID", "STATE", "CREATED", "ENDED", "COUNTS"]);
    for job in rows(&answer, "erasures") {
        if out.json {
            out.json(job)?;
        } else {
            let names = ["id", "state", "created_at", "ended_at", "counts"];
            table.row(names.map(|name| text(&job[name])));
        }
    }
    table.print(out)?;
    Ok(EXIT_OK)
}
