//! What has become of letters is noted beside their segment, as a whole: they have left, or have
//! failed again. Blocks.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::marks::{self, Left, Marks};
use super::slip::Origin;
use super::{DeadLetters, Held, Leaving, Letter, LetterPlace, Slip};

/// What has become of a letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It leaves.
    Leaves(Leaving),
    /// It stays.
    Fails(Box<FailedAgain>),
}

/// A letter as it was, and as it failed when it was tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FailedAgain {
    pub(crate) letter: Letter,
    pub(crate) tried: Letter,
}

/// A letter and what has become of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settled {
    pub(crate) place: LetterPlace,
    pub(crate) origin: Arc<Origin>,
    pub(crate) fate: Fate,
}

impl Settled {
    /// A letter that leaves.
    pub(crate) fn leaves(held: &Held, leaving: Leaving) -> Self {
        let origin = Origin::of(&held.letter);
        Self { place: held.place, origin, fate: Fate::Leaves(leaving) }
    }

    /// The fate of a letter on its way.
    pub(crate) fn of(slip: &Slip, fate: Fate) -> Self {
        Self { place: slip.place, origin: Arc::clone(&slip.origin), fate }
    }
}

/// What a segment's letters that are noted together change in the counts of all.
#[derive(Debug, Default)]
struct Change {
    left: Vec<(Arc<Origin>, Left)>,
    /// By tenant and reason, as it was and is.
    groups: HashMap<(String, String), i64>,
}

impl Change {
    /// A letter leaves that was of its first reason or of another by now.
    fn leaves(&mut self, origin: &Arc<Origin>, code: Option<String>, leaving: Leaving) {
        match self.left.last_mut().filter(|(last, _)| Arc::ptr_eq(last, origin)) {
            Some((_, left)) => left.count(leaving),
            None => {
                let mut left = Left::default();
                left.count(leaving);
                self.left.push((Arc::clone(origin), left));
            }
        }
        if let Some(code) = code {
            self.group(&origin.tenant, &code, -1);
            self.group(&origin.tenant, &origin.code, 1);
        }
    }

    fn group(&mut self, tenant: &str, code: &str, by: i64) {
        *self.groups.entry((tenant.to_owned(), code.to_owned())).or_default() += by;
    }

    /// Counts those that have left out of their groups, too; returns how many they are.
    fn finish(&mut self) -> u64 {
        let mut gone = 0;
        for (origin, left) in std::mem::take(&mut self.left) {
            gone += left.total();
            self.group(&origin.tenant, &origin.code, -(left.total() as i64));
            self.left.push((origin, left));
        }
        gone
    }
}

impl DeadLetters {
    /// Notes what has become of letters, which are in the order of their places; returns how
    /// many of them were still there, when that survives a power loss. After an error they are as
    /// they were, but for a restart, after which they may be as noted.
    pub(crate) fn settle(&self, settled: &[Settled]) -> io::Result<usize> {
        let mut there = 0;
        for of_segment in settled.chunk_by(|a, b| a.place.segment == b.place.segment) {
            there += self.settle_in(of_segment)?;
        }
        Ok(there)
    }

    fn settle_in(&self, settled: &[Settled]) -> io::Result<usize> {
        let Some(number) = settled.first().map(|first| first.place.segment) else {
            return Ok(0);
        };
        let _alone = self.files.write().unwrap_or_else(PoisonError::into_inner);
        if !self.lock().segments.contains_key(&number) {
            return Ok(0);
        }
        let before = self.marks(number)?;
        let mut marks = before.clone();
        let (noted, change) = note(&mut marks, settled);
        if noted == 0 {
            return Ok(0);
        }
        let written = marks::KIND.write(&*self.fs, &marks::path(&self.dir, number), &marks);
        if written.is_err() {
            self.lock().doubted.insert(number, before);
        }
        let bytes = written?;
        self.lock().doubted.remove(&number);
        self.count_settled(number, bytes, change);
        Ok(noted)
    }

    fn count_settled(&self, number: u64, marks_bytes: u64, mut change: Change) {
        let gone = change.finish();
        let mut state = self.lock();
        for (origin, left) in &change.left {
            let key = (origin.sink.clone(), origin.log);
            state.left.entry(key).or_default().add(left);
        }
        for ((tenant, code), by) in &change.groups {
            state.count((tenant, code), *by);
        }
        if let Some(segment) = state.segments.get_mut(&number) {
            segment.live = segment.live.saturating_sub(gone);
            segment.gone += gone;
            self.bytes.fetch_add(marks_bytes, Ordering::Relaxed);
            self.bytes.fetch_sub(segment.marks_bytes, Ordering::Relaxed);
            segment.marks_bytes = marks_bytes;
        }
        self.count.fetch_sub(gone, Ordering::Relaxed);
    }
}

/// Notes letters in the marks of their segment; how many of them were there, and what that
/// changes.
fn note(marks: &mut Marks, settled: &[Settled]) -> (usize, Change) {
    let (mut noted, mut change) = (0, Change::default());
    for Settled { place, origin, fate } in settled {
        let offset = place.offset;
        // Another replay may have had it fail for another reason since it was read.
        let code = marks.code(offset).map(str::to_owned);
        match fate {
            Fate::Leaves(leaving) if marks.leave(offset) => {
                change.leaves(origin, code, *leaving);
            }
            Fate::Fails(failed) if marks.fail(offset, &failed.letter, &failed.tried) => {
                change.group(&origin.tenant, code.as_deref().unwrap_or(&origin.code), -1);
                change.group(&origin.tenant, &failed.tried.code, 1);
            }
            Fate::Leaves(_) | Fate::Fails(_) => continue,
        }
        noted += 1;
    }
    for (origin, left) in &change.left {
        marks.count(origin, left);
    }
    (noted, change)
}
