//! Settings, in two stages: what was typed (flags > environment > file > defaults, as text with
//! its source) and what it means (a typed value for each component).

mod checks;
mod checks_cassandra;
mod checks_redis;
mod definition;
#[cfg(test)]
mod document;
mod effective;
mod error;
mod file;
mod nodes;
mod redis_url;
mod resolve;
mod sources;
mod table;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_cassandra;
#[cfg(test)]
mod tests_redis;
mod value;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pulsemesh_runtime::telemetry::LogFormat;
use scylla::statement::Consistency;

use crate::limits::{RedisSettings, WithoutRedis};
use crate::retention::RetentionClasses;
use crate::server;
use crate::sharing::OnFailure;
use crate::store::cassandra::settings::{CredentialFiles, TlsFiles};
use crate::submission::Ack;

pub use definition::{Definition, Fallback, Kind};
pub use effective::effective_toml;
pub use error::{Problem, SettingsError};
pub use sources::CONFIG_VARIABLE;
pub use table::{DEFINITIONS, Values};
pub use value::{Source, Value};

/// What every part of the process is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where it listens.
    pub listen: Listen,
    /// Where pulses are kept.
    pub storage: Storage,
    /// What an answer means.
    pub ack: Acks,
    /// The log.
    pub log: Log,
    /// How batches are made and written.
    pub drain: Drain,
    /// How repeats are recognised.
    pub repeats: Repeats,
    /// What clients may use.
    pub limits: Limits,
    /// How the limits of tenants are counted.
    pub counting: Counting,
    /// Who may use it, and how connections are encrypted.
    pub access: Access,
    /// How it stops.
    pub stop: Stop,
    /// What it tells of itself.
    pub telemetry: Telemetry,
    /// What a person should know of these settings; logged at start.
    pub warnings: Vec<String>,
}

/// Where it listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// For clients; port 0 lets the system choose.
    pub clients: SocketAddr,
    /// For the platform.
    pub admin: SocketAddr,
    /// Threads that serve clients.
    pub threads: usize,
}

/// Where pulses are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    /// The directory of everything on disk.
    pub data_dir: PathBuf,
    /// The store that is written and queried.
    pub store: StoreChoice,
    /// How long a pulse is kept, by its event time.
    pub retention: Duration,
    /// The same for tenants that have another class.
    pub retention_classes: RetentionClasses,
}

/// Which store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreChoice {
    /// In memory, until the process ends.
    Memory {
        /// Most rows; beyond, the oldest go.
        rows_max: usize,
        /// Most bytes; beyond, the oldest rows go.
        bytes_max: usize,
    },
    /// On disk, under the data directory.
    Embedded,
    /// In a cluster of Cassandra or Scylla.
    Cassandra(Box<Cassandra>),
}

/// How a cluster of Cassandra or Scylla is reached and used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cassandra {
    /// Where to begin, as `host:port`.
    pub nodes: Vec<String>,
    /// The keyspace of all tables.
    pub keyspace: String,
    /// Whose nodes are asked; `None`: those of the first node that answers.
    pub datacenter: Option<String>,
    /// Copies of each row where the keyspace is made.
    pub replication_factor: Option<u32>,
    /// How many copies must answer.
    pub consistency: Consistency,
    /// Who logs in.
    pub credentials: Option<CredentialFiles>,
    /// How connections are encrypted.
    pub tls: Option<TlsFiles>,
    /// Whether a pulse can be found by its id.
    pub id_index: bool,
    /// Whether requests and answers are compressed.
    pub compression: bool,
    /// How long one request may take.
    pub request_timeout: Duration,
    /// Most write requests at once.
    pub requests_max: usize,
}

/// What an answer means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acks {
    /// The level of a request that asks for none; at most `max`.
    pub default: Ack,
    /// The highest that may be asked for.
    pub max: Ack,
    /// How long a request of level `stored` waits.
    pub stored_timeout: Duration,
    /// Pulses that only memory holds.
    pub buffer: Buffer,
}

/// The memory buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Buffer {
    /// Most pulses.
    pub pulses_max: usize,
    /// Most bytes.
    pub bytes_max: usize,
    /// What happens beyond.
    pub overflow: Overflow,
}

