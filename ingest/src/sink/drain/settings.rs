//! What drains are given: sinks, sizes, times.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::sink::{Sink, dead_letter};
use crate::tenant::Tenants;

pub use super::backoff::RetrySettings;

/// Whether the log waits for a sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// A pulse is stored when this sink has it, and stays in the log until then.
    Required,
    /// The log waits for it only within a budget; beyond, its oldest pulses are dropped for it.
    BestEffort {
        /// How far it may be behind, in bytes of the log.
        lag_bytes_max: u64,
    },
}

/// A sink as the settings name it.
#[derive(Debug, Clone)]
pub struct SinkRegistration {
    /// Its name, by which its cursor is kept: 1 to 64 of `a-z`, `0-9`, `-` and `_`.
    pub name: String,
    /// Where batches go.
    pub sink: Arc<dyn Sink>,
    /// Whether the log waits for it.
    pub need: Need,
}

/// Sizes and times of draining; the same for each sink.
#[derive(Debug, Clone)]
pub struct DrainSettings {
    /// Most rows of a batch.
    pub batch_size: usize,
    /// How long a row waits for a batch to fill.
    pub flush_interval: Duration,
    /// Batches that are written to one sink at once.
    pub workers: usize,
    /// Most bytes that are read and not finished, for each sink and source; at least two of the
    /// largest frames are allowed.
    pub window_bytes: usize,
    /// Most bytes of all dead letters; beyond, sinks wait with their faulty rows.
    pub dead_letter_bytes_max: u64,
    /// How failed writes are tried again.
    pub retry: RetrySettings,
    /// Required sinks that may be missing though pulses wait for them; these are given up.
    pub forget: Vec<String>,
    /// Whose schemas judge what they refused once, when it is replayed. Without any it is refused
    /// for good.
    pub tenants: Option<Arc<Tenants>>,
}

impl Default for DrainSettings {
    fn default() -> Self {
        Self {
            batch_size: 5_000,
            flush_interval: Duration::from_millis(100),
            workers: 2,
            window_bytes: 32 * 1024 * 1024,
            dead_letter_bytes_max: 256 * 1024 * 1024,
            retry: RetrySettings::default(),
            forget: Vec::new(),
            tenants: None,
        }
    }
}

/// Why drains can't start.
#[derive(Debug, Error)]
pub enum StartError {
    /// A name is empty, too long or has other characters than a file name should.
    #[error("sink name {0:?} is not 1 to 64 of a-z, 0-9, - and _")]
    Name(String),
    /// Two sinks have one name.
    #[error("sink {0:?} is named twice")]
    Twice(String),
    /// A required sink of the last start is not in the settings.
    #[error(
        "required sink {sink:?} is no longer in the settings and has {unfinished} pulses to come: \
         put it back until it has them, or name it in `forget` to give them up for it"
    )]
    Vanished {
        /// Its name.
        sink: String,
        /// How many pulses it has not finished.
        unfinished: u64,
    },
    /// A cursor can't be read.
    #[error("open cursor of sink {sink:?} failed")]
    Cursor {
        /// The sink's name.
        sink: String,
        /// Why.
        #[source]
        source: anyhow::Error,
    },
    /// The registry can't be read.
    #[error("open registry of sinks failed")]
    Registry {
        /// Why.
        #[source]
        source: anyhow::Error,
    },
    /// Dead letters can't be read.
    #[error("open dead letters failed")]
    DeadLetters(#[from] dead_letter::OpenError),
    /// A file can't be read or written.
    #[error("prepare {path} failed")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The log can't be read.
    #[error("read log failed")]
    Log(#[source] io::Error),
    /// A thread can't be started.
    #[error("start thread of a drain failed")]
    Thread(#[source] io::Error),
}

pub(crate) fn check_names(sinks: &[SinkRegistration]) -> Result<(), StartError> {
    for (index, sink) in sinks.iter().enumerate() {
        let sound = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let bytes = sink.name.as_bytes();
        if bytes.is_empty()
            || bytes.len() > 64
            || !bytes.iter().all(|byte| sound(*byte) || matches!(byte, b'-' | b'_'))
        {
            return Err(StartError::Name(sink.name.clone()));
        }
        if sinks[..index].iter().any(|other| other.name == sink.name) {
            return Err(StartError::Twice(sink.name.clone()));
        }
    }
    Ok(())
}
