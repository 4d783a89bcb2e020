//! Who acts: the holder of a Lease. A holder that has not been able to renew stops acting before
//! anybody else may take the Lease.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Method;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client, Config};
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder};
use pulsemesh_runtime::stop::Stop;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{info, warn};

use crate::client;
use crate::health::Standing;
use crate::metrics::Metrics;
use crate::settings::LeaseName;

/// For how long the Lease is held without being renewed, in seconds.
const DURATION_S: u64 = 15;
/// How long before its end it is renewed, in seconds: time for some attempts.
const GRACE_S: u64 = 8;
/// A holder that could not renew stops acting this long before others may take the Lease: more
/// than clocks are apart, and than a request that was cancelled takes to arrive.
const MARGIN: Duration = Duration::from_secs(3);
/// For a request about the Lease: several fit between renewal and end.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);
/// Between attempts to reach the API server.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Between looks of a standby at whether the Lease was given up: the library takes one that it
/// finds free by requests that take less than two looks together.
const LOOK: Duration = Duration::from_millis(1500);
/// For giving the Lease up at the end.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(2);

/// When the Lease was last written by us, as the API server confirmed.
#[derive(Debug, Clone, Default)]
struct Renewed(Arc<Mutex<Option<Instant>>>);

impl Renewed {
    fn now(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether we may act.
    fn is_fresh(&self) -> bool {
        self.deadline().is_some_and(|deadline| Instant::now() < deadline)
    }

    /// When we must have stopped acting.
    fn deadline(&self) -> Option<Instant> {
        let at = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        at.map(|at| at + Duration::from_secs(DURATION_S) - MARGIN)
    }

    /// Waits until the deadline has passed without a further renewal.
    async fn overdue(&self) {
        while let Some(deadline) = self.deadline() {
            if deadline <= Instant::now() {
                return;
            }
            sleep_until(deadline).await;
        }
    }
}

/// Takes part in the election until the process stops; tells the standing.
pub(super) struct Election {
    client: Client,
    lease: LeaseName,
    identity: String,
    renewed: Renewed,
    standing: watch::Sender<Standing>,
    metrics: Metrics,
}

impl Election {
    /// For this Lease, as `identity`.
    ///
    /// # Errors
    /// When the configuration can't be followed.
    pub(super) fn new(
        config: &Config,
        lease: LeaseName,
        identity: String,
        standing: watch::Sender<Standing>,
        metrics: Metrics,
    ) -> kube::Result<Self> {
        let mut config = config.clone();
        config.connect_timeout = Some(REQUEST_TIMEOUT);
        config.read_timeout = Some(REQUEST_TIMEOUT);
        config.write_timeout = Some(REQUEST_TIMEOUT);
        let renewed = Renewed::default();
        let (written, counted) = (renewed.clone(), metrics.clone());
        let client = client::heard(config, move |method, uri, status| {
            client::count(&counted, method, uri);
            if *method == Method::PATCH && status.is_success() {
                written.now();
            }
        })?;
        Ok(Self { client, lease, identity, renewed, standing, metrics })
    }

    /// Takes part until `stop` is requested, then gives the Lease up.
    pub(super) async fn run(self, stop: Stop) {
        loop {
            let leads = *self.standing.borrow() == Standing::Leads;
            tokio::select! {
                () = self.attempt() => {}
                () = self.renewed.overdue(), if leads => {
                    warn!(lease = self.lease.name, "the Lease was not renewed in time");
                    self.tell(Standing::Standby);
                }
                () = stop.requested() => break,
            }
        }
        let led = *self.standing.borrow() == Standing::Leads;
        self.tell(Standing::Standby);
        if led {
            let release = async {
                if let Some(manager) = self.join().await {
                    drop(manager.release().await);
                }
            };
            drop(timeout(RELEASE_TIMEOUT, release).await);
        }
    }

    /// Takes part until the standing has changed, or a request has failed: what the library
    /// remembers is then thrown away with it.
    async fn attempt(&self) {
        let Some(manager) = self.join().await else { return sleep(RETRY_PAUSE).await };
        loop {
            let leads = *self.standing.borrow() == Standing::Leads;
            let changed = tokio::select! {
                changed = manager.changed() => changed,
                () = self.freed(), if !leads => return,
            };
            match changed {
                Ok(true) if self.renewed.is_fresh() => {
                    // From now on the caller waits for the deadline too.
                    if self.tell(Standing::Leads) {
                        return;
                    }
                }
                // It names us from an earlier attempt, and nothing says until when.
                Ok(true) => {
                    drop(manager.release().await);
                    return;
                }
                Ok(false) => {
                    if self.tell(Standing::Standby) {
                        return;
                    }
                }
                Err(error) => {
                    warn!(%error, lease = self.lease.name, "hold the Lease");
                    return sleep(RETRY_PAUSE).await;
                }
            }
        }
    }

