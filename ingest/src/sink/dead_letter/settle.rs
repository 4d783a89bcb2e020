//! What becomes of letters: they leave, or have failed again. Durable before it counts. Blocks.

use std::io;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::marks;
use super::{DeadLetters, Held, Leaving, Letter, LogId};

/// What has become of a letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It leaves.
    Leaves(Leaving),
    /// It stays: tried again, it failed as this one says.
    Fails(Box<Letter>),
}

/// A letter and what has become of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settled {
    pub(crate) held: Held,
    pub(crate) fate: Fate,
}

impl DeadLetters {
    /// Notes what has become of letters, which are in the order of their places; returns how
    /// many of them were still there, when that survives a power loss. After an error they are as
    /// they were, but for a restart, after which they may be as noted.
    pub(crate) fn settle(&self, settled: &[Settled]) -> io::Result<usize> {
        let mut there = 0;
        for of_segment in settled.chunk_by(|a, b| a.held.place.segment == b.held.place.segment) {
            there += self.settle_in(of_segment)?;
        }
        Ok(there)
    }

    fn settle_in(&self, settled: &[Settled]) -> io::Result<usize> {
        let Some(number) = settled.first().map(|first| first.held.place.segment) else {
            return Ok(0);
        };
        let _alone = self.files.write().unwrap_or_else(PoisonError::into_inner);
        if !self.lock().segments.contains_key(&number) {
            return Ok(0);
        }
        let before = self.marks(number)?;
        let mut marks = before.clone();
        let mut noted = Vec::with_capacity(settled.len());
        for Settled { held, fate } in settled {
            let (offset, letter) = (held.place.offset, &*held.letter);
            let there = match fate {
                Fate::Leaves(leaving) => marks.leave(offset, letter, *leaving),
                Fate::Fails(tried) => marks.fail(offset, letter, tried),
            };
            if there {
                noted.push((letter, fate));
            }
        }
        if noted.is_empty() {
            return Ok(0);
        }
        let written = marks::KIND.write(&*self.fs, &marks::path(&self.dir, number), &marks);
        if written.is_err() {
            self.lock().doubted.insert(number, before);
        }
        let bytes = written?;
        self.lock().doubted.remove(&number);
        self.count_settled(number, bytes, &noted);
        Ok(noted.len())
    }

    fn count_settled(&self, number: u64, marks_bytes: u64, noted: &[(&Letter, &Fate)]) {
        let mut state = self.lock();
        let mut gone = 0;
        for (letter, fate) in noted {
            state.count(letter, -1);
            match fate {
                Fate::Leaves(leaving) => {
                    let key = (letter.sink.clone(), LogId(letter.log.0));
                    state.left.entry(key).or_default().count(*leaving);
                    gone += 1;
                }
                Fate::Fails(tried) => {
                    let (tenant, code) = (letter.tenant.clone(), tried.code.clone());
                    *state.groups.entry((tenant, code)).or_default() += 1;
                }
            }
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
