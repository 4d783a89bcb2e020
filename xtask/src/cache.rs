//! The user's cache folder, where what is fetched once is kept: outside the repository, so that
//! a fresh clone has it. Fetches nothing.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The folder `name` in `$XDG_CACHE_HOME`, else `~/.cache`, else the folder for temporary files.
pub fn folder(name: &str) -> PathBuf {
    let base = variable("XDG_CACHE_HOME").map(PathBuf::from);
    let base = base.or_else(|| variable("HOME").map(|home| Path::new(&home).join(".cache")));
    base.unwrap_or_else(std::env::temp_dir).join(name)
}

#[allow(clippy::disallowed_methods, reason = "the user's cache folder has no flag")]
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}
