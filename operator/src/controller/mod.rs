//! Runs the operator: watches that trigger, an election, a queue, and what is told of them. The
//! place that starts everything; what happens to a mesh is in `reconcile`.

mod delete;
mod deletion;
mod kinds;
mod leader;
mod news;
mod put_back;
mod queue;
mod reconcile;
#[cfg(test)]
mod tests;
mod under_way;
mod unreadable;
mod watches;
pub(crate) mod worker;

use std::sync::Arc;
use std::time::Duration;

use kube::Config;
use pulsemesh_runtime::stop::Stop;
use pulsemesh_runtime::tasks::Tasks;
use tokio::sync::{mpsc, watch};
use tokio::time::interval;

use crate::client::Clients;
use crate::events::Events;
use crate::health::{Health, Standing, WatchHealth};
use crate::metrics::Metrics;
use crate::nodes::Nodes;
use crate::settings::Settings;
use crate::tenants::TenantWorker;
use crate::tenants::queue::{self as tenant_queue, Due};

use kinds::OptionalKinds;
use leader::Election;
use under_way::UnderWay;
use watches::{Meshes, Watch};
use worker::{Failures, Turns, Worker};

/// Triggers that wait for the queue, which takes them at once: a full channel only means that a
/// watch waits for a moment.
const TRIGGERS_MAX: usize = 1024;
/// Between two looks at how long watches have been down.
const REFRESH: Duration = Duration::from_secs(5);

/// The task that gives the Lease up at the end.
pub const ELECTION: &str = "election";

/// What a controller is made of.
#[derive(Debug)]
pub struct Parts<N> {
    /// The clients.
    pub clients: Clients,
    /// How the API server is reached.
    pub config: Config,
    /// Administration of nodes.
    pub nodes: N,
    /// What it is told.
    pub settings: Settings,
    /// This process among others of its kind.
    pub identity: String,
    /// What it counts.
    pub metrics: Metrics,
}

/// Starts all tasks; how they are is told by the answer.
///
/// # Errors
/// When the configuration can't be followed.
pub fn start<N: Nodes>(parts: Parts<N>, tasks: &mut Tasks, stop: &Stop) -> kube::Result<Health> {
    let Parts { clients, config, nodes, settings, identity, metrics } = parts;
    let (standing, known) = watch::channel(Standing::Unknown);
    let health = Health::new(known.clone(), metrics.clone());
    let (meshes, tenants) = (Meshes::new(), Arc::<Due>::default());
    let (triggers, queue) = mpsc::channel(TRIGGERS_MAX);
    let heard = (&meshes, &tenants, &triggers);
    start_watches(&clients, &settings.namespaces, &health, heard, tasks);
    drop(triggers);
    start_tenants(&clients, &settings, (&tenants, &known), tasks);
    if let Some(lease) = settings.lease {
        let election = Election::new(&config, lease, identity.clone(), standing, metrics.clone())?;
        let stop = stop.clone();
        tasks.spawn(ELECTION, async move {
            election.run(stop).await;
            Ok(())
        });
    } else {
        let (stop, leader) = (stop.clone(), metrics.leader.clone());
        tasks.spawn(ELECTION, async move {
            leader.set(1);
            standing.send_replace(Standing::Leads);
            stop.requested().await;
            standing.send_replace(Standing::Standby);
            Ok(())
        });
    }
    let worker = Arc::new(Worker {
        events: Events::new(clients.requests.clone(), identity),
        client: clients.requests,
        nodes,
        defaults: settings.defaults,
        metrics,
        resync: settings.resync,
        timeout: settings.reconcile_timeout,
        kinds: OptionalKinds::default(),
        failures: Failures::default(),
        turns: Turns::new(settings.concurrency),
        under_way: UnderWay::default(),
        tenants,
    });
    tasks.spawn("queue", async move {
        queue::run(worker, meshes, queue, known).await;
        Ok(())
    });
    let refreshed = health.clone();
    tasks.spawn("refresh", async move {
        let mut ticks = interval(REFRESH);
        loop {
            ticks.tick().await;
            refreshed.refresh_metrics();
        }
    });
    Ok(health)
}

fn start_tenants(
    clients: &Clients,
    settings: &Settings,
    (due, standing): (&Arc<Due>, &watch::Receiver<Standing>),
    tasks: &mut Tasks,
) {
    let client = clients.requests.clone();
    let (defaults, verdicts) = (settings.defaults.clone(), Arc::default());
    let worker = TenantWorker { client, defaults, verdicts };
    let (due, standing) = (Arc::clone(due), standing.clone());
    tasks.spawn("tenants", async move {
        tenant_queue::run(worker, due, standing).await;
        Ok(())
    });
}

fn start_watches(
    clients: &Clients,
    namespaces: &[String],
    health: &Health,
    (meshes, tenants, triggers): (&Meshes, &Arc<Due>, &mpsc::Sender<watches::MeshRef>),
    tasks: &mut Tasks,
) {
    let all = [String::new()];
    let namespaces = if namespaces.is_empty() { &all[..] } else { namespaces };
    for namespace in namespaces {
        let watch_with = |health: WatchHealth| Watch {
            client: clients.watches.clone(),
            namespace: namespace.clone(),
            health,
            meshes: meshes.clone(),
            triggers: triggers.clone(),
        };
        let watch = |resource: &str| watch_with(health.watch(resource, namespace));
        // The definition may be missing for a while after an upgrade.
        let of_tenants = watch_with(health.optional_watch("pulsetenants", namespace));
        let due = Arc::clone(tenants);
        tasks.spawn(format!("watch-pulsetenants-{namespace}"), async move {
            of_tenants.run_tenants(due).await;
            Ok(())
        });
        let of_meshes = watch("pulsemeshes");
        tasks.spawn(format!("watch-pulsemeshes-{namespace}"), async move {
            of_meshes.run_meshes().await;
            Ok(())
        });
        for resource in watches::watched() {
            let watch = watch(&resource.plural);
            let name = format!("watch-{}-{namespace}", resource.plural);
            tasks.spawn(name, async move {
                watch.run_objects(resource).await;
                Ok(())
            });
        }
    }
}
