//! Looks for the letters of one pulse. No table leads from a pulse to them, so the ids of whole
//! groups are read, the newest day first, and of the letters only those that are it.

use futures_util::StreamExt;
use futures_util::stream::iter;
use scylla::response::PagingState;
use scylla::value::CqlTimestamp;
use uuid::Uuid;

use crate::sink::dead_letter::{LettersOfPulse, SharedError, SharedLetter, SharedPlace};

use super::REQUESTS_MAX;
use super::pages::{Pages, failed};

/// Ids that one question looks at: some megabytes, a second or two.
const IDS_MAX: usize = 50_000;
/// As so many ids a group counts at least: a question reads 2,000 groups at most.
const IDS_OF_GROUP_MIN: usize = 25;
/// Ids, and groups, that one request reads.
const IDS_AT_ONCE: usize = 5_000;
const GROUPS_AT_ONCE: usize = 1_000;
/// Letters that are enough: one for each sink, and those of a crash. A group gives all it has, at
/// most so many times that: a pulse can only have them if its id was sent again and again.
const LETTERS_ENOUGH: usize = 16;
const LETTERS_OF_GROUP_MAX: usize = 4 * LETTERS_ENOUGH;

/// What a group has of a pulse.
struct Matches {
    letters: Vec<SharedLetter>,
    ids: usize,
    cut: bool,
}

impl Pages<'_> {
    /// The letters of a pulse in the groups behind the one that a place is in.
    pub(super) async fn of_pulse(
        &self,
        pulse: Uuid,
        after: Option<&SharedPlace>,
    ) -> Result<LettersOfPulse, SharedError> {
        let newest = after.map_or(i64::MAX, SharedPlace::day_ms);
        let is_behind = |(day_ms, group): &(i64, i16)| {
            after.is_none_or(|after| *day_ms < after.day_ms() || *group > after.group)
        };
        let (mut found, mut ids) = (LettersOfPulse::default(), 0);
        let mut rest = Some(PagingState::start());
        while let Some(from) = rest {
            let groups;
            (groups, rest) = self.some_groups(newest, (GROUPS_AT_ONCE, from)).await?;
            let groups = groups.into_iter().filter(is_behind);
            let look = |of| async move { (of, self.matches(of, pulse).await) };
            let mut looking = iter(groups.map(look)).buffered(REQUESTS_MAX);
            while let Some(((at_ms, group), matches)) = looking.next().await {
                let Matches { letters, ids: of_group, cut } = matches?;
                ids += of_group.max(IDS_OF_GROUP_MIN);
                found.letters.extend(letters);
                found.cut |= cut;
                if ids >= IDS_MAX || found.letters.len() >= LETTERS_ENOUGH {
                    let place = SharedPlace { at_ms, group, ..SharedPlace::default() };
                    return Ok(LettersOfPulse { next: Some(place), ..found });
                }
            }
        }
        Ok(found)
    }

    async fn matches(&self, of: (i64, i16), pulse: Uuid) -> Result<Matches, SharedError> {
        let (places, ids) = self.places(of, pulse).await?;
        let cut = places.len() > LETTERS_OF_GROUP_MAX;
        let mut letters = Vec::new();
        for place in places.iter().take(LETTERS_OF_GROUP_MAX) {
            let found = self.one(of, place).await?;
            // What a person did to the columns is not what the letter says.
            let is_it = |found: &SharedLetter| {
                found.letter.record().is_some_and(|record| record.entry.id == pulse)
            };
            letters.extend(found.filter(is_it));
        }
        Ok(Matches { letters, ids, cut })
    }

    /// Where a group has letters of a pulse, one more than are taken at most, and how many ids
    /// were read.
    async fn places(
        &self,
        (day_ms, group): (i64, i16),
        pulse: Uuid,
    ) -> Result<(Vec<SharedPlace>, usize), SharedError> {
        let statement = &self.live.statements.letters.select_ids;
        let values = (self.tenant, CqlTimestamp(day_ms), group);
        let (mut places, mut ids) = (Vec::new(), 0);
        let mut rest = Some(PagingState::start());
        while let Some(from) = rest.filter(|_| places.len() <= LETTERS_OF_GROUP_MAX) {
            let rows;
            (rows, rest) = self.ask((statement, IDS_AT_ONCE), values, from).await?;
            type Id = (Option<Uuid>, CqlTimestamp, String, Uuid, i64);
            for row in rows.rows::<Id>().map_err(failed)? {
                let (id, at, sink, log, seq) = row.map_err(failed)?;
                ids += 1;
                if id == Some(pulse) && places.len() <= LETTERS_OF_GROUP_MAX {
                    let seq = seq.cast_unsigned();
                    places.push(SharedPlace { at_ms: at.0, group, sink, log, seq });
                }
            }
        }
        Ok((places, ids))
    }
}