    /// Waits until nobody holds the Lease and the library does not see it: it sleeps until the end
    /// of what it has read last.
    async fn freed(&self) {
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), &self.lease.namespace);
        // At the first look the library may be about to take it.
        let mut has_looked = false;
        loop {
            sleep(LOOK).await;
            // An error is met by the library too, once it matters.
            let read = leases.get_opt(&self.lease.name).await;
            let holder = read.map(|lease| lease.and_then(|lease| lease.spec?.holder_identity));
            let is_free = holder.is_ok_and(|holder| holder.is_none_or(|holder| holder.is_empty()));
            if is_free && has_looked {
                return;
            }
            has_looked = true;
        }
    }

    async fn join(&self) -> Option<LeaseManager> {
        let built = LeaseManagerBuilder::new(self.client.clone(), self.lease.name.clone())
            .with_namespace(self.lease.namespace.clone())
            .with_identity(self.identity.clone())
            .with_duration(DURATION_S)
            .with_grace(GRACE_S)
            .build();
        match built.await {
            Ok(manager) => {
                if *self.standing.borrow() == Standing::Unknown {
                    self.tell(Standing::Standby);
                }
                Some(manager)
            }
            Err(error) => {
                warn!(%error, lease = self.lease.name, "read the Lease");
                None
            }
        }
    }

    /// Whether it is news.
    fn tell(&self, standing: Standing) -> bool {
        self.metrics.leader.set(i64::from(standing == Standing::Leads));
        let is_news = self.standing.send_replace(standing) != standing;
        if is_news {
            info!(?standing, lease = self.lease.name, identity = self.identity, "election");
        }
        is_news
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;
    use pulsemesh_runtime::tasks::Tasks;
    use tokio::runtime::Handle;

    use super::*;
    use crate::fake::FakeApi;

    /// One that takes part until it is told to stop.
    fn candidate(api: &FakeApi, identity: &str, tasks: &mut Tasks) -> (Stop, Known) {
        let renewed = Renewed::default();
        let written = renewed.clone();
        let client = api.client_heard(move |method, is_success| {
            if *method == Method::PATCH && is_success {
                written.now();
            }
        });
        let lease = LeaseName { name: "operator".to_owned(), namespace: "system".to_owned() };
        let (standing, known) = watch::channel(Standing::Unknown);
        let metrics = Metrics::register(&mut Registry::default());
        let identity = identity.to_owned();
        let election = Election { client, lease, identity, renewed, standing, metrics };
        let stop = Stop::new();
        let stopped = stop.clone();
        tasks.spawn("candidate", async move {
            election.run(stopped).await;
            Ok(())
        });
        (stop, known)
    }

    type Known = watch::Receiver<Standing>;

    async fn until(known: &Known, wanted: Standing, at_most: Duration) {
        let mut known = known.clone();
        let reached = timeout(at_most, known.wait_for(|standing| *standing == wanted)).await;
        let reached = reached.expect("in time").is_ok();
        assert!(reached, "{wanted:?}");
    }

    #[tokio::test]
    async fn a_lease_that_is_given_up_is_taken_long_before_it_would_have_ended() {
        let (api, mut tasks) = (FakeApi::default(), Tasks::on(Handle::current()));
        let end = Duration::from_secs(DURATION_S);
        let (stop, first) = candidate(&api, "first", &mut tasks);
        until(&first, Standing::Leads, end).await;
        let (_, second) = candidate(&api, "second", &mut tasks);
        until(&second, Standing::Standby, end).await;
        // It has read the Lease and waits for its end.
        sleep(LOOK / 2).await;
        stop.request();
        until(&first, Standing::Standby, RELEASE_TIMEOUT).await;
        until(&second, Standing::Leads, LOOK * 5).await;
    }

    #[test]
    fn a_holder_stops_before_anybody_else_may_begin_and_not_before_it_could_renew() {
        let renewed = Renewed::default();
        assert!(!renewed.is_fresh() && renewed.deadline().is_none());
        let begun = Instant::now();
        renewed.now();
        let acts_for = renewed.deadline().expect("renewed") - begun;
        assert!(renewed.is_fresh());
        // It renews when so much is left, and has some attempts until it must stop.
        let renews_after = Duration::from_secs(DURATION_S - GRACE_S);
        assert!(acts_for >= renews_after + REQUEST_TIMEOUT, "{acts_for:?}");
        assert!(Instant::now() + Duration::from_secs(DURATION_S) >= begun + acts_for + MARGIN);
    }
}
