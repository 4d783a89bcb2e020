//! Sends sums to the database: one batch within one partition, bounded in rows and bytes.

use scylla::errors::ExecutionError;
use scylla::statement::batch::{Batch, BatchType};
use scylla::value::CqlTimestamp;

use super::super::live::Live;
use super::part::SumRow;

/// An hour, which with the tenant makes a partition.
const HOUR_MS: i64 = 3_600_000;
/// Rows of one batch, as of all tables.
const BATCH_ROWS_MAX: usize = 100;
/// Bytes of one batch, of which the servers refuse 50 KiB. Twice the size of names, 255 bytes
/// each, fits beside it.
const BATCH_BYTES_MAX: usize = 40 * 1024;
/// What a row takes beside its kind: two times, log, part, sum, write time, and their lengths.
const ROW_BYTES: usize = 96;

/// Start of the hour that a minute lies in.
fn hour_of(minute_ms: i64) -> i64 {
    minute_ms.div_euclid(HOUR_MS).saturating_mul(HOUR_MS)
}

/// Cuts rows into what one batch takes.
pub(super) fn batches(mut rows: Vec<SumRow>) -> Vec<Vec<SumRow>> {
    rows.sort_unstable_by(|a, b| (&a.tenant, a.minute_ms).cmp(&(&b.tenant, b.minute_ms)));
    let mut batches: Vec<Vec<SumRow>> = Vec::new();
    let mut bytes = 0;
    for row in rows {
        let row_bytes = ROW_BYTES + row.kind.len();
        let fits = |batch: &Vec<SumRow>| {
            batch.len() < BATCH_ROWS_MAX
                && bytes + row_bytes <= BATCH_BYTES_MAX
                && batch.first().is_some_and(|first| {
                    first.tenant == row.tenant && hour_of(first.minute_ms) == hour_of(row.minute_ms)
                })
        };
        match batches.last_mut().filter(|batch| fits(batch)) {
            Some(batch) => {
                bytes += row_bytes;
                batch.push(row);
            }
            None => {
                bytes = row_bytes;
                batches.push(vec![row]);
            }
        }
    }
    batches
}

/// Sends one batch.
pub(super) async fn send(
    live: &Live,
    rows: &[SumRow],
    (ttl_s, stamp_us): (i32, i64),
) -> Result<(), ExecutionError> {
    let statement = &live.statements.insert_count;
    let mut batch = Batch::new(BatchType::Unlogged);
    batch.set_is_idempotent(true);
    if let Some(consistency) = statement.get_consistency() {
        batch.set_consistency(consistency);
    }
    let mut values = Vec::with_capacity(rows.len());
    for row in rows {
        batch.append_statement(statement.clone());
        let minute = CqlTimestamp(row.minute_ms);
        let key = (&*row.tenant, CqlTimestamp(hour_of(row.minute_ms)), minute, &*row.kind);
        let (tenant, hour, minute, kind) = key;
        let (log, part) = (row.part.log.0, row.part.number);
        values.push((tenant, hour, minute, kind, log, part, row.pulses, ttl_s, stamp_us));
    }
    live.session.batch(&batch, values).await.map(|_result| ())
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use crate::sink::LogId;

    use super::super::part::PartId;
    use super::*;

    fn row(tenant: &str, minute: i64, kind: &str) -> SumRow {
        let part = PartId { log: LogId(Uuid::nil()), number: 0 };
        let (tenant, kind) = (tenant.into(), kind.into());
        SumRow { part, slot: 0, tenant, minute_ms: minute * 60_000, kind, pulses: 1 }
    }

    #[test]
    fn a_batch_stays_within_a_partition_and_its_limits() {
        let long = "k".repeat(255);
        let mut rows: Vec<_> = (0..70).map(|minute| row("b", minute, "x")).collect();
        rows.extend((0..150).map(|minute| row("a", minute % 60, "x")));
        rows.extend((0..300).map(|_| row("c", -1, &long)));
        let batches = batches(rows);
        assert_eq!(batches.iter().map(Vec::len).sum::<usize>(), 520);
        let sizes: Vec<_> = batches.iter().map(Vec::len).collect();
        assert_eq!(sizes, [100, 50, 60, 10, 100, 100, 100]);
        for batch in batches {
            let first = &batch[0];
            assert!(batch.iter().all(|row| row.tenant == first.tenant
                && hour_of(row.minute_ms) == hour_of(first.minute_ms)));
            let bytes: usize = batch.iter().map(|row| ROW_BYTES + row.kind.len()).sum();
            assert!(bytes <= BATCH_BYTES_MAX);
        }
        assert_eq!(hour_of(-60_000), -HOUR_MS);
    }
}
