//! The table itself, as it lies behind one lock: what is held, what is committed, and where the
//! rest is on disk. Never reads a file.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use smallvec::SmallVec;

use super::active::Active;
use super::epochs::Epochs;
use super::key::{Entry, Fixed, ReservationKey, Wanted};
use super::run::Run;

/// Committed keys that are sealed into one run: 64 Ki entries take 6 MiB of memory and some
/// 30 ms to sort, write and sync.
pub(super) const RUN_KEYS: usize = 64 * 1024;
/// Most keys that are held or not sealed. Beyond it the disk is behind.
pub(super) const UNSEALED_KEYS_MAX: usize = 4 * RUN_KEYS;
/// Most keys that are held: eleven of the longest requests at once, in 17 MiB. It is what a
/// hash map of 128 Ki places takes.
pub(super) const HELD_KEYS_MAX: usize = 112 * 1024;
/// Capacity that the map of held keys keeps when it is empty.
const HELD_CAPACITY_KEPT: usize = 16 * 1024;

/// Keys are hashes under a secret seed: their bits are as good as a hasher's.
#[derive(Debug, Default)]
pub(super) struct KeyBits(u64);

impl Hasher for KeyBits {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u128(&mut self, bits: u128) {
        self.0 = bits as u64;
    }
}

/// Who reserves: one request, and which of its pulses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) owner: u64,
    pub(super) event: u32,
}

/// A key whose pulse is on its way into the log.
#[derive(Debug)]
struct Held {
    fixed: Fixed,
    holder: Holder,
    /// A run may hold the key: nothing is known before the disk was asked.
    doubtful: bool,
    /// Somebody waits for the outcome.
    waited: bool,
}

/// What the table says of one pulse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    New,
    Repeat(Fixed),
    /// Of this pulse of the same request.
    RepeatOf(u32),
    Reused,
    InFlight,
    Full,
    /// The disk must be asked.
    Doubt,
}

/// What the table says of one key.
enum Seen {
    Free,
    Known(Fixed),
    /// Held by this pulse of the same request.
    Own(u32, Fixed),
    Elsewhere,
    Doubt,
}

/// What the disk said of the keys of one pulse.
pub(super) type Stored = [Option<Fixed>; 2];

/// Keys that a request holds.
pub(super) type Holding = SmallVec<[ReservationKey; 2]>;

#[derive(Debug)]
pub(super) struct Table {
    held: HashMap<ReservationKey, Held, BuildHasherDefault<KeyBits>>,
    active: Active,
    sealing: Option<Arc<Active>>,
    runs: Arc<[Arc<Run>]>,
    sealed_keys: usize,
    /// [`RUN_KEYS`], and fewer in tests.
    pub(super) run_keys: usize,
    keys_max: usize,
    owners: u64,
    full: u64,
    pub(super) epochs: Epochs,
}

impl Table {
    pub(super) fn new(keys_max: usize, active: Active, runs: Vec<Arc<Run>>) -> Self {
        let mut table = Self {
            held: HashMap::default(),
            active,
            sealing: None,
            runs: Arc::from([]),
            sealed_keys: 0,
            run_keys: RUN_KEYS,
            keys_max,
            owners: 0,
            full: 0,
            epochs: Epochs::default(),
        };
        table.set_runs(runs);
        table
    }

    /// A number for a request that no other has.
    pub(super) fn new_owner(&mut self) -> u64 {
        self.owners += 1;
        self.owners
    }

    pub(super) fn active(&self) -> &Active {
        &self.active
    }

    pub(super) fn sealing(&self) -> Option<&Arc<Active>> {
        self.sealing.as_ref()
    }

    pub(super) fn runs(&self) -> &Arc<[Arc<Run>]> {
        &self.runs
    }

    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    /// How many pulses found the table full.
    pub(super) fn full(&self) -> u64 {
        self.full
    }

    /// All keys, the held ones included.
    pub(super) fn keys(&self) -> usize {
        self.unsealed() + self.sealed_keys
    }

    fn unsealed(&self) -> usize {
        self.held.len()
            + self.active.len()
            + self.sealing.as_ref().map_or(0, |sealing| sealing.len())
    }

    /// Judges one pulse and holds its keys where they are new (or in doubt), adding them to
    /// `holding`. `stored` is what the disk said, once it was asked.
    pub(super) fn claim(
        &mut self,
        holder: Holder,
        wanted: &Wanted,
        stored: Option<&Stored>,
        holding: &mut Holding,
    ) -> Verdict {
        let mut known: Option<(Fixed, Verdict)> = None;
        let mut doubtful = false;
        for (place, key) in wanted.keys().enumerate() {
            let (fixed, verdict) = match self.look(holder, key, stored.map(|it| it[place])) {
                Seen::Free => continue,
                Seen::Doubt => {
                    doubtful = true;
                    continue;
                }
                Seen::Elsewhere => return Verdict::InFlight,
                Seen::Known(fixed) => (fixed, Verdict::Repeat(fixed)),
                Seen::Own(event, fixed) => (fixed, Verdict::RepeatOf(event)),
            };
            let same_body = fixed.body_hash == wanted.fixed.body_hash;
            if !same_body || known.is_some_and(|(known, _)| known.id != fixed.id) {
                return Verdict::Reused;
            }
            // What is committed already depends on nothing.
            if !matches!(known, Some((_, Verdict::Repeat(_)))) {
                known = Some((fixed, verdict));
            }
        }
        match known {
            Some(_) if doubtful => Verdict::Doubt,
            Some((_, verdict)) => verdict,
            None if !self.has_room(wanted) => {
                self.full += 1;
                Verdict::Full
            }
            None => {
                self.hold(holder, wanted, doubtful, holding);
                if doubtful { Verdict::Doubt } else { Verdict::New }
            }
        }
    }

