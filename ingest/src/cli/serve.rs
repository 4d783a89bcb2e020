//! The main job: accept pulses until the process is told to stop, then stop in order.

use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use prometheus_client::registry::Registry;
use pulsemesh_runtime::admin::{self, Admin, Check};
use pulsemesh_runtime::process;
use pulsemesh_runtime::stop::Stop;
use pulsemesh_runtime::tasks::Tasks;
use pulsemesh_runtime::telemetry::{self, TelemetrySettings};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tracing::{error, info, warn};

use crate::ingestor::Ingestor;
use crate::limits::Lender;
use crate::metrics::{HttpMetrics, Metrics};
use crate::reload::Reload;
use crate::server::tls::Tls;
use crate::server::{self, App, Phase};
use crate::settings::Settings;
use crate::sink::SinkState;
use crate::store::Store;
use crate::submission::{Ack, Intake};
use crate::tenant::Tenants;

use super::command::VERSION;
use super::{EXIT_AT_ONCE, EXIT_FAILED, EXIT_OK, assemble};

/// Threads beside the serving ones: the accept loop, probes, queries, signals.
const THREADS: usize = 2;
/// Queries and large decompressions that block at the same time.
const BLOCKING_THREADS_MAX: usize = 16;
/// For the traces that wait at exit.
pub(super) const TELEMETRY_TIMEOUT: Duration = Duration::from_secs(2);
/// For the server, which has a bound of its own within it.
const SERVER_TIMEOUT: Duration = Duration::from_secs(15);
/// For tasks that were asked to end.
const TASKS_TIMEOUT: Duration = Duration::from_secs(2);
/// Between two looks at what is left to drain.
const DRAIN_LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Serves until the process is told to stop. `wrap` may put another store before the one that
/// the settings name.
///
/// # Errors
/// When it can't start, or a part of it ends unasked.
pub(super) fn run(
    settings: Settings,
    wrap: impl FnOnce(Arc<dyn Store>) -> Arc<dyn Store>,
) -> anyhow::Result<ExitCode> {
    let runtime = runtime()?;
    let telemetry = {
        let _entered = runtime.enter();
        telemetry::start(&telemetry(&settings))?
    };
    let outcome = runtime.block_on(serve(settings, wrap));
    telemetry.stop(TELEMETRY_TIMEOUT);
    runtime.shutdown_background();
    outcome
}

pub(super) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_name("service")
        .enable_all()
        .build()
        .context("start threads failed")
}

pub(super) fn telemetry(settings: &Settings) -> TelemetrySettings<'_> {
    TelemetrySettings {
        format: settings.telemetry.format,
        level: &settings.telemetry.level,
        service: "pulsemesh-ingest",
        version: VERSION,
    }
}

