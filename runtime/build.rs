//! Tells the crate which compiler and target it is built with, for `/version`.

use std::io::{self, Write};
use std::process::Command;

#[allow(clippy::disallowed_methods, reason = "cargo tells a build script by variables")]
fn main() -> io::Result<()> {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let rustc = Command::new(rustc).arg("--version").output()?;
    let rustc = String::from_utf8_lossy(&rustc.stdout);
    let target = std::env::var("TARGET").unwrap_or_default();
    let mut cargo = io::stdout();
    writeln!(cargo, "cargo::rerun-if-changed=build.rs")?;
    writeln!(cargo, "cargo::rustc-env=PULSEMESH_RUSTC={}", rustc.trim())?;
    writeln!(cargo, "cargo::rustc-env=PULSEMESH_TARGET={target}")
}
