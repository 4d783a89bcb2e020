//! What looks at meshes: each look has a time, a result that is counted, and after failures a
//! pause that grows. What a look does is in `reconcile`.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kube::runtime::controller::Action;
use kube::{Client, ResourceExt};
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tracing::{debug, warn};

use super::kinds::OptionalKinds;
use super::under_way::UnderWay;
use super::watches::Mesh;
use crate::apply::ApplyError;
use crate::events::Events;
use crate::mesh::validate::Defaults;
use crate::metrics::Metrics;
use crate::nodes::Nodes;
use crate::tenants::queue::Due;

/// After the first failure of a mesh, and at most; doubled from one to the other.
const BACKOFF_MIN: Duration = Duration::from_millis(500);
const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// Doublings that lead from one to the other.
const DOUBLINGS_MAX: u32 = 7;
/// Looks that speak with nodes at once: what each has read is in memory until its nodes answer,
/// and each has a connection to every node of its mesh.
const NODE_LOOKS_MAX: usize = 16;
/// Part of a pause that is left to chance, so that meshes don't come back all at once.
const JITTER: f64 = 0.3;

/// Why a look failed; it is tried again.
#[derive(Debug, Error)]
pub(super) enum ReconcileError {
    /// Reading what there is.
    #[error("read the mesh and its objects")]
    Read(#[source] kube::Error),
    /// Making objects.
    #[error("make the objects")]
    Build(#[from] serde_json::Error),
    /// Applying them.
    #[error("apply the objects")]
    Apply(#[from] ApplyError),
    /// Writing to the mesh itself.
    #[error("write the {0} of the mesh")]
    Mesh(&'static str, #[source] kube::Error),
    /// Taking away what a deleted mesh leaves.
    #[error("delete {0}")]
    Delete(String, #[source] kube::Error),
    /// An order to nodes, or an object that is refused; the status tells it too.
    #[error("leave something undone: {0}")]
    Incomplete(String),
    /// Its namespace is being deleted and takes nothing more; no failure of the look.
    #[error("write to a namespace that is being deleted")]
    NamespaceEnds,
    /// A part of it took too long.
    #[error("read or write the mesh within {} s", .0.as_secs())]
    Timeout(Duration),
}

/// When to look again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// The mesh is gone.
    Gone,
    /// Its spec can't be read; a change triggers.
    Invalid,
    /// At the latest after this time.
    In(Duration),
}

/// How many looks do the same at once. Apart, so that nodes that hang hold up no objects.
#[derive(Debug)]
pub(super) struct Turns {
    /// For looks that have read objects and ask no nodes: each keeps up to some hundred kilobytes
    /// to its end. Without it, all meshes at once would be read before the first is written.
    pub(super) looks: Semaphore,
    /// For requests to the API server, which end soon.
    pub(super) requests: Semaphore,
    /// For what is asked of nodes, which may take half a minute.
    pub(super) nodes: Semaphore,
}

impl Turns {
    /// So many looks that read and write objects at once.
    pub(super) fn new(concurrency: u16) -> Self {
        let (requests, nodes) = (concurrency.into(), NODE_LOOKS_MAX);
        let [looks, requests, nodes] = [requests, requests, nodes].map(Semaphore::new);
        Self { looks, requests, nodes }
    }
}

/// What looks at meshes.
pub(super) struct Worker<N> {
    pub(super) client: Client,
    pub(super) nodes: N,
    pub(super) defaults: Defaults,
    pub(super) metrics: Metrics,
    pub(super) events: Events,
    pub(super) resync: Duration,
    pub(super) timeout: Duration,
    pub(super) kinds: OptionalKinds,
    pub(super) failures: Failures,
    pub(super) turns: Turns,
    pub(super) under_way: UnderWay,
    /// Hears which meshes' tenants may have to be looked at.
    pub(super) tenants: Arc<Due>,
}

/// Failures in a row, by namespace and name; a mesh that is well has none, so there are at most
/// as many as meshes.
#[derive(Debug, Default)]
pub(super) struct Failures(Mutex<BTreeMap<(String, String), u32>>);

impl Failures {
    /// One more; how many there were before.
    fn add(&self, mesh: (String, String)) -> u32 {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(mesh).or_default();
        *count = count.saturating_add(1);
        *count - 1
    }

    fn clear(&self, mesh: &(String, String)) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(mesh);
    }

    fn clear_all(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl<N: Nodes> Worker<N> {
    /// Looks at a mesh; each part of it ends in bounded time.
    pub(super) async fn reconcile(&self, mesh: &Mesh) -> Result<Action, ReconcileError> {
        let key = (mesh.namespace().unwrap_or_default(), mesh.name_any());
        let begun = Instant::now();
        let outcome = Box::pin(self.look(&key.0, &key.1)).await;
        let result = match &outcome {
            Ok(Next::In(_)) => "ok",
            Ok(Next::Invalid) => "invalid",
            Ok(Next::Gone) => "gone",
            Err(ReconcileError::Timeout(_)) => "timeout",
            Err(_) => "failed",
        };
        self.metrics.reconciled(result, begun.elapsed());
        debug!(namespace = key.0, name = key.1, result, "looked at a mesh");
        let next = outcome?;
        self.failures.clear(&key);
        Ok(match next {
            Next::Gone => {
                self.forget(&key.0, &key.1);
                Action::await_change()
            }
            Next::Invalid => Action::await_change(),
            Next::In(time) => Action::requeue(time),
        })
    }

    /// Does a part of a look that speaks with the API server alone, once it is its turn.
    pub(super) async fn in_turn<T>(
        &self,
        part: impl Future<Output = Result<T, ReconcileError>>,
    ) -> Result<T, ReconcileError> {
        let _turn = self.turns.requests.acquire().await;
        let ended = timeout(self.timeout, part).await;
        ended.unwrap_or(Err(ReconcileError::Timeout(self.timeout)))
    }

    /// Notes a failure; for how long to wait.
    pub(super) fn failed(&self, mesh: &Mesh, error: &ReconcileError) -> Duration {
        let (namespace, name) = (mesh.namespace().unwrap_or_default(), mesh.name_any());
        let before = self.failures.add((namespace.clone(), name.clone()));
        let pause = pause(before, rand::random());
        let pause_ms = pause.as_millis() as u64;
        warn!(namespace, name, pause_ms, error = %chain(error), "reconcile");
        pause
    }

    /// A mesh is gone.
    pub(super) fn forget(&self, namespace: &str, name: &str) {
        self.failures.clear(&(namespace.to_owned(), name.to_owned()));
        self.metrics.forget_mesh(namespace, name);
        self.tenants.mark_if_named(namespace, name);
    }

    /// Another process acts now.
    pub(super) fn forget_all(&self) {
        self.failures.clear_all();
        self.metrics.forget_all_meshes();
    }
}

/// After how many failures before, with a chance of 0 to 1.
pub(crate) fn pause(before: u32, chance: f64) -> Duration {
    let pause = BACKOFF_MIN * 2u32.pow(before.min(DOUBLINGS_MAX));
    pause.min(BACKOFF_MAX).mul_f64(1.0 + chance * JITTER)
}

/// An error with its causes, which its own text leaves out.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound() {
        let millis = |before| pause(before, 0.0).as_millis();
        assert_eq!([millis(0), millis(1), millis(6)], [500, 1000, 32_000]);
        assert_eq!([millis(7), millis(8), millis(u32::MAX)], [60_000; 3]);
        assert!(pause(9, 1.0) <= BACKOFF_MAX.mul_f64(1.0 + JITTER));
    }
}