async fn serve(
    settings: Settings,
    wrap: impl FnOnce(Arc<dyn Store>) -> Arc<dyn Store>,
) -> anyhow::Result<ExitCode> {
    let stop = Stop::new();
    let _signals = stop.follow_signals(&tokio::runtime::Handle::current())?;
    if let Err(error) = process::raise_open_files_limit() {
        warn!(%error, "raise the limit of open files failed");
    }
    settings.warnings.iter().for_each(|warning| warn!("{warning}"));
    // Bound before anything is opened: a port that is taken is told at once, and a client that
    // comes during recovery waits in the queue instead of being refused.
    let clients = bind(settings.listen.clients, "--listen")?;
    let probes = bind(settings.listen.admin, "--admin-listen")?;
    let mut registry = Registry::default();
    process::register(&mut registry, &VERSION);
    let metrics = Arc::new(Metrics::register(&mut registry));
    let (limiter, lender) = assemble::limiter(&settings.counting, &metrics);
    let access = assemble::access(&settings, &limiter, &metrics.reloads)?;
    let (counted, tenants) = ((limiter, metrics.clone()), Some(access.tenants.clone()));
    let ingestor = assemble::ingestor(&settings, counted, tenants, &mut registry, wrap)?;
    let parts = Serving {
        ingestor: ingestor.clone(),
        tenants: access.tenants,
        tls: access.tls,
        http: metrics.http.clone(),
        registry: Arc::new(registry),
        phases: watch::Sender::new(Phase::Serve),
        finished: watch::Sender::new(false),
        stop: stop.clone(),
    };
    info!(
        listen = %clients.local_addr()?,
        admin_listen = %probes.local_addr()?,
        data_dir = %settings.storage.data_dir.display(),
        ack = settings.ack.default.as_str(),
        tenants = settings.access.tenants.is_some(),
        tls = settings.access.tls.is_some(),
        backlog_pulses = ingestor.backlog_pulses(),
        version = %VERSION,
        "listening"
    );
    let mut tasks = parts.start(clients, probes, &settings)?;
    parts.follow(access.reloads, &mut tasks);
    lender.into_iter().for_each(|lender| lend(lender, &mut tasks));
    let failed = tokio::select! {
        () = stop.requested() => false,
        ended = tasks.next_ended() => {
            let Some(ended) = ended else { bail!("no task is left") };
            error!(task = %ended.name, ending = ?ended.ending, "a task ended unasked; stopping");
            true
        }
        part = ingestor.died() => {
            error!(%part, "a part died; stopping");
            true
        }
    };
    let delay = if failed { Duration::ZERO } else { settings.stop.delay };
    tokio::select! {
        code = parts.wind_down(tasks, delay, settings.stop.drain_within) => {
            Ok(if failed { ExitCode::from(EXIT_FAILED) } else { code? })
        }
        () = stop.at_once() => {
            let left = ingestor.backlog_pulses();
            warn!(left, "told to stop again: exiting at once; acknowledged pulses are in the log");
            Ok(ExitCode::from(EXIT_AT_ONCE))
        }
    }
}

/// Keeps limits shared for as long as the process runs.
fn lend(lender: Lender, tasks: &mut Tasks) {
    tasks.spawn("limits", async move {
        lender.run().await;
        Ok(())
    });
}

fn bind(address: SocketAddr, flag: &str) -> anyhow::Result<TcpListener> {
    server::bind(address).with_context(|| {
        format!("listen on {address} failed; another address can be chosen with {flag}")
    })
}

/// What runs.
struct Serving {
    ingestor: Ingestor,
    tenants: Arc<Tenants>,
    tls: Option<Arc<Tls>>,
    http: HttpMetrics,
    registry: Arc<Registry>,
    phases: watch::Sender<Phase>,
    finished: watch::Sender<bool>,
    stop: Stop,
}

impl Serving {
    fn start(
        &self,
        clients: TcpListener,
        probes: TcpListener,
        settings: &Settings,
    ) -> anyhow::Result<Tasks> {
        let mut tasks = Tasks::on(tokio::runtime::Handle::current());
        let router = admin::router(Admin {
            registry: Arc::clone(&self.registry),
            readiness: Arc::new(self.readiness(settings.ack.default == Ack::Stored)),
            version: VERSION,
        });
        let probes = tokio::net::TcpListener::from_std(probes)?;
        let mut finished = self.finished.subscribe();
        tasks.spawn("admin", async move {
            // Probes are answered until the very end: who asks wants to know how it goes.
            let ended = async move { drop(finished.wait_for(|finished| *finished).await) };
            admin::serve(probes, router, ended).await;
            Ok(())
        });
        let registry = Arc::clone(&self.registry);
        let app = App {
            intake: Arc::new(self.ingestor.clone()),
            tenants: Arc::clone(&self.tenants),
            tls: self.tls.clone(),
            metrics: self.http.clone(),
            exposition: Arc::new(move || exposition(&registry)),
        };
        let (server, phases) = (assemble::server(settings), self.phases.subscribe());
        tasks.spawn("server", async move {
            server::serve(clients, server, app, phases).await.map_err(anyhow::Error::from)
        });
        Ok(tasks)
    }

