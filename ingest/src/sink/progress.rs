//! How far a sink has come: which sequence numbers of a log are finished, and how they ended.

use std::collections::BTreeMap;
use std::fmt;

use uuid::Uuid;

/// The identity of a log, made with its directory: numbers of two logs are never confused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogId(pub Uuid);

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A set of sequence numbers: all below `low`, and ranges above it. The drain's read window
/// bounds how many ranges there can be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SeqSet {
    low: u64,
    above: BTreeMap<u64, u64>,
}

impl SeqSet {
    /// The set of all numbers below `low`.
    pub fn below(low: u64) -> Self {
        Self { low, above: BTreeMap::new() }
    }

    /// The lowest number that is not in the set.
    pub fn low(&self) -> u64 {
        self.low
    }

    /// How many numbers from `from` on it holds.
    pub fn len_from(&self, from: u64) -> u64 {
        let above: u64 =
            self.above.iter().map(|(start, end)| end.saturating_sub(*start.max(&from))).sum();
        self.low.saturating_sub(from) + above
    }

    /// Whether it holds `seq`.
    pub fn contains(&self, seq: u64) -> bool {
        seq < self.low || self.above.range(..=seq).next_back().is_some_and(|(_, end)| seq < *end)
    }

    /// Whether it holds a number that `other` holds too.
    pub fn intersects(&self, other: &Self) -> bool {
        let meets = |start: u64, end: u64| {
            start < self.low
                || self.above.range(..end).next_back().is_some_and(|(_, last)| *last > start)
        };
        (other.low > 0 && meets(0, other.low))
            || other.ranges().any(|(start, end)| meets(start, end))
    }

    /// How many of the numbers from `start` up to, not including, `end` it does not hold.
    pub fn missing(&self, start: u64, end: u64) -> u64 {
        let start = start.max(self.low);
        if start >= end {
            return 0;
        }
        let before = self.above.range(..start).next_back();
        let held: u64 = before
            .into_iter()
            .chain(self.above.range(start..end))
            .map(|(from, to)| (*to).min(end).saturating_sub(start.max(*from)))
            .sum();
        end - start - held
    }

    /// The lowest number above all that it holds.
    pub fn end(&self) -> u64 {
        self.above.last_key_value().map_or(self.low, |(_, end)| *end)
    }

    /// Adds the numbers from `start` up to, not including, `end`.
    pub fn insert(&mut self, start: u64, end: u64) {
        let (mut start, mut end) = (start.max(self.low), end);
        if start >= end {
            return;
        }
        while let Some((&found, &found_end)) = self.above.range(..=end).next_back() {
            if found_end < start {
                break;
            }
            start = start.min(found);
            end = end.max(found_end);
            self.above.remove(&found);
        }
        if start <= self.low {
            self.low = end;
        } else {
            self.above.insert(start, end);
        }
    }

    /// Adds all numbers below `low`.
    pub fn raise(&mut self, low: u64) {
        self.insert(self.low, low);
    }

    /// Adds all of `other`; returns how many numbers were new.
    pub fn union(&mut self, other: &Self) -> u64 {
        let mut fresh = 0;
        for (start, end) in [(0, other.low)].into_iter().chain(other.ranges()) {
            fresh += self.missing(start, end);
            self.insert(start, end);
        }
        fresh
    }

    /// The ranges above `low`, ascending, each without its end.
    pub fn ranges(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.above.iter().map(|(start, end)| (*start, *end))
    }
}

impl FromIterator<u64> for SeqSet {
    fn from_iter<I: IntoIterator<Item = u64>>(numbers: I) -> Self {
        let mut set = Self::default();
        let mut run: Option<(u64, u64)> = None;
        for number in numbers {
            match &mut run {
                Some((_, end)) if *end == number => *end += 1,
                _ => {
                    if let Some((start, end)) = run.replace((number, number + 1)) {
                        set.insert(start, end);
                    }
                }
            }
        }
        if let Some((start, end)) = run {
            set.insert(start, end);
        }
        set
    }
}

/// What a sink that keeps its own progress has committed of one log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// Which numbers are in it (or were told to it as finished).
    pub finished: SeqSet,
    /// How many rows of this log it has ever committed.
    pub rows: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_merge_in_any_order_and_raise_the_low_mark() {
        let mut set = SeqSet::below(10);
        for (start, end) in [(20, 30), (12, 14), (14, 20), (40, 41)] {
            set.insert(start, end);
        }
        assert_eq!(set.ranges().collect::<Vec<_>>(), [(12, 30), (40, 41)]);
        assert!(set.contains(9) && set.contains(29) && !set.contains(30) && !set.contains(11));
        assert_eq!(set.len_from(5), 5 + 18 + 1);
        set.insert(0, 12);
        assert_eq!((set.low(), set.ranges().count()), (30, 1));
        set.raise(100);
        assert_eq!((set.low(), set.ranges().count()), (100, 0));
    }

    #[test]
    fn a_set_holds_exactly_what_was_put_in() {
        let numbers = [3u64, 4, 5, 9, 8, 1, 20, 4];
        let set: SeqSet = numbers.into_iter().collect();
        assert_eq!(set.end(), 21);
        for number in 0..25 {
            assert_eq!(set.contains(number), numbers.contains(&number), "{number}");
            let one: SeqSet = [number].into_iter().collect();
            assert_eq!(set.intersects(&one), numbers.contains(&number), "{number}");
            assert_eq!(one.intersects(&set), numbers.contains(&number), "{number}");
            for end in number..25 {
                let missing = (number..end).filter(|inside| !numbers.contains(inside)).count();
                assert_eq!(set.missing(number, end), missing as u64, "{number}..{end}");
            }
        }
    }
}
