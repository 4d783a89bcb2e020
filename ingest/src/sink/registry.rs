//! Which sinks this data directory has: a sink that is taken out of the settings while pulses
//! wait for it is noticed at start, not when somebody misses them.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::fs::{self, Fs};

const VERSION: u32 = 1;
const FILE_NAME: &str = "registry.json";
/// Far above any list of sinks.
const BYTES_MAX: usize = 1024 * 1024;

/// Why the registry can't be used.
#[derive(Debug, Error)]
pub(crate) enum RegistryError {
    /// It could not be read.
    #[error("read registry of sinks failed")]
    Io(#[source] io::Error),
    /// It is no registry.
    #[error("registry of sinks is damaged")]
    Damaged(#[source] serde_json::Error),
    /// A newer version of this program wrote it.
    #[error("registry of sinks has format version {0}, newer than {VERSION}")]
    Newer(u32),
}

/// The sinks of the last start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Registry {
    version: u32,
    pub(crate) sinks: Vec<Registered>,
}

/// One sink of the last start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Registered {
    pub(crate) name: String,
    pub(crate) required: bool,
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

impl Registry {
    pub(crate) fn new(sinks: Vec<Registered>) -> Self {
        Self { version: VERSION, sinks }
    }

    /// Reads the registry; an empty one where there is none.
    pub(crate) fn read(fs: &dyn Fs, sinks_dir: &Path) -> Result<Self, RegistryError> {
        let bytes = match fs::read_file(fs, &sinks_dir.join(FILE_NAME), BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self::new(Vec::new()));
            }
            Err(error) => return Err(RegistryError::Io(error)),
        };
        let Version { version } = serde_json::from_slice(&bytes).map_err(RegistryError::Damaged)?;
        if version > VERSION {
            return Err(RegistryError::Newer(version));
        }
        serde_json::from_slice(&bytes).map_err(RegistryError::Damaged)
    }

    /// Replaces the registry; returns when it survives a crash.
    pub(crate) fn write(&self, fs: &dyn Fs, sinks_dir: &Path) -> io::Result<()> {
        fs::replace_file(fs, &sinks_dir.join(FILE_NAME), &serde_json::to_vec_pretty(self)?)
    }
}