    /// Reads files again when they change, until the very end: nothing else may end unasked.
    fn follow(&self, reloads: Vec<(&'static str, Reload)>, tasks: &mut Tasks) {
        for (name, reload) in reloads {
            let mut finished = self.finished.subscribe();
            let ended = async move { drop(finished.wait_for(|finished| *finished).await) };
            tasks.spawn(name, reload.follow(ended));
        }
    }

    fn readiness(&self, needs_store: bool) -> impl Fn() -> Vec<Check> + Send + Sync + 'static {
        let (ingestor, stop) = (self.ingestor.clone(), self.stop.clone());
        move || {
            let stopping = stop.is_requested().then(|| "stopping".to_owned());
            let store = ingestor.store().and_then(|store| match store.state() {
                SinkState::Up => None,
                SinkState::Down(why) => Some(why),
            });
            vec![
                Check::required("stop", stopping),
                Check::required("log", ingestor.readiness().err()),
                // Pulses without an id and key are accepted all the same.
                Check::told("idempotency", ingestor.not_shared().map(str::to_owned)),
                // A store that is down stops nobody from being accepted, unless each pulse
                // must be in it before its answer.
                if needs_store {
                    Check::required("store", store)
                } else {
                    Check::told("store", store)
                },
            ]
        }
    }

    /// Stops in order: unready, stop accepting, finish requests, seal batches, close. What is
    /// left stays in the log.
    async fn wind_down(
        &self,
        mut tasks: Tasks,
        delay: Duration,
        drain_within: Option<Duration>,
    ) -> anyhow::Result<ExitCode> {
        info!(delay_ms = delay.as_millis() as u64, "stopping");
        self.phases.send_replace(Phase::Delay);
        sleep(delay).await;
        self.phases.send_replace(Phase::Stop);
        // At once: who waits for the store must not wait for a batch to fill.
        self.ingestor.seal();
        // It may be what has ended already.
        let server = timeout(SERVER_TIMEOUT, tasks.next_ended()).await.ok().flatten();
        if let Some(within) = drain_within {
            self.drain(within).await;
        }
        let closed = self.ingestor.close().await;
        self.finished.send_replace(true);
        let stopped = tasks.stop(TASKS_TIMEOUT).await;
        for late in stopped.late {
            warn!(task = %late, "a task did not end in time");
        }
        closed?;
        if let Some(ended) = server.filter(|ended| !ended.is_ok()) {
            error!(task = %ended.name, ending = ?ended.ending, "a task failed while stopping");
            return Ok(ExitCode::from(EXIT_FAILED));
        }
        info!(left = self.ingestor.backlog_pulses(), "stopped");
        Ok(ExitCode::from(EXIT_OK))
    }

    /// Waits until the log is empty and no replay goes on, `within` at most. Dead letters that
    /// nobody replays are not waited for: nobody can ask for it any more.
    async fn drain(&self, within: Duration) {
        let deadline = Instant::now() + within;
        let mut drained = false;
        while !drained && Instant::now() < deadline {
            sleep(DRAIN_LOOK_INTERVAL).await;
            drained = self.ingestor.backlog_pulses() == 0 && !self.ingestor.is_replaying();
        }
        let (left, dead_letters) = (self.ingestor.backlog_pulses(), self.ingestor.dead_letters());
        if !drained {
            warn!(left, dead_letters, "did not drain in time; what is left stays on disk");
        } else if dead_letters > 0 {
            warn!(dead_letters, "dead letters stay on disk");
        }
    }
}

fn exposition(registry: &Registry) -> String {
    let mut text = String::new();
    // Writing to a String can't fail.
    let _ = prometheus_client::encoding::text::encode(&mut text, registry);
    text
}
