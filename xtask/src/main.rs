//! `cargo xtask`: the checks and measurements of this project. Reads the command line and
//! hands over; decides nothing.

mod bare;
mod bench;
mod cluster;
mod database;
mod generate;
mod package;
mod post;
mod raw;
mod test;
mod tidy;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Checks and measurements of PulseMesh.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs every check: format, lints, house rules, tests, crash rounds, a short benchmark.
    Test(test::Options),
    /// Measures what this project promises and prints each figure beside its target.
    Bench(bench::Options),
    /// Starts a real Cassandra on this machine and keeps it until Ctrl-C.
    Cassandra(database::Options),
    /// Starts a real Kubernetes on this machine, runs commands in it, ends it.
    Cluster(cluster::Options),
    /// Writes the images of all programs as archives.
    Images(package::Options),
    /// Makes the files of the charts that follow from others.
    Generate,
    /// Checks the house rules.
    Tidy,
    /// The server that measurements compare with.
    #[command(hide = true)]
    Bare {
        /// How connections are spread over threads.
        arrangement: bare::Arrangement,
    },
    /// `cargo test` whose failed tests are run again, alone.
    #[command(hide = true)]
    Again(test::again::Options),
    /// Pulses from a pod, for tests in a cluster.
    #[command(hide = true)]
    Post(post::Options),
    /// The loop that measurements of the path into Cassandra compare with.
    #[command(hide = true)]
    Raw(raw::Options),
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // Where even this can't be written, the exit code still tells.
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Says whether all is well.
fn run(command: Command) -> Result<bool> {
    match command {
        Command::Test(options) => test::run(root(), &options),
        Command::Bench(options) => bench::run(root(), &options),
        Command::Cassandra(options) => database::run(options),
        Command::Cluster(options) => cluster::run(options),
        Command::Images(options) => package::run(root(), &options),
        Command::Generate => generate::run(root()),
        Command::Tidy => tidy::run(root()),
        Command::Bare { arrangement } => bare::serve(arrangement).map(|()| true),
        Command::Again(options) => test::again::run(&options),
        Command::Post(options) => post::run(&options).map(|()| true),
        Command::Raw(options) => raw::run(&options).map(|()| true),
    }
}

/// The repository's root.
fn root() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own)
}
