//! The command line `pulsemesh`: sends pulses, asks for them, and looks after dead letters and
//! tenants. Talks to the HTTP API alone; nothing of the server is linked in but the words of its
//! errors, and the keys and the file of tenants.

mod check;
mod client;
mod command;
mod completions;
mod counts;
mod erase;
mod failure;
mod job;
mod letters;
mod output;
mod pages;
mod problem;
mod query;
mod retry;
mod search;
mod send;
mod target;
mod tenant;
mod time;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::process::ExitCode;

use clap::Parser;

use client::Client;
use command::{Cli, Command};
use output::Output;

/// The program, as it is typed.
const NAME: &str = "pulsemesh";
/// It did what it was asked.
const EXIT_OK: u8 = 0;
/// It could not: the reason is on standard error.
const EXIT_FAILED: u8 = 1;
/// Arguments are wrong.
const EXIT_USAGE: u8 = 2;
/// A part was refused, or is missing.
const EXIT_PARTLY: u8 = 3;
/// There is no such thing.
const EXIT_NOTHING: u8 = 4;

/// Variables of the environment that are text.
type Environment = BTreeMap<String, String>;

/// Runs what the arguments ask for.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse_from(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => {
            // It goes to a stream that may be closed, and then nobody reads it.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(EXIT_USAGE));
        }
    };
    let json = cli.global.json;
    let environment = environment();
    let mut out = Output::new(json, environment.contains_key("NO_COLOR"));
    let done = run(cli, &environment, &mut out).and_then(|code| {
        out.flush()?;
        Ok(code)
    });
    ExitCode::from(match done {
        Ok(code) => code,
        Err(error) => failure::tell(&error, json, &mut io::stderr()),
    })
}

/// Variables whose name or value is not text are none of ours.
fn environment() -> Environment {
    let text = |(name, value): (OsString, OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    std::env::vars_os().filter_map(text).collect()
}

fn run(cli: Cli, environment: &Environment, out: &mut Output) -> anyhow::Result<u8> {
    let global = &cli.global;
    let client = || Client::new(global, environment);
    match cli.command {
        Command::Send(arguments) => send::run(&client()?, &arguments, out),
        Command::Query(arguments) => query::run(&client()?, &arguments, out),
        Command::Search(arguments) => search::run(&client()?, &arguments, out),
        Command::Counts(arguments) => counts::run(&client()?, &arguments, out),
        Command::Dlq(command) => letters::run(&client()?, &command, out),
        Command::Erase(command) => erase::run(&client()?, &command, out),
        Command::Tenant(command) => tenant::run(&command, out),
        Command::Check(arguments) => check::run((global, environment), &arguments, out),
        Command::Completions(arguments) => Ok(completions::run(&arguments, out)?),
    }
}
