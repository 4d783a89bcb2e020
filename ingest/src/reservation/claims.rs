//! What one request holds between reserving its keys and knowing that its pulses are logged.

use std::sync::Arc;

use smallvec::{SmallVec, smallvec};

use super::Shared;
use super::key::{Fixed, ReservationKey, Wanted};
use super::run::Run;
use super::table::{Holder, Holding, Stored, Table, Verdict};

/// What became of one pulse's wish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// Its keys are its own: log it, then [commit](Reserved::commit).
    New,
    /// It was accepted before with the same body: this is what was fixed then.
    Repeat(Box<Fixed>),
    /// It repeats the pulse at this place of the same request, which is [`Claim::New`], and shares
    /// its fate: accepted only if that one is.
    RepeatOf(usize),
    /// A key was used before with another body, or its two keys lead to different pulses.
    Reused,
    /// Another request holds one of its keys: [wait](super::Reservations::wait) or refuse.
    InFlight,
    /// The table is full, or its disk is behind.
    Full,
    /// Only the disk can tell; [`Reserved::settled`] asks it.
    Unsettled,
    /// The disk could not be read: nothing is known, so it can't be accepted.
    Unreadable,
}

/// The keys that one request holds. Dropped without [`commit`](Reserved::commit) they are free
/// again: a failed request frees its keys.
///
/// A request whose client has gone may still be logged. Whoever abandons one after the append
/// must keep this until the append's outcome is known; else a retry would be taken as new
/// while the log holds the first.
#[derive(Debug)]
#[must_use = "dropping it frees the keys"]
pub struct Reserved {
    shared: Arc<Shared>,
    owner: u64,
    epoch: Option<u64>,
    /// Most requests name one pulse, by one key.
    claims: SmallVec<[Claim; 1]>,
    holding: Holding,
    unsettled: Vec<(u32, Wanted)>,
    runs: Option<Arc<[Arc<Run>]>>,
}

/// Pulses that are judged under one lock: some 10 µs, so that requests of other threads pass.
const CHUNK_PULSES: usize = 64;

impl Reserved {
    pub(super) fn reserve(shared: &Arc<Shared>, wanted: &[Wanted]) -> Self {
        let mut reserved = Self {
            shared: Arc::clone(shared),
            owner: 0,
            epoch: None,
            claims: SmallVec::with_capacity(wanted.len()),
            holding: Holding::with_capacity(wanted.len()),
            unsettled: Vec::new(),
            runs: None,
        };
        for chunk in wanted.chunks(CHUNK_PULSES) {
            let mut table = shared.table();
            if reserved.owner == 0 {
                reserved.owner = table.new_owner();
            }
            for wanted in chunk {
                reserved.claim_next(&mut table, wanted);
            }
        }
        reserved
    }

    fn claim_next(&mut self, table: &mut Table, wanted: &Wanted) {
        let event = self.claims.len() as u32;
        let holder = Holder { owner: self.owner, event };
        let verdict = table.claim(holder, wanted, None, &mut self.holding);
        if verdict == Verdict::Doubt {
            self.unsettled.push((event, *wanted));
            // Taken under the lock: what is sealed later was not committed when we held the key.
            self.runs = Some(Arc::clone(table.runs()));
        }
        self.enter_epoch(table);
        self.claims.push(claim_of(verdict));
    }

    fn enter_epoch(&mut self, table: &mut Table) {
        if self.epoch.is_none() && !self.holding.is_empty() {
            self.epoch = Some(table.epochs.enter());
        }
    }

    /// One verdict for each pulse, in the order they were given.
    pub fn claims(&self) -> &[Claim] {
        &self.claims
    }

    /// Whether every pulse has its verdict; else [`settled`](Self::settled) gets it.
    pub fn is_settled(&self) -> bool {
        self.unsettled.is_empty()
    }

