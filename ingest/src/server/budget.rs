//! Bytes in flight: one process-wide budget that every body reserves from before it is read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The budget. All threads reserve from the same one.
#[derive(Debug)]
pub(super) struct Budget {
    used: AtomicU64,
    bytes_max: u64,
}

impl Budget {
    pub(super) fn new(bytes_max: u64) -> Arc<Self> {
        Arc::new(Self { used: AtomicU64::new(0), bytes_max })
    }

    /// Bytes reserved now.
    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Reserves `bytes` until the reservation is dropped; `None`: there is no room.
    pub(super) fn reserve(self: &Arc<Self>, bytes: u64) -> Option<Reservation> {
        let mut held = Reservation { budget: Arc::clone(self), bytes: 0 };
        held.grow_to(bytes).then_some(held)
    }

    fn take(&self, bytes: u64) -> bool {
        // Added first and taken back when it was too much: no loop on the common path. Another
        // request may be refused meanwhile only if the budget is full anyway.
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        let fits = before.checked_add(bytes).is_some_and(|used| used <= self.bytes_max);
        if !fits {
            self.give(bytes);
        }
        fits
    }

    fn give(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Bytes of the budget that one request holds.
#[derive(Debug)]
pub(super) struct Reservation {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Reservation {
    /// Bytes held.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Holds `bytes` in all; whether there was room for them.
    pub(super) fn grow_to(&mut self, bytes: u64) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        if more > 0 && !self.budget.take(more) {
            return false;
        }
        self.bytes += more;
        true
    }

    /// Moves all that is held into a reservation of its own, for work that may outlive the request.
    pub(super) fn hand_over(&mut self) -> Self {
        Self { budget: Arc::clone(&self.budget), bytes: std::mem::take(&mut self.bytes) }
    }

    /// Gives back all above `bytes`.
    pub(super) fn shrink_to(&mut self, bytes: u64) {
        let less = self.bytes.saturating_sub(bytes);
        self.budget.give(less);
        self.bytes -= less;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.give(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_never_exceeds_the_budget_and_comes_back() {
        let budget = Budget::new(100);
        let mut first = budget.reserve(60).expect("room");
        assert!(budget.reserve(41).is_none());
        let second = budget.reserve(40).expect("exactly the rest");
        assert!(!first.grow_to(61));
        drop(second);
        assert!(first.grow_to(100));
        first.shrink_to(10);
        assert_eq!((budget.used(), first.bytes()), (10, 10));
        let handed = first.hand_over();
        assert_eq!((budget.used(), first.bytes(), handed.bytes()), (10, 0, 10));
        first = handed;
        assert_eq!((budget.used(), first.bytes()), (10, 10));
        assert!(budget.reserve(u64::MAX).is_none());
        drop(first);
        assert_eq!(budget.used(), 0);
    }
}
