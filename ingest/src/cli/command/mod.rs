//! What can be typed: commands, the flags of all settings, and their help. Pure: arguments and
//! environment in, what was asked for out.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::LazyLock;

use clap::{Arg, ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};
use pulsemesh_runtime::version::Version;

use crate::settings::{CONFIG_VARIABLE, DEFINITIONS, Definition, Kind, Sources};
use crate::tenant::file::KEY_KINDS;

use super::check::CheckArguments;

/// What was asked for.
#[derive(Debug)]
pub(super) enum Invocation {
    /// Accept pulses.
    Serve(Sources),
    /// Print the settings in effect.
    CheckConfig(Sources),
    /// Try a running process.
    Check(CheckArguments),
    /// Prove the log in a directory.
    LogVerify(PathBuf),
    /// Print the log in a directory.
    LogDump(PathBuf),
    /// Empty the log in the directory that the settings name.
    LogDrain(Sources),
    /// Make an API key.
    TenantKey {
        /// What it is called.
        name: String,
        /// What it allows.
        kind: String,
    },
}

/// Accepts pulses over HTTP, keeps them in a crash-proof log, and writes them in batches to a
/// store where they can be queried.
///
/// Without a command it serves: pulses on 127.0.0.1:8080, metrics and probes on 127.0.0.1:8081.
#[derive(Debug, Parser)]
#[command(
    name = "pulsemesh-ingest",
    version = VERSION.version,
    long_version = LONG_VERSION.as_str(),
    after_help = SHORT_EXAMPLES,
    after_long_help = EXAMPLES,
    args_conflicts_with_subcommands = true,
    max_term_width = 100
)]
struct Cli {
    /// TOML file whose keys are the names of the flags [env: PULSEMESH_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the settings in effect and where each came from, and exit: 0, or 2 if any is wrong
    #[arg(long)]
    check_config: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Send a pulse to a running process, read it back, and say what is wrong
    Check(CheckArguments),
    /// Look at or empty a log that no process has open
    #[command(subcommand)]
    Log(LogCommand),
    /// Make what the file of --tenants needs
    #[command(subcommand)]
    Tenant(TenantCommand),
}

#[derive(Debug, Subcommand)]
enum TenantCommand {
    /// Make an API key; prints it this once, and below it the line with its hash for the file
    Key {
        /// What the key is called in the file
        #[arg(long, value_name = "NAME", default_value = "main")]
        name: String,
        /// What it allows: send pulses, ask for them, both, or both and to operate
        #[arg(long, value_name = "KIND", value_parser = KEY_KINDS.to_vec())]
        #[arg(default_value = "write")]
        kind: String,
    },
}