/// What happens to a pulse of level `memory` when the buffer is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overflow {
    /// It is refused with 503.
    Refuse,
    /// It is answered 202, dropped and counted.
    Drop,
}

/// The log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Most bytes that a required sink has not finished.
    pub budget_bytes: u64,
    /// Bytes of one segment; at most a quarter of the budget.
    pub segment_bytes: u64,
    /// Free bytes on the disk below which it refuses.
    pub free_bytes_min: u64,
}

/// How batches are made and written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drain {
    /// Most rows of a batch.
    pub batch_rows: usize,
    /// Longest wait for a batch to fill.
    pub flush_interval: Duration,
    /// Writes at the same time.
    pub workers: usize,
    /// Bytes read ahead for each sink.
    pub window_bytes: usize,
    /// Most bytes of dead letters.
    pub dead_letter_bytes_max: u64,
}

/// How repeats are recognised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repeats {
    /// How long.
    pub window: Duration,
    /// Most ids and keys within the window.
    pub keys_max: usize,
    /// Who knows of them.
    pub shared: ShareChoice,
    /// What is done while others can't be asked.
    pub on_failure: OnFailure,
}

/// Who knows which ids and keys were used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShareChoice {
    /// This process alone.
    Local,
    /// All that share a Redis.
    Redis,
    /// All that share the database of the store.
    Cassandra,
}

/// What clients may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections.
    pub connections_max: usize,
    /// Requests at once on one HTTP/2 connection.
    pub streams_max: u32,
    /// Bytes of a body as it is sent.
    pub body_bytes_max: usize,
    /// Bytes of a body once decompressed; at least `body_bytes_max`.
    pub decompressed_bytes_max: usize,
    /// Bytes of all bodies that are not answered; holds one largest body both as it is sent and
    /// decompressed.
    pub bytes_in_flight_max: usize,
    /// Time for a request's head.
    pub header_timeout: Duration,
    /// Time for a request's body.
    pub body_timeout: Duration,
    /// Time between requests of a connection.
    pub idle_timeout: Duration,
}

/// How the limits of tenants are counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counting {
    /// Where several processes count together.
    pub redis: Option<RedisSettings>,
    /// What is done while it can't be asked.
    pub without_redis: WithoutRedis,
    /// Into how many equal parts a limit is divided that this process counts alone.
    pub divide_by: u64,
}

/// Who may use it, and how connections are encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// The file of tenants; `None`: one open tenant.
    pub tenants: Option<PathBuf>,
    /// `None`: in the clear.
    pub tls: Option<server::tls::TlsFiles>,
}

/// How it stops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    /// Time to go on accepting.
    pub delay: Duration,
    /// Whether log and dead letters are emptied first, and how long that may take.
    pub drain_within: Option<Duration>,
}

/// What it tells of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Telemetry {
    /// How log lines look.
    pub format: LogFormat,
    /// Which are written: a level or directives.
    pub level: String,
}

/// Everything that may set something.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// By the setting's name.
    pub flags: BTreeMap<&'static str, String>,
    /// The process's environment.
    pub environment: BTreeMap<String, String>,
    /// The settings file.
    pub file: Option<PathBuf>,
}

/// Reads the file, merges all sources, and says what they mean.
///
/// # Errors
/// Everything that is wrong, each with its place.
pub fn load(sources: &Sources) -> Result<(Settings, Values), SettingsError> {
    let file = match &sources.file {
        Some(path) => file::read(path)?,
        None => file::FileValues::default(),
    };
    let values = sources::merge(&sources.flags, &sources.environment, &file);
    let settings = resolve::resolve(&values, sources::misspelt(&sources.environment))?;
    Ok((settings, values))
}

/// What a settings file means, with defaults for what it does not set and without flags or
/// environment: for tools that render files. `name` is what errors call it.
///
/// # Errors
/// Everything that is wrong, each with its line.
pub fn from_toml(name: &Path, text: &str) -> Result<Settings, SettingsError> {
    let file = file::parse(&name.display().to_string(), text)?;
    let values = sources::merge(&BTreeMap::new(), &BTreeMap::new(), &file);
    resolve::resolve(&values, Vec::new())
}

/// A time as settings write it, such as `1h30m`; `None`: it is none.
pub fn parse_time(text: &str) -> Option<Duration> {
    pulsemesh_runtime::units::time(text)
}
