//! Unlogged batches of one prepared statement, made once for each length: making one anew for
//! every request would copy the statement's handle for each of its rows.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use scylla::policies::retry::FallthroughRetryPolicy;
use scylla::statement::Consistency;
use scylla::statement::batch::{Batch, BatchType};
use scylla::statement::prepared::PreparedStatement;

use super::plan::REQUEST_ROWS_MAX;

/// How every request of a write is sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sending {
    pub(super) consistency: Consistency,
    pub(super) timeout: Duration,
}

/// The batches of one statement.
pub(super) struct Batches {
    statement: PreparedStatement,
    sending: Sending,
    by_rows: Box<[OnceLock<Batch>]>,
}

impl Batches {
    pub(super) fn new(statement: &PreparedStatement, sending: Sending) -> Self {
        let by_rows = (0..REQUEST_ROWS_MAX).map(|_| OnceLock::new()).collect();
        Self { statement: statement.clone(), sending, by_rows }
    }

    /// The batch of so many rows, 1 to [`REQUEST_ROWS_MAX`].
    pub(super) fn of(&self, rows: usize) -> Option<&Batch> {
        let batch = self.by_rows.get(rows.checked_sub(1)?)?;
        Some(batch.get_or_init(|| self.make(rows)))
    }

    fn make(&self, rows: usize) -> Batch {
        let statements = vec![self.statement.clone().into(); rows];
        let mut batch = Batch::new_with_statements(BatchType::Unlogged, statements);
        batch.set_consistency(self.sending.consistency);
        batch.set_is_idempotent(true);
        batch.set_request_timeout(Some(self.sending.timeout));
        // Requests are sent again by the writer, which knows what a failure means and how long
        // the whole batch may take.
        batch.set_retry_policy(Some(Arc::new(FallthroughRetryPolicy::new())));
        batch
    }
}

impl fmt::Debug for Batches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batches").field("statement", &self.statement.get_statement()).finish()
    }
}

/// The statement of a row of an index, sent as all others are.
pub(super) fn single(statement: &PreparedStatement, sending: Sending) -> PreparedStatement {
    let mut statement = statement.clone();
    statement.set_consistency(sending.consistency);
    statement.set_is_idempotent(true);
    statement.set_request_timeout(Some(sending.timeout));
    statement.set_retry_policy(Some(Arc::new(FallthroughRetryPolicy::new())));
    statement
}
