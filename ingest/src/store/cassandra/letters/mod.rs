//! Dead letters in the database, where every process sees them: written beside the rows with
//! their consistency, read by tenant and day. Their keys are made from the letters, so that what
//! is handed over twice is there once; what is removed is removed as of now, so that a late write
//! brings nothing back.

mod of_pulse;
mod pages;
mod rows;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use scylla::errors::ExecutionError;
use scylla::value::CqlTimestamp;
use tokio::time::timeout;
use uuid::Uuid;

use crate::sink::dead_letter::{
    LettersOfPulse, SharedError, SharedLetter, SharedLetters, SharedPage, SharedPlace, day_of,
    time_and_group,
};

use super::error::{Class, classify};
use super::lifetime::capped;
use super::link::Link;
use super::live::Live;
use super::settings::CassandraSettings;

use pages::Pages;
use rows::LetterColumns;
pub(super) use rows::LetterStatements;

/// Requests for letters at once: they give way to rows.
const REQUESTS_MAX: usize = 16;
/// Longest that letters are waited for: the server gives a query 10 s.
const TIME_MAX: Duration = Duration::from_secs(9);
/// Bytes of a pulse that lie with its letter; the rest, and what is longer, lies in parts, each
/// below what a guardrail may allow a value.
const PART_BYTES: usize = 16 * 1024;
/// How much longer than any letter the list of its day lives, in seconds: clocks differ, and a
/// letter may be handed over late.
const DAYS_MARGIN_S: i64 = 2 * 24 * 3600;

/// How long before an erasure a day must have been listed for that to be removed: far longer than
/// a letter takes from there to the database, and than clocks differ.
const DAYS_BURIED_AFTER_US: i64 = 10 * 60 * 1_000_000;

/// The letters of a database.
pub(super) struct Letters {
    link: Arc<Link>,
    settings: Arc<CassandraSettings>,
}

impl fmt::Debug for Letters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Letters")
    }
}

impl Letters {
    pub(super) fn new(link: Arc<Link>, settings: Arc<CassandraSettings>) -> Self {
        Self { link, settings }
    }

    fn live(&self) -> Result<Arc<Live>, SharedError> {
        self.link.live().map_err(|down| SharedError::Unavailable(anyhow::Error::new(down)))
    }

    /// Waits for something, and says what its failure means.
    async fn answer<T>(
        &self,
        live: &Arc<Live>,
        work: impl Future<Output = Result<T, SharedError>>,
    ) -> Result<T, SharedError> {
        let Ok(done) = timeout(TIME_MAX, Box::pin(work)).await else {
            return Err(SharedError::Unavailable(anyhow!("no answer in {TIME_MAX:?}")));
        };
        if let Err(SharedError::Unavailable(error)) = &done
            && let Some(error) = error.downcast_ref::<ExecutionError>()
            && classify(error) == Class::Schema
        {
            self.link.doubt(live, "a request for dead letters met other tables");
        }
        done
    }

    async fn put_all(
        &self,
        live: &Live,
        letters: &[SharedLetter],
    ) -> Result<Vec<usize>, SharedError> {
        let days: BTreeSet<_> = letters
            .iter()
            .map(|letter| (&*letter.letter.tenant, letter.place().day_ms(), letter.group))
            .collect();
        for day in days {
            self.put_day(live, day).await?;
        }
        let mut waiting = letters.iter().enumerate();
        let (mut flying, mut refused) = (FuturesUnordered::new(), Vec::new());
        loop {
            while flying.len() < REQUESTS_MAX
                && let Some((index, letter)) = waiting.next()
            {
                flying.push(async move { (index, self.put_one(live, letter).await) });
            }
            match flying.next().await {
                None => return Ok(refused),
                Some((_, Ok(()))) => {}
                Some((index, Err(error))) if is_refusal(&error) => {
                    tracing::warn!(%error, "a dead letter stays with this process");
                    refused.push(index);
                }
                Some((_, Err(error))) => return Err(shared(error)),
            }
        }
    }

    async fn remove_all(&self, live: &Live, letters: &[SharedLetter]) -> Result<(), SharedError> {
        let mut waiting = letters.iter();
        let mut flying = FuturesUnordered::new();
        loop {
            while flying.len() < REQUESTS_MAX
                && let Some(letter) = waiting.next()
            {
                flying.push(self.remove_one(live, letter));
            }
            match flying.next().await {
                None => return Ok(()),
                Some(removed) => removed?,
            }
        }
    }

    /// Says that there are letters of a group in a day.
    async fn put_day(
        &self,
        live: &Live,
        (tenant, day_ms, group): (&str, i64, i16),
    ) -> Result<(), SharedError> {
        let now_us = (self.settings.clock)();
        let ttl_s = capped(self.retention_s().saturating_add(DAYS_MARGIN_S), now_us);
        let values = (tenant, CqlTimestamp(day_ms), group, ttl_s, now_us);
        let sent = live.session.execute_unpaged(&live.statements.letters.insert_day, values).await;
        sent.map(drop).map_err(shared)
    }

