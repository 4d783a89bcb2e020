//! Why the tables are not as they must be, for a person and for the one who tries again.

use scylla::errors::{DbError, ExecutionError, RequestAttemptError, WriteType};
use scylla::statement::Consistency;
use thiserror::Error;

/// Why the tables could not be prepared.
#[derive(Debug, Error)]
pub(crate) enum SchemaError {
    /// The keyspace's name can't stand in a statement as it is.
    #[error(
        "refuse the keyspace name {name:?}: a letter from a to z, then at most 47 of a to z, \
         0 to 9 and _"
    )]
    Name {
        /// What was asked for.
        name: String,
    },
    /// A newer program has changed the tables; nothing was touched.
    #[error(
        "refuse the tables of keyspace {keyspace}: their schema is of version {found}, and this \
         program knows none above {known}; run the newer program, or choose another keyspace with \
         --cassandra-keyspace"
    )]
    Newer {
        /// Whose tables.
        keyspace: String,
        /// Their version.
        found: i32,
        /// The newest that is known here.
        known: i32,
    },
    /// A table has the name of one of ours and another key; nothing was touched.
    #[error(
        "refuse the table {keyspace}.{table}: its primary key is not the one this program uses, so \
         another program made it, and it was left as it is; choose another keyspace with \
         --cassandra-keyspace, or move its rows to a table of another name and drop it"
    )]
    PlainTable {
        /// Where it is.
        keyspace: String,
        /// Its name.
        table: String,
    },
    /// A table has the name and key of one of ours and a column of another type; nothing was
    /// touched.
    #[error(
        "refuse the table {keyspace}.{table}: its column {column} is of type {found}, and this \
         program uses {wanted}, so another program or an early build made it, and it was left as \
         it is; choose another keyspace with --cassandra-keyspace, or move its rows to a table of \
         another name and drop it"
    )]
    OtherType {
        /// Where it is.
        keyspace: String,
        /// Its name.
        table: String,
        /// The first column that differs.
        column: &'static str,
        /// The type that it has.
        found: String,
        /// The type that it must have.
        wanted: &'static str,
    },
    /// Another process changes the tables right now.
    #[error("wait for another process that prepares the tables of keyspace {keyspace}")]
    LockHeld {
        /// Whose tables.
        keyspace: String,
    },
    /// The nodes do not know the same tables yet.
    #[error("wait for all nodes to agree on the schema")]
    NoAgreement {
        /// What was said, if anything was.
        source: Option<Box<ExecutionError>>,
    },
    /// A request failed.
    #[error("{doing}")]
    Request {
        /// What was being done, verb first.
        doing: &'static str,
        /// How it failed.
        source: Box<ExecutionError>,
    },
    /// An answer was not what was asked for.
    #[error("{doing}: read the answer")]
    Answer {
        /// What was being done, verb first.
        doing: &'static str,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// What helps after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    /// It passes by itself within seconds.
    Soon,
    /// The database may have to recover first, or somebody has to change something.
    Later,
}

impl SchemaError {
    /// When it is worth trying again.
    pub(crate) fn again(&self) -> Again {
        match self {
            Self::LockHeld { .. } | Self::NoAgreement { .. } => Again::Soon,
            Self::Request { source, .. } if is_contended(source) => Again::Soon,
            _ => Again::Later,
        }
    }
}

/// Wraps how a request failed.
pub(super) fn failed(doing: &'static str) -> impl FnOnce(ExecutionError) -> SchemaError {
    move |source| match source {
        ExecutionError::SchemaAgreementError(_) => disagree(source),
        source if is_opening(&source) => disagree(source),
        source => SchemaError::Request { doing, source: Box::new(source) },
    }
}

/// Wraps how a request failed that shows that a node does not know the tables yet.
pub(super) fn disagree(source: ExecutionError) -> SchemaError {
    SchemaError::NoAgreement { source: Some(Box::new(source)) }
}

/// Whether the database understood a request and will not do it.
pub(super) fn is_refused(source: &ExecutionError) -> bool {
    use DbError::{ConfigError, Invalid, SyntaxError};
    matches!(
        source,
        ExecutionError::LastAttemptError(RequestAttemptError::DbError(
            SyntaxError | Invalid | ConfigError,
            _
        ))
    )
}

/// Whether a conditional write, or the read after it, gave up; mostly against others that begin
/// at the same moment.
fn is_contended(source: &ExecutionError) -> bool {
    use DbError::{ReadTimeout, WriteTimeout};
    match source {
        ExecutionError::LastAttemptError(RequestAttemptError::DbError(error, _)) => match error {
            WriteTimeout { write_type, .. } => *write_type == WriteType::Cas,
            ReadTimeout { consistency, .. } => *consistency == Consistency::LocalSerial,
            _ => false,
        },
        _ => false,
    }
}

/// Whether a node of Cassandra lists a table whose files it has not opened yet, or was asked for
/// one that it has not heard of.
fn is_opening(source: &ExecutionError) -> bool {
    let ExecutionError::LastAttemptError(RequestAttemptError::DbError(error, text)) = source else {
        return false;
    };
    match error {
        DbError::ServerError => text.contains("Unknown CF"),
        DbError::ReadFailure { .. } | DbError::WriteFailure { .. } => {
            text.contains("INCOMPATIBLE_SCHEMA")
        }
        _ => false,
    }
}

/// Wraps what is wrong with an answer.
pub(super) fn unread<E>(doing: &'static str) -> impl FnOnce(E) -> SchemaError
where
    E: std::error::Error + Send + Sync + 'static,
{
    move |source| SchemaError::Answer { doing, source: Box::new(source) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(error: DbError) -> SchemaError {
        let text = "1 failures: INCOMPATIBLE_SCHEMA; Unknown CF 1".to_owned();
        let attempt = RequestAttemptError::DbError(error, text);
        failed("lock the tables")(ExecutionError::LastAttemptError(attempt))
    }

    #[test]
    fn what_passes_by_itself_is_tried_again_soon() {
        let check = |error: SchemaError, again| assert_eq!(error.again(), again, "{error:?}");
        let keyspace = || "k".to_owned();
        let timeout = |write_type| DbError::WriteTimeout {
            consistency: Consistency::LocalSerial,
            received: 1,
            required: 2,
            write_type,
        };
        check(SchemaError::LockHeld { keyspace: keyspace() }, Again::Soon);
        check(SchemaError::NoAgreement { source: None }, Again::Soon);
        check(request(timeout(WriteType::Cas)), Again::Soon);
        check(request(DbError::ServerError), Again::Soon);
        let failure = DbError::ReadFailure {
            consistency: Consistency::LocalQuorum,
            received: 1,
            required: 2,
            numfailures: 1,
            data_present: true,
        };
        check(request(failure), Again::Soon);
        check(request(timeout(WriteType::Simple)), Again::Later);
        check(request(DbError::Overloaded), Again::Later);
        check(request(DbError::Invalid), Again::Later);
        check(SchemaError::Newer { keyspace: keyspace(), found: 2, known: 1 }, Again::Later);
        check(SchemaError::Name { name: keyspace() }, Again::Later);
    }
}
