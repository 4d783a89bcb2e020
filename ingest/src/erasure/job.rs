//! An erasure as it is kept: whose data, received until when, and how far it is. Pure.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::sink::LogId;
use crate::sink::replay::LettersReached;

/// What an erasure does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// It goes on.
    Running,
    /// It was ended by a person; what it has erased does not come back.
    Cancelled,
    /// All is erased.
    Completed,
}

impl Phase {
    /// Whether nothing more comes of it.
    pub fn is_ended(self) -> bool {
        self != Self::Running
    }

    /// Its name in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Cancelled => "cancelled",
            Self::Completed => "completed",
        }
    }
}

/// What an erasure is at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Stage {
    /// The store is told.
    Begin,
    /// What lies in the log is waited for, or only memory holds.
    Log,
    /// Dead letters.
    Letters(LettersReached),
    /// Rows with all that the store keeps of them.
    Rows,
    /// Letters that have come since.
    Rest(LettersReached),
    /// Nothing more.
    Done,
}

impl Stage {
    /// Its name in answers.
    pub(crate) const fn as_str(&self) -> &'static str {
        match self {
            Self::Begin | Self::Log => "log",
            Self::Letters(_) | Self::Rest(_) => "dead_letters",
            Self::Rows => "rows",
            Self::Done => "done",
        }
    }
}

/// How much has been erased. Of a step that a crash has cut, some may be counted twice, or not at
/// all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Rows.
    pub rows: u64,
    /// Partitions or blocks that held rows or ids.
    pub partitions: u64,
    /// Dead letters.
    pub dead_letters: u64,
}

/// An erasure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Its id.
    #[serde(with = "crate::sink::dead_letter::uuid_text")]
    pub id: Uuid,
    /// Whose data.
    pub tenant: String,
    /// Who asked: the tenant's and the key's name, where keys are needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// What it does.
    pub phase: Phase,
    /// Everything is erased that was received by then, in microseconds since 1970: when it was
    /// asked for.
    pub until_us: i64,
    /// When it ended, in microseconds since 1970.
    pub ended_at_us: Option<i64>,
    /// How much has been erased.
    pub counts: Counts,
    /// Where the log and memory ended when it was asked for.
    pub(crate) ends: Vec<(KeptLogId, u64)>,
    pub(crate) stage: Stage,
    /// How far the store is, in its own words.
    pub(crate) position: Option<String>,
}

/// The identity of a log, as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeptLogId(#[serde(with = "crate::sink::dead_letter::uuid_text")] Uuid);

impl From<LogId> for KeptLogId {
    fn from(id: LogId) -> Self {
        Self(id.0)
    }
}

impl Job {
    /// What it is at: `log`, `dead_letters`, `rows` or `done`.
    pub fn stage(&self) -> &'static str {
        self.stage.as_str()
    }

    /// Where the log and memory ended.
    pub(crate) fn ends(&self) -> Vec<(LogId, u64)> {
        self.ends.iter().map(|(id, end)| (LogId(id.0), *end)).collect()
    }

    /// Letters were erased; goes on behind them.
    pub(crate) fn letters_erased(&mut self, letters: u64, next: Option<LettersReached>) {
        self.counts.dead_letters += letters;
        self.stage = match (&self.stage, next) {
            (Stage::Letters(_), Some(next)) => Stage::Letters(next),
            (Stage::Letters(_), None) => Stage::Rows,
            (Stage::Rest(_), Some(next)) => Stage::Rest(next),
            _ => Stage::Done,
        };
    }

    /// The store has done a step.
    pub(crate) fn rows_erased(&mut self, rows: u64, partitions: u64, next: Option<String>) {
        self.counts.rows += rows;
        self.counts.partitions += partitions;
        self.position = next;
        self.stage = match (&self.stage, self.position.is_some()) {
            // A store that has nothing to say at first may have rows in the log.
            (Stage::Begin, _) => Stage::Log,
            (_, true) => Stage::Rows,
            (_, false) => Stage::Rest(LettersReached::Here),
        };
    }

    /// Ends.
    pub(crate) fn end(&mut self, phase: Phase, now_us: i64) {
        (self.phase, self.ended_at_us) = (phase, Some(now_us));
        if phase == Phase::Completed {
            self.stage = Stage::Done;
        }
        self.position = None;
        self.ends.clear();
    }
}
