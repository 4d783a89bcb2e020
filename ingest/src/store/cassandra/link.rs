//! The connection to the database, made and mended in the background: a start never waits for
//! it. Others ask for what is live, and tell what they doubt.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thiserror::Error;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::sink::SinkState;

use super::live::Live;
use super::mend::Mender;
use super::metrics::CassandraMetrics;
use super::settings::CassandraSettings;

/// Threads of the driver: all reading, writing and packing of frames. Requests are made, and
/// answers are unpacked, on the threads of those who ask.
const THREADS: usize = 2;

/// Why there is nothing to send requests with, for a person.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub(crate) struct Down(pub(crate) String);

/// The connection. Closed when dropped, without waiting for requests that are under way.
#[derive(Debug)]
pub(crate) struct Link {
    standing: Arc<Standing>,
    /// Ends with the runtime.
    _mender: JoinSet<()>,
    runtime: Option<Runtime>,
}

/// The connection as those use it who write and read the rows of one retention class.
#[derive(Debug, Clone)]
pub(crate) struct ClassLink {
    link: Arc<Link>,
    /// Its place in the settings; `None`: the default class.
    class: Option<usize>,
}

impl ClassLink {
    pub(crate) fn new(link: Arc<Link>, class: Option<usize>) -> Self {
        Self { link, class }
    }

    /// What requests are sent with now.
    pub(crate) fn live(&self) -> Result<Arc<Live>, Down> {
        // There is one for each class of the settings, which never change.
        let none = || Down("the tables of a retention class are not prepared".to_owned());
        self.link.live()?.of(self.class).ok_or_else(none)
    }

    /// As [`Link::doubt`].
    pub(crate) fn doubt(&self, live: &Arc<Live>, why: &str) {
        self.link.doubt(live, why);
    }

    /// As [`Link::note`].
    pub(crate) fn note(&self, failing: Option<String>) {
        self.link.note(failing);
    }
}

impl From<Arc<Link>> for ClassLink {
    fn from(link: Arc<Link>) -> Self {
        Self::new(link, None)
    }
}

/// How the connection is, shared with those who mend it.
#[derive(Debug)]
pub(super) struct Standing {
    state: Mutex<State>,
    doubted: Notify,
    metrics: CassandraMetrics,
}

#[derive(Debug)]
struct State {
    live: Result<Arc<Live>, Down>,
    /// Why no request succeeds though there is a connection.
    failing: Option<String>,
}

impl Link {
    /// Begins to connect.
    ///
    /// # Errors
    /// When threads can't be started.
    pub(crate) fn open(
        settings: Arc<CassandraSettings>,
        metrics: CassandraMetrics,
    ) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            // Names are looked up and files are read there, one at a time.
            .max_blocking_threads(THREADS)
            .thread_name("cassandra")
            .enable_all()
            .build()?;
        let standing = Arc::new(Standing::new(metrics));
        let mut mender = JoinSet::new();
        let work = Mender::new(settings, Arc::clone(&standing));
        mender.spawn_on(Box::pin(work.run()), runtime.handle());
        Ok(Self { standing, _mender: mender, runtime: Some(runtime) })
    }

    /// With something live that nobody mends.
    #[cfg(test)]
    pub(crate) fn to(live: Arc<Live>, metrics: CassandraMetrics) -> Self {
        let standing = Standing::new(metrics);
        standing.lock().live = Ok(live);
        Self { standing: Arc::new(standing), _mender: JoinSet::new(), runtime: None }
    }

    /// What requests are sent with now.
    pub(crate) fn live(&self) -> Result<Arc<Live>, Down> {
        self.standing.lock().live.clone()
    }

    /// A request met tables that are not as they should be: they are looked at again, and
    /// nothing is live until they are right. Of many who met the same, the first counts.
    pub(crate) fn doubt(&self, live: &Arc<Live>, why: &str) {
        let mut state = self.standing.lock();
        if !state.live.as_ref().is_ok_and(|now| now.holds(live)) {
            return;
        }
        tracing::warn!(why, "the database's tables are looked at again");
        state.live = Err(Down(format!("tables are looked at again: {why}")));
        self.standing.metrics.connected.set(0);
        self.standing.doubted.notify_one();
    }

    /// How the requests went lately: `Some` says why none succeeds.
    pub(crate) fn note(&self, failing: Option<String>) {
        self.standing.lock().failing = failing;
    }

    /// Whether the database could be written to now.
    pub(crate) fn state(&self) -> SinkState {
        let state = self.standing.lock();
        match (&state.live, &state.failing) {
            (Err(Down(why)), _) | (Ok(_), Some(why)) => SinkState::Down(why.clone()),
            (Ok(_), None) => SinkState::Up,
        }
    }

    /// Where the driver runs, for work that goes on beside requests.
    pub(crate) fn handle(&self) -> Option<&tokio::runtime::Handle> {
        self.runtime.as_ref().map(Runtime::handle)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // May be dropped where blocking is not allowed.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Standing {
    fn new(metrics: CassandraMetrics) -> Self {
        let live = Err(Down("not connected yet".to_owned()));
        Self { state: Mutex::new(State { live, failing: None }), doubted: Notify::new(), metrics }
    }

    /// There is a connection, and the tables are right.
    pub(super) fn up(&self, live: Live) {
        let mut state = self.lock();
        *state = State { live: Ok(Arc::new(live)), failing: None };
        self.metrics.connected.set(1);
    }

    /// There is nothing to send requests with. Told once for each reason.
    pub(super) fn down(&self, why: Down) {
        let mut state = self.lock();
        self.metrics.connected.set(0);
        if state.live.as_ref().err() != Some(&why) {
            tracing::warn!(%why, "the database can't be used");
            state.live = Err(why);
        }
    }

    /// Whether there is something to send requests with.
    pub(super) fn is_live(&self) -> bool {
        self.lock().live.is_ok()
    }

    /// Returns once the tables were doubted since it was asked last.
    pub(super) async fn doubted(&self) {
        self.doubted.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
