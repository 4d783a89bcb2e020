//! How a test asks the database about the outcome: again, where a busy machine made it late.

use std::sync::Arc;

use scylla::errors::{DbError, RequestAttemptError};
use scylla::policies::retry::{RequestInfo, RetryDecision, RetryPolicy, RetrySession};
use scylla::statement::Statement;

/// Times of some seconds each: more than nodes that share two cores have been late.
const AGAIN_MAX: usize = 8;

/// A statement that is sent again when nodes were late or not all there. Only for those that may
/// be applied twice, and not for what the program under test sends.
pub fn patient(text: impl Into<String>) -> Statement {
    let mut statement = Statement::new(text);
    statement.set_is_idempotent(true);
    statement.set_retry_policy(Some(Arc::new(Patient)));
    statement
}

#[derive(Debug)]
struct Patient;

#[derive(Debug, Default)]
struct Asked(usize);

impl RetryPolicy for Patient {
    fn new_session(&self) -> Box<dyn RetrySession> {
        Box::new(Asked::default())
    }
}

impl RetrySession for Asked {
    fn decide_should_retry(&mut self, request: RequestInfo<'_>) -> RetryDecision {
        use DbError::{Overloaded, ReadTimeout, Unavailable, WriteTimeout};
        let RequestAttemptError::DbError(error, _) = request.error else {
            return RetryDecision::DontRetry;
        };
        let late = matches!(
            error,
            Overloaded | ReadTimeout { .. } | Unavailable { .. } | WriteTimeout { .. }
        );
        if !late || self.0 == AGAIN_MAX {
            return RetryDecision::DontRetry;
        }
        self.0 += 1;
        RetryDecision::RetrySameTarget(None)
    }

    fn reset(&mut self) {
        self.0 = 0;
    }
}
