//! How many bytes of each tenant are accepted and not finished, so that a tenant whose backlog
//! fills the log is refused before others are. Counts; decides nothing.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Tenants remembered before those that hold nothing are forgotten: about a MiB.
const TENANTS_SOFT: usize = 8_192;

/// Bytes held by tenants, as the slowest required sink sees it.
#[derive(Debug)]
pub struct Shares {
    required: usize,
    unattributed: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    tenants: HashMap<Box<str>, Arc<TenantShare>>,
    backlog: Backlog,
    purge_at: usize,
}

/// Frames that were in the log at start: whose they are is known once they are read.
#[derive(Debug, Default)]
struct Backlog {
    attributed_below: u64,
    end_seq: u64,
    /// Where each required sink started.
    starts: Vec<u64>,
}

/// One tenant's bytes. Totals only grow; what is held is their difference, so an addition that
/// is counted after its removal does no harm.
#[derive(Debug)]
pub(crate) struct TenantShare {
    added: AtomicU64,
    finished: Box<[AtomicU64]>,
}

impl TenantShare {
    fn new(required: usize) -> Self {
        let finished = (0..required).map(|_| AtomicU64::new(0)).collect();
        Self { added: AtomicU64::new(0), finished }
    }

    /// The sink of this index has finished `bytes`; nothing for a best-effort sink.
    pub(crate) fn finish(&self, sink: usize, bytes: u64) {
        if let Some(finished) = self.finished.get(sink) {
            finished.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// What was added came to nothing: it is as if all had finished it.
    pub(crate) fn undo(&self, bytes: u64) {
        for sink in 0..self.finished.len() {
            self.finish(sink, bytes);
        }
    }

    fn held(&self) -> u64 {
        let added = self.added.load(Ordering::Relaxed);
        let slowest = self.finished.iter().map(|finished| finished.load(Ordering::Relaxed)).min();
        added.saturating_sub(slowest.unwrap_or(added))
    }
}

impl Shares {
    /// Counts for `required` sinks, the first ones.
    pub(crate) fn new(required: usize) -> Self {
        let state = State { purge_at: TENANTS_SOFT, ..State::default() };
        Self { required, unattributed: AtomicU64::new(0), state: Mutex::new(state) }
    }

    /// Bytes of frames that were accepted for a tenant; called once for each append.
    pub(crate) fn add(&self, tenant: &str, bytes: u64) -> Arc<TenantShare> {
        let share = self.tenant(tenant);
        share.added.fetch_add(bytes, Ordering::Relaxed);
        share
    }

    /// Bytes that a tenant holds.
    pub fn held(&self, tenant: &str) -> u64 {
        self.lock().tenants.get(tenant).map_or(0, |share| share.held())
    }

    /// How many tenants hold any.
    pub fn holders(&self) -> usize {
        self.lock().tenants.values().filter(|share| share.held() > 0).count()
    }

    /// Bytes of the backlog found at start of which the tenant is not known yet.
    pub fn unattributed(&self) -> u64 {
        self.unattributed.load(Ordering::Relaxed)
    }

    /// Counts the log's backlog at start: `bytes` up to `end_seq`, to be read by required sinks
    /// from `starts` on.
    pub(crate) fn set_backlog(&self, bytes: u64, end_seq: u64, starts: Vec<u64>) {
        let attributed_below = starts.iter().copied().min().unwrap_or(end_seq);
        self.unattributed.store(bytes, Ordering::Relaxed);
        self.lock().backlog = Backlog { attributed_below, end_seq, starts };
    }

    /// A frame of the log was read. If it was there at start and no sink has read it before, it
    /// is counted for its tenant now.
    pub(crate) fn attribute(&self, share: &TenantShare, first_seq: u64, end_seq: u64, bytes: u64) {
        let mut state = self.lock();
        let backlog = &mut state.backlog;
        if first_seq >= backlog.end_seq || end_seq <= backlog.attributed_below {
            return;
        }
        backlog.attributed_below = end_seq;
        share.added.fetch_add(bytes, Ordering::Relaxed);
        for (sink, start) in backlog.starts.iter().enumerate() {
            if *start >= end_seq {
                share.finish(sink, bytes);
            }
        }
        let left = self.unattributed.load(Ordering::Relaxed).saturating_sub(bytes);
        let left = if end_seq >= backlog.end_seq { 0 } else { left };
        self.unattributed.store(left, Ordering::Relaxed);
    }

    /// Where the numbers end that were in the log at start.
    pub(crate) fn backlog_end(&self) -> u64 {
        self.lock().backlog.end_seq
    }

    /// A tenant's counters.
    pub(crate) fn tenant(&self, tenant: &str) -> Arc<TenantShare> {
        let mut state = self.lock();
        if let Some(share) = state.tenants.get(tenant) {
            return Arc::clone(share);
        }
        if state.tenants.len() >= state.purge_at {
            // Whoever holds a reference may still count with it.
            state.tenants.retain(|_, share| share.held() > 0 || Arc::strong_count(share) > 1);
            state.purge_at = TENANTS_SOFT.max(2 * state.tenants.len());
        }
        let share = Arc::new(TenantShare::new(self.required));
        state.tenants.insert(tenant.into(), Arc::clone(&share));
        share
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_tenant_holds_is_what_the_slowest_required_sink_has_not_finished() {
        let shares = Shares::new(2);
        let share = shares.tenant("a");
        share.finish(0, 30);
        shares.add("a", 100);
        assert_eq!((shares.held("a"), shares.holders(), shares.held("b")), (100, 1, 0));
        share.finish(1, 40);
        share.finish(7, 100);
        assert_eq!(shares.held("a"), 70);
        share.finish(0, 70);
        share.finish(1, 60);
        assert_eq!((shares.held("a"), shares.holders()), (0, 0));
        shares.add("a", 20);
        shares.add("a", 30).undo(30);
        assert_eq!((shares.held("a"), shares.holders()), (20, 1));
    }

    #[test]
    fn a_backlog_is_counted_once_and_not_for_a_sink_that_is_past_it() {
        let shares = Shares::new(2);
        shares.set_backlog(150, 30, vec![0, 10]);
        let share = shares.tenant("a");
        shares.attribute(&share, 0, 10, 50);
        share.finish(0, 50);
        assert_eq!((shares.held("a"), shares.unattributed()), (0, 100));
        for _sink in 0..2 {
            shares.attribute(&share, 10, 30, 90);
        }
        assert_eq!((shares.held("a"), shares.unattributed()), (90, 0));
        shares.attribute(&share, 30, 40, 90);
        assert_eq!(shares.held("a"), 90);
    }
}
