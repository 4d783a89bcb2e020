//! The statements of dead letters, and what a letter is as columns.

use scylla::SerializeRow;
use scylla::errors::PrepareError;
use scylla::statement::prepared::PreparedStatement;
use scylla::value::CqlTimestamp;
use uuid::Uuid;

use super::super::statements::Preparing;

const PLACE: &str = "tenant = ? AND day = ? AND shard = ?";

/// The statements.
#[derive(Debug, Clone)]
pub(in super::super) struct LetterStatements {
    /// Bound: [`LetterColumns`].
    pub(super) insert: PreparedStatement,
    /// Bound: tenant, day, shard, time to live, write time.
    pub(super) insert_day: PreparedStatement,
    /// Bound: tenant, day, shard, letter, part, bytes, time to live, write time.
    pub(super) insert_part: PreparedStatement,
    /// Bound: write time, tenant, day, shard, at, sink, log, number.
    pub(super) delete: PreparedStatement,
    /// Bound: write time, tenant, day, shard, letter.
    pub(super) delete_parts: PreparedStatement,
    /// Bound: write time, tenant, day, shard.
    pub(super) bury: PreparedStatement,
    /// The same of the bytes of large ones.
    pub(super) bury_parts: PreparedStatement,
    /// Bound: write time, tenant.
    pub(super) bury_days: PreparedStatement,
    /// Bound: tenant, newest day. Gives day and shard, newest day first.
    pub(super) select_days: PreparedStatement,
    /// Bound: tenant, day, shard, time. Gives history and frame of what was before it.
    pub(super) select_before: PreparedStatement,
    /// Bound: tenant, day, shard, time, then sink, log and number of the one before. Gives the
    /// same of what was at that time.
    pub(super) select_at: PreparedStatement,
    /// Bound: tenant, day, shard, then time, sink, log and number. Gives the same of this one.
    pub(super) select_one: PreparedStatement,
    /// Bound: tenant, day, shard. Gives the pulse, then time, sink, log and number of each.
    pub(super) select_ids: PreparedStatement,
    /// Bound: tenant, day, shard, letter. Gives its bytes, in order.
    pub(super) select_parts: PreparedStatement,
}

impl LetterStatements {
    /// Prepares all.
    pub(in super::super) async fn prepare(preparing: &Preparing<'_>) -> Result<Self, PrepareError> {
        let select = |rest: &str| {
            format!("SELECT history, frame FROM pulse_dead_letters WHERE {PLACE} AND {rest}")
        };
        Ok(Self {
            insert: preparing.write(
                "INSERT INTO pulse_dead_letters (tenant, day, shard, at, sink, log_id, seq, \
                 in_memory, event_id, code, stage, message, attempts, first_at, history, frame) \
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
                 USING TTL ? AND TIMESTAMP ?",
            )
            .await?,
            insert_day: preparing.write(
                "INSERT INTO pulse_dead_letter_days (tenant, day, shard) VALUES (?, ?, ?) \
                 USING TTL ? AND TIMESTAMP ?",
            )
            .await?,
            insert_part: preparing.write(
                "INSERT INTO pulse_dead_letter_parts (tenant, day, shard, letter, part, bytes) \
                 VALUES (?, ?, ?, ?, ?, ?) USING TTL ? AND TIMESTAMP ?",
            )
            .await?,
            delete: preparing.write(&format!(
                "DELETE FROM pulse_dead_letters USING TIMESTAMP ? WHERE {PLACE} AND at = ? \
                 AND sink = ? AND log_id = ? AND seq = ?"
            ))
            .await?,
            delete_parts: preparing.write(&format!(
                "DELETE FROM pulse_dead_letter_parts USING TIMESTAMP ? WHERE {PLACE} AND letter = ?"
            ))
            .await?,
            bury: preparing
                .write(&format!("DELETE FROM pulse_dead_letters USING TIMESTAMP ? WHERE {PLACE}"))
                .await?,
            bury_parts: preparing.write(&format!(
                "DELETE FROM pulse_dead_letter_parts USING TIMESTAMP ? WHERE {PLACE}"
            ))
            .await?,
            bury_days: preparing
                .write("DELETE FROM pulse_dead_letter_days USING TIMESTAMP ? WHERE tenant = ?")
                .await?,
            select_days: preparing.read(
                "SELECT day, shard FROM pulse_dead_letter_days WHERE tenant = ? AND day <= ?",
            )
            .await?,
            select_before: preparing.read(&select("at < ?")).await?,
            select_at: preparing.read(&select("at = ? AND (sink, log_id, seq) > (?, ?, ?)")).await?,
            select_one: preparing
                .read(&select("at = ? AND sink = ? AND log_id = ? AND seq = ?"))
                .await?,
            select_ids: preparing.read(&format!(
                "SELECT event_id, at, sink, log_id, seq FROM pulse_dead_letters WHERE {PLACE}"
            ))
            .await?,
            select_parts: preparing.read(&format!(
                "SELECT bytes FROM pulse_dead_letter_parts WHERE {PLACE} AND letter = ?"
            ))
            .await?,
        })
    }
}

/// A letter as it is inserted, in the order of the statement. What is known of it lies whole in
/// `history`; the columns beside are for a person.
#[derive(Debug, SerializeRow)]
#[scylla(flavor = "enforce_order", skip_name_checks)]
pub(super) struct LetterColumns<'a> {
    pub(super) tenant: &'a str,
    pub(super) day: CqlTimestamp,
    pub(super) shard: i16,
    pub(super) at: CqlTimestamp,
    pub(super) sink: &'a str,
    pub(super) log_id: Uuid,
    pub(super) seq: i64,
    pub(super) in_memory: bool,
    pub(super) event_id: Option<Uuid>,
    pub(super) code: &'a str,
    pub(super) stage: &'a str,
    pub(super) message: &'a str,
    pub(super) attempts: i32,
    pub(super) first_at: CqlTimestamp,
    pub(super) history: String,
    pub(super) frame: Option<&'a [u8]>,
    pub(super) ttl_s: i32,
    pub(super) timestamp_us: i64,
}