#[derive(Debug, Subcommand)]
enum LogCommand {
    /// Read the whole log and tell what is damaged; exits with 1 if anything is
    Verify {
        /// The data directory
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
    /// Print every pulse in the log as a line of JSON
    Dump {
        /// The data directory
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
    /// Write what a log left behind still holds to the store that the settings name
    Drain {
        /// The data directory, in place of --data-dir
        #[arg(value_name = "DIR")]
        directory: String,
        /// TOML file whose keys are the names of the flags [env: PULSEMESH_CONFIG]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

pub(super) const VERSION: Version = Version::of_build(env!("CARGO_PKG_VERSION"));
static LONG_VERSION: LazyLock<String> = LazyLock::new(|| VERSION.to_string());

/// Flags of the short help: what a first start may need.
const COMMON: &[&str] = &[
    "listen",
    "admin-listen",
    "data-dir",
    "store",
    "retention",
    "ack",
    "overflow",
    "buffer-size",
    "batch-size",
    "flush-interval",
    "workers",
    "log-level",
];
/// What `log drain` takes as its argument instead.
const DATA_DIR: &str = "data-dir";

const SHORT_EXAMPLES: &str = "\
Examples:
  pulsemesh-ingest                                      serve, with data in ./pulsemesh-data
  pulsemesh-ingest check http://127.0.0.1:8080          is it working?

--help shows all settings, examples and exit codes.";

const EXAMPLES: &str = "\
Examples:
  Serve, with data in ./pulsemesh-data:
    pulsemesh-ingest
  Send a pulse, and read it back:
    curl -H 'content-type: application/json' http://127.0.0.1:8080/pulse \\
      -d '{\"service_name\":\"checkout\",\"latency_ms\":12.5,\"status\":\"ok\"}'
    curl 'http://127.0.0.1:8080/v1/pulses?service=checkout'
  Is it working?
    pulsemesh-ingest check http://127.0.0.1:8080 --admin http://127.0.0.1:8081
  Serve everyone, keep pulses for a month, and see what would be in effect:
    pulsemesh-ingest --listen 0.0.0.0:8080 --retention 30d --check-config
  The same from a file or from the environment:
    pulsemesh-ingest --config pulsemesh.toml
    PULSEMESH_LISTEN=0.0.0.0:8080 PULSEMESH_RETENTION=30d pulsemesh-ingest

Flags win over environment variables, which win over the file, which wins over the defaults.

Signals:
  SIGTERM and SIGINT stop the process in order; a second one exits at once and says what is left.
  SIGHUP has --tenants and --tls-cert looked at now instead of within a second.

Exit codes:
  0    done, or stopped in order
  1    failed; `check`: something does not work; `log verify`: something is damaged
  2    arguments or settings are wrong
  130  told to stop a second time before it was done";

/// Reads what was typed; an error holds help, version or usage too, and knows its exit code.
pub(super) fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    environment: &BTreeMap<String, String>,
) -> Result<Invocation, clap::Error> {
    let matches = command().try_get_matches_from(arguments)?;
    let cli = Cli::from_arg_matches(&matches)?;
    let sources = |matches: &ArgMatches, config: Option<PathBuf>| Sources {
        flags: flags(matches),
        environment: environment.clone(),
        file: config.or_else(|| {
            let named = environment.get(CONFIG_VARIABLE).filter(|path| !path.is_empty());
            named.map(PathBuf::from)
        }),
    };
    Ok(match cli.command {
        None if cli.check_config => Invocation::CheckConfig(sources(&matches, cli.config)),
        None => Invocation::Serve(sources(&matches, cli.config)),
        Some(Command::Check(arguments)) => Invocation::Check(arguments),
        Some(Command::Tenant(TenantCommand::Key { name, kind })) => {
            Invocation::TenantKey { name, kind }
        }
        Some(Command::Log(LogCommand::Verify { directory })) => Invocation::LogVerify(directory),
        Some(Command::Log(LogCommand::Dump { directory })) => Invocation::LogDump(directory),
        Some(Command::Log(LogCommand::Drain { directory, config })) => {
            let log = matches.subcommand_matches("log");
            let drain = log.and_then(|log| log.subcommand_matches("drain"));
            let mut sources = sources(drain.unwrap_or(&matches), config);
            sources.flags.insert(DATA_DIR, directory);
            Invocation::LogDrain(sources)
        }
    })
}

fn command() -> clap::Command {
    let settings = || DEFINITIONS.iter().copied();
    let without_directory = move || settings().filter(|definition| definition.name != DATA_DIR);
    Cli::command()
        .args(settings().map(|definition| {
            argument(definition).hide_short_help(!COMMON.contains(&definition.name))
        }))
        .mut_subcommand("log", |log| {
            log.mut_subcommand("drain", |drain| {
                drain.args(without_directory().map(|definition| {
                    // What does not matter to a drain is accepted, so that one file serves both.
                    argument(definition).hide_short_help(true)
                }))
            })
        })
}

/// The flag of a setting. The value is proven later, together with all other sources.
fn argument(definition: &'static Definition) -> Arg {
    let Definition { name, env, kind, default, section, about } = definition;
    let default = default.text();
    let about = about.trim();
    let plain = kind.to_string().replace('`', "");
    let argument = Arg::new(*name)
        .long(*name)
        .value_name(kind.placeholder())
        .help_heading(*section)
        .help(format!("{about} [default: {default}]"))
        .long_help(format!("{about}\n[{plain}]\n[default: {default}]\n[env: {env}]"));
    match kind {
        Kind::Switch => argument.num_args(0..=1).require_equals(true).default_missing_value("true"),
        _ => argument,
    }
}

fn flags(matches: &ArgMatches) -> BTreeMap<&'static str, String> {
    let given = |name| matches.try_get_one::<String>(name).ok().flatten();
    let names = DEFINITIONS.iter().map(|definition| definition.name);
    names.filter_map(|name| Some((name, given(name)?.clone()))).collect()
}

#[cfg(test)]
mod tests;
