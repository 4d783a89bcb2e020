//! The settings of `pulsemesh-ingest` by their names: what each takes, what it is unless set, and
//! who sets it in a mesh. A test compares the list with the ingest's own. Pure.

use std::time::Duration;

use pulsemesh_runtime::retention::RetentionClasses;
use pulsemesh_runtime::telemetry::check_level;

use pulsemesh_runtime::units;

/// A setting of the ingest.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    /// Its name: the key in the file.
    pub(super) name: &'static str,
    /// What it takes.
    pub(super) kind: Kind,
    /// What it is unless set; empty where that is computed or nothing.
    pub(super) default: &'static str,
    /// Who sets it.
    pub(super) by: By,
}

/// What a setting takes; bounds include their ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// One of these words.
    Word(&'static [&'static str]),
    /// `true` or `false`.
    Switch,
    /// A whole number.
    Count(u64, u64),
    /// Bytes.
    Size(u64, u64),
    /// A time.
    Time(Duration, Duration),
    /// A log level or directives.
    Level,
    /// Retention classes.
    Classes,
    /// An address, path or name, which only the operator writes.
    Text,
}

/// Who sets a setting in a mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// `spec.ingest.settings`; the operator too, where a default suits a pod better.
    User,
    /// `spec.ingest.settings`, for a store that is reached by CQL.
    UserOfCql,
    /// The operator, from this field of the spec.
    Field(&'static str),
    /// The operator, always; why.
    Operator(&'static str),
}

use By::{Field, Operator, User, UserOfCql};
use Kind::{Classes, Count, Level, Size, Switch, Text, Time, Word};

/// Of a name that is compared with the known ones: twice the longest of them. A comparison takes
/// time by the product of both lengths.
const NAME_BYTES_MAX: usize = 64;
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;
const LEVELS: &[&str] = &["memory", "durable", "stored"];
const CONSISTENCIES: &[&str] = &["one", "local_one", "quorum", "local_quorum", "all"];

const fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

const CLIENT_TIME: Kind = Time(Duration::from_millis(100), seconds(3600));
const GRACE: By = Field("spec.ingest.pod.terminationGracePeriodSeconds");
const BUFFER: By = Field("spec.ingest.buffer");
const BATCH: By = Field("spec.ingest.batch");
const STORE: By = Field("spec.store");
const RETENTION: By = Field("the retention of spec.store");
const LOGIN: By = Field("spec.store.external.cassandra.credentialsSecret");
const TLS: By = Field("spec.store.external.cassandra.tls");
const NO_MEMORY_STORE: By = Operator("it has no effect: no mesh keeps its rows in memory");
const NO_FILES: By = Operator("it names a file, and no pod of a mesh has it");
const BY_FILE: By = Operator("the operator divides limits by the pods that there are");
const TENANTS: By = Field("spec.ingest.tenants");
const SERVER_TLS: By = Field("spec.ingest.tls");
const REDIS: By = Field("spec.ingest.redis");

const fn known(name: &'static str, kind: Kind, default: &'static str, by: By) -> Known {
    Known { name, kind, default, by }
}

/// Every setting of the ingest.
pub(super) const KNOWN: &[Known] = &[
    known("listen", Text, "127.0.0.1:8080", Field("spec.ingest.service.port")),
    known("admin-listen", Text, "127.0.0.1:8081", Operator("probes and metrics are asked there")),
    known("threads", Count(1, 1024), "", User),
    known("data-dir", Text, "./pulsemesh-data", Field("spec.ingest.log.storage")),
    known("store", Word(&["memory", "embedded", "cassandra"]), "embedded", STORE),
    known("retention", Time(seconds(3600), seconds(3650 * 86_400)), "7d", RETENTION),
    known("retention-classes", Classes, "", User),
    known("memory-store-rows", Count(1, 1_000_000_000), "1000000", NO_MEMORY_STORE),
    known("memory-store-bytes", Size(MIB, TIB), "256MiB", NO_MEMORY_STORE),
    known("cassandra-nodes", Text, "127.0.0.1:9042", STORE),
    known("cassandra-keyspace", Text, "pulsemesh", STORE),
    known("cassandra-datacenter", Text, "", STORE),
    known("cassandra-replication-factor", Count(1, 100), "", STORE),
    known("cassandra-consistency", Word(CONSISTENCIES), "local_quorum", UserOfCql),
    known("cassandra-username-file", Text, "", LOGIN),
    known("cassandra-password-file", Text, "", LOGIN),
    known("cassandra-tls", Switch, "false", TLS),
    known("cassandra-tls-ca-file", Text, "", TLS),
    known("cassandra-tls-cert-file", Text, "", TLS),
    known("cassandra-tls-key-file", Text, "", TLS),
    known("cassandra-tls-verify-name", Switch, "true", TLS),
    known("cassandra-id-index", Switch, "true", UserOfCql),
    known("cassandra-compression", Word(&["lz4", "none"]), "lz4", UserOfCql),
    known(
        "cassandra-request-timeout",
        Time(Duration::from_millis(100), seconds(20)),
        "3s",
        UserOfCql,
    ),
    known("cassandra-requests-max", Count(1, 32_768), "256", UserOfCql),
    known("ack", Word(LEVELS), "durable", Field("spec.ingest.ack")),
    known("ack-max", Word(LEVELS), "stored", User),
    known("stored-timeout", CLIENT_TIME, "30s", User),
    known("overflow", Word(&["refuse", "drop"]), "refuse", BUFFER),
    known("buffer-size", Count(1, 100_000_000), "100000", BUFFER),
    known("buffer-bytes", Size(MIB, TIB), "64MiB", BUFFER),
    known("log-budget", Size(16 * MIB, 1024 * TIB), "1GiB", Field("spec.ingest.log.budget")),
    known("log-segment-size", Size(MIB, GIB), "", User),
    known("disk-free-min", Size(0, 1024 * TIB), "256MiB", User),
    known("batch-size", Count(1, 100_000), "5000", BATCH),
    known("flush-interval", Time(Duration::from_millis(1), seconds(60)), "100ms", BATCH),
    known("workers", Count(1, 256), "2", BATCH),
    known("window-bytes", Size(MIB, GIB), "16MiB", User),
    known("dead-letter-budget", Size(MIB, TIB), "256MiB", User),
    known("idempotency-window", Time(seconds(60), seconds(7 * 86_400)), "30m", User),
    known("idempotency-keys-max", Count(1_000, 1_000_000_000), "2000000", User),
    known("idempotency", Word(&["local", "redis", "cassandra"]), "local", User),
    known("idempotency-on-failure", Word(&["refuse", "local"]), "refuse", User),
    known("connections-max", Count(1, 1_000_000), "4096", User),
    known("streams-max", Count(1, 10_000), "128", User),
    known("body-bytes-max", Size(KIB, GIB), "8MiB", User),
    known("decompressed-bytes-max", Size(KIB, GIB), "32MiB", User),
    known("bytes-in-flight", Size(64 * KIB, TIB), "64MiB", User),
    known("header-timeout", CLIENT_TIME, "10s", User),
    known("body-timeout", CLIENT_TIME, "30s", User),
    known("idle-timeout", CLIENT_TIME, "75s", User),
    known("redis-url", Text, "", REDIS),
    known("redis-password-file", Text, "", REDIS),
    known("redis-tls-ca-file", Text, "", REDIS),
    known("limits-without-redis", Word(&["local", "refuse"]), "local", REDIS),
    known("limits-divide-by", Count(1, 10_000), "1", BY_FILE),
    known("tenants", Text, "", TENANTS),
    known("tls-cert", Text, "", SERVER_TLS),
    known("tls-key", Text, "", SERVER_TLS),
    known("tls-client-ca", Text, "", NO_FILES),
    known("stop-delay", Time(Duration::ZERO, seconds(3600)), "0s", GRACE),
    known("stop-drain", Switch, "false", GRACE),
    known("stop-timeout", Time(seconds(1), seconds(86_400)), "60s", GRACE),
    known("log-format", Word(&["auto", "text", "json"]), "auto", User),
    known("log-level", Level, "info", User),
];

/// The setting of this name.
pub(super) fn find(name: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.name == name)
}

