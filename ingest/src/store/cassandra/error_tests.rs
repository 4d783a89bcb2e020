//! Every error that the driver can be given by a database, and what it means.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use scylla::errors::{
    BadQuery, ConnectionPoolError, DbError, ExecutionError, OperationType, PrepareError,
    RequestAttemptError, SerializationError, UseKeyspaceError, WriteType,
};
use scylla::statement::Consistency::LocalQuorum;

use super::error::{Class, classify};

fn answer(error: DbError, message: &str) -> ExecutionError {
    ExecutionError::LastAttemptError(RequestAttemptError::DbError(error, message.to_owned()))
}

fn write_timeout(write_type: WriteType) -> DbError {
    DbError::WriteTimeout { consistency: LocalQuorum, received: 1, required: 2, write_type }
}

fn write_failure(write_type: WriteType) -> DbError {
    let (received, required, numfailures) = (1, 2, 1);
    DbError::WriteFailure { consistency: LocalQuorum, received, required, numfailures, write_type }
}

#[test]
fn each_answer_of_a_database_has_its_class() {
    let text = || "x".to_owned();
    let (consistency, received, required) = (LocalQuorum, 1, 2);
    let (numfailures, data_present) = (1, false);
    let function = (text(), text(), vec![text()]);
    for (error, expected) in [
        (DbError::SyntaxError, Class::Schema),
        (DbError::Invalid, Class::Unknown),
        (DbError::AlreadyExists { keyspace: text(), table: text() }, Class::Unknown),
        (
            DbError::FunctionFailure {
                keyspace: function.0,
                function: function.1,
                arg_types: function.2,
            },
            Class::Unknown,
        ),
        (DbError::AuthenticationError, Class::Unavailable),
        (DbError::Unauthorized, Class::Unavailable),
        (DbError::ConfigError, Class::Schema),
        (DbError::Unavailable { consistency, required, alive: 1 }, Class::Unavailable),
        (DbError::Overloaded, Class::Overloaded),
        (DbError::IsBootstrapping, Class::Unavailable),
        (DbError::TruncateError, Class::Unknown),
        (DbError::ReadTimeout { consistency, received, required, data_present }, Class::Timeout),
        (write_timeout(WriteType::Simple), Class::Timeout),
        (write_timeout(WriteType::UnloggedBatch), Class::Timeout),
        (write_timeout(WriteType::Cdc), Class::Overloaded),
        (
            DbError::ReadFailure { consistency, received, required, numfailures, data_present },
            Class::Unavailable,
        ),
        (write_failure(WriteType::Simple), Class::Unavailable),
        (write_failure(WriteType::UnloggedBatch), Class::Unavailable),
        (write_failure(WriteType::Cdc), Class::Overloaded),
        (DbError::Unprepared { statement_id: Bytes::new() }, Class::Schema),
        (DbError::ServerError, Class::Unknown),
        (DbError::ProtocolError, Class::Unknown),
        (
            DbError::RateLimitReached {
                op_type: OperationType::Write,
                rejected_by_coordinator: true,
            },
            Class::Overloaded,
        ),
        (DbError::Other(0x1700), Class::Unknown),
    ] {
        assert_eq!(classify(&answer(error.clone(), "why")), expected, "{error:?}");
    }
}

#[test]
fn a_refusal_is_understood_by_its_words() {
    let value = "Value of column 'v' has size 61440, this exceeds the failure threshold of 49152.";
    let check = |message: &str, expected| {
        assert_eq!(classify(&answer(DbError::Invalid, message)), expected, "{message}");
        if matches!(expected, Class::Refused | Class::TooLarge) {
            let other = classify(&answer(DbError::ServerError, message));
            assert_eq!(other, Class::Unknown, "only a refusal is one: {message}");
        }
    };
    check(&format!("Guardrail column_value_size violated: {value}"), Class::Refused);
    check(
        "Guardrail items_per_collection violated: Detected collection m with 40 items",
        Class::Refused,
    );
    check(
        "Guardrail collection_size violated: Detected collection m of size 36064",
        Class::Refused,
    );
    check("Guardrail replica_disk_usage violated: Write request failed", Class::Unavailable);
    check("Guardrail write_consistency_levels violated: Provided values", Class::Unknown);
    check("Guardrail minimum_timestamp violated: The modification timestamp", Class::Unknown);
    check("Guardrail column_value_size has changed", Class::Unknown);
    check(
        "Rejected an oversized mutation (245872/163840) for keyspace: write_o. Top keys are: t.a",
        Class::TooLarge,
    );
    check(
        "Request is too big: length 18447217 exceeds maximum allowed length 16777216.",
        Class::TooLarge,
    );
    check("Batch too large", Class::TooLarge);
    check("Mutation of 20 bytes is too large for the maximum size of 10", Class::TooLarge);
    check("table t does not exist", Class::Schema);
    check("keyspace write_o does not exist", Class::Schema);
    check("Keyspace 'nokeyspace' does not exist", Class::Schema);
    check("unconfigured table t", Class::Schema);
    check("Undefined column name v in table write_o.t", Class::Schema);
    check("No keyspace has been specified. USE a keyspace, or explicitly", Class::Schema);
    check("Expected 4 or 0 byte int (1)", Class::Schema);
    check("ttl is too large. requested (700000000) maximum (630720000)", Class::Unavailable);
    check(
        "Request on table write_o.t with ttl of 630000000 seconds exceeds maximum supported \
         expiration date of 2038-01-19T03:14:06+00:00.",
        Class::Unavailable,
    );
    check("Key may not be empty", Class::Unknown);
    check("Key length of 70000 is longer than maximum of 65535", Class::Unknown);
    check("", Class::Unknown);
}

