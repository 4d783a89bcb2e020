//! Queries over the database: a service's rows, one row, counts. Whatever is asked, the tenant
//! is part of every key that is read.

mod classes;
mod columns;
mod counts;
mod ids;
mod merge;
mod order;
pub(super) mod series;
mod slices;
pub(super) mod source;
#[cfg(test)]
mod tests;
mod walk;

use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use tokio::time::timeout;
use uuid::Uuid;

use crate::store::{Count, CountQuery, Page, PulseQuery, QueryError, Row};

use super::error::{Class, classify};
use super::link::ClassLink;
use super::live::Live;
use super::settings::CassandraSettings;

pub(super) use classes::ClassReaders;
use counts::Counter;
use ids::Ids;
use order::{Kept, Range};
use series::Series;
use source::ReadError;
use walk::Walk;

/// Longest query: the server gives it 10 s, and wants to hear why there is no answer.
const QUERY_TIME_MAX: Duration = Duration::from_secs(9);

/// Answers queries from the database.
#[derive(Debug)]
pub(crate) struct Reader {
    link: ClassLink,
    settings: Arc<CassandraSettings>,
}

impl Reader {
    /// Makes a reader over a connection.
    pub(crate) fn new(link: impl Into<ClassLink>, settings: Arc<CassandraSettings>) -> Self {
        Self { link: link.into(), settings }
    }

    /// Rows of a service, newest first. Within one millisecond ids are ordered as the database
    /// does: by version first.
    pub(crate) async fn pulses(&self, query: &PulseQuery) -> Result<Page, QueryError> {
        let Some(range) = Range::of(query, self.kept()) else { return Ok(Page::default()) };
        let live = self.live()?;
        let series = Series { live: &live, tenant: &query.tenant, service: &query.service };
        self.answer(&live, Walk::new(&series, range, query.limit).page()).await
    }

    /// One row by its id.
    pub(crate) async fn pulse(&self, tenant: &str, id: Uuid) -> Result<Option<Row>, QueryError> {
        if !self.settings.id_index {
            return Err(QueryError::NotIndexed);
        }
        let live = self.live()?;
        let ids = Ids { live: &live, tenant, id };
        self.answer(&live, ids.row(self.kept())).await
    }

    /// Pulses by minute and kind.
    pub(crate) async fn counts(&self, query: &CountQuery) -> Result<Vec<Count>, QueryError> {
        let live = self.live()?;
        let counter = Counter { live: &live, tenant: &query.tenant };
        self.answer(&live, counter.counts(query, self.kept())).await
    }

    fn kept(&self) -> Kept {
        Kept::at((self.settings.clock)(), self.settings.retention)
    }

    fn live(&self) -> Result<Arc<Live>, QueryError> {
        self.link.live().map_err(|down| QueryError::Unavailable(anyhow::Error::new(down)))
    }

    /// Waits for an answer, and says what its failure means.
    async fn answer<T>(
        &self,
        live: &Arc<Live>,
        query: impl Future<Output = Result<T, ReadError>>,
    ) -> Result<T, QueryError> {
        // Boxed: a query holds the state of all of its requests.
        let Ok(answer) = timeout(QUERY_TIME_MAX, Box::pin(query)).await else {
            return Err(QueryError::Unavailable(anyhow!("no answer in {QUERY_TIME_MAX:?}")));
        };
        answer.map_err(|error| match &error {
            ReadError::TooManyCounts => QueryError::TooManyCounts,
            ReadError::Answer(_) => QueryError::Failed(anyhow::Error::new(error)),
            ReadError::Request(request) => {
                let class = classify(request);
                if class == Class::Schema {
                    self.link.doubt(live, "a query met other tables");
                }
                let passes = is_passing(class);
                let error = anyhow::Error::new(error);
                if passes { QueryError::Unavailable(error) } else { QueryError::Failed(error) }
            }
        })
    }
}

/// Whether the same query may be answered later.
fn is_passing(class: Class) -> bool {
    match class {
        Class::Timeout
        | Class::Overloaded
        | Class::Unavailable
        | Class::Connection
        | Class::Schema => true,
        Class::TooLarge | Class::Refused | Class::Unknown => false,
    }
}
