//! The main job: look after meshes until the process is told to stop.

use std::net::TcpListener;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use kube::Config;
use prometheus_client::registry::Registry;
use pulsemesh_runtime::admin::{self, Admin};
use pulsemesh_runtime::process;
use pulsemesh_runtime::stop::Stop;
use pulsemesh_runtime::tasks::Tasks;
use pulsemesh_runtime::telemetry::{self, TelemetrySettings};
use tokio::runtime::{Builder, Handle, Runtime};
use tracing::{error, info, warn};

use super::{EXIT_AT_ONCE, EXIT_FAILED, EXIT_OK, VERSION};
use crate::client::Clients;
use crate::controller::{self, Parts};
use crate::health::Health;
use crate::metrics::Metrics;
use crate::nodes::cassandra::CassandraNodes;
use crate::nodes::reach::Cluster;
use crate::settings::Settings;

/// Almost all of its time it waits; the second thread answers probes meanwhile.
const THREADS: usize = 2;
/// Collectors that read files, and names that are resolved.
const BLOCKING_THREADS_MAX: usize = 4;
/// For the traces that wait at exit.
const TELEMETRY_TIMEOUT: Duration = Duration::from_secs(2);
/// For the Lease to be given up.
const ELECTION_TIMEOUT: Duration = Duration::from_secs(4);
/// Hexadecimal digits that tell a process from its predecessor of the same pod.
const INSTANCE_BITS: u32 = 32;

/// Runs until the process is told to stop.
///
/// # Errors
/// When it can't start.
pub(super) fn run(settings: Settings) -> anyhow::Result<ExitCode> {
    let runtime = runtime()?;
    // The driver tells of every session, and each look at a store makes one; what goes wrong with
    // one is told by whoever asked. A directive of the setting's own comes later and wins.
    let level = format!("scylla=off,{}", settings.log_level);
    let telemetry = {
        let _entered = runtime.enter();
        telemetry::start(&TelemetrySettings {
            format: settings.log_format,
            level: &level,
            service: "pulsemesh-operator",
            version: VERSION,
        })?
    };
    let outcome = runtime.block_on(look_after(settings));
    telemetry.stop(TELEMETRY_TIMEOUT);
    runtime.shutdown_background();
    outcome
}

fn runtime() -> anyhow::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(THREADS)
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_name("operator")
        .enable_all()
        .build()
        .context("start threads failed")
}

async fn look_after(settings: Settings) -> anyhow::Result<ExitCode> {
    let stop = Stop::new();
    let _signals = stop.follow_signals(&Handle::current())?;
    let listener = TcpListener::bind(settings.admin_listen).with_context(|| {
        format!(
            "listen on {} failed; another address can be chosen with --admin-listen",
            settings.admin_listen
        )
    })?;
    listener.set_nonblocking(true)?;
    let config = Config::infer().await.context("find the API server")?;
    let mut registry = Registry::default();
    process::register(&mut registry, &VERSION);
    let metrics = Metrics::register(&mut registry);
    let clients = Clients::new(&config, &metrics).context("make a client of the API server")?;
    info!(
        api_server = %config.cluster_url,
        admin_listen = %listener.local_addr()?,
        namespaces = settings.namespaces.join(","),
        version = %VERSION,
        "looking after meshes"
    );
    let mut tasks = Tasks::on(Handle::current());
    let nodes = CassandraNodes::new(Cluster::new(clients.requests.clone()));
    let identity = identity();
    let parts = Parts { clients, config, nodes, settings, identity, metrics };
    let health = controller::start(parts, &mut tasks, &stop)?;
    start_admin(listener, registry, &health, (&mut tasks, &stop))?;
    let ended = tokio::select! {
        () = stop.requested() => None,
        ended = tasks.next_ended() => ended,
    };
    if let Some(ended) = ended.filter(|_| !stop.is_requested()) {
        error!(task = %ended.name, ending = ?ended.ending, "a task ended unasked; stopping");
        stop.request();
        wind_down(tasks).await;
        return Ok(ExitCode::from(EXIT_FAILED));
    }
    tokio::select! {
        () = wind_down(tasks) => Ok(ExitCode::from(EXIT_OK)),
        () = stop.at_once() => {
            warn!("told to stop again: exiting at once");
            Ok(ExitCode::from(EXIT_AT_ONCE))
        }
    }
}

/// This process among others of its kind: the pod, and a number that the next one has not.
fn identity() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let number = rand::random::<u64>() >> (u64::BITS - INSTANCE_BITS);
    format!("{}_{number:08x}", host.trim())
}

fn start_admin(
    listener: TcpListener,
    registry: Registry,
    health: &Health,
    (tasks, stop): (&mut Tasks, &Stop),
) -> anyhow::Result<()> {
    let (ready, live) = (health.clone(), health.clone());
    let admin = Admin {
        registry: Arc::new(registry),
        readiness: Arc::new(move || ready.readiness()),
        version: VERSION,
    };
    let router = admin::router_with_liveness(admin, Arc::new(move || live.liveness()));
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let stop = stop.clone();
    tasks.spawn("admin", async move {
        admin::serve(listener, router, async move { stop.requested().await }).await;
        Ok(())
    });
    Ok(())
}

/// Waits until the election has ended, which gives the Lease up. All others end with the process:
/// nothing that they do must be finished.
async fn wind_down(mut tasks: Tasks) {
    let election = async {
        while let Some(ended) = tasks.next_ended().await {
            if ended.name == controller::ELECTION {
                return;
            }
        }
    };
    if tokio::time::timeout(ELECTION_TIMEOUT, election).await.is_err() {
        warn!("the Lease was not given up in time");
    }
    info!("stopped");
}
