//! The list of all settings. `docs/settings.md`, `--help`, the keys of the file and the
//! environment variables are made from it.

use std::time::Duration;

use super::definition::Fallback::{Computed, Nothing, Value as Is};
use super::definition::Kind::{
    Address, Classes, Datacenter, Keyspace, Level, Nodes, Path, Redis, Switch, Word,
};
use super::definition::{Definition, Kind, settings};
use super::value::Value;
use crate::retention::{RETENTION_MAX, RETENTION_MIN};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;
const TIB: u64 = 1024 * GIB;
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

const fn count(min: u64, max: u64) -> Kind {
    Kind::Count { min, max }
}

const fn size(min: u64, max: u64) -> Kind {
    Kind::Size { min, max }
}

const fn time(min: Duration, max: Duration) -> Kind {
    Kind::Time { min, max }
}

/// Bounds of the timeouts that a client meets: below, an honest client on a slow line is cut
/// off; above, a silent one holds its place.
const CLIENT_TIME: Kind = time(Duration::from_millis(100), HOUR);

/// Longest request to the database: one that is sent again after it ends with its write, which
/// the drain gives up after a minute.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(20);

settings! {
    listen: ListenValues = "Listening" {
        /// Where clients send pulses and ask for them.
        listen = "listen", "PULSEMESH_LISTEN", Address, Is("127.0.0.1:8080");
        /// Where the platform asks: /metrics, /livez, /readyz, /version.
        admin_listen = "admin-listen", "PULSEMESH_ADMIN_LISTEN", Address, Is("127.0.0.1:8081");
        /// Threads that serve clients.
        threads = "threads", "PULSEMESH_THREADS", count(1, 1024), Computed("one for each core");
    }

    storage: StorageValues = "Storage" {
        /// Directory of the log, the embedded store and the dead letters; one process at a time.
        data_dir = "data-dir", "PULSEMESH_DATA_DIR", Path, Is("./pulsemesh-data");
        /// Where pulses can be queried: on disk, in Cassandra or Scylla, or in memory until the
        /// process ends.
        store = "store", "PULSEMESH_STORE",
            Word(&["memory", "embedded", "cassandra"]), Is("embedded");
        /// How long a pulse is kept, by its event time; an older one is rejected.
        retention = "retention", "PULSEMESH_RETENTION",
            time(RETENTION_MIN, RETENTION_MAX), Is("7d");
        /// Further retention classes, which tenants of --tenants may have in place of --retention.
        retention_classes = "retention-classes", "PULSEMESH_RETENTION_CLASSES",
            Classes, Nothing("all pulses are kept alike");
        /// Most pulses in the memory store; beyond, the oldest go.
        memory_store_rows = "memory-store-rows", "PULSEMESH_MEMORY_STORE_ROWS",
            count(1, 1_000_000_000), Is("1000000");
        /// Most bytes in the memory store; beyond, the oldest pulses go.
        memory_store_bytes = "memory-store-bytes", "PULSEMESH_MEMORY_STORE_BYTES",
            size(MIB, TIB), Is("256MiB");
    }

    cassandra: CassandraValues = "Cassandra and Scylla" {
        /// Nodes to begin with; all others are learnt from them.
        cassandra_nodes = "cassandra-nodes", "PULSEMESH_CASSANDRA_NODES",
            Nodes, Is("127.0.0.1:9042");
        /// The keyspace of all tables; made where it is missing.
        cassandra_keyspace = "cassandra-keyspace", "PULSEMESH_CASSANDRA_KEYSPACE",
            Keyspace, Is("pulsemesh");
        /// The datacenter whose nodes are asked.
        cassandra_datacenter = "cassandra-datacenter", "PULSEMESH_CASSANDRA_DATACENTER",
            Datacenter, Nothing("that of the first node that answers");
        /// Copies of each row in a keyspace that is made; one that exists is left as it is.
        cassandra_replication_factor = "cassandra-replication-factor",
            "PULSEMESH_CASSANDRA_REPLICATION_FACTOR", count(1, 100),
            Nothing("3, or the number of nodes if that is less");
        /// How many copies must answer, for writes and for reads.
        cassandra_consistency = "cassandra-consistency", "PULSEMESH_CASSANDRA_CONSISTENCY",
            Word(&["one", "local_one", "quorum", "local_quorum", "all"]), Is("local_quorum");
        /// File that holds the user's name; read anew for each connection.
        cassandra_username_file = "cassandra-username-file",
            "PULSEMESH_CASSANDRA_USERNAME_FILE", Path, Nothing("no login");
        /// File that holds the password; read anew for each connection.
        cassandra_password_file = "cassandra-password-file",
            "PULSEMESH_CASSANDRA_PASSWORD_FILE", Path, Nothing("no login");
        /// Whether connections are encrypted.
        cassandra_tls = "cassandra-tls", "PULSEMESH_CASSANDRA_TLS", Switch, Is("false");
        /// PEM file of those who may sign a node's certificate; needed with --cassandra-tls.
        cassandra_tls_ca_file = "cassandra-tls-ca-file", "PULSEMESH_CASSANDRA_TLS_CA_FILE",
            Path, Nothing("none");
        /// PEM file of our certificate, for nodes that ask for one.
        cassandra_tls_cert_file = "cassandra-tls-cert-file",
            "PULSEMESH_CASSANDRA_TLS_CERT_FILE", Path, Nothing("no certificate");
        /// PEM file of its key.
        cassandra_tls_key_file = "cassandra-tls-key-file", "PULSEMESH_CASSANDRA_TLS_KEY_FILE",
            Path, Nothing("no certificate");
        /// Whether a node's certificate must name its address or a host of --cassandra-nodes.
        cassandra_tls_verify_name = "cassandra-tls-verify-name",
            "PULSEMESH_CASSANDRA_TLS_VERIFY_NAME", Switch, Is("true");
        /// Whether each id is indexed; without, no pulse is found by its id.
        cassandra_id_index = "cassandra-id-index", "PULSEMESH_CASSANDRA_ID_INDEX",
            Switch, Is("true");
        /// How requests and answers are compressed.
        cassandra_compression = "cassandra-compression", "PULSEMESH_CASSANDRA_COMPRESSION",
            Word(&["lz4", "none"]), Is("lz4");
        /// How long one request may take until it is sent again.
        cassandra_request_timeout = "cassandra-request-timeout",
            "PULSEMESH_CASSANDRA_REQUEST_TIMEOUT",
            time(Duration::from_millis(100), REQUEST_TIME_MAX), Is("3s");
        /// Most write requests at once; how many there are is found by measuring.
        cassandra_requests_max = "cassandra-requests-max", "PULSEMESH_CASSANDRA_REQUESTS_MAX",
            count(1, 32_768), Is("256");
    }

    ack: AckValues = "Acknowledgement" {
        /// What an answer means unless the request asks otherwise: queued in memory, synced to
        /// the log, or written by every required sink.
        ack = "ack", "PULSEMESH_ACK", Word(&["memory", "durable", "stored"]), Is("durable");
        /// The highest level that a request may ask for.
        ack_max = "ack-max", "PULSEMESH_ACK_MAX",
            Word(&["memory", "durable", "stored"]), Is("stored");
        /// How long a request that asked for `stored` waits before its 503; the pulse stays logged.
        stored_timeout = "stored-timeout", "PULSEMESH_STORED_TIMEOUT", CLIENT_TIME, Is("30s");
        /// What happens to a pulse of level `memory` when the buffer is full: 503, or 202 and a
        /// counter.
        overflow = "overflow", "PULSEMESH_OVERFLOW", Word(&["refuse", "drop"]), Is("refuse");
        /// Most pulses that only memory holds.
        buffer_size = "buffer-size", "PULSEMESH_BUFFER_SIZE", count(1, 100_000_000), Is("100000");
        /// Most bytes of pulses that only memory holds.
        buffer_bytes = "buffer-bytes", "PULSEMESH_BUFFER_BYTES", size(MIB, TIB), Is("64MiB");
    }

    log: LogValues = "Log" {
        /// Most bytes in the log that the store has not taken yet; beyond, 503.
        log_budget = "log-budget", "PULSEMESH_LOG_BUDGET", size(16 * MIB, 1024 * TIB), Is("1GiB");
        /// Size of one file of the log.
        log_segment_size = "log-segment-size", "PULSEMESH_LOG_SEGMENT_SIZE", size(MIB, GIB),
            Computed("a 16th of --log-budget, 1MiB to 64MiB");
        /// Free space on the disk below which the log refuses.
        disk_free_min = "disk-free-min", "PULSEMESH_DISK_FREE_MIN",
            size(0, 1024 * TIB), Is("256MiB");
    }

    drain: DrainValues = "Batches" {
        /// Most pulses that are written to the store at once.
        batch_size = "batch-size", "PULSEMESH_BATCH_SIZE", count(1, 100_000), Is("5000");
        /// Longest time that a pulse waits for its batch to fill.
        flush_interval = "flush-interval", "PULSEMESH_FLUSH_INTERVAL",
            time(Duration::from_millis(1), Duration::from_secs(60)), Is("100ms");
        /// Batches that are written at the same time.
        workers = "workers", "PULSEMESH_WORKERS", count(1, 256), Is("2");
        /// Bytes of the log that are read ahead for each sink.
        window_bytes = "window-bytes", "PULSEMESH_WINDOW_BYTES", size(MIB, GIB), Is("16MiB");
        /// Most bytes of pulses that the store can't take, kept with their reason.
        dead_letter_budget = "dead-letter-budget", "PULSEMESH_DEAD_LETTER_BUDGET",
            size(MIB, TIB), Is("256MiB");
    }

    repeats: RepeatValues = "Repeats" {
        /// How long an `event_id` or `Idempotency-Key` is recognised as a repeat.
        idempotency_window = "idempotency-window", "PULSEMESH_IDEMPOTENCY_WINDOW",
            time(Duration::from_secs(60), Duration::from_secs(7 * 24 * 3600)), Is("30m");
        /// Most ids and keys in that window, which memory and disk hold; beyond, 503.
        idempotency_keys_max = "idempotency-keys-max", "PULSEMESH_IDEMPOTENCY_KEYS_MAX",
            count(1_000, 1_000_000_000), Is("2000000");
        /// Who knows of them: this process alone, or all that share --redis-url, or all that
        /// share the database of --store cassandra.
        idempotency = "idempotency", "PULSEMESH_IDEMPOTENCY",
            Word(&["local", "redis", "cassandra"]), Is("local");
        /// While what is shared can't be asked: refuse pulses with an id or key, or know only
        /// this process's own.
        idempotency_on_failure = "idempotency-on-failure", "PULSEMESH_IDEMPOTENCY_ON_FAILURE",
            Word(&["refuse", "local"]), Is("refuse");
    }

    limits: LimitValues = "Limits on clients" {
        /// Most connections; beyond, the longest idle one goes or the new one gets 503.
        connections_max = "connections-max", "PULSEMESH_CONNECTIONS_MAX",
            count(1, 1_000_000), Is("4096");
        /// Most requests at once on one HTTP/2 connection.
        streams_max = "streams-max", "PULSEMESH_STREAMS_MAX", count(1, 10_000), Is("128");
        /// Largest body as it is sent.
        body_bytes_max = "body-bytes-max", "PULSEMESH_BODY_BYTES_MAX", size(KIB, GIB), Is("8MiB");
        /// Largest body once decompressed.
        decompressed_bytes_max = "decompressed-bytes-max", "PULSEMESH_DECOMPRESSED_BYTES_MAX",
            size(KIB, GIB), Is("32MiB");
        /// Most bytes of bodies of all requests that are not answered; beyond, 503.
        bytes_in_flight = "bytes-in-flight", "PULSEMESH_BYTES_IN_FLIGHT",
            size(64 * KIB, TIB), Is("64MiB");
        /// Time for a request's head.
        header_timeout = "header-timeout", "PULSEMESH_HEADER_TIMEOUT", CLIENT_TIME, Is("10s");
        /// Time for a request's body.
        body_timeout = "body-timeout", "PULSEMESH_BODY_TIMEOUT", CLIENT_TIME, Is("30s");
        /// Time that a connection may idle between requests.
        idle_timeout = "idle-timeout", "PULSEMESH_IDLE_TIMEOUT", CLIENT_TIME, Is("75s");
    }

    counting: CountingValues = "Counting the limits of tenants" {
        /// Redis, through which several processes count together; without, each counts alone.
        redis_url = "redis-url", "PULSEMESH_REDIS_URL", Redis, Nothing("no Redis");
        /// File that holds the password of Redis; read anew for each connection.
        redis_password_file = "redis-password-file", "PULSEMESH_REDIS_PASSWORD_FILE",
            Path, Nothing("no login");
        /// PEM file of those who may sign the certificate of Redis; needed with rediss://.
        redis_tls_ca_file = "redis-tls-ca-file", "PULSEMESH_REDIS_TLS_CA_FILE",
            Path, Nothing("none");
        /// While Redis can't be asked: each process counts alone, or refuses tenants with limits.
        limits_without_redis = "limits-without-redis", "PULSEMESH_LIMITS_WITHOUT_REDIS",
            Word(&["local", "refuse"]), Is("local");
        /// Where a process counts alone it gives this part of each limit: the number of processes.
        limits_divide_by = "limits-divide-by", "PULSEMESH_LIMITS_DIVIDE_BY",
            count(1, 10_000), Is("1");
    }

    access: AccessValues = "Access" {
        /// YAML file of those who may use it and of their keys' hashes, read again when it changes.
        tenants = "tenants", "PULSEMESH_TENANTS",
            Path, Nothing("one open tenant, `default`, that needs no key");
        /// PEM file of the certificate that clients see, with those that sign it; read again when
        /// it changes.
        tls_cert = "tls-cert", "PULSEMESH_TLS_CERT", Path, Nothing("nothing is encrypted");
        /// PEM file of its key; read again when it changes.
        tls_key = "tls-key", "PULSEMESH_TLS_KEY", Path, Nothing("nothing is encrypted");
        /// PEM file of those who sign clients' certificates, which every client then needs.
        tls_client_ca = "tls-client-ca", "PULSEMESH_TLS_CLIENT_CA",
            Path, Nothing("clients need no certificate");
    }

    stop: StopValues = "Stop" {
        /// Time to go on accepting after SIGTERM, for load balancers to notice.
        stop_delay = "stop-delay", "PULSEMESH_STOP_DELAY", time(Duration::ZERO, HOUR), Is("0s");
        /// Exit only when the log is empty and no replay goes on, or after --stop-timeout.
        stop_drain = "stop-drain", "PULSEMESH_STOP_DRAIN", Switch, Is("false");
        /// Longest time that --stop-drain takes.
        stop_timeout = "stop-timeout", "PULSEMESH_STOP_TIMEOUT", time(SECOND, DAY), Is("60s");
    }

    telemetry: TelemetryValues = "Telemetry" {
        /// How log lines look; auto is text on a terminal, else one JSON object a line.
        log_format = "log-format", "PULSEMESH_LOG_FORMAT",
            Word(&["auto", "text", "json"]), Is("auto");
        /// Which log lines are written.
        log_level = "log-level", "PULSEMESH_LOG", Level, Is("info");
    }
}
