//! Which number lies at which byte of the log, coarsely: turns "finished below this number" into
//! bytes that are free again, a little at a time. Pure.

use std::collections::VecDeque;

/// Distance of two marks: the error of an estimate is below it. A budget of 2 GiB has 32,768
/// marks at most, 512 KiB of memory.
const MARK_BYTES: u64 = 64 * 1024;

/// Marks of (number, bytes of frames before it), both ascending. The last one is the end.
#[derive(Debug)]
pub(crate) struct Positions {
    marks: VecDeque<(u64, u64)>,
    low_seq: u64,
    low: u64,
}

impl Positions {
    pub(crate) fn starting_at(seq: u64) -> Self {
        Self { marks: VecDeque::from([(seq, 0)]), low_seq: seq, low: 0 }
    }

    /// The log now ends at number `seq` and byte `position`.
    pub(crate) fn extend(&mut self, seq: u64, position: u64) {
        let settled = self.marks.len().checked_sub(2).and_then(|index| self.marks.get(index));
        if settled.is_some_and(|(_, before)| position - before < MARK_BYTES) {
            self.marks.pop_back();
        }
        self.marks.push_back((seq, position));
    }

    /// Bytes of frames ever appended.
    pub(crate) fn end(&self) -> u64 {
        self.marks.back().map_or(self.low, |mark| mark.1)
    }

    /// Bytes of frames that are finished.
    pub(crate) fn low(&self) -> u64 {
        self.low
    }

    /// All numbers below `seq` are finished.
    pub(crate) fn release(&mut self, seq: u64) {
        if seq <= self.low_seq {
            return;
        }
        self.low_seq = seq;
        while self.marks.get(1).is_some_and(|mark| mark.0 <= seq) {
            self.marks.pop_front();
        }
        self.low = self.low.max(self.estimate(seq));
    }

    fn estimate(&self, seq: u64) -> u64 {
        match (self.marks.front(), self.marks.get(1)) {
            (Some(&(from_seq, from)), Some(&(to_seq, to))) => {
                let part = u128::from(seq.saturating_sub(from_seq)) * u128::from(to - from);
                from + (part / u128::from(to_seq - from_seq).max(1)) as u64
            }
            (Some(&(_, end)), None) => end,
            (None, _) => self.low,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releasing_frees_bytes_smoothly_and_never_goes_back() {
        let mut positions = Positions::starting_at(100);
        let (mut seq, mut end) = (100, 0);
        for group in 0..10_000u64 {
            seq += 1 + group % 7;
            end += 300 * (1 + group % 7);
            positions.extend(seq, end);
        }
        assert!(positions.marks.len() as u64 <= 2 * end / MARK_BYTES + 2);
        let mut before = 0;
        for below in (0..seq).step_by(37) {
            positions.release(below);
            let exact = below.saturating_sub(100) * 300;
            assert!(positions.low().abs_diff(exact) < 2 * MARK_BYTES, "below {below}");
            assert!(positions.low() >= before);
            before = positions.low();
        }
        positions.release(5);
        assert_eq!(positions.low(), before);
        positions.release(seq);
        assert_eq!((positions.low(), positions.end()), (end, end));
        positions.extend(seq + 10, end + 50);
        positions.release(seq + 5);
        assert!((end..end + 50).contains(&positions.low()));
    }
}
