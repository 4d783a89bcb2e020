//! `completions`: what a shell needs to complete commands and flags.

use std::io;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::command::Cli;
use crate::output::Output;
use crate::{EXIT_OK, NAME};

const EXAMPLES: &str = "\
Examples:
  pulsemesh completions bash > ~/.local/share/bash-completion/completions/pulsemesh
  pulsemesh completions zsh > ~/.zfunc/_pulsemesh
  pulsemesh completions fish > ~/.config/fish/completions/pulsemesh.fish";

/// For which shell.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CompletionsArguments {
    /// The shell
    shell: Shell,
}

/// Prints it.
///
/// # Errors
/// When it can't be written.
pub(crate) fn run(arguments: &CompletionsArguments, out: &mut Output) -> io::Result<u8> {
    // The generator ends the process where a write fails: a vector takes all.
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), NAME, &mut script);
    out.raw(&script)?;
    Ok(EXIT_OK)
}
