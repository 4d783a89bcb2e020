//! Reads letters of a tenant: day by day, the newest first, all groups of a day merged. What one
//! group gives is bounded, so a page ends where the first group that has more was cut.

use std::cmp::Reverse;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use scylla::response::PagingState;
use scylla::response::query_result::QueryRowsResult;
use scylla::serialize::row::SerializeRow;
use scylla::statement::prepared::PreparedStatement;
use scylla::value::CqlTimestamp;
use uuid::Uuid;

use crate::sink::dead_letter::{Letter, SharedError, SharedLetter, SharedPage, SharedPlace};

use super::super::live::Live;
use super::super::read::series::page;
use super::super::read::source::ReadError;
use super::{REQUESTS_MAX, shared};

/// Groups of all days that one page looks up: some hundred a day are many.
const GROUPS_MAX: usize = 4_096;
/// Fewest letters that are asked of a group at once.
const CHUNK_MIN: usize = 8;

/// The letters of a tenant.
#[derive(Debug)]
pub(super) struct Pages<'a> {
    pub(super) live: &'a Arc<Live>,
    pub(super) tenant: &'a str,
}

/// What a group has behind some place, and whether there is more.
struct Chunk {
    letters: Vec<SharedLetter>,
    more: bool,
}

impl Pages<'_> {
    /// Letters behind `after`, of one day, at most so many.
    pub(super) async fn page(
        &self,
        after: &SharedPlace,
        limit: usize,
    ) -> Result<SharedPage, SharedError> {
        let groups = self.groups(after.day_ms()).await?;
        for of_day in groups.chunk_by(|a, b| a.0 == b.0) {
            let page = self.day(of_day, after, limit).await?;
            if page.next.is_some() {
                return Ok(page);
            }
            let last = of_day.last().map(|(day_ms, _)| *day_ms);
            if !page.letters.is_empty() {
                // The next page begins with the day before.
                let next = last.map(|day_ms| SharedPlace::newest(day_ms - 1));
                return Ok(SharedPage { next, ..page });
            }
        }
        Ok(SharedPage::default())
    }

    /// The letter of an id in a group of a day.
    pub(super) async fn find(
        &self,
        of: (i64, i16),
        at_ms: i64,
        id: Uuid,
    ) -> Result<Option<SharedLetter>, SharedError> {
        let mut after = SharedPlace { at_ms, group: of.1, ..SharedPlace::default() };
        loop {
            let chunk = self.at(of, &after, 1_000).await?;
            let last = chunk.letters.last().map(SharedLetter::place);
            if let Some(found) = chunk.letters.into_iter().find(|letter| letter.id() == id) {
                return Ok(Some(found));
            }
            match last.filter(|_| chunk.more) {
                Some(last) => after = last,
                None => return Ok(None),
            }
        }
    }

    /// Days and groups that have letters, up to a day; newest day first.
    pub(super) async fn groups(&self, day_ms: i64) -> Result<Vec<(i64, i16)>, SharedError> {
        Ok(self.some_groups(day_ms, (GROUPS_MAX, PagingState::start())).await?.0)
    }

    /// The same in pieces.
    pub(super) async fn some_groups(
        &self,
        day_ms: i64,
        (items, from): (usize, PagingState),
    ) -> Result<(Vec<(i64, i16)>, Option<PagingState>), SharedError> {
        let statement = &self.live.statements.letters.select_days;
        let values = (self.tenant, CqlTimestamp(day_ms));
        let (rows, rest) = self.ask((statement, items), values, from).await?;
        let rows = rows.rows::<(CqlTimestamp, i16)>().map_err(failed)?;
        let groups = rows.map(|row| row.map(|(day, group)| (day.0, group)).map_err(failed));
        Ok((groups.collect::<Result<_, _>>()?, rest))
    }

    /// The letter at a place of a group, if it is there still.
    pub(super) async fn one(
        &self,
        of: (i64, i16),
        place: &SharedPlace,
    ) -> Result<Option<SharedLetter>, SharedError> {
        let statement = &self.live.statements.letters.select_one;
        let (at, seq) = (CqlTimestamp(place.at_ms), place.seq.cast_signed());
        let values = (self.tenant, CqlTimestamp(of.0), of.1, at, &*place.sink, place.log, seq);
        let (rows, _) = self.ask((statement, 1), values, PagingState::start()).await?;
        Ok(self.letters(of, &rows).await?.into_iter().next())
    }

    async fn day(
        &self,
        groups: &[(i64, i16)],
        after: &SharedPlace,
        limit: usize,
    ) -> Result<SharedPage, SharedError> {
        let chunk = (4 * limit / groups.len().max(1)).clamp(CHUNK_MIN, limit.max(CHUNK_MIN));
        let (mut waiting, mut chunks) = (groups.iter(), Vec::new());
        let mut flying = FuturesUnordered::new();
        loop {
            while flying.len() < REQUESTS_MAX
                && let Some(of) = waiting.next()
            {
                flying.push(self.group(*of, after, chunk));
            }
            match flying.next().await {
                None => break,
                Some(read) => chunks.push(read?),
            }
        }
        let order = |letter: &SharedLetter| (Reverse(letter.place().at_ms), letter.group);
        let cut = chunks.iter().filter(|chunk| chunk.more);
        // Behind the first of these there may be letters that were not read.
        let end = cut.filter_map(|chunk| chunk.letters.last()).map(order).min();
        let mut more = end.is_some();
        let mut letters: Vec<_> = chunks.into_iter().flat_map(|chunk| chunk.letters).collect();
        // Stable: within a group they stay in the database's order.
        letters.sort_by_key(order);
        letters.retain(|letter| end.is_none_or(|end| order(letter) <= end));
        more |= letters.len() > limit;
        letters.truncate(limit);
        let next = letters.last().map(SharedLetter::place).filter(|_| more);
        Ok(SharedPage { letters, next })
    }

    /// What a group has behind a place of the order of its day.
    async fn group(
        &self,
        of: (i64, i16),
        after: &SharedPlace,
        limit: usize,
    ) -> Result<Chunk, SharedError> {
        let mut chunk = Chunk { letters: Vec::new(), more: false };
        let mut before_ms = after.at_ms;
        if of.1 == after.group {
            chunk = self.at(of, after, limit).await?;
        } else if of.1 > after.group {
            before_ms = before_ms.saturating_add(1);
        }
        if !chunk.more && chunk.letters.len() < limit {
            let statement = &self.live.statements.letters.select_before;
            let values = (self.tenant, CqlTimestamp(of.0), of.1, CqlTimestamp(before_ms));
            let items = limit - chunk.letters.len();
            let (rows, rest) = self.ask((statement, items), values, PagingState::start()).await?;
            chunk.letters.extend(self.letters(of, &rows).await?);
            chunk.more = rest.is_some();
        }
        Ok(chunk)
    }

    /// What a group has at the very time of a place, behind it.
    async fn at(
        &self,
        of: (i64, i16),
        after: &SharedPlace,
        limit: usize,
    ) -> Result<Chunk, SharedError> {
        let statement = &self.live.statements.letters.select_at;
        let at = CqlTimestamp(after.at_ms);
        let (sink, log, seq) = (&*after.sink, after.log, after.seq.cast_signed());
        let values = (self.tenant, CqlTimestamp(of.0), of.1, at, sink, log, seq);
        let (rows, rest) = self.ask((statement, limit), values, PagingState::start()).await?;
        Ok(Chunk { letters: self.letters(of, &rows).await?, more: rest.is_some() })
    }

    /// Letters of rows; those that something else has written are passed over.
    async fn letters(
        &self,
        (day_ms, group): (i64, i16),
        rows: &QueryRowsResult,
    ) -> Result<Vec<SharedLetter>, SharedError> {
        let mut letters = Vec::new();
        for row in rows.rows::<(Option<&str>, Option<&[u8]>)>().map_err(failed)? {
            let (about, frame) = row.map_err(failed)?;
            let about = about.unwrap_or_default().as_bytes();
            let letter = Letter::from_parts(about, frame.unwrap_or_default().to_vec());
            let Some(letter) = letter.filter(|letter| letter.tenant == self.tenant) else {
                continue;
            };
            let mut found = SharedLetter { group, letter };
            if frame.is_none() {
                found.letter.frame = self.parts((day_ms, group), found.id()).await?;
            }
            letters.push(found);
        }
        Ok(letters)
    }

    async fn parts(&self, of: (i64, i16), letter: Uuid) -> Result<Vec<u8>, SharedError> {
        let statement = &self.live.statements.letters.select_parts;
        let values = (self.tenant, CqlTimestamp(of.0), of.1, letter);
        let (mut from, mut whole) = (PagingState::start(), Vec::new());
        loop {
            let (rows, rest) = self.ask((statement, 64), values, from).await?;
            for row in rows.rows::<(Option<&[u8]>,)>().map_err(failed)? {
                whole.extend_from_slice(row.map_err(failed)?.0.unwrap_or_default());
            }
            match rest {
                Some(rest) => from = rest,
                None => return Ok(whole),
            }
        }
    }

    pub(super) async fn ask(
        &self,
        asked: (&PreparedStatement, usize),
        values: impl SerializeRow,
        from: PagingState,
    ) -> Result<(QueryRowsResult, Option<PagingState>), SharedError> {
        let answer = page(&self.live.session, asked, values, from).await;
        answer.map_err(|error| match error {
            ReadError::Request(error) => shared(*error),
            other => SharedError::Failed(other.into()),
        })
    }
}

pub(super) fn failed(error: impl std::error::Error + Send + Sync + 'static) -> SharedError {
    SharedError::Failed(error.into())
}
