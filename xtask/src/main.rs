//! `cargo xtask`: the checks and measurements of this project. Reads the command line and
//! hands over; decides nothing.

mod bare;

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
    /// The server that measurements compare with.
    #[command(hide = true)]
    Bare {
        /// How connections are spread over threads.
        arrangement: bare::Arrangement,
    },
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Bare { arrangement } => bare::serve(arrangement),
    }
}