/// The known name that is nearest to `name`, if it may have been meant: no more than a third of
/// the letters are wrong.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    if name.len() > NAME_BYTES_MAX {
        return None;
    }
    let most = (name.len() / 3).max(1);
    KNOWN
        .iter()
        .map(|known| (edits(name, known.name), known.name))
        .filter(|(edits, _)| *edits <= most)
        .min()
        .map(|(_, name)| name)
}

/// How many letters must be put in, taken out or replaced to make one text of the other.
fn edits(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (line, letter) in one.chars().enumerate() {
        let mut diagonal = line;
        row[0] = line + 1;
        for (column, &wanted) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != wanted);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

impl Kind {
    /// The text as a value of the settings file, if it is of this kind and within its bounds.
    ///
    /// # Errors
    /// What would be right.
    pub(super) fn value(self, text: &str) -> Result<toml::Value, String> {
        let as_text = || toml::Value::String(text.to_owned());
        match self {
            Self::Word(words) if words.contains(&text) => Ok(as_text()),
            Self::Word(words) => Err(format!("write one of {}", words.join(", "))),
            Self::Switch => {
                text.parse().map(toml::Value::Boolean).map_err(|_| "write true or false".to_owned())
            }
            Self::Count(min, max) => units::count(text)
                .filter(|number| (min..=max).contains(number))
                .and_then(|number| i64::try_from(number).ok())
                .map(toml::Value::Integer)
                .ok_or_else(|| format!("write a whole number from {min} to {max}")),
            Self::Size(min, max) => units::size(text)
                .filter(|bytes| (min..=max).contains(bytes))
                .map(|_| as_text())
                .ok_or_else(|| {
                    let (min, max) = (units::size_text(min), units::size_text(max));
                    format!("write a size from {min} to {max}, such as 64MiB")
                }),
            Self::Time(min, max) => units::time(text)
                .filter(|time| (min..=max).contains(time))
                .map(|_| as_text())
                .ok_or_else(|| {
                    let (min, max) = (units::time_text(min), units::time_text(max));
                    format!("write a time from {min} to {max}, such as 30s or 1h30m")
                }),
            Self::Level => check_level(text).map(|()| as_text()).map_err(|error| error.to_string()),
            Self::Classes => {
                RetentionClasses::parse(text).map(|_| as_text()).map_err(|error| error.to_string())
            }
            Self::Text => Ok(as_text()),
        }
    }
}
