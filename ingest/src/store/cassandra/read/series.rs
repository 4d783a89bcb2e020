//! One service of one tenant in the database, and requests that are sent again once.

use std::sync::Arc;

use scylla::client::session::Session;
use scylla::errors::ExecutionError;
use scylla::response::PagingState;
use scylla::response::query_result::QueryRowsResult;
use scylla::serialize::row::SerializeRow;
use scylla::statement::prepared::PreparedStatement;
use scylla::value::CqlTimestamp;
use uuid::Uuid;

use crate::store::Row;
use crate::store::cassandra::error::{Class, classify};
use crate::store::cassandra::layout::{Layout, bucket_of};
use crate::store::cassandra::live::Live;

use super::columns::EventColumns;
use super::order::Range;
use super::source::{Answer, Laid, Part, ReadError, Source};

/// A service's rows. Every request carries the tenant and the service in its key.
#[derive(Debug)]
pub(super) struct Series<'q> {
    pub(super) live: &'q Arc<Live>,
    pub(super) tenant: &'q str,
    pub(super) service: &'q str,
}

impl Source for Series<'_> {
    async fn buckets(
        &self,
        (oldest_ms, newest_ms): (i64, i64),
        items: usize,
        from: PagingState,
    ) -> Result<Answer<Laid>, ReadError> {
        let statement = &self.live.statements.select_buckets;
        let (newest, oldest) = (CqlTimestamp(newest_ms), CqlTimestamp(oldest_ms));
        let values = (self.tenant, self.service, newest, oldest);
        let (result, rest) = page(&self.live.session, (statement, items), values, from).await?;
        let rows = result.rows::<(CqlTimestamp, i16, i16)>().map_err(not_understood)?;
        let laid = |(bucket, mark, code): (CqlTimestamp, i16, i16)| Laid {
            bucket_ms: bucket.0,
            layout: Layout::from_code(code as u16),
            slice: Layout::from_code(code as u16).slice_of_mark(mark),
        };
        let items = rows.map(|row| row.map(laid)).collect::<Result<_, _>>();
        Ok(Answer { items: items.map_err(not_understood)?, rest })
    }

    async fn rows(
        &self,
        part: Part,
        items: usize,
        from: PagingState,
    ) -> Result<Answer<Row>, ReadError> {
        let statement = &self.live.statements.select_events;
        let Range { from_ms, until } = part.range;
        let (first, last) = (CqlTimestamp(from_ms), CqlTimestamp(until.event_time_ms));
        let (tenant, service, bucket) = (self.tenant, self.service, CqlTimestamp(part.bucket_ms));
        let values = (tenant, service, bucket, part.shard, first, Uuid::nil(), last, until.id);
        let (result, rest) = page(&self.live.session, (statement, items), values, from).await?;
        let rows = result.rows::<EventColumns<'_>>().map_err(not_understood)?;
        let row = |columns: EventColumns<'_>| columns.row(self.tenant, self.service);
        let items = rows.map(|columns| row(columns?)).collect::<Result<_, _>>();
        Ok(Answer { items: items.map_err(ReadError::Answer)?, rest })
    }
}

impl Series<'_> {
    /// The row with this full key.
    pub(super) async fn row(
        &self,
        event_time_ms: i64,
        shard: i32,
        id: Uuid,
    ) -> Result<Option<Row>, ReadError> {
        let statement = &self.live.statements.select_event;
        let (bucket, time) = (CqlTimestamp(bucket_of(event_time_ms)), CqlTimestamp(event_time_ms));
        let values = (self.tenant, self.service, bucket, shard, time, id);
        let from = PagingState::start();
        let (result, _) = page(&self.live.session, (statement, 1), values, from).await?;
        let columns = result.maybe_first_row::<EventColumns<'_>>().map_err(not_understood)?;
        let row = columns.map(|columns| columns.row(self.tenant, self.service)).transpose();
        row.map_err(ReadError::Answer)
    }
}

/// A page of at most `items` rows, and where the next one begins.
pub(in super::super) async fn page(
    session: &Session,
    (statement, items): (&PreparedStatement, usize),
    values: impl SerializeRow,
    from: PagingState,
) -> Result<(QueryRowsResult, Option<PagingState>), ReadError> {
    let mut statement = statement.clone();
    statement.set_page_size(i32::try_from(items).unwrap_or(i32::MAX).max(1));
    let bound = statement.bind(&values).map_err(not_understood)?;
    let mut sent = session.execute_bound_single_page(&bound, from.clone()).await;
    if sent.as_ref().is_err_and(may_pass) {
        // Once more: by now the driver knows of a node that went away, and asks another one.
        sent = session.execute_bound_single_page(&bound, from).await;
    }
    let (result, rest) = sent.map_err(|error| ReadError::Request(Box::new(error)))?;
    let rows = result.into_rows_result().map_err(not_understood)?;
    Ok((rows, rest.into_paging_control_flow().continue_value()))
}

fn may_pass(error: &ExecutionError) -> bool {
    matches!(classify(error), Class::Timeout | Class::Unavailable | Class::Connection)
}

/// The answer has another form than the tables.
pub(super) fn not_understood(error: impl std::error::Error + Send + Sync + 'static) -> ReadError {
    ReadError::Answer(error.into())
}
