//! The command line.

use std::process::ExitCode;

/// Runs what the arguments ask for.
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
