//! Stores: sinks that can be asked for what they hold.

mod bars;
pub mod cassandra;
pub mod embedded;
pub mod memory;
mod newest;
mod packed;
mod row;

use std::time::Duration;

use futures_util::future::BoxFuture;
use rust_decimal::Decimal;
use thiserror::Error;
use uuid::Uuid;

use crate::sink::Sink;

/// One stored pulse, as a query gives it back.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Its id.
    pub id: Uuid,
    /// Whose it is.
    pub tenant: String,
    /// The service that sent it.
    pub service: String,
    /// What kind of event it is.
    pub kind: String,
    /// When it happened, in milliseconds since 1970 in UTC.
    pub event_time_ms: i64,
    /// When it was received, in microseconds since 1970 in UTC.
    pub received_at_us: i64,
    /// How long it took, in milliseconds.
    pub latency_ms: Option<f64>,
    /// How it ended.
    pub status: Option<String>,
    /// A measured value.
    pub value: Option<f64>,
    /// Who did it.
    pub user: Option<String>,
    /// What it is billed as.
    pub usage: Option<RowUsage>,
    /// Named text.
    pub metadata: Vec<(String, String)>,
    /// Any JSON, as its text.
    pub payload: Option<String>,
}

/// An amount of something that is billed.
#[derive(Debug, Clone, PartialEq)]
pub struct RowUsage {
    /// What is counted.
    pub sku: String,
    /// In which unit.
    pub unit: String,
    /// How much; exact.
    pub amount: Decimal,
}

/// Which rows, newest event first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PulseQuery {
    /// Whose.
    pub tenant: String,
    /// Of which service.
    pub service: String,
    /// From this event time on, in milliseconds since 1970.
    pub from_ms: i64,
    /// Before this event time, in milliseconds since 1970.
    pub to_ms: i64,
    /// At most so many; 1 to [`PAGE_ROWS_MAX`]. A page of large rows ends earlier.
    pub limit: usize,
    /// Only rows behind this one.
    pub after: Option<Position>,
}

/// The name that the store has among the sinks.
pub const SINK_NAME: &str = "store";

/// Most rows of one page: at common row sizes a few MiB of JSON.
pub const PAGE_ROWS_MAX: usize = 1_000;

/// Most counts of one answer, about 20 MiB: kinds are the clients' own words, so nothing else
/// bounds how many there are.
pub const COUNTS_MAX: usize = 200_000;

/// A row's place in the order of a query: newest event time first, then highest id first.
/// Which id is higher within a millisecond is the store's matter: Cassandra compares versions
/// first.
/// A page ends at one and the next begins behind it, so rows that arrive between never shift it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The row's event time, in milliseconds since 1970.
    pub event_time_ms: i64,
    /// The row's id.
    pub id: Uuid,
}

/// Rows and where to go on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Page {
    /// Newest first.
    pub rows: Vec<Row>,
    /// Where the next page starts; `None` when there is no more.
    pub next: Option<Position>,
}

/// Which pulses are counted, by event time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CountQuery {
    /// Whose.
    pub tenant: String,
    /// From this event time on, in milliseconds since 1970; cut down to its minute.
    pub from_ms: i64,
    /// Before this event time, in milliseconds since 1970; cut up to its minute.
    pub to_ms: i64,
}

/// Pulses of one kind in one minute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    /// The minute's start, in milliseconds since 1970.
    pub minute_ms: i64,
    /// The kind.
    pub kind: String,
    /// How many.
    pub pulses: u64,
}

/// Why a query was not answered.
#[derive(Debug, Error)]
pub enum QueryError {
    /// The answer would have more than [`COUNTS_MAX`] counts; a shorter range has fewer.
    #[error("query asks for more than {COUNTS_MAX} counts")]
    TooManyCounts,
    /// This store does not index ids: a pulse can't be found by its id alone.
    #[error("store does not index ids")]
    NotIndexed,
    /// The store can't be reached.
    #[error("store is unavailable")]
    Unavailable(#[source] anyhow::Error),
    /// The store answered what can't be: damage or a defect.
    #[error("read from the store failed")]
    Failed(#[source] anyhow::Error),
}

/// What is to be erased: a tenant's rows that were received by a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erasure {
    /// Whose.
    pub tenant: String,
    /// Received at this time or before, in microseconds since 1970.
    pub until_us: i64,
}

/// What one step of an erasure has done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Erased {
    /// Rows that are gone; of a step that was done again, some may be counted twice.
    pub rows: u64,
    /// Partitions, blocks or whatever the store keeps rows in, that were erased or cut.
    pub partitions: u64,
    /// Where the next step goes on, in words that the store alone knows; `None`: all is erased.
    pub next: Option<String>,
    /// How long the next step is to wait at least.
    pub wait: Duration,
}

/// A sink that can be asked for what it holds. No read ever crosses tenants.
pub trait Store: Sink {
    /// How the row of a new pulse will be spread, as a code of eight bits that its record keeps
    /// ([`Entry::shard`](crate::log::frame::Entry)) beside the number of its retention class.
    /// Called once for each pulse, before the log; must not block. `bytes` is the size of its
    /// original bytes.
    fn shard_of(&self, _tenant: &str, _service: &str, _event_time_ms: i64, _bytes: usize) -> u16 {
        0
    }

    /// Rows of a service, newest first.
    fn pulses<'a>(&'a self, query: &'a PulseQuery) -> BoxFuture<'a, Result<Page, QueryError>>;

    /// One pulse by its id.
    fn pulse<'a>(
        &'a self,
        tenant: &'a str,
        id: Uuid,
    ) -> BoxFuture<'a, Result<Option<Row>, QueryError>>;

    /// Pulses by minute and kind, ordered by minute, then kind.
    fn counts<'a>(&'a self, query: &'a CountQuery)
    -> BoxFuture<'a, Result<Vec<Count>, QueryError>>;

    /// From now on no row of a tenant is taken that was received at `until_us` or before: it
    /// counts as expired. `None` lifts that. Forgotten with the process; must not block.
    fn bar(&self, tenant: &str, until_us: Option<i64>);

    /// Does one step of an erasure, whose rows [are barred](Store::bar) already: what was being
    /// written is waited for by the first step. May be asked twice for the same step, also by
    /// another run of the process.
    ///
    /// # Errors
    /// When the store can't do it now; the same step is tried again later.
    fn erase<'a>(
        &'a self,
        erasure: &'a Erasure,
        position: Option<&'a str>,
    ) -> BoxFuture<'a, anyhow::Result<Erased>>;
}

#[cfg(test)]
mod tests;
