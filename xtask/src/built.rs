//! How programs are built that are shipped, tested or measured: static, by one profile, so that
//! images, tests and figures are of the same. Builds nothing.

use std::env::consts::ARCH;
use std::path::{Path, PathBuf};

/// What cargo is told beside the profile.
pub const STATIC: [&str; 2] = ["--config", ".cargo/static.toml"];

/// Where cargo puts them, in its target folder.
pub fn folder(target: &Path, profile: &str) -> PathBuf {
    let profile = if profile == "dev" { "debug" } else { profile };
    target.join(format!("{ARCH}-unknown-linux-gnu")).join(profile)
}
