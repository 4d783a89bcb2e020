//! What is known to be in the database, so that it is not written again with every batch.
//! Bounded in number and in age: what is forgotten is written once more, which does no harm.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use xxhash_rust::xxh3::xxh3_128;

use super::plan::Series;

/// Hashes of one generation, about 1.5 MiB; two are kept. A process writes to so many series
/// within a minute only if its tenants have as many services.
const GENERATION_MAX: usize = 50_000;
/// How long marks are added to one generation: twice as long, all of them are known. Somebody else
/// may have emptied a table, or made it anew, without this process seeing a failure: rows that
/// come then are led to again within two minutes.
const GENERATION_AGE: Duration = Duration::from_secs(60);

/// Names a row of an index by 128 bits: two rows never share them by chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Mark(u128);

impl Mark {
    /// Of a row of `pulse_buckets` that lives as long as `era` asks.
    pub(super) fn of_series(series: &Series<'_>, era: i64) -> Self {
        let place = i64::from(series.layout.code()) << 16 | i64::from(series.slice);
        Self::of(0, [series.tenant, series.service], [series.bucket_ms, place, era])
    }

    /// Of a row of `pulse_id_hours` that lives as long as `era` asks.
    pub(super) fn of_hour(tenant: &str, hour_ms: i64, shards: u32, era: i64) -> Self {
        Self::of(1, [tenant, ""], [hour_ms, i64::from(shards), era])
    }

    fn of(kind: u8, texts: [&str; 2], numbers: [i64; 3]) -> Self {
        let mut bytes = Vec::with_capacity(64 + texts[0].len() + texts[1].len());
        bytes.push(kind);
        for text in texts {
            bytes.extend_from_slice(&(text.len() as u32).to_le_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
        for number in numbers {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        Self(xxh3_128(&bytes))
    }
}

/// A set that forgets its oldest.
#[derive(Debug, Default)]
pub(super) struct Known {
    generations: Mutex<Generations>,
}

#[derive(Debug)]
struct Generations {
    young: HashSet<Mark>,
    old: HashSet<Mark>,
    /// When the young generation began.
    began: Instant,
}

impl Known {
    pub(super) fn contains(&self, mark: Mark) -> bool {
        self.contains_at(Instant::now(), mark)
    }

    pub(super) fn insert(&self, mark: Mark) {
        self.insert_at(Instant::now(), mark);
    }

    fn contains_at(&self, now: Instant, mark: Mark) -> bool {
        let mut generations = self.lock();
        generations.age(now);
        // Not made young again: that would keep it known for ever.
        generations.young.contains(&mark) || generations.old.contains(&mark)
    }

    fn insert_at(&self, now: Instant, mark: Mark) {
        let mut generations = self.lock();
        generations.age(now);
        if generations.young.len() >= GENERATION_MAX {
            generations.turn(now);
        }
        generations.young.insert(mark);
    }

    fn lock(&self) -> MutexGuard<'_, Generations> {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generations {
    /// Ends generations whose time is over.
    fn age(&mut self, now: Instant) {
        let age = now.saturating_duration_since(self.began);
        if age >= 2 * GENERATION_AGE {
            self.turn(now);
            self.turn(now);
        } else if age >= GENERATION_AGE {
            // Not now: its marks are forgotten twice the time after it began.
            self.turn(self.began + GENERATION_AGE);
        }
    }

    fn turn(&mut self, began: Instant) {
        self.old = std::mem::take(&mut self.young);
        self.began = began;
    }
}

impl Default for Generations {
    fn default() -> Self {
        Self { young: HashSet::new(), old: HashSet::new(), began: Instant::now() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::layout::Layout;
    use super::*;

    #[test]
    fn marks_differ_where_any_part_does() {
        let series = |tenant, service, bucket_ms, code| {
            let (layout, slice) = (Layout::from_code(code), code >> 8);
            Series { tenant, service, bucket_ms, layout, slice }
        };
        let marks: HashSet<_> = [
            Mark::of_series(&series("a", "bc", 0, 0), 0),
            Mark::of_series(&series("ab", "c", 0, 0), 0),
            Mark::of_series(&series("ab", "c", 1, 0), 0),
            Mark::of_series(&series("ab", "c", 0, 1), 0),
            Mark::of_series(&series("ab", "c", 0, 1 | 1 << 8), 0),
            Mark::of_series(&series("ab", "c", 0, 0), 1),
            Mark::of_hour("ab", 0, 0, 0),
            Mark::of_hour("ab", 0, 8, 0),
        ]
        .into();
        assert_eq!(marks.len(), 8);
    }

    #[test]
    fn memory_is_bounded_and_the_newest_are_known() {
        let (known, now) = (Known::default(), Instant::now());
        for number in 0..5 * GENERATION_MAX as u128 {
            known.insert_at(now, Mark(number));
            let oldest = (number + 1).saturating_sub(GENERATION_MAX as u128);
            assert!(known.contains_at(now, Mark(oldest)), "{number}");
        }
        assert!(!known.contains_at(now, Mark(0)), "the oldest are forgotten");
        let generations = known.lock();
        assert!(generations.young.len() + generations.old.len() <= 2 * GENERATION_MAX);
    }

    #[test]
    fn a_mark_is_known_for_one_to_two_minutes_however_often_it_is_asked_for() {
        let begin = Instant::now();
        // Seconds from the first mark to another one.
        for written_s in [0_u64, 1, 30, 59, 60, 61, 119, 120, 1_000] {
            let at = |seconds| begin + Duration::from_secs(written_s + seconds);
            let known = Known::default();
            known.insert_at(begin, Mark(0));
            known.insert_at(at(0), Mark(1));
            assert!((0..60).all(|second| known.contains_at(at(second), Mark(1))), "{written_s}");
            for second in 60..=120 {
                known.contains_at(at(second), Mark(1));
            }
            assert!(!known.contains_at(at(121), Mark(1)), "{written_s}");
        }
        let known = Known::default();
        known.insert_at(begin, Mark(1));
        assert!(!known.contains_at(begin + 3 * GENERATION_AGE, Mark(1)), "without a question");
    }
}