#[test]
fn each_failure_of_the_driver_has_its_class() {
    let io = || std::io::Error::other("gone");
    let broken: scylla::errors::BrokenConnectionError =
        scylla::errors::BrokenConnectionErrorKind::WriteError(io()).into();
    let unserializable = || SerializationError::new(io());
    let attempt = ExecutionError::LastAttemptError;
    let overloaded = || RequestAttemptError::DbError(DbError::Overloaded, String::new());
    let pool = || ConnectionPoolError::Initializing;
    for (error, expected) in [
        (ExecutionError::EmptyPlan, Class::Connection),
        (ExecutionError::ConnectionPoolError(pool()), Class::Connection),
        (ExecutionError::RequestTimeout(Duration::from_secs(3)), Class::Timeout),
        (ExecutionError::BadQuery(BadQuery::SerializationError(unserializable())), Class::Unknown),
        (ExecutionError::BadQuery(BadQuery::TooManyQueriesInBatchStatement(9)), Class::Unknown),
        (PrepareError::ConnectionPoolError(pool()).into(), Class::Connection),
        (PrepareError::AllAttemptsFailed { first_attempt: overloaded() }.into(), Class::Overloaded),
        (PrepareError::PreparedStatementIdsMismatch.into(), Class::Schema),
        (UseKeyspaceError::RequestError(overloaded()).into(), Class::Overloaded),
        (UseKeyspaceError::RequestTimeout(Duration::from_secs(3)).into(), Class::Timeout),
        (
            UseKeyspaceError::KeyspaceNameMismatch {
                expected_keyspace_name_lowercase: "a".into(),
                result_keyspace_name_lowercase: "b".into(),
            }
            .into(),
            Class::Schema,
        ),
        (
            scylla::errors::SchemaAgreementError::Timeout(Duration::from_secs(60)).into(),
            Class::Schema,
        ),
        (
            ExecutionError::MetadataError(scylla::errors::MetadataError::ConnectionPoolError(
                pool(),
            )),
            Class::Connection,
        ),
        (attempt(RequestAttemptError::BrokenConnectionError(broken)), Class::Connection),
        (attempt(RequestAttemptError::UnableToAllocStreamId), Class::Overloaded),
        (attempt(RequestAttemptError::SerializationError(unserializable())), Class::Unknown),
        (
            attempt(RequestAttemptError::CqlRequestSerialization(
                scylla::errors::CqlRequestSerializationError::SnapCompressError(Arc::new(io())),
            )),
            Class::Unknown,
        ),
        (attempt(RequestAttemptError::RepreparedIdMissingInBatch), Class::Schema),
        (
            attempt(RequestAttemptError::RepreparedIdChanged {
                statement: String::new(),
                expected_id: Vec::new(),
                reprepared_id: Vec::new(),
            }),
            Class::Schema,
        ),
        (
            attempt(RequestAttemptError::UnexpectedResponse(
                scylla::errors::CqlResponseKind::Ready,
            )),
            Class::Unknown,
        ),
        (attempt(RequestAttemptError::NonfinishedPagingState), Class::Unknown),
    ] {
        assert_eq!(classify(&error), expected, "{error:?}");
    }
}

#[test]
fn each_class_lies_at_its_number_and_only_outages_pass() {
    for (number, class) in Class::ALL.into_iter().enumerate() {
        assert_eq!(class as usize, number);
        let row = matches!(class, Class::TooLarge | Class::Refused | Class::Unknown);
        assert!(!(row && class.passes()), "{class:?}");
    }
}
