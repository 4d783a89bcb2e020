//! The looks that are under way, so that one that waits for nodes hears what changes of its mesh
//! meanwhile. Tells only that something did.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::sync::Notify;

use super::watches::MeshRef;

/// Namespace and name.
type Key = (String, String);

/// All looks that are under way, one for a mesh at most.
#[derive(Debug, Default)]
pub(super) struct UnderWay(Mutex<BTreeMap<Key, Arc<Notify>>>);

/// Why there is nothing more to put back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The mesh is another one than that which was read first.
    Changed,
    /// Its namespace takes nothing more.
    NamespaceEnds,
}

/// One look, until it is dropped.
#[derive(Debug)]
pub(super) struct Look<'a> {
    all: &'a UnderWay,
    key: Key,
    changed: Arc<Notify>,
    is_old: AtomicBool,
    over: OnceLock<End>,
    is_over: Notify,
}

impl UnderWay {
    /// A look begins, before it reads anything.
    pub(super) fn begin(&self, namespace: &str, name: &str) -> Look<'_> {
        let key = (namespace.to_owned(), name.to_owned());
        let changed = Arc::new(Notify::new());
        let mut looks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        looks.insert(key.clone(), Arc::clone(&changed));
        let (over, is_over) = (OnceLock::new(), Notify::new());
        Look { all: self, key, changed, is_old: AtomicBool::new(false), over, is_over }
    }

    /// Something of this mesh has changed, as far as is known.
    pub(super) fn has_changed(&self, mesh: &MeshRef) {
        let key = (mesh.namespace.clone().unwrap_or_default(), mesh.name.clone());
        let looks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(changed) = looks.get(&key) {
            changed.notify_one();
        }
    }
}

impl Look<'_> {
    /// Which mesh: namespace and name.
    pub(super) fn mesh(&self) -> (&str, &str) {
        (&self.key.0, &self.key.1)
    }

    /// Waits for a change since the last one that was waited for.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// What was read first is no longer as it is.
    pub(super) fn age(&self) {
        self.is_old.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_old(&self) -> bool {
        self.is_old.load(Ordering::Relaxed)
    }

    /// There is nothing more to put back; the first reason counts.
    pub(super) fn end(&self, why: End) {
        self.over.get_or_init(|| why);
        self.is_over.notify_one();
    }

    /// Waits for that.
    pub(super) async fn ended(&self) -> End {
        loop {
            if let Some(why) = self.over.get() {
                return *why;
            }
            self.is_over.notified().await;
        }
    }
}

impl Drop for Look<'_> {
    fn drop(&mut self) {
        let mut looks = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        // One that was cancelled may end after the next has begun.
        if looks.get(&self.key).is_some_and(|changed| Arc::ptr_eq(changed, &self.changed)) {
            looks.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn a_look_hears_of_its_own_mesh_until_it_ends_also_after_one_that_was_cancelled() {
        let all = UnderWay::default();
        let (demo, other) =
            (MeshRef::new("demo").within("shop"), MeshRef::new("other").within("shop"));
        let cancelled = all.begin("shop", "demo");
        let look = all.begin("shop", "demo");
        drop(cancelled);
        all.has_changed(&other);
        assert_eq!(look.changed().now_or_never(), None);
        all.has_changed(&demo);
        all.has_changed(&demo);
        assert_eq!(look.changed().now_or_never(), Some(()));
        assert_eq!(look.changed().now_or_never(), None, "heard once");
        drop(look);
        assert!(all.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty());
    }
}
