//! `check`: is everything reachable and sane? Each thing that is looked at is a line, with the
//! fix for what is not. Changes nothing, unless it is told to write.

mod network;
mod pulse;
mod server;

use std::io;
use std::time::Instant;

use clap::Args;
use serde::Serialize;

use crate::client::{CallError, Client};
use crate::command::Global;
use crate::output::{Colour, Output, plain};
use crate::{EXIT_FAILED, EXIT_OK, Environment};

const EXAMPLES: &str = "\
Examples:
  pulsemesh check
  pulsemesh check --write --admin http://localhost:8081
  PULSEMESH_API_KEY=pmk_… pulsemesh --url https://pulses.example.com check --json

Looks at: the host's address, the connection, encryption, the health, version and readiness (with
--admin), what the key allows, the clocks, the limits, dead letters that wait, and with --write
a pulse that is sent and read back.

With --json it is one document: ok, url, and steps with name, verdict (ok, warn, fail), detail,
fix and milliseconds. Exits with 1 when a line says fail.";

/// What is looked at.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CheckArguments {
    /// The admin listener, to ask for version and readiness
    #[arg(long, value_name = "URL")]
    admin: Option<String>,
    /// Send a pulse of the service pulsemesh-check, and read it back
    #[arg(long)]
    write: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    verdict: Verdict,
    detail: String,
    fix: Option<String>,
}

#[derive(Debug, Serialize)]
struct Step {
    name: &'static str,
    verdict: Verdict,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
    milliseconds: u64,
}

impl Finding {
    fn ok(detail: impl Into<String>) -> Self {
        Self { verdict: Verdict::Ok, detail: detail.into(), fix: None }
    }

    fn warn(detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { verdict: Verdict::Warn, detail: detail.into(), fix: Some(fix.into()) }
    }

    fn fail(detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { verdict: Verdict::Fail, detail: detail.into(), fix: Some(fix.into()) }
    }
}

impl From<CallError> for Finding {
    fn from(error: CallError) -> Self {
        Self::fail(error.what(), error.advice())
    }
}

/// The lines so far.
struct Report<'a> {
    out: &'a mut Output,
    steps: Vec<Step>,
}

impl Report<'_> {
    /// Looks at one thing; says whether it is usable.
    fn step(&mut self, name: &'static str, look: impl FnOnce() -> Finding) -> io::Result<bool> {
        let start = Instant::now();
        let Finding { verdict, detail, fix } = look();
        let milliseconds = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.add(Step { name, verdict, detail, fix, milliseconds })
    }

    fn add(&mut self, step: Step) -> io::Result<bool> {
        let usable = step.verdict != Verdict::Fail;
        if !self.out.json {
            let (word, colour) = match step.verdict {
                Verdict::Ok => ("ok  ", Colour::Green),
                Verdict::Warn => ("warn", Colour::Yellow),
                Verdict::Fail => ("fail", Colour::Red),
            };
            let word = self.out.paint(word, colour);
            self.out.line(&format!("{word}  {:9}  {}", step.name, plain(&step.detail)))?;
            if let Some(fix) = &step.fix {
                self.out.line(&format!("      what to do: {}", plain(fix)))?;
            }
            // Some steps take their time: each line is seen when it is known.
            self.out.flush()?;
        }
        self.steps.push(step);
        Ok(usable)
    }
}

/// Looks at everything; stops where nothing behind it can work.
///
/// # Errors
/// When the output can't be written, or a file of the flags can't be used.
pub(crate) fn run(
    (global, environment): (&Global, &Environment),
    arguments: &CheckArguments,
    out: &mut Output,
) -> anyhow::Result<u8> {
    let client = Client::new(global, environment)?;
    let admin = match &arguments.admin {
        Some(url) => {
            let global = Global { url: url.clone(), ..global.clone() };
            Some(Client::new(&global, environment)?)
        }
        None => None,
    };
    let mut report = Report { out, steps: Vec::new() };
    look(&client, admin.as_ref(), arguments.write, &mut report)?;
    let Report { out, steps } = report;
    let ok = steps.iter().all(|step| step.verdict != Verdict::Fail);
    if out.json {
        out.json(&serde_json::json!({"ok": ok, "url": client.url(), "steps": steps}))?;
    }
    Ok(if ok { EXIT_OK } else { EXIT_FAILED })
}

fn look(
    client: &Client,
    admin: Option<&Client>,
    write: bool,
    report: &mut Report<'_>,
) -> io::Result<()> {
    // A proxy finds and connects by itself.
    if !client.has_proxy() {
        let mut addresses = Vec::new();
        let found = report.step("address", || network::address(client, &mut addresses))?;
        if !found || !report.step("connect", || network::connect(client, &addresses))? {
            return Ok(());
        }
    }
    let health = server::Health::ask(client);
    if client.url().starts_with("https://") || client.has_key() {
        report.step("encrypted", || network::encrypted(client, health.error()))?;
    }
    if !report.step("health", || health.finding())? {
        return Ok(());
    }
    if let Some(admin) = admin {
        report.step("version", || server::version(admin))?;
        report.step("ready", || server::ready(admin))?;
    }
    report.step("clock", || health.clock())?;
    let access = server::Access::ask(client);
    if report.step("key", || access.finding(client))? {
        report.step("limits", || access.limits())?;
    }
    if access.may_read() {
        report.step("letters", || server::letters(client))?;
    }
    if write {
        let id = uuid::Uuid::now_v7().to_string();
        if report.step("write", || pulse::write(client, &id))? && access.may_read() {
            report.step("read back", || pulse::read_back(client, &id))?;
        }
    }
    Ok(())
}
