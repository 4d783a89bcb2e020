//! Tenants whose rows are being erased, and up to when these were received: what a store takes no
//! row of any more. Pure state in memory; whoever erases tells it again at each start.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};

/// The bars of a store. Bounded by the erasures that are remembered.
#[derive(Debug, Default)]
pub(super) struct Bars {
    /// Whether there is any, so that a store without one asks no lock.
    any: AtomicBool,
    until_us: RwLock<HashMap<String, i64>>,
}

impl Bars {
    /// Bars a tenant's rows that were received by then, in microseconds since 1970; `None` lifts
    /// the bar.
    pub(super) fn set(&self, tenant: &str, until_us: Option<i64>) {
        let mut bars = self.until_us.write().unwrap_or_else(PoisonError::into_inner);
        match until_us {
            Some(until_us) => bars.insert(tenant.to_owned(), until_us),
            None => bars.remove(tenant),
        };
        self.any.store(!bars.is_empty(), Ordering::SeqCst);
    }

    /// Whether a row is not to be taken.
    pub(super) fn has(&self, tenant: &str, received_at_us: i64) -> bool {
        if !self.any.load(Ordering::SeqCst) {
            return false;
        }
        let bars = self.until_us.read().unwrap_or_else(PoisonError::into_inner);
        bars.get(tenant).is_some_and(|until_us| received_at_us <= *until_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_of_one_tenant_and_of_what_was_received_by_then() {
        let bars = Bars::default();
        assert!(!bars.has("a", 5));
        bars.set("a", Some(5));
        assert!(bars.has("a", 5) && !bars.has("a", 6) && !bars.has("b", 5));
        bars.set("a", None);
        assert!(!bars.has("a", 5));
    }
}
