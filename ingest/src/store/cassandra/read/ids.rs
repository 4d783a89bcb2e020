//! The row of an id: where its index says that it lies.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use scylla::response::PagingState;
use scylla::value::CqlTimestamp;
use uuid::Uuid;

use crate::store::Row;
use crate::store::cassandra::layout::{ID_HOUR_MS, IdPlace};
use crate::store::cassandra::live::Live;

use super::order::Kept;
use super::series::{Series, not_understood, page};
use super::source::ReadError;

/// Places that are looked at at once: an id that is nowhere costs a request for each hour in
/// which its tenant sent ids, and each number of shards in it.
const LOOKUPS_MAX: usize = 16;
/// Hours read at once, some 20 KiB.
const HOURS_PAGE: usize = 1_000;

/// Looks an id up among those of a tenant.
#[derive(Debug)]
pub(super) struct Ids<'q> {
    pub(super) live: &'q Arc<Live>,
    pub(super) tenant: &'q str,
    pub(super) id: Uuid,
}

impl Ids<'_> {
    /// The row, first where the id itself tells that it is, then where the tenant's hours say
    /// that it may be, from the newest on. An entry whose row has expired leads nowhere.
    pub(super) async fn row(&self, kept: Kept) -> Result<Option<Row>, ReadError> {
        if let Some(place) = IdPlace::timed(self.id)
            && (kept.received_from_ms - ID_HOUR_MS..kept.to_ms).contains(&place.hour_ms)
            && let Some(row) = self.row_by(place).await?
        {
            return Ok(Some(row));
        }
        if self.tenant.is_empty() {
            // Nobody's; and the database refuses it as a key.
            return Ok(None);
        }
        let mut from = PagingState::start();
        loop {
            let (places, rest) = self.named_places(kept, from).await?;
            let lookups = places.into_iter().map(|place| self.row_by(place));
            let found = stream::iter(lookups).buffered(LOOKUPS_MAX);
            let mut found = std::pin::pin!(found.try_filter_map(async |row| Ok(row)));
            if let Some(row) = found.try_next().await? {
                return Ok(Some(row));
            }
            match rest {
                Some(rest) => from = rest,
                None => return Ok(None),
            }
        }
    }

    /// Where the id may be, newest hour first; some hours of all.
    async fn named_places(
        &self,
        kept: Kept,
        from: PagingState,
    ) -> Result<(Vec<IdPlace>, Option<PagingState>), ReadError> {
        let statement = &self.live.statements.select_id_hours;
        let asked = (statement, HOURS_PAGE);
        let (result, rest) = page(&self.live.session, asked, (self.tenant,), from).await?;
        let (mut places, mut seen) = (Vec::new(), BTreeSet::new());
        for row in result.rows::<(CqlTimestamp, i32)>().map_err(not_understood)? {
            let (CqlTimestamp(hour_ms), shards) = row.map_err(not_understood)?;
            let shards = u32::try_from(shards).unwrap_or(1);
            let place = IdPlace::named(hour_ms.saturating_mul(1000), self.id, shards);
            // Of several numbers of shards, some have the id in the same one.
            if hour_ms > kept.received_from_ms - ID_HOUR_MS && seen.insert((hour_ms, place.shard)) {
                places.push(place);
            }
        }
        Ok((places, rest))
    }

    /// The row that an entry at this place leads to.
    async fn row_by(&self, place: IdPlace) -> Result<Option<Row>, ReadError> {
        let statement = &self.live.statements.select_id;
        let values = (self.tenant, CqlTimestamp(place.hour_ms), place.shard, self.id);
        let from = PagingState::start();
        let (result, _) = page(&self.live.session, (statement, 1), values, from).await?;
        let entry =
            result.maybe_first_row::<(&str, CqlTimestamp, i32)>().map_err(not_understood)?;
        let Some((service, event_time, shard)) = entry else { return Ok(None) };
        let series = Series { live: self.live, tenant: self.tenant, service };
        series.row(event_time.0, shard, self.id).await
    }
}
