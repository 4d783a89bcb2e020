//! What the values mean. Each group of text is taken apart whole, so that a setting that
//! nothing reads does not compile.

use std::path::PathBuf;

use scylla::statement::Consistency;

use crate::limits::{RedisSettings, WithoutRedis};
use crate::server;
use crate::sharing::OnFailure;
use crate::store::cassandra::settings::{CredentialFiles, TlsFiles};
use crate::submission::Ack;

use super::checks;
use super::error::Problem;
use super::table::{
    AccessValues, AckValues, CassandraValues, CountingValues, DrainValues, LimitValues,
    ListenValues, LogValues, RepeatValues, StopValues, StorageValues, TelemetryValues, Values,
};
use super::value::Value;
use super::{
    Access, Acks, Buffer, Cassandra, Counting, Drain, Limits, Listen, Log, Overflow, Repeats,
    Settings, SettingsError, ShareChoice, Stop, Storage, StoreChoice, Telemetry,
};
use pulsemesh_runtime::telemetry::LogFormat;

/// Proves every value, then every rule between values, and gives all problems at once.
pub(super) fn resolve(values: &Values, warnings: Vec<String>) -> Result<Settings, SettingsError> {
    let problems: Vec<_> =
        values.all().into_iter().filter_map(|value| value.check().err()).collect();
    if !problems.is_empty() {
        return Err(problems.into());
    }
    let mut settings = typed(values).map_err(|problem| vec![problem])?;
    let problems = checks::problems(&settings, values);
    if !problems.is_empty() {
        return Err(problems.into());
    }
    settings.warnings = warnings;
    settings.warnings.extend(checks::warnings(&settings, values));
    Ok(settings)
}

fn typed(values: &Values) -> Result<Settings, Problem> {
    let Values {
        listen,
        storage,
        cassandra,
        ack,
        log,
        drain,
        repeats,
        limits,
        counting,
        access,
        stop,
        telemetry,
    } = values;
    Ok(Settings {
        listen: Listen::of(listen)?,
        storage: Storage::of(storage, cassandra)?,
        ack: Acks::of(ack)?,
        log: Log::of(log)?,
        drain: Drain::of(drain)?,
        repeats: Repeats::of(repeats)?,
        limits: Limits::of(limits)?,
        counting: Counting::of(counting)?,
        access: Access::of(access)?,
        stop: Stop::of(stop)?,
        telemetry: Telemetry::of(telemetry)?,
        warnings: Vec::new(),
    })
}

impl Listen {
    fn of(values: &ListenValues) -> Result<Self, Problem> {
        let ListenValues { listen, admin_listen, threads } = values;
        Ok(Self {
            clients: listen.address()?,
            admin: admin_listen.address()?,
            threads: threads.count_as()?,
        })
    }
}

impl Storage {
    fn of(values: &StorageValues, cassandra: &CassandraValues) -> Result<Self, Problem> {
        let StorageValues {
            data_dir,
            store,
            retention,
            retention_classes,
            memory_store_rows,
            memory_store_bytes,
        } = values;
        let store = match store.word()? {
            "memory" => StoreChoice::Memory {
                rows_max: memory_store_rows.count_as()?,
                bytes_max: memory_store_bytes.size_in_memory()?,
            },
            "cassandra" => StoreChoice::Cassandra(Box::new(Cassandra::of(cassandra)?)),
            _ => StoreChoice::Embedded,
        };
        Ok(Self {
            data_dir: data_dir.path()?,
            store,
            retention: retention.time()?,
            retention_classes: retention_classes.classes()?,
        })
    }
}

impl Cassandra {
    fn of(values: &CassandraValues) -> Result<Self, Problem> {
        let CassandraValues {
            cassandra_nodes,
            cassandra_keyspace,
            cassandra_datacenter,
            cassandra_replication_factor,
            cassandra_consistency,
            cassandra_username_file,
            cassandra_password_file,
            cassandra_tls,
            cassandra_tls_ca_file,
            cassandra_tls_cert_file,
            cassandra_tls_key_file,
            cassandra_tls_verify_name,
            cassandra_id_index,
            cassandra_compression,
            cassandra_request_timeout,
            cassandra_requests_max,
        } = values;
        let credentials = pair(cassandra_username_file, cassandra_password_file)?;
        let tls = if cassandra_tls.switch()? {
            Some(TlsFiles {
                ca: cassandra_tls_ca_file.optional(Value::path)?.unwrap_or_default(),
                client: pair(cassandra_tls_cert_file, cassandra_tls_key_file)?,
                verify_name: cassandra_tls_verify_name.switch()?,
            })
        } else {
            None
        };
        Ok(Self {
            nodes: cassandra_nodes.nodes()?,
            keyspace: cassandra_keyspace.keyspace()?,
            datacenter: cassandra_datacenter.optional(Value::datacenter)?,
            replication_factor: cassandra_replication_factor.optional(Value::count_as)?,
            consistency: match cassandra_consistency.word()? {
                "one" => Consistency::One,
                "local_one" => Consistency::LocalOne,
                "quorum" => Consistency::Quorum,
                "all" => Consistency::All,
                _ => Consistency::LocalQuorum,
            },
            credentials: credentials
                .map(|(username, password)| CredentialFiles { username, password }),
            tls,
            id_index: cassandra_id_index.switch()?,
            compression: cassandra_compression.word()? == "lz4",
            request_timeout: cassandra_request_timeout.time()?,
            requests_max: cassandra_requests_max.count_as()?,
        })
    }
}

/// Two files of which neither means anything alone; a rule says so where one is missing.
fn pair(one: &Value, other: &Value) -> Result<Option<(PathBuf, PathBuf)>, Problem> {
    Ok(one.optional(Value::path)?.zip(other.optional(Value::path)?))
}

