//! How the process is: which watches are up, and whether it leads. Tells, and decides nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pulsemesh_runtime::admin::Check;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::metrics::{Metrics, WatchLabels};

/// How long a required watch may be down before a restart is the better bet: longer than an API
/// server takes to come back.
const DOWN_MAX: Duration = Duration::from_secs(300);

/// Whether this process acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Not known yet.
    Unknown,
    /// Another one acts.
    Standby,
    /// This one acts.
    Leads,
}

/// The state of all watches and of the election. Clones share it.
#[derive(Debug, Clone)]
pub struct Health {
    watches: Arc<Mutex<BTreeMap<(String, String), WatchState>>>,
    standing: watch::Receiver<Standing>,
    metrics: Metrics,
}

#[derive(Debug, Clone)]
struct WatchState {
    /// Whether the process can't do its work without it.
    required: bool,
    synced: bool,
    down: Option<(Instant, String)>,
}

/// Tells the state of one watch.
#[derive(Debug, Clone)]
pub struct WatchHealth {
    health: Health,
    key: (String, String),
}

impl Health {
    /// Of no watch yet.
    pub fn new(standing: watch::Receiver<Standing>, metrics: Metrics) -> Self {
        Self { watches: Arc::default(), standing, metrics }
    }

    /// A watch that is required, of a resource in a namespace (`""`: all); down until it is told
    /// to be up.
    pub fn watch(&self, resource: &str, namespace: &str) -> WatchHealth {
        self.begin(resource, namespace, true)
    }

    /// A watch without which meshes are looked after all the same: it is only measured.
    pub fn optional_watch(&self, resource: &str, namespace: &str) -> WatchHealth {
        self.begin(resource, namespace, false)
    }

    fn begin(&self, resource: &str, namespace: &str, required: bool) -> WatchHealth {
        let key = (resource.to_owned(), namespace.to_owned());
        let down = Some((Instant::now(), "not read yet".to_owned()));
        self.set(&key, |state| *state = WatchState { required, synced: false, down });
        WatchHealth { health: self.clone(), key }
    }

    /// What `/livez` is made from: a watch that has been down for five minutes.
    pub fn liveness(&self) -> Vec<Check> {
        self.liveness_at(Instant::now())
    }

    fn liveness_at(&self, now: Instant) -> Vec<Check> {
        let watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        let late = watches.iter().find_map(|((resource, namespace), state)| {
            let (since, why) = state.down.as_ref().filter(|_| state.required)?;
            let down = now.saturating_duration_since(*since);
            (down >= DOWN_MAX).then(|| {
                let seconds = down.as_secs();
                let namespace = if namespace.is_empty() { "all namespaces" } else { namespace };
                format!("the watch of {resource} in {namespace} is down since {seconds} s: {why}")
            })
        });
        vec![Check::required("watches", late)]
    }

    /// What `/readyz` is made from: the election, and every watch once.
    pub fn readiness(&self) -> Vec<Check> {
        let unknown = *self.standing.borrow() == Standing::Unknown;
        let unknown = unknown.then(|| "whether this process leads is not known yet".to_owned());
        let watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        let unread: Vec<&str> = watches
            .iter()
            .filter(|(_, state)| state.required && !state.synced)
            .map(|((resource, _), _)| resource.as_str())
            .collect();
        let unread = (!unread.is_empty()).then(|| format!("not read yet: {}", unread.join(", ")));
        vec![Check::required("leader", unknown), Check::required("watches", unread)]
    }

    /// Brings the metrics of watches up to now.
    pub fn refresh_metrics(&self) {
        let watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        let mut worst: BTreeMap<&str, u64> = BTreeMap::new();
        for ((resource, _), state) in watches.iter() {
            let down = state.down.as_ref().map_or(0, |(since, _)| since.elapsed().as_secs());
            let seconds = worst.entry(resource).or_default();
            *seconds = down.max(*seconds);
        }
        for (resource, seconds) in worst {
            let labels = WatchLabels { resource: resource.to_owned() };
            let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
            self.metrics.watch_down.get_or_create(&labels).set(seconds);
        }
    }

    fn set(&self, key: &(String, String), change: impl FnOnce(&mut WatchState)) {
        let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        let state = WatchState { required: true, synced: false, down: None };
        change(watches.entry(key.clone()).or_insert(state));
    }
}

impl WatchHealth {
    /// It has read all, and hears of what changes.
    pub fn up(&self) {
        self.health.set(&self.key, |state| {
            state.synced = true;
            state.down = None;
        });
    }

    /// It failed; it is down since the first failure.
    pub fn down(&self, why: &str) {
        self.health.set(&self.key, |state| {
            let since = state.down.as_ref().map_or_else(Instant::now, |(since, _)| *since);
            state.down = Some((since, why.to_owned()));
        });
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;

    fn health() -> (Health, watch::Sender<Standing>) {
        let (sender, standing) = watch::channel(Standing::Unknown);
        (Health::new(standing, Metrics::register(&mut Registry::default())), sender)
    }

    fn well(checks: &[Check]) -> bool {
        checks.iter().all(|check| check.problem.is_none())
    }

    #[test]
    fn only_a_watch_that_is_down_for_five_minutes_is_fatal() {
        let (health, _standing) = health();
        let begun = Instant::now();
        let (pods, jobs) = (health.watch("pods", ""), health.watch("jobs", "a"));
        jobs.up();
        pods.down("403");
        assert!(well(&health.liveness_at(begun + DOWN_MAX - Duration::from_secs(1))));
        let checks = health.liveness_at(begun + DOWN_MAX + Duration::from_secs(1));
        assert!(checks[0].problem.as_deref().is_some_and(|why| why.contains("pods")), "{checks:?}");
        pods.up();
        assert!(well(&health.liveness_at(begun + DOWN_MAX * 2)));
        jobs.down("gone");
        let failed = Instant::now();
        jobs.down("gone again");
        assert!(!well(&health.liveness_at(failed + DOWN_MAX)), "the first failure counts");
    }

    #[test]
    fn it_is_ready_once_the_election_is_known_and_every_watch_was_up() {
        let (health, standing) = health();
        let (pods, jobs) = (health.watch("pods", ""), health.watch("jobs", ""));
        standing.send_replace(Standing::Standby);
        pods.up();
        assert!(!well(&health.readiness()));
        jobs.up();
        assert!(well(&health.readiness()));
        pods.down("restart of the API server");
        assert!(well(&health.readiness()));
        standing.send_replace(Standing::Unknown);
        assert!(!well(&health.readiness()));
    }
}
