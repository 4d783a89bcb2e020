//! The steps of an erasure: the services of a tenant, one after the other, each by its buckets,
//! and then the hours with ids of its clients' own.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::Context;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use scylla::response::PagingState;
use scylla::response::query_result::QueryRowsResult;
use scylla::serialize::row::SerializeRow;
use scylla::statement::prepared::PreparedStatement;
use scylla::value::CqlTimestamp;
use uuid::Uuid;

use crate::store::Erasure;

use super::super::layout::{ID_HOUR_MS, IdPlace, Layout};
use super::super::live::Live;
use super::super::read::series::page;
use super::super::read::source::ReadError;
use super::INDEX_MARGIN_US;
use super::position::Place;
use super::requests::send;

/// Requests at once: they must not crowd rows out that are being written.
const REQUESTS_MAX: usize = 8;
/// Services of all tenants that one step looks through, some 100 KiB.
const SERIES_MAX: usize = 1_000;
/// Rows of the list of buckets that are read at once.
const BUCKETS_MAX: usize = 1_000;
/// Partitions at which a step ends, at the end of a bucket.
const PARTITIONS_ENOUGH: usize = 64;
/// Ids of a partition that are read at once.
const IDS_MAX: usize = 5_000;
/// Hours of one step: some thousand partitions.
const HOURS_MAX: usize = 200;

/// What a step has done: where it goes on (`None`: nowhere), rows and partitions.
type Done = (Option<Place>, u64, u64);

/// A tenant that is erased.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tenant<'a> {
    pub(super) live: &'a Arc<Live>,
    pub(super) erasure: &'a Erasure,
    /// Counts that were written by then are erased.
    pub(super) stamp_us: i64,
}

/// Partitions of one bucket.
#[derive(Debug, Default)]
struct Bucket {
    bucket_ms: i64,
    shards: BTreeSet<i32>,
}

