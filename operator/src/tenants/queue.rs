//! Which meshes' tenants are to be looked at, and when; and the task that does so, one mesh after
//! the other, while this process leads. A look that fails is repeated with growing pauses.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, warn};

use super::TenantWorker;
use super::look::Next;
use crate::controller::worker::{chain, pause};
use crate::health::Standing;

/// What happens within this time is looked at once.
const GATHER: Duration = Duration::from_millis(100);
/// For one look: its writes are bounded, and each request is.
const LOOK_MAX: Duration = Duration::from_secs(120);
/// Between looks at a mesh with tenants of which nothing is heard.
const RESYNC: Duration = Duration::from_secs(600);

/// How much longer than a look the rest is that follows it: a tenth of one processor at most,
/// however many tenants there are and however often a mesh changes.
const REST: u32 = 9;
const REST_MAX: Duration = Duration::from_secs(10);

/// Namespace and name of a mesh.
type Key = (String, String);

/// What is to be looked at. As many entries as there are meshes, and names that tenants call.
#[derive(Debug, Default)]
pub(crate) struct Due {
    state: Mutex<State>,
    news: Notify,
}

#[derive(Debug, Default)]
struct State {
    due: BTreeMap<Key, Instant>,
    /// Meshes that tenants name, be there one or not.
    named: BTreeSet<Key>,
    /// Not before: a look at many tenants is followed by a rest.
    resting: BTreeMap<Key, Instant>,
}

impl Due {
    /// The tenants of this mesh are to be looked at.
    pub(crate) fn mark(&self, namespace: &str, mesh: &str) {
        self.set((namespace.to_owned(), mesh.to_owned()), GATHER);
    }

    /// The same, if there may be any.
    pub(crate) fn mark_if_named(&self, namespace: &str, mesh: &str) {
        let key = (namespace.to_owned(), mesh.to_owned());
        if self.state().named.contains(&key) {
            self.set(key, GATHER);
        }
    }

    /// A tenant names this mesh.
    pub(crate) fn mark_named(&self, namespace: &str, mesh: &str) {
        let key = (namespace.to_owned(), mesh.to_owned());
        self.state().named.insert(key.clone());
        self.set(key, GATHER);
    }

    fn mark_all_named(&self) {
        let named: Vec<Key> = self.state().named.iter().cloned().collect();
        named.into_iter().for_each(|key| self.set(key, GATHER));
    }

    /// The earliest time counts.
    fn set(&self, key: Key, after: Duration) {
        let mut state = self.state();
        let at = Instant::now() + after;
        let at = state.resting.get(&key).map_or(at, |rest| at.max(*rest));
        let due = state.due.entry(key).or_insert(at);
        *due = at.min(*due);
        drop(state);
        self.news.notify_one();
    }

    /// A look has taken so long: the next comes after a rest.
    fn rest(&self, key: &Key, took: Duration) {
        let mut state = self.state();
        let now = Instant::now();
        state.resting.retain(|_, rest| *rest > now);
        state.resting.insert(key.clone(), now + (took * REST).min(REST_MAX));
    }

    /// Waits for the next.
    async fn next(&self) -> Key {
        loop {
            let first = {
                let mut state = self.state();
                let first = state.due.iter().min_by_key(|(_, at)| **at);
                match first.map(|(key, at)| (key.clone(), *at)) {
                    Some((key, at)) if at <= Instant::now() => {
                        state.due.remove(&key);
                        return key;
                    }
                    first => first.map(|(_, at)| at),
                }
            };
            let until = first.unwrap_or_else(|| Instant::now() + RESYNC);
            tokio::select! {
                () = self.news.notified() => {}
                () = sleep_until(until) => {}
            }
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Works for as long as somebody tells whether this process leads.
pub(crate) async fn run(
    worker: TenantWorker,
    due: Arc<Due>,
    mut standing: watch::Receiver<Standing>,
) {
    loop {
        while *standing.borrow_and_update() != Standing::Leads {
            if standing.changed().await.is_err() {
                return;
            }
        }
        due.mark_all_named();
        tokio::select! {
            biased;
            // Dropping the work cancels what is in flight.
            changed = standing.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            () = work(&worker, &due) => {}
        }
    }
}

async fn work(worker: &TenantWorker, due: &Due) {
    let mut failures: BTreeMap<Key, u32> = BTreeMap::new();
    loop {
        let key = due.next().await;
        let (namespace, mesh) = (key.0.as_str(), key.1.as_str());
        let begun = Instant::now();
        let looked = timeout(LOOK_MAX, Box::pin(worker.look(namespace, mesh))).await;
        due.rest(&key, begun.elapsed());
        let failure = match looked {
            Ok(Ok(next)) => {
                debug!(namespace, mesh, "looked at the tenants of a mesh");
                failures.remove(&key);
                if let Next::In(time) = next {
                    due.set(key, time);
                }
                continue;
            }
            Ok(Err(error)) => chain(&error),
            Err(_) => format!("it took longer than {} s", LOOK_MAX.as_secs()),
        };
        let before = failures.entry(key.clone()).or_default();
        let pause = pause(*before, rand::random());
        *before = before.saturating_add(1);
        let pause_ms = pause.as_millis() as u64;
        warn!(namespace, mesh, pause_ms, error = failure, "look at the tenants of a mesh");
        due.set(key, pause);
    }
}
