//! Which part of the log is fully contained in the table. Pure.
//!
//! A request appends after it has reserved. So when the log's end is read and then an epoch is
//! closed, whatever is reserved in later epochs lies at or beyond that end, and once every
//! request of the epoch and of those before is resolved, the table holds all below it.

use std::collections::VecDeque;

/// Counts the requests in flight by the epoch in which they reserved.
#[derive(Debug)]
pub(super) struct Epochs {
    first: u64,
    /// From `first` on; the last one is open.
    epochs: VecDeque<Epoch>,
    resolved: u64,
}

#[derive(Debug, Default)]
struct Epoch {
    in_flight: usize,
    end_seq: u64,
}

/// Most epochs that are waited for: an epoch is closed about once a second and a request is
/// resolved by then; when one is stuck, no more is gained by closing further ones.
const EPOCHS_MAX: usize = 64;

impl Default for Epochs {
    fn default() -> Self {
        Self { first: 0, epochs: VecDeque::from([Epoch::default()]), resolved: 0 }
    }
}

impl Epochs {
    /// A request reserves; gives the epoch that it must [leave](Epochs::leave).
    pub(super) fn enter(&mut self) -> u64 {
        if let Some(open) = self.epochs.back_mut() {
            open.in_flight += 1;
        }
        self.first + self.epochs.len() as u64 - 1
    }

    /// A request of `epoch` has committed or given up.
    pub(super) fn leave(&mut self, epoch: u64) {
        let place = epoch.saturating_sub(self.first) as usize;
        if let Some(epoch) = self.epochs.get_mut(place) {
            epoch.in_flight = epoch.in_flight.saturating_sub(1);
        }
    }

    /// Closes the open epoch. `end_seq` was the log's end at some moment before this call.
    pub(super) fn close(&mut self, end_seq: u64) {
        let room = self.epochs.len() < EPOCHS_MAX;
        if let Some(open) = self.epochs.back_mut().filter(|_| room) {
            open.end_seq = end_seq;
            self.epochs.push_back(Epoch::default());
        }
        while self.epochs.len() > 1
            && let Some(oldest) = self.epochs.pop_front_if(|epoch| epoch.in_flight == 0)
        {
            self.first += 1;
            self.resolved = self.resolved.max(oldest.end_seq);
        }
    }

    /// The table holds every reservation of a record below this.
    pub(super) fn resolved(&self) -> u64 {
        self.resolved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_resolved_that_a_request_in_flight_may_still_commit() {
        let mut epochs = Epochs::default();
        let early = epochs.enter();
        epochs.close(10);
        let late = epochs.enter();
        epochs.close(20);
        assert_eq!(epochs.resolved(), 0);
        epochs.leave(late);
        epochs.close(30);
        assert_eq!(epochs.resolved(), 0);
        epochs.leave(early);
        epochs.close(40);
        assert_eq!(epochs.resolved(), 40);
    }

    #[test]
    fn a_request_that_never_ends_costs_bounded_memory() {
        let mut epochs = Epochs::default();
        let stuck = epochs.enter();
        (0..1000).for_each(|end| epochs.close(end));
        assert_eq!(epochs.epochs.len(), EPOCHS_MAX);
        epochs.leave(stuck);
        epochs.close(5000);
        epochs.close(5000);
        assert_eq!((epochs.resolved(), epochs.epochs.len()), (5000, 1));
    }
}