impl Tenant<'_> {
    /// Looks for the tenant's next service: the list of buckets is one of partitions, which only
    /// going through all of them tells.
    pub(super) async fn find_series(&self, token: i64) -> anyhow::Result<Done> {
        let statement = &self.live.statements.erase.select_series;
        let (rows, rest) =
            self.ask((statement, SERIES_MAX), (token,), PagingState::start()).await?;
        let mut last = token;
        for row in rows.rows::<(&str, &str, i64)>()? {
            let (tenant, service, token) = row?;
            last = token;
            if tenant == self.erasure.tenant {
                let (service, newest_ms) = (service.to_owned(), i64::MAX);
                return Ok((Some(Place::Buckets { token, service, newest_ms }), 0, 0));
            }
        }
        let next = match rest {
            Some(_) => Place::Series { token: last },
            None => Place::Hours { newest_ms: i64::MAX },
        };
        Ok((Some(next), 0, 0))
    }

    /// Erases buckets of a service, the newest first; at its end what leads to them.
    pub(super) async fn erase_buckets(
        &self,
        (token, service): (i64, &str),
        newest_ms: i64,
    ) -> anyhow::Result<Done> {
        let (buckets, more) = self.buckets(service, newest_ms).await?;
        let (mut rows, mut partitions) = (0, 0);
        let mut next_ms = None;
        for bucket in buckets {
            if partitions >= PARTITIONS_ENOUGH as u64 {
                next_ms = Some(bucket.bucket_ms);
                break;
            }
            rows += self.erase_bucket(service, &bucket).await?;
            partitions += bucket.shards.len() as u64;
        }
        if let Some(newest_ms) = next_ms.or(more) {
            let service = service.to_owned();
            return Ok((Some(Place::Buckets { token, service, newest_ms }), rows, partitions));
        }
        let values = (self.index_stamp_us(), &*self.erasure.tenant, service);
        send(self.live, &self.live.statements.erase.delete_buckets, values).await?;
        Ok((Some(Place::Series { token }), rows, partitions))
    }

    /// Erases what leads to ids that tell no time.
    pub(super) async fn erase_hours(&self, newest_ms: i64) -> anyhow::Result<Done> {
        let statements = &self.live.statements.erase;
        let tenant = &*self.erasure.tenant;
        let values = (tenant, CqlTimestamp(newest_ms));
        let start = PagingState::start();
        let (rows, rest) = self.ask((&statements.select_hours, HOURS_MAX), values, start).await?;
        let (mut places, mut last_ms) = (BTreeSet::new(), newest_ms);
        for row in rows.rows::<(CqlTimestamp, i32)>()? {
            let (CqlTimestamp(hour_ms), shards) = row?;
            last_ms = hour_ms;
            if hour_ms.saturating_mul(1000) <= self.erasure.until_us {
                places.extend((1..=shards).map(|shard| (hour_ms, -shard)));
            }
        }
        let partitions = places.len() as u64;
        self.delete_ids(places).await?;
        if rest.is_some() && last_ms < newest_ms {
            // The last hour may have more: it is begun again.
            return Ok((Some(Place::Hours { newest_ms: last_ms }), 0, partitions));
        }
        send(self.live, &statements.delete_hours, (self.index_stamp_us(), tenant)).await?;
        Ok((None, 0, partitions))
    }

    /// Whole buckets of a service that begin at `newest_ms` or before, the newest first, and the
    /// newest of those that were not read.
    async fn buckets(
        &self,
        service: &str,
        newest_ms: i64,
    ) -> anyhow::Result<(Vec<Bucket>, Option<i64>)> {
        let statement = &self.live.statements.select_buckets;
        let (newest, oldest) = (CqlTimestamp(newest_ms), CqlTimestamp(i64::MIN));
        let values = (&*self.erasure.tenant, service, newest, oldest);
        let mut buckets: Vec<Bucket> = Vec::new();
        let mut from = PagingState::start();
        loop {
            let (rows, rest) = self.ask((statement, BUCKETS_MAX), values, from).await?;
            for row in rows.rows::<(CqlTimestamp, i16, i16)>()? {
                let (CqlTimestamp(bucket_ms), mark, code) = row?;
                if buckets.last().is_none_or(|last| last.bucket_ms != bucket_ms) {
                    buckets.push(Bucket { bucket_ms, shards: BTreeSet::new() });
                }
                let layout = Layout::from_code(code as u16);
                let shards = layout.shards_of_slice(layout.slice_of_mark(mark));
                if let Some(bucket) = buckets.last_mut() {
                    bucket.shards.extend(shards);
                }
            }
            let Some(rest) = rest else { return Ok((buckets, None)) };
            if buckets.len() > 1 {
                // The last one may have more.
                let cut = buckets.pop().map(|bucket| bucket.bucket_ms);
                return Ok((buckets, cut));
            }
            from = rest;
        }
    }

    /// Erases a bucket's rows, ids and counts; returns how many rows there were.
    async fn erase_bucket(&self, service: &str, bucket: &Bucket) -> anyhow::Result<u64> {
        let statements = &self.live.statements.erase;
        let (tenant, until_us) = (&*self.erasure.tenant, self.erasure.until_us);
        let (mut rows, mut places) = (0, BTreeSet::new());
        let (mut waiting, mut flying) = (bucket.shards.iter(), FuturesUnordered::new());
        loop {
            while flying.len() < REQUESTS_MAX
                && let Some(shard) = waiting.next()
            {
                flying.push(self.look(service, bucket.bucket_ms, *shard));
            }
            let Some(found) = flying.next().await else { break };
            let (found, of_ids) = found?;
            rows += found;
            places.extend(of_ids);
        }
        // Ids before rows: only the rows say which there are.
        self.delete_ids(places).await?;
        let at = CqlTimestamp(bucket.bucket_ms);
        let partitions = bucket.shards.iter().map(|shard| (until_us, tenant, service, at, *shard));
        self.delete(&statements.delete_events, partitions).await?;
        let hour_ms = bucket.bucket_ms.div_euclid(ID_HOUR_MS).saturating_mul(ID_HOUR_MS);
        let values = (self.stamp_us, tenant, CqlTimestamp(hour_ms));
        send(self.live, &statements.delete_counts, values).await?;
        Ok(rows)
    }

    /// How many rows of a partition go, and where their ids lie that tell their time.
    async fn look(
        &self,
        service: &str,
        bucket_ms: i64,
        shard: i32,
    ) -> anyhow::Result<(u64, BTreeSet<(i64, i32)>)> {
        let statement = &self.live.statements.erase.select_events;
        let values = (&*self.erasure.tenant, service, CqlTimestamp(bucket_ms), shard);
        let (mut rows, mut places) = (0, BTreeSet::new());
        let mut from = PagingState::start();
        loop {
            let (found, rest) = self.ask((statement, IDS_MAX), values, from).await?;
            for row in found.rows::<(Uuid, Option<CqlTimestamp>)>()? {
                let (id, received_at) = row?;
                let received_at_us = received_at.map_or(0, |at| at.0.saturating_mul(1000));
                if received_at_us > self.erasure.until_us {
                    continue;
                }
                rows += 1;
                let place = IdPlace::of(received_at_us, id, || 1);
                if place.shard >= 0 {
                    places.insert((place.hour_ms, place.shard));
                }
            }
            match rest {
                Some(rest) => from = rest,
                None => return Ok((rows, places)),
            }
        }
    }

    async fn delete_ids(&self, places: BTreeSet<(i64, i32)>) -> anyhow::Result<()> {
        let (until_us, tenant) = (self.erasure.until_us, &*self.erasure.tenant);
        let partitions = places
            .into_iter()
            .map(|(hour_ms, shard)| (until_us, tenant, CqlTimestamp(hour_ms), shard));
        self.delete(&self.live.statements.erase.delete_ids, partitions).await
    }

    /// Sends a statement with each of some values.
    async fn delete<V: SerializeRow + Clone>(
        &self,
        statement: &PreparedStatement,
        mut waiting: impl Iterator<Item = V>,
    ) -> anyhow::Result<()> {
        let mut flying = FuturesUnordered::new();
        loop {
            while flying.len() < REQUESTS_MAX
                && let Some(values) = waiting.next()
            {
                flying.push(send(self.live, statement, values));
            }
            match flying.next().await {
                Some(sent) => sent?,
                None => return Ok(()),
            }
        }
    }

    /// Rows of indexes that were written by then are removed.
    fn index_stamp_us(&self) -> i64 {
        self.erasure.until_us.saturating_sub(INDEX_MARGIN_US)
    }

    async fn ask(
        &self,
        asked: (&PreparedStatement, usize),
        values: impl SerializeRow,
        from: PagingState,
    ) -> anyhow::Result<(QueryRowsResult, Option<PagingState>)> {
        page(&self.live.session, asked, values, from)
            .await
            .map_err(|error| match error {
                ReadError::Request(error) => anyhow::Error::from(*error),
                other => other.into(),
            })
            .context("read what is to be erased failed")
    }
}