impl Acks {
    fn of(values: &AckValues) -> Result<Self, Problem> {
        let AckValues { ack, ack_max, stored_timeout, overflow, buffer_size, buffer_bytes } =
            values;
        Ok(Self {
            default: level(ack)?,
            max: level(ack_max)?,
            stored_timeout: stored_timeout.time()?,
            buffer: Buffer {
                pulses_max: buffer_size.count_as()?,
                bytes_max: buffer_bytes.size_in_memory()?,
                overflow: match overflow.word()? {
                    "drop" => Overflow::Drop,
                    _ => Overflow::Refuse,
                },
            },
        })
    }
}

fn level(value: &Value) -> Result<Ack, Problem> {
    let word = value.word()?;
    Ack::from_name(word).ok_or_else(|| value.problem(format!("`{word}` is no level")))
}

impl Log {
    fn of(values: &LogValues) -> Result<Self, Problem> {
        let LogValues { log_budget, log_segment_size, disk_free_min } = values;
        Ok(Self {
            budget_bytes: log_budget.size()?,
            segment_bytes: log_segment_size.size()?,
            free_bytes_min: disk_free_min.size()?,
        })
    }
}

impl Drain {
    fn of(values: &DrainValues) -> Result<Self, Problem> {
        let DrainValues { batch_size, flush_interval, workers, window_bytes, dead_letter_budget } =
            values;
        Ok(Self {
            batch_rows: batch_size.count_as()?,
            flush_interval: flush_interval.time()?,
            workers: workers.count_as()?,
            window_bytes: window_bytes.size_in_memory()?,
            dead_letter_bytes_max: dead_letter_budget.size()?,
        })
    }
}

impl Repeats {
    fn of(values: &RepeatValues) -> Result<Self, Problem> {
        let RepeatValues {
            idempotency_window,
            idempotency_keys_max,
            idempotency,
            idempotency_on_failure,
        } = values;
        let shared = match idempotency.word()? {
            "redis" => ShareChoice::Redis,
            "cassandra" => ShareChoice::Cassandra,
            _ => ShareChoice::Local,
        };
        let on_failure = match idempotency_on_failure.word()? {
            "local" => OnFailure::Local,
            _ => OnFailure::Refuse,
        };
        let (window, keys_max) = (idempotency_window.time()?, idempotency_keys_max.count_as()?);
        Ok(Self { window, keys_max, shared, on_failure })
    }
}

impl Limits {
    fn of(values: &LimitValues) -> Result<Self, Problem> {
        let LimitValues {
            connections_max,
            streams_max,
            body_bytes_max,
            decompressed_bytes_max,
            bytes_in_flight,
            header_timeout,
            body_timeout,
            idle_timeout,
        } = values;
        Ok(Self {
            connections_max: connections_max.count_as()?,
            streams_max: streams_max.count_as()?,
            body_bytes_max: body_bytes_max.size_in_memory()?,
            decompressed_bytes_max: decompressed_bytes_max.size_in_memory()?,
            bytes_in_flight_max: bytes_in_flight.size_in_memory()?,
            header_timeout: header_timeout.time()?,
            body_timeout: body_timeout.time()?,
            idle_timeout: idle_timeout.time()?,
        })
    }
}

impl Counting {
    fn of(values: &CountingValues) -> Result<Self, Problem> {
        let CountingValues {
            redis_url,
            redis_password_file,
            redis_tls_ca_file,
            limits_without_redis,
            limits_divide_by,
        } = values;
        let password = redis_password_file.optional(Value::path)?;
        let tls_ca = redis_tls_ca_file.optional(Value::path)?;
        let redis = redis_url.optional(Value::redis)?.map(|url| RedisSettings {
            host: url.host,
            port: url.port,
            database: url.database,
            username: url.username,
            password,
            tls: url.tls,
            tls_ca,
        });
        let without_redis = match limits_without_redis.word()? {
            "refuse" => WithoutRedis::Refuse,
            _ => WithoutRedis::Local,
        };
        Ok(Self { redis, without_redis, divide_by: limits_divide_by.count()? })
    }
}

impl Access {
    fn of(values: &AccessValues) -> Result<Self, Problem> {
        let AccessValues { tenants, tls_cert, tls_key, tls_client_ca } = values;
        let client_ca = tls_client_ca.optional(Value::path)?;
        let files = |(certificate, key)| server::tls::TlsFiles { certificate, key, client_ca };
        Ok(Self {
            tenants: tenants.optional(Value::path)?,
            tls: pair(tls_cert, tls_key)?.map(files),
        })
    }
}

impl Stop {
    fn of(values: &StopValues) -> Result<Self, Problem> {
        let StopValues { stop_delay, stop_drain, stop_timeout } = values;
        let drain_within = if stop_drain.switch()? { Some(stop_timeout.time()?) } else { None };
        Ok(Self { delay: stop_delay.time()?, drain_within })
    }
}

/// The driver of Cassandra tells of each attempt to connect; the store tells once why it is
/// down. Who wants to read the driver names it.
fn with_a_quiet_driver(level: &str) -> String {
    if level.contains("scylla") { level.to_owned() } else { format!("{level},scylla=off") }
}

impl Telemetry {
    fn of(values: &TelemetryValues) -> Result<Self, Problem> {
        let TelemetryValues { log_format, log_level } = values;
        let format = match log_format.word()? {
            "text" => LogFormat::Text,
            "json" => LogFormat::Json,
            _ => LogFormat::Auto,
        };
        Ok(Self { format, level: with_a_quiet_driver(&log_level.text) })
    }
}
