//! What can be typed: the flags that every command has, and the commands. Does nothing.

use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use pulsemesh_runtime::version::Version;

use crate::{NAME, check, completions, counts, erase, letters, query, search, send, tenant, time};

const VERSION: Version = Version::of_build(env!("CARGO_PKG_VERSION"));
static LONG_VERSION: LazyLock<String> = LazyLock::new(|| VERSION.to_string());

const EXAMPLES: &str = "\
Examples:
  Is everything reachable and sane?
    pulsemesh check --write
  Send a pulse, and a file of them:
    pulsemesh send --service checkout --latency-ms 12.5 --status ok
    pulsemesh send --file pulses.ndjson --rejected refused.ndjson
  Ask for them:
    pulsemesh query checkout --from 15m
    pulsemesh search --key order-1
  See what could not be stored, and why; try it again:
    pulsemesh dlq groups
    pulsemesh dlq replay --reason refused --dry-run
    pulsemesh dlq replay --reason refused --rate 1000 --watch
  For a server that wants a key:
    PULSEMESH_API_KEY=pmk_… pulsemesh --url https://pulses.example.com query checkout

What a program reads goes to standard output, everything else to standard error. With --json lists
are one JSON document a line, all else is one document, and errors are one on standard error.

Exit codes:
  0  done
  1  failed; `check`: something does not work
  2  arguments are wrong
  3  done in part: lines were refused, letters failed again, an answer is incomplete
  4  there is no such thing";

/// Sends pulses to PulseMesh, asks for them, and looks after dead letters and tenants.
#[derive(Debug, Parser)]
#[command(
    name = NAME,
    version = VERSION.version,
    long_version = LONG_VERSION.as_str(),
    after_help = "--help shows examples and exit codes.",
    after_long_help = EXAMPLES,
    max_term_width = 100
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command has.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Global {
    /// Where the server takes pulses
    #[arg(long, global = true, value_name = "URL", env = "PULSEMESH_URL", hide_env_values = true)]
    #[arg(default_value = "http://localhost:8080")]
    pub(crate) url: String,
    /// File that holds the API key, in place of the variable PULSEMESH_API_KEY
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) api_key_file: Option<PathBuf>,
    /// PEM of the authorities that are believed, in place of the system's
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// PEM of a client certificate, for servers that want one
    #[arg(long, global = true, value_name = "FILE", requires = "client_key_file")]
    pub(crate) client_cert_file: Option<PathBuf>,
    /// PEM of its key
    #[arg(long, global = true, value_name = "FILE", requires = "client_cert_file")]
    pub(crate) client_key_file: Option<PathBuf>,
    /// Longest time for one answer
    #[arg(long, global = true, value_name = "TIME", default_value = "30s")]
    #[arg(value_parser = time::span)]
    pub(crate) timeout: Duration,
    /// Print JSON for programs
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Send pulses: one from arguments, or any number from a file
    Send(Box<send::SendArguments>),
    /// Ask for the pulses of a service, newest first
    Query(query::QueryArguments),
    /// Find pulses and what has become of them
    Search(Box<search::SearchArguments>),
    /// Count pulses by kind in a window
    Counts(counts::CountsArguments),
    /// Look at dead letters, replay them, or give them up
    #[command(subcommand)]
    Dlq(Box<letters::LettersCommand>),
    /// Delete all that a tenant has
    #[command(subcommand)]
    Erase(erase::EraseCommand),
    /// Edit the file of tenants: tenants and their keys
    #[command(subcommand)]
    Tenant(tenant::TenantCommand),
    /// See whether everything is reachable and sane, and what to do where it is not
    Check(check::CheckArguments),
    /// Print what a shell needs to complete commands
    Completions(completions::CompletionsArguments),
}
