//! Commands on a log that no process has open.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use crate::settings::Settings;

/// Reads the whole log under `directory` and tells what is in it and what is damaged; exits
/// with 1 when anything is.
///
/// # Errors
/// When there is no log, or it can't be read.
pub fn verify(_directory: &Path, _out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    anyhow::bail!("log verify is not wired")
}

/// Writes every pulse of the log under `directory` as one JSON object a line.
///
/// # Errors
/// When there is no log, or it can't be read.
pub fn dump(_directory: &Path, _out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    anyhow::bail!("log dump is not wired")
}

/// Writes what a log left behind still holds to the store that the settings name.
///
/// # Errors
/// When there is no log, it is in use, or the store can't take it.
pub fn drain(_settings: Settings, _out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    anyhow::bail!("log drain is not wired")
}
