//! The newest reservations, all in memory: entries in the order of their commits and an open
//! addressing index over them. Entries are never removed; the whole is sealed into a run.

use super::key::{Entry, Fixed, ReservationKey};

/// Committed entries that no run holds.
#[derive(Debug, Default)]
pub(super) struct Active {
    entries: Vec<Entry>,
    /// Low 32 bits of the key above, place in `entries` plus one below; 0 is empty.
    slots: Vec<u64>,
}

/// Slots at the first insertion: 8 KiB, so that an idle process holds next to nothing.
const SLOTS_MIN: usize = 1024;

impl Active {
    /// Room for so many entries; it grows beyond.
    pub(super) fn with_capacity(entries: usize) -> Self {
        let slots = if entries == 0 { 0 } else { (entries * 3 / 2 + 1).next_power_of_two() };
        Self { entries: Vec::with_capacity(entries), slots: vec![0; slots] }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Bytes that it holds on to.
    pub(super) fn memory_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>() + self.slots.capacity() * size_of::<u64>()
    }

    pub(super) fn get(&self, key: ReservationKey) -> Option<&Fixed> {
        Some(&self.entries[self.place_of(key)?].fixed)
    }

    fn place_of(&self, key: ReservationKey) -> Option<usize> {
        if self.slots.is_empty() {
            return None;
        }
        let tag = tag(key);
        let mask = self.slots.len() - 1;
        let mut at = tag as usize & mask;
        loop {
            let slot = self.slots[at];
            if slot == 0 {
                return None;
            }
            let place = slot as u32 as usize;
            if (slot >> 32) as u32 == tag && self.entries[place - 1].key == key {
                return Some(place - 1);
            }
            at = (at + 1) & mask;
        }
    }

    /// Adds an entry, or puts it in the place of the one that has its key. For entries that no
    /// journal holds yet.
    pub(super) fn put(&mut self, entry: Entry) {
        match self.place_of(entry.key) {
            Some(place) => self.entries[place] = entry,
            None => self.insert(entry),
        }
    }

    /// Adds an entry whose key it does not hold.
    pub(super) fn insert(&mut self, entry: Entry) {
        // At most two thirds full: probes stay short.
        if (self.entries.len() + 1) * 3 > self.slots.len() * 2 {
            self.grow();
        }
        self.entries.push(entry);
        let slot = u64::from(tag(entry.key)) << 32 | self.entries.len() as u64;
        place(&mut self.slots, slot);
    }

    fn grow(&mut self) {
        let mut slots = vec![0; (self.slots.len() * 2).max(SLOTS_MIN)];
        for slot in self.slots.iter().filter(|slot| **slot != 0) {
            place(&mut slots, *slot);
        }
        self.slots = slots;
    }
}

fn place(slots: &mut [u64], slot: u64) {
    let mask = slots.len() - 1;
    let mut at = (slot >> 32) as usize & mask;
    while slots[at] != 0 {
        at = (at + 1) & mask;
    }
    slots[at] = slot;
}

fn tag(key: ReservationKey) -> u32 {
    key.0 as u32
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn every_key_is_found_even_where_all_tags_are_equal() {
        let mut active = Active::default();
        let keys: Vec<_> = (0..3000u128).map(|n| ReservationKey((n << 64) | (n % 7))).collect();
        for (place, key) in keys.iter().enumerate() {
            assert!(active.get(*key).is_none());
            let fixed = Fixed {
                id: Uuid::from_u128(place as u128),
                event_time_ms: 0,
                received_at_us: 0,
                body_hash: 0,
                shard: 0,
            };
            active.insert(Entry { key: *key, fixed });
        }
        for (place, key) in keys.iter().enumerate() {
            let found = active.get(*key).map(|fixed| fixed.id);
            assert_eq!(found, Some(Uuid::from_u128(place as u128)));
        }
    }
}