    fn look(&self, holder: Holder, key: ReservationKey, stored: Option<Option<Fixed>>) -> Seen {
        if let Some(held) = self.held.get(&key) {
            if held.holder.owner != holder.owner {
                return Seen::Elsewhere;
            }
            if held.holder.event != holder.event {
                let own = Seen::Own(held.holder.event, held.fixed);
                return if held.doubtful { Seen::Doubt } else { own };
            }
        }
        if let Some(fixed) = self.committed(key) {
            return Seen::Known(fixed);
        }
        match stored {
            Some(stored) => stored.map_or(Seen::Free, Seen::Known),
            None if self.runs.iter().any(|run| run.may_hold(key)) => Seen::Doubt,
            None => Seen::Free,
        }
    }

    /// What a committed key in memory leads to.
    pub(super) fn committed(&self, key: ReservationKey) -> Option<Fixed> {
        let sealing = || self.sealing.as_ref().and_then(|sealing| sealing.get(key));
        self.active.get(key).or_else(sealing).copied()
    }

    fn has_room(&self, wanted: &Wanted) -> bool {
        let more = wanted.keys().count();
        self.keys() + more <= self.keys_max
            && self.held.len() + more <= HELD_KEYS_MAX
            && self.unsealed() + more <= UNSEALED_KEYS_MAX
    }

    fn hold(&mut self, holder: Holder, wanted: &Wanted, doubtful: bool, holding: &mut Holding) {
        for key in wanted.keys() {
            let held = self.held.entry(key).or_insert_with(|| {
                holding.push(key);
                Held { fixed: wanted.fixed, holder, doubtful, waited: false }
            });
            if held.holder == holder {
                held.doubtful = doubtful;
            }
        }
    }

    /// Frees the keys that one pulse holds; whether somebody waits for one.
    pub(super) fn release_event(&mut self, holder: Holder, wanted: &Wanted) -> bool {
        let mut waited = false;
        for key in wanted.keys() {
            if self.held.get(&key).is_some_and(|held| held.holder == holder) {
                waited |= self.held.remove(&key).is_some_and(|held| held.waited);
            }
        }
        waited
    }

    /// Ends what a request holds: commits it, or frees it. Whether somebody waits for a key.
    pub(super) fn resolve(&mut self, owner: u64, keys: &[ReservationKey], commit: bool) -> bool {
        let mut waited = false;
        for key in keys {
            // A key that was released may be another's by now.
            let Some(held) = self.held.remove(key) else { continue };
            if held.holder.owner != owner {
                self.held.insert(*key, held);
                continue;
            }
            waited |= held.waited;
            if commit && !held.doubtful {
                self.active.insert(Entry { key: *key, fixed: held.fixed });
            }
        }
        if self.held.is_empty() && self.held.capacity() > HELD_CAPACITY_KEPT {
            self.held.shrink_to(HELD_CAPACITY_KEPT);
        }
        waited
    }

    /// Marks a held key as waited for; `false` when nobody holds it.
    pub(super) fn mark_waited(&mut self, key: ReservationKey) -> bool {
        self.held.get_mut(&key).map(|held| held.waited = true).is_some()
    }

    /// Takes over a key that the log holds.
    pub(super) fn restore(&mut self, entry: Entry) {
        self.active.put(entry);
    }

    /// Whether there is enough for a run and none is being written.
    pub(super) fn wants_seal(&self) -> bool {
        self.active.len() >= self.run_keys && self.sealing.is_none()
    }

    /// Sets the active entries aside to be written as a run.
    pub(super) fn rotate(&mut self) {
        if self.sealing.is_none() && self.active.len() > 0 {
            // Who has filled one run fills the next: it need not grow again, which copies all,
            // and has room for what comes until it is sealed.
            let is_full = self.active.len() >= self.run_keys;
            let next = if is_full { self.run_keys + self.run_keys / 8 } else { 0 };
            let next = Active::with_capacity(next);
            self.sealing = Some(Arc::new(std::mem::replace(&mut self.active, next)));
        }
    }

    /// The entries set aside are in `run` now.
    pub(super) fn sealed(&mut self, run: Arc<Run>) {
        self.sealing = None;
        let runs = self.runs.iter().cloned().chain([run]).collect();
        self.set_runs(runs);
    }

    pub(super) fn set_runs(&mut self, runs: Vec<Arc<Run>>) {
        self.sealed_keys = runs.iter().map(|run| run.len()).sum();
        self.runs = runs.into();
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let slot = size_of::<(ReservationKey, Held)>() + 1;
        self.held.capacity() * slot
            + self.active.memory_bytes()
            + self.sealing.as_ref().map_or(0, |sealing| sealing.memory_bytes())
            + self.runs.iter().map(|run| run.memory_bytes()).sum::<usize>()
    }
}
