//! The letters that were replayed lately, by pulse: for who asks what became of one. In memory,
//! bounded; a restart forgets it, and nothing rests on it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use uuid::Uuid;

use crate::clock::now_us;
use crate::log::frame::Frame;
use crate::sink::dead_letter::{LetterPlace, Origin, Slip};

/// Letters that are remembered, about 1 MiB.
const RECENT_MAX: usize = 10_000;

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
    origin: Arc<Origin>,
    place: LetterPlace,
    seq: u64,
    pulse: Uuid,
    /// Why it had failed again, if it had for another reason than at first.
    code: Option<String>,
    at_us: i64,
}

impl Recent {
    /// Remembers letters that have just been taken, the last of them where they are too many.
    pub(super) fn add<'a>(&self, slips: impl DoubleEndedIterator<Item = &'a Slip>) {
        let at_us = now_us();
        let taken = |slip: &Slip| {
            let pulse = Frame::read_proven(slip.frame_bytes()).ok()?.entries().next()?.1.entry.id;
            let (origin, place, seq) = (Arc::clone(&slip.origin), slip.place, slip.seq);
            let code = slip.later_code().map(str::to_owned);
            Some(Taken { origin, place, seq, pulse, code, at_us })
        };
        let new: Vec<_> = slips.rev().take(RECENT_MAX).filter_map(taken).collect();
        let mut letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
        let beyond = (letters.len() + new.len()).saturating_sub(RECENT_MAX);
        letters.drain(..beyond);
        letters.extend(new.into_iter().rev());
    }

    /// The letters of a tenant's pulse.
    pub(super) fn of(&self, tenant: &str, pulse: Uuid) -> Vec<Replayed> {
        let letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
        let of_it = letters.iter().filter(|of| of.pulse == pulse && of.origin.tenant == tenant);
        of_it.map(Taken::told).collect()
    }
}

impl Taken {
    fn told(&self) -> Replayed {
        let Origin { sink, log, code, .. } = &*self.origin;
        Replayed {
            letter: self.place.id_of(sink, *log, self.seq),
            sink: sink.clone(),
            reason: self.code.as_ref().unwrap_or(code).clone(),
            at_us: self.at_us,
        }
    }
}
