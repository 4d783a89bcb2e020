//! What has become of the letters of one segment since they were written: which are gone, and
//! how, and which have failed again. A file beside the segment, replaced as a whole.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::letter::{Attempt, HISTORY_MAX, Letter, shortened};
use super::sealed::Kind;
use super::slip::Origin;

/// Far above any: thousands of letters of a segment, each with its last attempts.
pub(super) const KIND: Kind = Kind { magic: 0x4B4D_4C50, version: 1, bytes_max: 256 << 20 };
/// Longest message of an attempt that is kept here: the letter itself has the first in full.
const MESSAGE_BYTES_MAX: usize = 240;

/// How a letter left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leaving {
    /// Its sink has taken it.
    Replayed,
    /// Its sink found it older than its retention.
    Expired,
    /// A person gave it up, or replaced it by an edited pulse.
    Discarded,
    /// The store keeps it for all processes.
    HandedOver,
}

/// How many letters left, by how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// Its sink has taken them.
    pub replayed: u64,
    /// Its sink found them older than its retention.
    pub expired: u64,
    /// A person gave them up.
    pub discarded: u64,
    /// The store keeps them for all processes: dead letters still, but not of this disk.
    #[serde(default)]
    pub handed_over: u64,
}

/// Those of one sink and log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LeftOf {
    pub(super) sink: String,
    #[serde(with = "crate::sink::dead_letter::uuid_text")]
    pub(super) log: uuid::Uuid,
    /// Whether only memory held them: no later run counts by that log.
    pub(super) in_memory: bool,
    #[serde(flatten)]
    pub(super) left: Left,
}

/// A letter that has failed again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) code: String,
    pub(crate) stage: String,
    pub(crate) message: String,
    pub(crate) attempts: u32,
    pub(crate) last_at_us: i64,
    /// Attempts beyond those that the letter itself tells of, the last ones.
    pub(crate) history: Vec<Attempt>,
}

/// Offsets in a segment, in ascending order: thousands of them leave at once, mostly behind those
/// that have left before.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Offsets(Vec<u32>);

/// The marks of a segment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Marks {
    /// Those of letters that are gone.
    pub(super) gone: Offsets,
    pub(super) left: Vec<LeftOf>,
    pub(super) failed: BTreeMap<u32, Failure>,
}

/// Where a segment's marks lie.
pub(super) fn path(dir: &Path, segment: u64) -> PathBuf {
    dir.join(format!("letters-{segment:016}.marks"))
}

/// The segment whose marks have this name.
pub(super) fn number_of(name: &str) -> Option<u64> {
    name.strip_prefix("letters-")?.strip_suffix(".marks")?.parse().ok()
}

impl Left {
    pub(super) fn count(&mut self, leaving: Leaving) {
        *match leaving {
            Leaving::Replayed => &mut self.replayed,
            Leaving::Expired => &mut self.expired,
            Leaving::Discarded => &mut self.discarded,
            Leaving::HandedOver => &mut self.handed_over,
        } += 1;
    }

    /// How many in all.
    pub(super) fn total(&self) -> u64 {
        self.replayed + self.expired + self.discarded + self.handed_over
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.replayed += other.replayed;
        self.expired += other.expired;
        self.discarded += other.discarded;
        self.handed_over += other.handed_over;
    }
}

impl Offsets {
    pub(super) fn contains(&self, offset: u32) -> bool {
        self.0.last().is_some_and(|last| offset <= *last) && self.0.binary_search(&offset).is_ok()
    }

    /// Adds an offset; whether it was not there.
    pub(super) fn insert(&mut self, offset: u32) -> bool {
        if self.0.last().is_none_or(|last| offset > *last) {
            self.0.push(offset);
            return true;
        }
        let place = self.0.binary_search(&offset);
        place.map_err(|at| self.0.insert(at, offset)).is_err()
    }
}

impl Marks {
    /// A letter leaves; whether it had not before.
    pub(super) fn leave(&mut self, offset: u32) -> bool {
        let left = self.gone.insert(offset);
        if left && !self.failed.is_empty() {
            self.failed.remove(&offset);
        }
        left
    }

    /// Counts letters that have left.
    pub(super) fn count(&mut self, origin: &Origin, left: &Left) {
        let known = |of: &&mut LeftOf| of.sink == origin.sink && of.log == origin.log.0;
        if let Some(of) = self.left.iter_mut().find(known) {
            return of.left.add(left);
        }
        let Origin { sink, log, in_memory, .. } = origin;
        let (sink, log, in_memory) = (sink.clone(), log.0, *in_memory);
        self.left.push(LeftOf { sink, log, in_memory, left: *left });
    }

    /// A letter has failed again, `letter` being as it was before, with `tried` attempts.
    pub(super) fn fail(&mut self, offset: u32, letter: &Letter, tried: &Letter) -> bool {
        if self.gone.contains(offset) {
            return false;
        }
        let earlier = self.failed.remove(&offset).map(|failure| failure.history);
        self.failed.insert(offset, Failure::of(letter, tried, earlier.unwrap_or_default()));
        true
    }

    /// The reason for which a letter has failed again, if it has.
    pub(super) fn code(&self, offset: u32) -> Option<&str> {
        self.failed.get(&offset).map(|failure| &*failure.code)
    }

    /// Tells a letter what has become of it.
    pub(super) fn apply(&self, offset: u32, letter: &mut Letter) {
        if let Some(failure) = self.failed.get(&offset) {
            failure.apply(letter);
        }
    }
}

impl Failure {
    /// How a letter has failed again, `history` being its attempts since it was written.
    fn of(letter: &Letter, tried: &Letter, mut history: Vec<Attempt>) -> Self {
        history.extend(tried.history.iter().map(|attempt| Attempt {
            message: shortened(&attempt.message, MESSAGE_BYTES_MAX),
            ..attempt.clone()
        }));
        Self {
            code: tried.code.clone(),
            stage: tried.stage.clone(),
            message: tried.message.clone(),
            attempts: letter.attempts.saturating_add(tried.attempts.max(1)),
            last_at_us: tried.last_at_us.max(letter.last_at_us),
            history: history.split_off(history.len().saturating_sub(HISTORY_MAX)),
        }
    }

    fn apply(&self, letter: &mut Letter) {
        letter.code.clone_from(&self.code);
        letter.stage.clone_from(&self.stage);
        letter.message.clone_from(&self.message);
        letter.attempts = self.attempts;
        letter.last_at_us = self.last_at_us;
        letter.history.extend(self.history.iter().cloned());
        let beyond = letter.history.len().saturating_sub(HISTORY_MAX);
        letter.history.drain(..beyond);
    }
}

impl Letter {
    /// It was tried again and has failed as `tried` says.
    pub(crate) fn fail(&mut self, tried: &Self) {
        Failure::of(self, tried, Vec::new()).apply(self);
    }
}
