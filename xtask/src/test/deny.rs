//! `cargo deny`: used where it is installed, else installed once into the user's cache.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::step::Step;

/// A version that is known to read deny.toml; a newer one is a change of its own.
const VERSION: &str = "0.20.2";

/// Where tools of the checks are kept.
fn cache() -> PathBuf {
    xtask::cache::folder("pulsemesh-tools")
}

/// Installs it (about three minutes of one processor, once), unless it is there, and checks
/// licences, bans and sources; advisories too where their database can be fetched.
pub(super) fn step() -> Step {
    let on_path = Command::new("cargo-deny").arg("--version").output();
    let program = if on_path.is_ok_and(|output| output.status.success()) {
        PathBuf::from("cargo-deny")
    } else {
        cache().join("bin/cargo-deny")
    };
    let script = format!(
        "set -u\n\
         if [ ! -x {deny} ] && ! command -v {deny} >/dev/null; then\n\
           {cargo} install cargo-deny@{VERSION} --locked --root {root} || exit 1\n\
         fi\n\
         {deny} --color never check licenses bans sources || exit 1\n\
         log=$(mktemp)\n\
         if {deny} --color never check advisories >\"$log\" 2>&1; then\n\
           echo 'advisories ok'\n\
         elif grep -q 'failed to fetch advisory database' \"$log\"; then\n\
           echo 'skipped: advisories, their database can not be fetched here'\n\
         else\n\
           cat \"$log\"; rm -f \"$log\"; exit 1\n\
         fi\n\
         rm -f \"$log\"\n",
        deny = quote(&program),
        cargo = quote(Path::new(env!("CARGO"))),
        root = quote(&cache()),
    );
    let mut step = Step::program("deny", "/bin/sh", "-c").within(20);
    step.arguments.push(script);
    step
}

fn quote(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}
