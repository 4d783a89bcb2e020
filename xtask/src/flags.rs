//! The product's flags that tests and benchmarks set, beside those that every start has: one
//! place to change when one is renamed.

/// Level of an answer unless a request asks for another: `memory`, `durable` or `stored`.
pub const ACK: &str = "--ack";
/// Where rows are kept: `memory`, `embedded` or `cassandra`.
pub const STORE: &str = "--store";
/// Most rows of a batch.
pub const BATCH_SIZE: &str = "--batch-size";
/// Longest wait for a batch to fill, such as `50ms`.
pub const FLUSH_INTERVAL: &str = "--flush-interval";
/// How many batches are written at once.
pub const WORKERS: &str = "--workers";
/// Bytes at which the log refuses, such as `64MiB`.
pub const LOG_BUDGET: &str = "--log-budget";
/// Free bytes on the disk below which the log refuses.
pub const DISK_FREE_MIN: &str = "--disk-free-min";
/// The highest level that a request may ask for.
pub const ACK_MAX: &str = "--ack-max";
/// Most pulses that only memory holds.
pub const BUFFER_SIZE: &str = "--buffer-size";
/// Most bytes of pulses that only memory holds.
pub const BUFFER_BYTES: &str = "--buffer-bytes";
/// Most bytes of bodies that are not answered.
pub const BYTES_IN_FLIGHT: &str = "--bytes-in-flight";
/// Bytes of the log that are read ahead for each sink.
pub const WINDOW_BYTES: &str = "--window-bytes";
/// What happens to a pulse that does not fit in the buffer: `refuse` or `drop`.
pub const OVERFLOW: &str = "--overflow";
/// Largest body as it is sent.
pub const BODY_BYTES_MAX: &str = "--body-bytes-max";
/// Largest body once decompressed; the log's budget holds at least two of them.
pub const DECOMPRESSED_BYTES_MAX: &str = "--decompressed-bytes-max";
/// Bytes of one segment of the log.
pub const LOG_SEGMENT: &str = "--log-segment-size";
/// Longest wait for a request's head.
pub const HEADER_TIMEOUT: &str = "--header-timeout";
/// Longest wait for a request's body.
pub const BODY_TIMEOUT: &str = "--body-timeout";
/// How long a stopping server goes on accepting.
pub const STOP_DELAY: &str = "--stop-delay";
/// A stopping server ends when its log is empty.
pub const STOP_DRAIN: &str = "--stop-drain";
/// Longest time that stopping may take.
pub const STOP_TIMEOUT: &str = "--stop-timeout";
/// A TOML file of settings.
pub const CONFIG: &str = "--config";
/// Reads the settings, says what is wrong with them and ends.
pub const CHECK_CONFIG: &str = "--check-config";
/// Of the example `throttled`: rows a second that its store takes; 0 is a store that is stuck.
pub const ROWS_PER_SECOND: &str = "--rows-per-second";
/// Of the example `refusing`: kind `refused` is refused while there is this file.
pub const REFUSE_WHILE: &str = "--refuse-while";
/// Most bytes of dead letters.
pub const DEAD_LETTER_BUDGET: &str = "--dead-letter-budget";
/// A file of tenants.
pub const TENANTS: &str = "--tenants";
/// The Redis through which limits are shared.
pub const REDIS_URL: &str = "--redis-url";
/// Who knows which ids and keys were used: `local`, `redis` or `cassandra`.
pub const IDEMPOTENCY: &str = "--idempotency";
/// What is done while others can't be asked: `refuse` or `local`.
pub const IDEMPOTENCY_ON_FAILURE: &str = "--idempotency-on-failure";
/// Where the database is asked first, `host:port` with commas between.
pub const CASSANDRA_NODES: &str = "--cassandra-nodes";
/// The keyspace of all tables.
pub const CASSANDRA_KEYSPACE: &str = "--cassandra-keyspace";
/// Replicas of each row, where the keyspace is made.
pub const CASSANDRA_REPLICATION_FACTOR: &str = "--cassandra-replication-factor";
/// A file that holds the user's name.
pub const CASSANDRA_USERNAME_FILE: &str = "--cassandra-username-file";
/// A file that holds the password.
pub const CASSANDRA_PASSWORD_FILE: &str = "--cassandra-password-file";
