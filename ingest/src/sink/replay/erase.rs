//! Erases a tenant's letters whose pulses were received by some moment, and what is remembered of
//! its replays: on this disk first, then where a store keeps letters for all processes. A letter
//! that a replay has on its way is that replay's: whoever erases comes again.

use std::io;
use std::sync::PoisonError;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::sink::dead_letter::{
    Fate, Filter, Leaving, Letter, LetterPlace, Settled, SharedLetters, SharedPlace, Slip, Wanted,
};

use super::runner::blocking;
use super::{Actor, Desk, ReplayError, Replays, line};

/// Letters and bytes of one step on this disk: what is noted of a segment is written as a whole.
const LETTERS_MAX: usize = 20_000;
const BYTES_MAX: usize = 16 * 1024 * 1024;
/// Letters of one step in a store.
const SHARED_MAX: usize = 500;

/// How far an erasure is among letters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LettersReached {
    /// With those of this disk, behind a place.
    #[default]
    Here,
    /// With those of a store, behind a place; `None`: at the newest.
    Shared(Option<SharedPlace>),
}

/// What one step has done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ErasedLetters {
    /// Letters that are gone.
    pub(crate) letters: u64,
    /// Where it goes on; `None`: all are gone.
    pub(crate) next: Option<LettersReached>,
    /// Whether something else has to happen first: the next step should wait.
    pub(crate) busy: bool,
}

impl Replays {
    /// Erases some letters of a tenant whose pulses were received by `until_us`.
    pub(crate) async fn erase(
        &self,
        (tenant, until_us): (&str, i64),
        reached: LettersReached,
    ) -> Result<ErasedLetters, ReplayError> {
        let desk = &self.desk;
        match (reached, &desk.shared) {
            (LettersReached::Here, shared) => {
                // Never closed. Nothing is handed over meanwhile; later there is nothing to be.
                let _handing = desk.handing.acquire().await.map_err(io::Error::other)?;
                let of = tenant.to_owned();
                let erased = blocking(desk, move |desk| desk.erase_here(&of, until_us)).await?;
                let done = !erased.busy && erased.next.is_none();
                let next = shared.as_ref().map(|_| LettersReached::Shared(None));
                Ok(if done { ErasedLetters { next, ..erased } } else { erased })
            }
            (LettersReached::Shared(after), Some(shared)) => {
                erase_shared(&**shared, (tenant, until_us), after).await
            }
            (LettersReached::Shared(_), None) => Ok(ErasedLetters::default()),
        }
    }

    /// Writes down that an erasure was asked for, or how it ended. Blocks.
    pub(crate) fn audit_erasure(
        &self,
        actor: Actor<'_>,
        erasure: Uuid,
        action: &'static str,
    ) -> io::Result<()> {
        let line = super::audit::Line { action, erasure: Some(erasure), ..line(actor) };
        self.desk.audit.add(&line)
    }
}

impl Desk {
    /// Erases letters of this disk until there are no more, or some are on their way.
    fn erase_here(&self, tenant: &str, until_us: i64) -> io::Result<ErasedLetters> {
        self.recent.forget(tenant);
        self.table.forget(tenant, until_us);
        self.table.save()?;
        let (mut erased, mut after, end) = (ErasedLetters::default(), None, self.letters.end());
        // Files that are being written anew are not read again and again meanwhile.
        while self.letters.is_scrubbed() && self.letters.len_of(tenant) > 0 {
            let (letters, busy, next) = self.erase_piece((tenant, until_us), (after, end))?;
            erased.letters += letters;
            erased.busy |= busy;
            match next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        self.letters.scrub()?;
        self.due.notify_one();
        erased.busy |= !self.letters.is_scrubbed();
        erased.next = erased.busy.then_some(LettersReached::Here);
        Ok(erased)
    }

    /// Erases letters between two places; how many, whether some were on their way, and where to
    /// go on.
    fn erase_piece(
        &self,
        (tenant, until_us): (&str, i64),
        range: (Option<LetterPlace>, LetterPlace),
    ) -> io::Result<(u64, bool, Option<LetterPlace>)> {
        let wanted =
            Wanted { letters_max: LETTERS_MAX, letters_enough: LETTERS_MAX, bytes_max: BYTES_MAX };
        let _taking = self.taking.lock().unwrap_or_else(PoisonError::into_inner);
        let page = self.letters.forward(&Filter::of(tenant), range, wanted)?;
        let in_flight = self.table.in_flight();
        let is_old =
            |slip: &&Slip| slip.letter().is_none_or(|letter| received_by(&letter, until_us));
        let old = page.slips.iter().filter(is_old);
        let (busy, free): (Vec<_>, Vec<_>) = old.partition(|slip| in_flight.contains(&slip.place));
        let fate = Fate::Leaves(Leaving::Discarded);
        let settled: Vec<_> =
            free.into_iter().map(|slip| Settled::of(slip, fate.clone())).collect();
        let gone = self.letters.settle(&settled)?;
        for settled in &settled {
            self.count(&settled.origin.sink, Leaving::Discarded, 1);
        }
        Ok((gone as u64, !busy.is_empty(), page.next))
    }
}

/// Erases a page of the letters of a store; at their end what nobody has seen.
async fn erase_shared(
    shared: &dyn SharedLetters,
    (tenant, until_us): (&str, i64),
    after: Option<SharedPlace>,
) -> Result<ErasedLetters, ReplayError> {
    let after = after.unwrap_or_else(|| SharedPlace::newest(i64::MAX - 1));
    let mut page = shared.page(tenant, &after, SHARED_MAX).await?;
    page.letters.retain(|shared| received_by(&shared.letter, until_us));
    shared.remove(&page.letters).await?;
    if page.next.is_none() {
        shared.bury(tenant, until_us).await?;
    }
    let next = page.next.map(|next| LettersReached::Shared(Some(next)));
    Ok(ErasedLetters { letters: page.letters.len() as u64, next, busy: false })
}

/// Whether a letter's pulse was received by then; of one that can't be read its first attempt
/// tells.
fn received_by(letter: &Letter, until_us: i64) -> bool {
    let received_at_us = letter.record().map(|record| record.envelope.received_at_us);
    received_at_us.unwrap_or(letter.first_at_us) <= until_us
}
