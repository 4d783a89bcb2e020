//! What a failed request means: one table from the driver's and the server's errors to what the
//! writer does about it. Decides nothing else.
//!
//! The rule of the table: an outage must never look like a row's fault. Only what a database says
//! of a value's own size is certain; whatever is in doubt stays unknown, for the drain to prove.

use scylla::errors::{
    DbError, ExecutionError, PrepareError, RequestAttemptError, UseKeyspaceError, WriteType,
};

/// What a failed request means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// No answer in time, from replicas or at all: it may have been done.
    Timeout,
    /// The database refuses load.
    Overloaded,
    /// Too few replicas are up, a node is starting, or it may not be asked.
    Unavailable,
    /// No connection, or one that broke.
    Connection,
    /// The tables are not there or not as they should be: they are looked at again.
    Schema,
    /// The request is more than the database takes at once.
    TooLarge,
    /// The database will never take a value of it.
    Refused,
    /// None of these.
    Unknown,
}

impl Class {
    /// All, each at the index of its number.
    pub(crate) const ALL: [Self; 8] = [
        Self::Timeout,
        Self::Overloaded,
        Self::Unavailable,
        Self::Connection,
        Self::Schema,
        Self::TooLarge,
        Self::Refused,
        Self::Unknown,
    ];

    /// As a label.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Overloaded => "overloaded",
            Self::Unavailable => "unavailable",
            Self::Connection => "connection",
            Self::Schema => "schema",
            Self::TooLarge => "too_large",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
        }
    }

    /// Whether the same request may well succeed soon.
    pub(crate) fn passes(self) -> bool {
        matches!(self, Self::Timeout | Self::Overloaded | Self::Unavailable | Self::Connection)
    }
}

/// What the failure of a request means.
pub(crate) fn classify(error: &ExecutionError) -> Class {
    match error {
        ExecutionError::LastAttemptError(error) => classify_attempt(error),
        ExecutionError::RequestTimeout(_) => Class::Timeout,
        // No node is known, or none of those known can be reached.
        ExecutionError::EmptyPlan
        | ExecutionError::ConnectionPoolError(_)
        | ExecutionError::MetadataError(_) => Class::Connection,
        ExecutionError::PrepareError(error) => match error {
            PrepareError::ConnectionPoolError(_) => Class::Connection,
            PrepareError::AllAttemptsFailed { first_attempt } => classify_attempt(first_attempt),
            _ => Class::Schema,
        },
        ExecutionError::UseKeyspaceError(error) => match error {
            UseKeyspaceError::RequestError(error) => classify_attempt(error),
            UseKeyspaceError::RequestTimeout(_) => Class::Timeout,
            _ => Class::Schema,
        },
        ExecutionError::SchemaAgreementError(_) => Class::Schema,
        _ => Class::Unknown,
    }
}

/// What the failure of one attempt means.
pub(crate) fn classify_attempt(error: &RequestAttemptError) -> Class {
    match error {
        RequestAttemptError::DbError(error, message) => classify_answer(error, message),
        RequestAttemptError::BrokenConnectionError(_) => Class::Connection,
        // As many requests wait on the connection as it can tell apart.
        RequestAttemptError::UnableToAllocStreamId => Class::Overloaded,
        RequestAttemptError::RepreparedIdChanged { .. }
        | RequestAttemptError::RepreparedIdMissingInBatch => Class::Schema,
        _ => Class::Unknown,
    }
}

fn classify_answer(error: &DbError, message: &str) -> Class {
    match error {
        // The space for captured changes is full until its readers catch up.
        DbError::WriteTimeout { write_type: WriteType::Cdc, .. }
        | DbError::WriteFailure { write_type: WriteType::Cdc, .. }
        | DbError::Overloaded
        | DbError::RateLimitReached { .. } => Class::Overloaded,
        DbError::WriteTimeout { .. } | DbError::ReadTimeout { .. } => Class::Timeout,
        DbError::Unavailable { .. }
        | DbError::IsBootstrapping
        | DbError::ReadFailure { .. }
        // Replicas failed inside, as with a broken disk; a row's own faults the coordinator finds
        // before. Told as unknown, an outage of one token range would make dead letters.
        | DbError::WriteFailure { .. }
        // Permissions are changed for all rows alike.
        | DbError::Unauthorized
        | DbError::AuthenticationError => Class::Unavailable,
        // No value can make these of a prepared statement; other tables can.
        DbError::SyntaxError | DbError::ConfigError | DbError::Unprepared { .. } => Class::Schema,
        DbError::Invalid => classify_message(message),
        // A node lists a table that it has not opened yet.
        DbError::ServerError if message.contains("Unknown CF") => Class::Schema,
        _ => Class::Unknown,
    }
}

/// Guardrails whose only cause is the size of one row's own value. All others may be for reasons
/// that no row has, such as a full disk or a consistency that is not allowed.
const GUARDRAILS_OF_VALUES: [&str; 6] = [
    "column_value_size",
    "column_ascii_value_size",
    "column_blob_value_size",
    "column_text_and_varchar_value_size",
    "collection_size",
    "items_per_collection",
];

/// Requests that are refused say why in words alone. These are what Cassandra 5 was seen to say
/// (tests hold them against a real one), and Scylla's for the same.
fn classify_message(message: &str) -> Class {
    let has = |part: &str| message.contains(part);
    if let Some(guardrail) = message.strip_prefix("Guardrail ") {
        let name = guardrail.split(' ').next().unwrap_or_default();
        return match name {
            _ if !has(" violated: ") => Class::Unknown,
            "replica_disk_usage" | "local_data_disk_usage" => Class::Unavailable,
            _ if GUARDRAILS_OF_VALUES.contains(&name) => Class::Refused,
            _ => Class::Unknown,
        };
    }
    let is_too_large = message.starts_with("Rejected an oversized mutation")
        || message.starts_with("Request is too big")
        || message.starts_with("Batch too large")
        || message.starts_with("Mutation of ") && has(" is too large for the maximum size");
    let is_schema = message.ends_with(" does not exist")
        || message.starts_with("unconfigured table")
        || message.starts_with("Undefined column name")
        || message.starts_with("Unknown identifier")
        || message.starts_with("No keyspace has been specified")
        // A column of another type: the statement was made for other tables.
        || message.starts_with("Expected ") && has(" byte");
    // No row lives so long but by a retention that the database can't keep.
    let is_retention =
        message.starts_with("ttl is too large") || has("maximum supported expiration date");
    match () {
        () if is_too_large => Class::TooLarge,
        () if is_schema => Class::Schema,
        () if is_retention => Class::Unavailable,
        () => Class::Unknown,
    }
}

/// What the database itself said.
pub(crate) fn message(error: &ExecutionError) -> Option<&str> {
    match error {
        ExecutionError::LastAttemptError(RequestAttemptError::DbError(_, message)) => Some(message),
        _ => None,
    }
}
