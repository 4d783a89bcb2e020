//! A replay as it is kept: what it is to do, how far it is. Pure.

use std::collections::VecDeque;

use serde::{Deserialize, Deserializer, Serialize};
use uuid::Uuid;

use crate::sink::dead_letter::{Filter, LetterPlace, SharedPlace};

use super::flight::Flight;

/// Letters of a dry run that are told by id.
pub(crate) const SAMPLE_MAX: usize = 10;

/// Parts of a second that a capped rate is given out in.
const RATE_PARTS: u32 = 4;

/// What is asked of a replay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Which letters, of those that there are when it is asked for.
    pub filter: Filter,
    /// This one alone, by its id.
    #[serde(default, with = "crate::sink::dead_letter::uuid_text::option")]
    pub only: Option<Uuid>,
    /// Nothing is written: they are counted.
    pub dry_run: bool,
    /// Most letters a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<u32>,
    /// Who asks: the tenant's and the key's name, where keys are needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// What a replay does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// It goes on.
    Running,
    /// It waits to be resumed.
    Paused,
    /// It ends as soon as what its sink was given has ended.
    Cancelling,
    /// It was ended by a person.
    Cancelled,
    /// It has come to its end.
    Completed,
}

impl Phase {
    /// Whether nothing more comes of it.
    pub fn is_ended(self) -> bool {
        matches!(self, Self::Cancelled | Self::Completed)
    }

    /// Its name in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Cancelling => "cancelling",
            Self::Cancelled => "cancelled",
            Self::Completed => "completed",
        }
    }
}

/// How the letters of a replay have ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Letters that the filter fits.
    pub matched: u64,
    /// Of these, taken by their sink.
    pub stored: u64,
    /// Older than their sink's retention: gone without a row.
    pub expired: u64,
    /// Failed again, and kept.
    pub failed: u64,
    /// Kept untouched: their sink is not in the settings, or they can't be read.
    pub skipped: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, more: Self) {
        let Self { matched, stored, expired, failed, skipped } = more;
        self.matched += matched;
        self.stored += stored;
        self.expired += expired;
        self.failed += failed;
        self.skipped += skipped;
    }
}

/// A replay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replay {
    /// Its id.
    #[serde(with = "crate::sink::dead_letter::uuid_text")]
    pub id: Uuid,
    /// What was asked.
    pub order: Order,
    /// What it does.
    pub phase: Phase,
    /// When it was asked for, in microseconds since 1970.
    pub created_at_us: i64,
    /// When it ended, in microseconds since 1970.
    pub ended_at_us: Option<i64>,
    /// Letters of its tenant when it was asked for.
    pub letters: u64,
    /// Of these, looked at so far.
    pub looked_at: u64,
    /// How they ended.
    pub counts: Counts,
    /// Ids of some letters that it is about.
    #[serde(with = "crate::sink::dead_letter::uuid_text::list")]
    pub sample: Vec<Uuid>,
    /// Letters from here on are not its own.
    pub(crate) end: LetterPlace,
    /// All up to here are done.
    pub(crate) done: Option<LetterPlace>,
    /// What its sink is being given, piece by piece, the oldest first; kept before it is.
    #[serde(deserialize_with = "read_flights")]
    pub(crate) in_flight: VecDeque<Flight>,
    /// How far it is with what a store keeps for all processes, which comes after what lies on
    /// this disk; `None` where there is no such store.
    #[serde(default)]
    pub(crate) shared: Option<SharedPart>,
}

/// How far a replay is with the letters of a store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SharedPart {
    /// Whether it is the store's turn.
    pub(crate) begun: bool,
    /// All up to here are done.
    pub(crate) after: Option<SharedPlace>,
}

impl Replay {
    /// Whether it has work to do now.
    pub(crate) fn is_due(&self) -> bool {
        matches!(self.phase, Phase::Running | Phase::Cancelling)
    }

    /// Goes on behind those pieces that have ended with all before them; whether it ends with
    /// that.
    pub(crate) fn land(&mut self, now_us: i64) -> bool {
        let mut ended = false;
        while let Some(flight) = self.in_flight.pop_front_if(|flight| flight.has_landed()) {
            ended = self.move_on(flight.next, flight.looked_at, now_us);
        }
        ended
    }

    /// Where what is not on its way yet begins: behind a place, or, within, at the first letter;
    /// `None`: all is on its way.
    pub(crate) fn behind(&self) -> Option<Option<LetterPlace>> {
        match self.in_flight.back() {
            Some(last) => last.next.map(Some),
            None => Some(self.done),
        }
    }

    /// Goes on behind `next`; without one it has come to its end. Returns whether it ends.
    pub(crate) fn move_on(
        &mut self,
        next: Option<LetterPlace>,
        looked_at: u64,
        now_us: i64,
    ) -> bool {
        self.looked_at += looked_at;
        if next.is_some() {
            self.done = next;
        }
        let more = match &mut self.shared {
            Some(shared) if next.is_none() => !std::mem::replace(&mut shared.begun, true),
            _ => next.is_some(),
        };
        self.go_on(more, now_us)
    }

    /// The same of letters of a store.
    pub(crate) fn move_on_shared(
        &mut self,
        next: Option<SharedPlace>,
        looked_at: u64,
        now_us: i64,
    ) -> bool {
        self.looked_at += looked_at;
        // How many there are in the store nobody knows before.
        self.letters = self.letters.max(self.looked_at);
        let more = next.is_some();
        if let Some(shared) = &mut self.shared {
            shared.after = next;
        }
        self.go_on(more, now_us)
    }

    /// What its sink was given did not all end; whether it ends with that.
    pub(crate) fn give_up(&mut self, now_us: i64) -> bool {
        self.go_on(true, now_us)
    }

    /// Most letters a second that it writes.
    pub(crate) fn rate(&self) -> Option<u32> {
        self.order.rate.filter(|_| !self.order.dry_run)
    }

    /// Whether more of it is written as soon as can be.
    pub(crate) fn goes_on_at_once(&self) -> bool {
        self.phase == Phase::Running && self.order.rate.is_none() && self.behind().is_some()
    }

    /// How many letters are tried at once.
    pub(crate) fn piece_letters(&self, most: usize) -> usize {
        let capped = self.rate().map_or(u32::MAX, |rate| (rate / RATE_PARTS).max(1));
        usize::try_from(capped).unwrap_or(usize::MAX).min(most)
    }

    /// Whether it is the store's turn.
    pub(crate) fn is_with_store(&self) -> bool {
        self.in_flight.is_empty() && self.shared.as_ref().is_some_and(|shared| shared.begun)
    }

    fn go_on(&mut self, more: bool, now_us: i64) -> bool {
        let ends = match self.phase {
            Phase::Cancelling if !self.in_flight.is_empty() => None,
            Phase::Cancelling => Some(Phase::Cancelled),
            _ if !more => Some(Phase::Completed),
            _ => None,
        };
        if let Some(phase) = ends {
            (self.phase, self.ended_at_us) = (phase, Some(now_us));
        }
        ends.is_some()
    }
}

/// Flights as they are read: in earlier versions there was one at most.
#[derive(Deserialize)]
#[serde(untagged)]
enum Flights {
    Many(VecDeque<Flight>),
    One(Option<Flight>),
}

fn read_flights<'de, D: Deserializer<'de>>(from: D) -> Result<VecDeque<Flight>, D::Error> {
    Ok(match Flights::deserialize(from)? {
        Flights::Many(flights) => flights,
        Flights::One(flight) => flight.into_iter().collect(),
    })
}
