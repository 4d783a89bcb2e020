//! What is known to be in the database, so that it is not written again with every batch.
//! Bounded: what is forgotten is written once more, which does no harm.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use xxhash_rust::xxh3::xxh3_128;

use super::plan::Series;

/// Hashes of one generation, about 1.5 MiB; two are kept. A process writes to so many series
/// within ten minutes only if its tenants have as many services.
const GENERATION_MAX: usize = 50_000;

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

/// A set that forgets what was not asked for lately.
#[derive(Debug, Default)]
pub(super) struct Known {
    generations: Mutex<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashSet<Mark>,
    old: HashSet<Mark>,
}

impl Known {
    pub(super) fn contains(&self, mark: Mark) -> bool {
        let mut generations = self.lock();
        if generations.young.contains(&mark) {
            return true;
        }
        let found = generations.old.contains(&mark);
        if found {
            generations.insert(mark);
        }
        found
    }

    pub(super) fn insert(&self, mark: Mark) {
        self.lock().insert(mark);
    }

    fn lock(&self) -> MutexGuard<'_, Generations> {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generations {
    fn insert(&mut self, mark: Mark) {
        if self.young.len() >= GENERATION_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(mark);
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
    fn what_is_asked_for_stays_known_and_memory_is_bounded() {
        let known = Known::default();
        let asked = Mark(u128::MAX);
        known.insert(asked);
        for number in 0..5 * GENERATION_MAX as u128 {
            known.insert(Mark(number));
            if number % 1_000 == 0 {
                assert!(known.contains(asked));
            }
        }
        assert!(!known.contains(Mark(0)), "what nobody asks for is forgotten");
        let generations = known.lock();
        assert!(generations.young.len() + generations.old.len() <= 2 * GENERATION_MAX);
    }
}
