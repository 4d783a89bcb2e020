//! The letters that were replayed lately, by pulse: for who asks what became of one. In memory,
//! bounded; a restart forgets it, and nothing rests on it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use uuid::Uuid;

use crate::clock::now_us;
use crate::log::frame::Frame;
use crate::sink::dead_letter::{LetterPlace, Origin, Slip};

use super::Shown;

/// Letters that are remembered, about 2 MiB with their names.
pub(super) const RECENT_MAX: usize = 10_000;

/// A letter whose pulse its sink has taken after all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replayed {
    /// The letter's id.
    pub letter: Uuid,
    /// The sink that took it.
    pub sink: String,
    /// Why it was a letter.
    pub reason: String,
    /// When it was taken, in microseconds since 1970 in UTC.
    pub at_us: i64,
}

/// Those of the last time.
#[derive(Debug, Default)]
pub(super) struct Recent {
    letters: Mutex<VecDeque<Taken>>,
}

/// What is remembered of one.
#[derive(Debug)]
struct Taken {
    pulse: Uuid,
    letter: Known,
    at_us: i64,
}

#[derive(Debug)]
enum Known {
    /// By its place on this disk: nothing is made of it before somebody asks.
    Here {
        origin: Arc<Origin>,
        place: LetterPlace,
        seq: u64,
        /// Why it had failed again, if it had for another reason than at first.
        code: Option<String>,
    },
    Shown {
        tenant: String,
        id: Uuid,
        sink: String,
        code: String,
    },
}

impl Recent {
    /// Remembers letters that have just been taken, the last of them where they are too many.
    pub(super) fn add<'a>(&self, slips: impl DoubleEndedIterator<Item = &'a Slip>) {
        let at_us = now_us();
        let taken = |slip: &Slip| {
            let pulse = Frame::read_proven(slip.frame_bytes()).ok()?.entries().next()?.1.entry.id;
            let (origin, place, seq) = (Arc::clone(&slip.origin), slip.place, slip.seq);
            let code = slip.later_code().map(str::to_owned);
            Some(Taken { pulse, letter: Known::Here { origin, place, seq, code }, at_us })
        };
        let new: Vec<_> = slips.rev().take(RECENT_MAX).filter_map(taken).collect();
        self.push(new.into_iter().rev());
    }

    /// Remembers one that is called by another id than its place here.
    pub(super) fn add_shown(&self, Shown { id, letter }: &Shown) {
        let Some(pulse) = letter.record().map(|record| record.entry.id) else { return };
        let (tenant, sink, code) =
            (letter.tenant.clone(), letter.sink.clone(), letter.code.clone());
        let letter = Known::Shown { tenant, id: *id, sink, code };
        self.push(std::iter::once(Taken { pulse, letter, at_us: now_us() }));
    }

    fn push(&self, new: impl ExactSizeIterator<Item = Taken>) {
        let mut letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
        let beyond = (letters.len() + new.len()).saturating_sub(RECENT_MAX);
        letters.drain(..beyond);
        letters.extend(new);
    }

    /// Forgets a tenant's.
    pub(super) fn forget(&self, tenant: &str) {
        let mut letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
        letters.retain(|taken| taken.letter.tenant() != tenant);
    }

    /// The letters of a tenant's pulse.
    pub(super) fn of(&self, tenant: &str, pulse: Uuid) -> Vec<Replayed> {
        let letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
        let of_it = letters.iter().filter(|of| of.pulse == pulse && of.letter.tenant() == tenant);
        of_it.map(|taken| taken.letter.told(taken.at_us)).collect()
    }
}

impl Known {
    fn tenant(&self) -> &str {
        match self {
            Self::Here { origin, .. } => &origin.tenant,
            Self::Shown { tenant, .. } => tenant,
        }
    }

    fn told(&self, at_us: i64) -> Replayed {
        let (letter, sink, reason) = match self {
            Self::Here { origin, place, seq, code } => {
                let id = place.id_of(&origin.sink, origin.log, *seq);
                (id, &origin.sink, code.as_ref().unwrap_or(&origin.code))
            }
            Self::Shown { id, sink, code, .. } => (*id, sink, code),
        };
        Replayed { letter, sink: sink.clone(), reason: reason.clone(), at_us }
    }
}
