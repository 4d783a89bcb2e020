//! The main job: accept pulses until the process is told to stop.

use std::process::ExitCode;

use crate::settings::Settings;

/// Serves until the process is told to stop.
///
/// # Errors
/// When it can't start, or a part of it ends unasked.
pub fn run(_settings: Settings) -> anyhow::Result<ExitCode> {
    anyhow::bail!("serve is not wired")
}
