//! The HTTP server: connections, their bounds, and how they end. Speaks HTTP/1.1 and HTTP/2
//! (cleartext, by prior knowledge) on one port. Knows requests and answers; what becomes of
//! pulses is the [`Intake`]'s.

mod accept;
mod body;
mod budget;
mod connection;
mod counters;
mod erasures;
mod exchange;
mod head;
mod letters;
mod queries;
mod refusal;
mod reply;
mod search;
mod service;
mod settings;
mod socket;
mod submit;
mod table;
mod thread;
pub mod tls;

use std::fmt;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::select_all;
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::metrics::HttpMetrics;
use crate::submission::Intake;
use crate::tenant::Tenants;

use service::Shared;
use thread::Serving;
use tls::Tls;

pub use accept::{bind, connections_bound};
pub use settings::ServerSettings;

/// How often the gauges of what is open and in flight are written.
const GAUGE_INTERVAL: Duration = Duration::from_secs(1);

/// How far the process is with stopping.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It is not.
    #[default]
    Serve,
    /// It still accepts, and every answer tells its client to go elsewhere next time
    /// (`Connection: close`, GOAWAY).
    Delay,
    /// It accepts no more. Idle connections are closed, requests in progress answered.
    Stop,
}

/// What the server serves.
pub struct App<I> {
    /// Takes pulses, and knows the store to ask.
    pub intake: Arc<I>,
    /// Who may do what.
    pub tenants: Arc<Tenants>,
    /// What connections are encrypted with; `None`: they are not.
    pub tls: Option<Arc<Tls>>,
    /// Of requests.
    pub metrics: HttpMetrics,
    /// Writes all metrics in the text format; called for each `GET /metrics`.
    pub exposition: Arc<dyn Fn() -> String + Send + Sync>,
}

impl<I> fmt::Debug for App<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App").field("metrics", &self.metrics).finish_non_exhaustive()
    }
}

/// Why the server could not serve, or not go on.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The listener can't be used.
    #[error("listen for connections")]
    Listener(#[source] io::Error),
    /// A serving thread can't be started.
    #[error("start a serving thread")]
    Start(#[source] io::Error),
    /// A serving thread ended, by a defect or for want of its runtime.
    #[error("serving thread ended early")]
    ThreadEnded,
}

/// Serves on a bound socket ([`bind`] makes one) until `phases` says [`Phase::Stop`] (or its
/// sender is gone) and the last connection has ended, at most [`ServerSettings::stop_timeout`]
/// later.
///
/// Must be called within a runtime: the accept loop, queries and large decompressions run on
/// it, requests on threads of their own. When the returned future is dropped the threads stop.
///
/// # Errors
/// When the listener or a thread can't be set up, or a thread ends before it was told to.
pub async fn serve<I: Intake>(
    listener: TcpListener,
    settings: ServerSettings,
    app: App<I>,
    mut phases: watch::Receiver<Phase>,
) -> Result<(), ServeError> {
    listener.set_nonblocking(true).map_err(ServeError::Listener)?;
    let listener = tokio::net::TcpListener::from_std(listener).map_err(ServeError::Listener)?;
    let connections_max = connections_bound(settings.connections_max);
    let metrics = app.metrics.clone();
    let shared = Shared::new(app, settings, Handle::current());
    let mut threads = (0..shared.settings.threads.max(1))
        .map(|number| thread::start(number, Arc::clone(&shared), phases.clone(), connections_max))
        .collect::<io::Result<Vec<Serving>>>()
        .map_err(ServeError::Start)?;
    let mut ended: Vec<_> = threads.iter_mut().map(take_end).collect();
    let stopped = tokio::select! {
        () = accept::accept(&listener, &threads, connections_max) => Ok(()),
        () = gauge(&shared, &threads, &metrics) => Ok(()),
        _ = phases.wait_for(|phase| *phase == Phase::Stop) => Ok(()),
        _ = select_all(&mut ended) => Err(ServeError::ThreadEnded),
    };
    drop(listener);
    stopped?;
    finish(threads, ended, &shared, &metrics).await
}

fn take_end(thread: &mut Serving) -> tokio::sync::oneshot::Receiver<()> {
    std::mem::replace(&mut thread.ended, tokio::sync::oneshot::channel().1)
}

async fn finish<I>(
    threads: Vec<Serving>,
    ended: Vec<tokio::sync::oneshot::Receiver<()>>,
    shared: &Shared<I>,
    metrics: &HttpMetrics,
) -> Result<(), ServeError> {
    let handles: Vec<_> = threads.into_iter().map(|thread| thread.handle).collect();
    for end in ended {
        // Resolves with an error: nothing is ever sent, only dropped.
        let _ = end.await;
    }
    metrics.connections.set(0);
    set_bytes(shared, metrics);
    for handle in handles {
        // It has ended but for its last few instructions.
        match handle.join() {
            Ok(Ok(())) => {}
            Ok(Err(source)) => return Err(ServeError::Start(source)),
            Err(_) => return Err(ServeError::ThreadEnded),
        }
    }
    Ok(())
}

/// Writes the gauges that requests have no time for.
async fn gauge<I>(shared: &Shared<I>, threads: &[Serving], metrics: &HttpMetrics) {
    let mut tick = interval(GAUGE_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        metrics.connections.set(i64::try_from(accept::open(threads)).unwrap_or(i64::MAX));
        set_bytes(shared, metrics);
    }
}

fn set_bytes<I>(shared: &Shared<I>, metrics: &HttpMetrics) {
    metrics.bytes_in_flight.set(i64::try_from(shared.budget.used()).unwrap_or(i64::MAX));
}

#[cfg(test)]
mod tests;
