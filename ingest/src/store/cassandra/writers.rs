//! Tells the other processes that this one writes, and learns how many there are: together they
//! make the rate that a service's rows are spread by.

use scylla::errors::ExecutionError;
use scylla::value::CqlTimestamp;

use crate::sink::LogId;

use super::live::Live;

/// How long a process counts as a writer after it said so last: two of its signs of life, about
/// a minute apart, may be late.
const SEEN_FOR_SECONDS: i32 = 180;

/// Says that the process of this log writes at `now_ms`, and returns how many processes do.
///
/// # Errors
/// When the database does not answer; nobody waits for it then.
pub(super) async fn count(live: &Live, log: LogId, now_ms: i64) -> Result<u32, ExecutionError> {
    let (session, statements) = (&live.session, &live.statements);
    let sign = (log.0, CqlTimestamp(now_ms), SEEN_FOR_SECONDS);
    session.execute_unpaged(&statements.insert_writer, sign).await?;
    let writers = session.execute_unpaged(&statements.select_writers, ()).await?;
    let rows = writers.into_rows_result().map_or(1, |rows| rows.rows_num());
    Ok(u32::try_from(rows).unwrap_or(u32::MAX).max(1))
}
