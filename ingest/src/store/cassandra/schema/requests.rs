//! How the schema's requests are sent: none is sent again by itself, and each has a bound.

use std::time::Duration;

use scylla::client::session::Session;
use scylla::response::query_result::QueryRowsResult;
use scylla::serialize::row::SerializeRow;
use scylla::statement::unprepared::Statement;
use scylla::statement::{Consistency, SerialConsistency};
use tokio::time::timeout;

use super::error::{SchemaError, disagree, failed, unread};

/// A change of the schema goes through every node's disk; Cassandra's own bound is 10 s.
const CHANGE_MAX: Duration = Duration::from_secs(12);
/// Nodes hear of a change within a second; one that does not within this is told to a person.
const AGREEMENT_MAX: Duration = Duration::from_secs(15);
/// Longest that one step takes: what a lease must outlive.
pub(super) const STEP_MAX: Duration = Duration::from_secs(12 + 15 + 15);

/// Sends what the schema needs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Requests<'a> {
    pub(super) session: &'a Session,
    /// How many replicas answer where no more is needed.
    pub(super) consistency: Consistency,
}

impl Requests<'_> {
    /// Reads rows.
    pub(super) async fn rows(
        &self,
        doing: &'static str,
        cql: &str,
        values: impl SerializeRow,
    ) -> Result<QueryRowsResult, SchemaError> {
        let statement = statement(cql, self.consistency);
        let result = self.session.query_unpaged(statement, values).await;
        result.map_err(failed(doing))?.into_rows_result().map_err(unread(doing))
    }

    /// Reads rows as they are once all conditional writes before have ended.
    pub(super) async fn settled_rows(
        &self,
        doing: &'static str,
        cql: &str,
        values: impl SerializeRow,
    ) -> Result<QueryRowsResult, SchemaError> {
        let serial = Self { consistency: Consistency::LocalSerial, ..*self };
        serial.rows(doing, cql, values).await
    }

    /// Writes a row to most replicas of the datacenter; with a condition, one at a time there.
    pub(super) async fn write(
        &self,
        doing: &'static str,
        cql: &str,
        values: impl SerializeRow,
    ) -> Result<(), SchemaError> {
        let mut statement = statement(cql, Consistency::LocalQuorum);
        statement.set_serial_consistency(Some(SerialConsistency::LocalSerial));
        let result = self.session.query_unpaged(statement, values).await;
        result.map(|_| ()).map_err(failed(doing))
    }

    /// Changes the schema, and waits until all nodes that can be reached know of it.
    pub(super) async fn change(&self, cql: &str) -> Result<(), SchemaError> {
        let statement = statement(cql, self.consistency);
        // The driver waits for agreement too, if it was told to, and with a bound of its own.
        let sent = timeout(CHANGE_MAX + AGREEMENT_MAX, self.session.query_unpaged(statement, ()));
        let sent = sent.await.map_err(|_| SchemaError::NoAgreement { source: None })?;
        sent.map_err(failed("change the tables"))?;
        self.agree().await
    }

    /// Waits until all nodes that can be reached know the same schema.
    pub(super) async fn agree(&self) -> Result<(), SchemaError> {
        match timeout(AGREEMENT_MAX, self.session.await_schema_agreement()).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(source)) => Err(disagree(source.into())),
            Err(_) => Err(SchemaError::NoAgreement { source: None }),
        }
    }
}

fn statement(cql: &str, consistency: Consistency) -> Statement {
    let mut statement = Statement::new(cql);
    statement.set_consistency(consistency);
    statement.set_request_timeout(Some(CHANGE_MAX));
    statement
}
