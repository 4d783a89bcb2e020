//! A replay as it is kept: what it is to do, how far it is. Pure.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::sink::dead_letter::{Filter, LetterPlace};

/// Letters of a dry run that are told by id.
pub(crate) const SAMPLE_MAX: usize = 10;

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
    /// What its sink is being given; kept before it is.
    pub(crate) in_flight: Option<InFlight>,
}

/// Letters on their way to their sink.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InFlight {
    /// The number of the first; the others' follow. A letter keeps its number until it is known
    /// how it ended: a sink that keeps its progress takes no number twice.
    pub(crate) first_seq: u64,
    /// Where they lie, `None` for those that have ended.
    pub(crate) places: Vec<Option<LetterPlace>>,
    /// Where the replay goes on after them; `None`: it is at its end.
    pub(crate) next: Option<LetterPlace>,
    pub(crate) looked_at: u64,
}

impl Replay {
    /// Whether it has work to do now.
    pub(crate) fn is_due(&self) -> bool {
        matches!(self.phase, Phase::Running | Phase::Cancelling)
    }

    /// The letters on their way have ended; whether it ends with them.
    pub(crate) fn landed(&mut self, now_us: i64) -> bool {
        let Some(flight) = self.in_flight.take() else { return false };
        self.move_on(flight.next, flight.looked_at, now_us)
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
        let ends = match self.phase {
            Phase::Cancelling => Some(Phase::Cancelled),
            _ if next.is_none() => Some(Phase::Completed),
            _ => None,
        };
        if let Some(phase) = ends {
            (self.phase, self.ended_at_us) = (phase, Some(now_us));
        }
        ends.is_some()
    }
}