    /// Asks the disk where memory could not tell, on a blocking thread. Costs nothing where
    /// [`is_settled`](Self::is_settled). Must be called within a tokio runtime.
    pub async fn settled(mut self) -> Self {
        if self.is_settled() {
            return self;
        }
        let (shared, pulses) = (Arc::clone(&self.shared), self.claims.len());
        let settle = move || {
            self.settle();
            self
        };
        // It fails when the runtime is going down; what was held went with the closure.
        tokio::task::spawn_blocking(settle).await.unwrap_or_else(|_| {
            let mut nothing = Self::reserve(&shared, &[]);
            nothing.claims = smallvec![Claim::Unreadable; pulses];
            nothing
        })
    }

    /// As [`settled`](Self::settled), on this thread. Reads files.
    pub fn settle(&mut self) {
        let runs = self.runs.take();
        for (event, wanted) in std::mem::take(&mut self.unsettled) {
            let claim = match read_stored(runs.as_deref().unwrap_or_default(), &wanted) {
                Ok(stored) => self.claim_again(event, &wanted, &stored),
                Err(()) => {
                    self.release(event, &wanted);
                    Claim::Unreadable
                }
            };
            if let Some(place) = self.claims.get_mut(event as usize) {
                *place = claim;
            }
        }
    }

    fn claim_again(&mut self, event: u32, wanted: &Wanted, stored: &Stored) -> Claim {
        let holder = Holder { owner: self.owner, event };
        let shared = Arc::clone(&self.shared);
        let mut table = shared.table();
        let verdict = table.claim(holder, wanted, Some(stored), &mut self.holding);
        self.enter_epoch(&mut table);
        drop(table);
        if verdict != Verdict::New {
            self.release(event, wanted);
        }
        claim_of(verdict)
    }

    /// Frees the keys of the pulse at this place, which will not be logged after all.
    pub fn free(&self, event: usize, wanted: &Wanted) {
        self.release(event as u32, wanted);
    }

    fn release(&self, event: u32, wanted: &Wanted) {
        let holder = Holder { owner: self.owner, event };
        let waited = self.shared.table().release_event(holder, wanted);
        self.shared.wake_waiters(waited);
    }

    /// The log has synced the records of every pulse whose claim is [`Claim::New`]: from now on
    /// the same keys are repeats.
    pub fn commit(mut self) {
        self.resolve(true);
    }

    fn resolve(&mut self, commit: bool) {
        let Some(epoch) = self.epoch.take() else { return };
        let (mut waited, mut wants_seal) = (false, false);
        let mut chunks = self.holding.chunks(CHUNK_PULSES).peekable();
        while let Some(chunk) = chunks.next() {
            let mut table = self.shared.table();
            waited |= table.resolve(self.owner, chunk, commit);
            if chunks.peek().is_none() {
                table.epochs.leave(epoch);
                wants_seal = commit && table.wants_seal();
            }
        }
        self.shared.wake_waiters(waited);
        if wants_seal {
            self.shared.ask();
        }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.resolve(false);
    }
}

fn claim_of(verdict: Verdict) -> Claim {
    match verdict {
        Verdict::New => Claim::New,
        Verdict::Repeat(fixed) => Claim::Repeat(Box::new(fixed)),
        Verdict::RepeatOf(event) => Claim::RepeatOf(event as usize),
        Verdict::Reused => Claim::Reused,
        Verdict::InFlight => Claim::InFlight,
        Verdict::Full => Claim::Full,
        Verdict::Doubt => Claim::Unsettled,
    }
}

fn read_stored(runs: &[Arc<Run>], wanted: &Wanted) -> Result<Stored, ()> {
    let mut stored = Stored::default();
    for (place, key) in wanted.keys().enumerate() {
        stored[place] = find(runs, key)?;
    }
    Ok(stored)
}

/// What a key leads to in `runs`, the newest first; an error where one can't be read, which is
/// logged here.
pub(super) fn find(runs: &[Arc<Run>], key: ReservationKey) -> Result<Option<Fixed>, ()> {
    for run in runs.iter().rev().filter(|run| run.may_hold(key)) {
        match run.find(key) {
            Ok(None) => {}
            Ok(Some(fixed)) => return Ok(Some(fixed)),
            Err(error) => {
                tracing::warn!(path = %run.path().display(), ?error, "read reservation failed");
                return Err(());
            }
        }
    }
    Ok(None)
}
