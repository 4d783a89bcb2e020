//! What has become of letters that a sink was given, as it is noted. Pure.

use crate::log::frame::Frame;
use crate::sink::dead_letter::{FailedAgain, Fate, Leaving, Settled, Slip};
use crate::sink::drain::job::Outcome;

use super::Counts;
use super::flight::Numbered;

/// How those have ended that have.
#[derive(Debug, Default)]
pub(super) struct Ended {
    /// In the order of their places.
    pub(super) settled: Vec<Settled>,
    /// Those of these that their sink has taken, and those that it found too old.
    pub(super) stored: Vec<Slip>,
    pub(super) expired: Vec<Slip>,
    pub(super) counts: Counts,
}

impl Ended {
    /// Of letters in the order of their numbers; those without an outcome are left out.
    pub(super) fn of(letters: Vec<Numbered>, outcome: Outcome) -> Self {
        let fates = fates(&letters, outcome);
        let mut ended = Self::default();
        ended.settled.reserve_exact(letters.len());
        for (Numbered { slip, .. }, fate) in letters.into_iter().zip(fates) {
            let Some(fate) = fate else { continue };
            ended.add(slip, fate);
        }
        ended
    }

    fn add(&mut self, slip: Slip, fate: Fate) {
        let leaving = match fate {
            Fate::Leaves(leaving) => Some(leaving),
            Fate::Fails(_) => None,
        };
        self.settled.push(Settled::of(&slip, fate));
        match leaving {
            Some(Leaving::Expired) => {
                self.counts.expired += 1;
                self.expired.push(slip);
            }
            Some(_) => {
                self.counts.stored += 1;
                self.stored.push(slip);
            }
            None => self.counts.failed += 1,
        }
    }
}

/// The fate of each letter, where it has one.
fn fates(letters: &[Numbered], outcome: Outcome) -> Vec<Option<Fate>> {
    let mut fates = Vec::new();
    fates.resize(letters.len(), None);
    let place = |seq: u64| letters.partition_point(|letter| letter.seq < seq);
    for (ranges, expired) in outcome.taken {
        let indexes = ranges.into_iter().flat_map(|(start, end)| place(start)..place(end));
        let mut taken: Vec<_> = indexes.filter(|index| fates[*index].is_none()).collect();
        if expired > 0 {
            // What has expired was received before what has not.
            taken.sort_by_key(|index| received_at_us(&letters[*index].slip));
        }
        for (index, before) in taken.into_iter().zip(0..) {
            let leaving = if before < expired { Leaving::Expired } else { Leaving::Replayed };
            fates[index] = Some(Fate::Leaves(leaving));
        }
    }
    for tried in outcome.failed {
        let index = place(tried.seq);
        let found = letters.get(index).filter(|letter| letter.seq == tried.seq);
        if let Some(letter) = found.and_then(|found| found.slip.letter())
            && fates[index].is_none()
        {
            fates[index] = Some(Fate::Fails(Box::new(FailedAgain { letter, tried })));
        }
    }
    fates
}

fn received_at_us(slip: &Slip) -> Option<i64> {
    Frame::read_proven(slip.frame_bytes()).ok().map(|frame| frame.envelope().received_at_us)
}
