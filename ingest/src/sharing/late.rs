//! What could not be told to the shared part yet. Bounded: beyond, the oldest is forgotten and
//! counted, and only this process knows of it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::reservation::Fixed;

use super::entry::Keys;
use super::group::Told;
use super::metrics::SharingMetrics;

/// Keys that wait to be told: as many as the reservations hold unsealed, some 35 MiB. It is what
/// ten seconds of an outage bring at 25,000 keys a second.
const LATE_MAX: usize = 256 * 1024;

/// Ids and keys of a record that the log held when the process started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settled {
    pub(crate) keys: Keys,
    pub(crate) fixed: Fixed,
}

#[derive(Debug)]
pub(super) struct Late {
    told: Mutex<VecDeque<Told>>,
    metrics: SharingMetrics,
}

impl Late {
    /// Begins with what the log held.
    pub(super) fn new(settled: Vec<Settled>, metrics: SharingMetrics) -> Self {
        let late = Self { told: Mutex::default(), metrics };
        late.add(settled.into_iter().flat_map(|Settled { keys, fixed }| {
            keys.into_iter().map(move |key| Told::Logged(key, fixed))
        }));
        late
    }

    pub(super) fn add(&self, more: impl IntoIterator<Item = Told>) {
        let mut told = self.lock();
        for one in more {
            if told.len() >= LATE_MAX {
                told.pop_front();
                self.metrics.forgot();
            }
            told.push_back(one);
        }
        self.publish(&told);
    }

    /// Puts back what was taken and could not be told.
    pub(super) fn put_back(&self, taken: Vec<Told>) {
        let mut told = self.lock();
        for one in taken.into_iter().rev() {
            if told.len() >= LATE_MAX {
                self.metrics.forgot();
                continue;
            }
            told.push_front(one);
        }
        self.publish(&told);
    }

    /// The oldest, `most` at most.
    pub(super) fn take(&self, most: usize) -> Vec<Told> {
        let mut told = self.lock();
        let count = told.len().min(most);
        let taken = told.drain(..count).collect();
        if told.is_empty() {
            *told = VecDeque::new();
        }
        self.publish(&told);
        taken
    }

    fn publish(&self, told: &VecDeque<Told>) {
        self.metrics.set_late(told.len());
    }

    /// Held for moves of memory alone.
    fn lock(&self) -> MutexGuard<'_, VecDeque<Told>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
