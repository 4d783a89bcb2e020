//! A table of counters by key whose size never changes. Keys that come often have a slot of their
//! own; those of a group that has no slot left share one, so that what is read of a key is never
//! less than what came of it lately. Decides nothing.

use std::array;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Groups of slots: with four keys each, 8,192 in all and half a MiB. Hot services of one process
/// are counted in hundreds, so that five of them in one group are rare.
const GROUPS: usize = 2_048;
const WAYS: usize = 4;

/// Counters of one key, or of those that share them.
#[derive(Debug, Default)]
pub(super) struct Slot {
    key: AtomicU64,
    /// How often its key came, less how often others wanted the slot: cold keys come and go, and
    /// only one that comes more often than its group's other keys together takes it from a key
    /// that still comes. (Misra and Gries, "Finding repeated elements", 1982.)
    guard: AtomicU32,
    /// When its key came last, in seconds; where keys share it, since when they do.
    seen_s: AtomicU32,
    /// What the table's owner counts.
    pub(super) words: [AtomicU64; 3],
}

#[derive(Debug)]
struct Group {
    ways: [Slot; WAYS],
    others: Slot,
}

/// The table.
#[derive(Debug)]
pub(super) struct Sketch {
    groups: Box<[Group]>,
    /// A key that did not come for so long gives its slot to the next, in seconds.
    idle_s: u32,
}

impl Sketch {
    pub(super) fn new(idle_s: u32) -> Self {
        let group = || Group { ways: array::from_fn(|_| Slot::default()), others: Slot::default() };
        Self { groups: std::iter::repeat_with(group).take(GROUPS).collect(), idle_s }
    }

    /// The counters of a key.
    pub(super) fn slot(&self, key: u64, now_s: u32) -> &Slot {
        // Never the key of an empty slot.
        let key = key | 1;
        // The multiplication leaves the upper bits below the number of groups.
        let group = &self.groups[((u128::from(key) * GROUPS as u128) >> 64) as usize];
        match group.ways.iter().find(|slot| slot.holds(key)) {
            Some(slot) => {
                slot.touch(now_s);
                slot
            }
            None => group.admit(key, now_s, self.idle_s),
        }
    }
}

impl Group {
    fn admit(&self, key: u64, now_s: u32, idle_s: u32) -> &Slot {
        if self.others.is_idle(now_s, idle_s) {
            self.others.words.iter().for_each(|word| word.store(0, Ordering::Relaxed));
            self.others.seen_s.store(now_s, Ordering::Relaxed);
        }
        let idle = self.ways.iter().find(|slot| slot.is_idle(now_s, idle_s));
        let weakest = || self.ways.iter().min_by_key(|slot| slot.guard.load(Ordering::Relaxed));
        let Some(slot) = idle.or_else(weakest) else { return &self.others };
        let guard = slot.guard.load(Ordering::Relaxed);
        if idle.is_none() && guard > 0 {
            slot.guard.store(guard - 1, Ordering::Relaxed);
            return &self.others;
        }
        let before = slot.key.load(Ordering::Relaxed);
        let taken = slot.key.compare_exchange(before, key, Ordering::Relaxed, Ordering::Relaxed);
        if taken.is_err() {
            return &self.others;
        }
        // The key may have been one of those that share: what they came to is the most that it
        // can have come to.
        for (word, shared) in slot.words.iter().zip(&self.others.words) {
            word.store(shared.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        slot.guard.store(1, Ordering::Relaxed);
        slot.seen_s.store(now_s, Ordering::Relaxed);
        slot
    }
}

impl Slot {
    fn holds(&self, key: u64) -> bool {
        self.key.load(Ordering::Relaxed) == key
    }

    fn touch(&self, now_s: u32) {
        // Two stores rather than additions: another thread's may be lost, which costs a hot key
        // nothing and spares the lock of the cache line.
        let guard = self.guard.load(Ordering::Relaxed);
        self.guard.store(guard.saturating_add(1), Ordering::Relaxed);
        if self.seen_s.load(Ordering::Relaxed) != now_s {
            self.seen_s.store(now_s, Ordering::Relaxed);
        }
    }

    fn is_idle(&self, now_s: u32, idle_s: u32) -> bool {
        // Also where the clock was set back: wrong seconds are no reason to hold a slot.
        now_s.abs_diff(self.seen_s.load(Ordering::Relaxed)) >= idle_s
    }

    /// Adds to a word; returns what it has come to.
    pub(super) fn add(&self, word: usize, value: u64) -> u64 {
        self.words[word].fetch_add(value, Ordering::Relaxed).saturating_add(value)
    }

    pub(super) fn get(&self, word: usize) -> u64 {
        self.words[word].load(Ordering::Relaxed)
    }

    pub(super) fn set(&self, word: usize, value: u64) {
        self.words[word].store(value, Ordering::Relaxed);
    }

    /// Sets a word that still has the value `before`; whether it had.
    pub(super) fn replace(&self, word: usize, before: u64, value: u64) -> bool {
        let (set, read) = (Ordering::Relaxed, Ordering::Relaxed);
        self.words[word].compare_exchange(before, value, set, read).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys that all fall into one group.
    fn key(number: u64) -> u64 {
        number << 8 | 1
    }

    #[test]
    fn what_is_read_of_a_key_is_never_less_than_what_came_of_it() {
        let sketch = Sketch::new(600);
        let mut came = [0; 40];
        for round in 0..2_000u64 {
            for number in 0..came.len() as u64 {
                // A few come often, most seldom, and some only later.
                let begins = number / 10 * 300;
                if round % (number % 10 + 1) == 0 && round >= begins {
                    came[number as usize] += 1;
                    let read = sketch.slot(key(number), 10).add(0, 1);
                    assert!(read >= came[number as usize], "key {number} in round {round}");
                }
            }
        }
    }

    #[test]
    fn a_hot_key_keeps_its_counter_among_cold_ones_and_idle_keys_make_room() {
        let sketch = Sketch::new(600);
        for round in 0..10_000 {
            assert_eq!(sketch.slot(key(0), 10).add(0, 1), round + 1);
            // Never twice the same.
            sketch.slot(key(round + 1), 10).add(0, 1);
        }
        let later = 10 + 600;
        for number in 0..WAYS as u64 {
            assert_eq!(sketch.slot(key(20_000 + number), later).add(0, 1), 1);
        }
        assert_eq!(sketch.slot(key(0), later).add(0, 1), 1, "it was idle");
    }
}
