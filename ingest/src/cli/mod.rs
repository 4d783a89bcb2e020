//! The command line: what was asked for, which command does it, and with which code the process
//! exits. Everything that is read by a program goes to standard output, everything else to
//! standard error.

mod assemble;
mod check;
mod command;
mod log;
mod serve;
mod tenant;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;

use crate::settings::{self, Settings, SettingsError, Sources};
use crate::store::Store;
use crate::tenant::file::{self, FileError};

use command::Invocation;

/// The process did what it was asked.
pub const EXIT_OK: u8 = 0;
/// It could not: the reason is on standard error.
pub const EXIT_FAILED: u8 = 1;
/// Arguments or settings are wrong.
pub const EXIT_USAGE: u8 = 2;
/// It was told to stop a second time and did not finish, as a shell tells it of an interrupt.
pub const EXIT_AT_ONCE: u8 = 130;

/// Runs the process: reads arguments and environment, and does what they say.
pub fn main() -> ExitCode {
    main_with(std::env::args_os(), assemble::as_it_is)
}

/// As [`main`], for a program that has arguments of its own or puts a store of its own before
/// the one that the settings name.
pub fn main_with(
    arguments: impl IntoIterator<Item = OsString>,
    wrap: impl FnOnce(Arc<dyn Store>) -> Arc<dyn Store>,
) -> ExitCode {
    let environment = environment();
    match command::parse(arguments, &environment) {
        Ok(invocation) => finish(run(invocation, wrap, &mut io::stdout())),
        Err(error) => {
            // It goes to a stream that may be closed, and then nobody reads it.
            let _ = error.print();
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(EXIT_USAGE))
        }
    }
}

/// Variables whose name or value is not text are none of ours.
fn environment() -> BTreeMap<String, String> {
    let text = |(name, value): (OsString, OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    std::env::vars_os().filter_map(text).collect()
}

fn run(
    invocation: Invocation,
    wrap: impl FnOnce(Arc<dyn Store>) -> Arc<dyn Store>,
    out: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    match invocation {
        Invocation::Serve(sources) => serve::run(load(&sources)?, wrap),
        Invocation::CheckConfig(sources) => check_config(&sources, out),
        Invocation::Check(arguments) => check::run(&arguments, out),
        Invocation::LogVerify(directory) => log::verify(&directory, out),
        Invocation::LogDump(directory) => log::dump(&directory, out),
        Invocation::LogDrain(sources) => log::drain(load(&sources)?, out),
        Invocation::TenantKey { name, kind } => tenant::key(&name, &kind, out),
    }
}

fn load(sources: &Sources) -> Result<Settings, SettingsError> {
    settings::load(sources).map(|(settings, _)| settings)
}

/// Prints what is in effect as a settings file; warnings are comments in front.
fn check_config(sources: &Sources, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let (settings, values) = settings::load(sources)?;
    if let Some(path) = &settings.access.tenants {
        file::read(path, &settings.storage.retention_classes)?;
    }
    for warning in &settings.warnings {
        writeln!(out, "# warning: {warning}")?;
    }
    out.write_all(settings::effective_toml(&values).as_bytes())?;
    out.flush()?;
    Ok(ExitCode::from(EXIT_OK))
}

fn finish(result: anyhow::Result<ExitCode>) -> ExitCode {
    let error = match result {
        Ok(code) => return code,
        Err(error) => error,
    };
    // Whoever read our output has enough of it (`| head`).
    let closed = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
    if error.chain().filter_map(|cause| cause.downcast_ref()).any(closed) {
        return ExitCode::from(EXIT_OK);
    }
    let _ = writeln!(io::stderr(), "pulsemesh-ingest: {error:#}");
    let usage = error.is::<SettingsError>() || error.is::<FileError>();
    ExitCode::from(if usage { EXIT_USAGE } else { EXIT_FAILED })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(flags: &[(&'static str, &str)]) -> (ExitCode, String) {
        let flags = flags.iter().map(|(name, text)| (*name, (*text).to_owned())).collect();
        let sources = Sources { flags, ..Sources::default() };
        let mut out = Vec::new();
        let code = finish(run(Invocation::CheckConfig(sources), assemble::as_it_is, &mut out));
        (code, String::from_utf8(out).expect("text"))
    }

    #[test]
    fn sound_settings_are_printed_as_a_file_with_warnings_in_front() {
        let (code, text) = outcome(&[("buffer-size", "100"), ("workers", "3")]);
        assert_eq!(code, ExitCode::from(EXIT_OK));
        assert!(text.starts_with("# warning: --buffer-size: "), "{text}");
        assert!(text.contains("# --workers") && toml::from_str::<toml::Table>(&text).is_ok());
    }

    #[test]
    fn wrong_settings_print_nothing_and_exit_as_wrong_usage() {
        let outcome = outcome(&[("workers", "none")]);
        assert_eq!(outcome, (ExitCode::from(EXIT_USAGE), String::new()));
    }

    #[test]
    fn a_reader_that_has_enough_is_no_failure_and_any_other_error_is() {
        let broken = io::Error::from(io::ErrorKind::BrokenPipe);
        let broken = anyhow::Error::from(broken).context("write a pulse");
        assert_eq!(finish(Err(broken)), ExitCode::from(EXIT_OK));
        assert_eq!(finish(Err(anyhow::anyhow!("no log"))), ExitCode::from(EXIT_FAILED));
    }
}