    async fn put_one(&self, live: &Live, shared: &SharedLetter) -> Result<(), ExecutionError> {
        let statements = &live.statements.letters;
        let SharedLetter { group, letter } = shared;
        let (now_us, place) = ((self.settings.clock)(), shared.place());
        let age_s = now_us.saturating_sub(letter.first_at_us).div_euclid(1_000_000).max(0);
        let ttl_s = capped(self.retention_s().saturating_sub(age_s), now_us);
        let (day, at) = (CqlTimestamp(place.day_ms()), CqlTimestamp(place.at_ms));
        let whole = letter.frame.len() <= PART_BYTES;
        for (part, bytes) in letter.frame.chunks(PART_BYTES).enumerate().filter(|_| !whole) {
            let part = i16::try_from(part).unwrap_or(i16::MAX);
            let key = (&*letter.tenant, day, *group, shared.id(), part);
            let (tenant, day, group, id, part) = key;
            let values = (tenant, day, group, id, part, bytes, ttl_s, letter.last_at_us);
            live.session.execute_unpaged(&statements.insert_part, values).await?;
        }
        let columns = LetterColumns {
            tenant: &letter.tenant,
            day,
            shard: *group,
            at,
            sink: &letter.sink,
            log_id: letter.log.0,
            seq: letter.seq.cast_signed(),
            in_memory: letter.in_memory,
            event_id: letter.record().map(|record| record.entry.id),
            code: &letter.code,
            stage: &letter.stage,
            message: &letter.message,
            attempts: letter.attempts.cast_signed(),
            first_at: at,
            history: letter.about_json(),
            frame: whole.then_some(&*letter.frame),
            ttl_s,
            timestamp_us: letter.last_at_us,
        };
        live.session.execute_unpaged(&statements.insert, columns).await.map(drop)
    }

    async fn remove_one(&self, live: &Live, letter: &SharedLetter) -> Result<(), SharedError> {
        let statements = &live.statements.letters;
        let (place, tenant) = (letter.place(), &*letter.letter.tenant);
        let (day, at) = (CqlTimestamp(place.day_ms()), CqlTimestamp(place.at_ms));
        let as_of_us = (self.settings.clock)().max(letter.letter.last_at_us.saturating_add(1));
        let seq = place.seq.cast_signed();
        let values = (as_of_us, tenant, day, place.group, at, &*place.sink, place.log, seq);
        live.session.execute_unpaged(&statements.delete, values).await.map_err(shared)?;
        if letter.letter.frame.len() > PART_BYTES {
            let values = (as_of_us, tenant, day, place.group, letter.id());
            live.session.execute_unpaged(&statements.delete_parts, values).await.map_err(shared)?;
        }
        Ok(())
    }

    /// Covers what lies in all groups of a tenant as of then. What leads to them goes last, and
    /// only what was written well before: letters come late.
    async fn bury_all(
        &self,
        live: &Arc<Live>,
        tenant: &str,
        until_us: i64,
    ) -> Result<(), SharedError> {
        let statements = &live.statements.letters;
        for (day_ms, group) in (Pages { live, tenant }).groups(i64::MAX).await? {
            let values = (until_us, tenant, CqlTimestamp(day_ms), group);
            for statement in [&statements.bury, &statements.bury_parts] {
                live.session.execute_unpaged(statement, values).await.map_err(shared)?;
            }
        }
        let values = (until_us.saturating_sub(DAYS_BURIED_AFTER_US), tenant);
        let sent = live.session.execute_unpaged(&statements.bury_days, values).await;
        sent.map(drop).map_err(shared)
    }

    fn retention_s(&self) -> i64 {
        i64::try_from(self.settings.retention.as_secs()).unwrap_or(i64::MAX / 4)
    }
}

impl SharedLetters for Letters {
    fn put<'a>(
        &'a self,
        letters: &'a [SharedLetter],
    ) -> BoxFuture<'a, Result<Vec<usize>, SharedError>> {
        Box::pin(async move {
            let live = self.live()?;
            self.answer(&live, self.put_all(&live, letters)).await
        })
    }

    fn remove<'a>(&'a self, letters: &'a [SharedLetter]) -> BoxFuture<'a, Result<(), SharedError>> {
        Box::pin(async move {
            let live = self.live()?;
            self.answer(&live, self.remove_all(&live, letters)).await
        })
    }

    fn page<'a>(
        &'a self,
        tenant: &'a str,
        after: &'a SharedPlace,
        limit: usize,
    ) -> BoxFuture<'a, Result<SharedPage, SharedError>> {
        Box::pin(async move {
            let live = self.live()?;
            let pages = Pages { live: &live, tenant };
            self.answer(&live, pages.page(after, limit)).await
        })
    }

    fn of_pulse<'a>(
        &'a self,
        tenant: &'a str,
        pulse: Uuid,
        after: Option<&'a SharedPlace>,
    ) -> BoxFuture<'a, Result<LettersOfPulse, SharedError>> {
        Box::pin(async move {
            let live = self.live()?;
            let pages = Pages { live: &live, tenant };
            self.answer(&live, pages.of_pulse(pulse, after)).await
        })
    }

    fn bury<'a>(
        &'a self,
        tenant: &'a str,
        until_us: i64,
    ) -> BoxFuture<'a, Result<(), SharedError>> {
        Box::pin(async move {
            let live = self.live()?;
            self.answer(&live, self.bury_all(&live, tenant, until_us)).await
        })
    }

    fn find<'a>(
        &'a self,
        tenant: &'a str,
        id: Uuid,
    ) -> BoxFuture<'a, Result<Option<SharedLetter>, SharedError>> {
        Box::pin(async move {
            let Some((at_ms, group)) = time_and_group(id) else { return Ok(None) };
            let live = self.live()?;
            let pages = Pages { live: &live, tenant };
            self.answer(&live, pages.find((day_of(at_ms), group), at_ms, id)).await
        })
    }
}

/// Whether the same request never succeeds.
fn is_refusal(error: &ExecutionError) -> bool {
    matches!(classify(error), Class::TooLarge | Class::Refused)
}

fn shared(error: ExecutionError) -> SharedError {
    match classify(&error) {
        class if class.passes() => SharedError::Unavailable(error.into()),
        Class::Schema => SharedError::Unavailable(error.into()),
        _ => SharedError::Failed(error.into()),
    }
}
