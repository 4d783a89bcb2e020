//! The letters that were replayed lately, by pulse: for who asks what became of one. In memory,
//! bounded; a restart forgets it, and nothing rests on it.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use uuid::Uuid;

use crate::clock::now_us;
use crate::sink::dead_letter::Held;

/// Letters that are remembered: two pieces of a replay, about 2 MiB with their names.
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
    letters: Mutex<VecDeque<(String, Uuid, Replayed)>>,
}

impl Recent {
    pub(super) fn add(&self, held: &Held) {
        let Some(pulse) = held.letter.record().map(|record| record.entry.id) else { return };
        let replayed = Replayed {
            letter: held.id(),
            sink: held.letter.sink.clone(),
            reason: held.letter.code.clone(),
            at_us: now_us(),
        };
        let mut letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
        if letters.len() == RECENT_MAX {
            letters.pop_front();
        }
        letters.push_back((held.letter.tenant.clone(), pulse, replayed));
    }

    /// Forgets a tenant's.
    pub(super) fn forget(&self, tenant: &str) {
        let mut letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
        letters.retain(|(of, ..)| of != tenant);
    }

    /// The letters of a tenant's pulse.
    pub(super) fn of(&self, tenant: &str, pulse: Uuid) -> Vec<Replayed> {
        let letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
        let of_it = letters.iter().filter(|(of, id, _)| *id == pulse && of == tenant);
        of_it.map(|(.., replayed)| replayed.clone()).collect()
    }
}
