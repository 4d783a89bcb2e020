//! Which build this is.

use std::fmt;

use serde::Serialize;

/// What a build says of itself: in `--version`, at `/version` and in `pulsemesh_build_info`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Version {
    /// The release, such as `0.1.0`.
    pub version: &'static str,
    /// The git commit, if `PULSEMESH_REVISION` was set at build; else `unknown`.
    pub revision: &'static str,
    /// The compiler.
    pub rustc: &'static str,
    /// The target triple.
    pub target: &'static str,
}

impl Version {
    /// This build, as the release `version` (`env!("CARGO_PKG_VERSION")` of the binary).
    pub const fn of_build(version: &'static str) -> Self {
        let revision = match option_env!("PULSEMESH_REVISION") {
            Some(revision) => revision,
            None => "unknown",
        };
        Self { version, revision, rustc: env!("PULSEMESH_RUSTC"), target: env!("PULSEMESH_TARGET") }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, revision, rustc, target } = self;
        write!(f, "{version} (revision {revision}, {rustc}, {target})")
    }
}
