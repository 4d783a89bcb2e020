//! A serving thread: a runtime of its own, and the connections that the accept loop hands it. A
//! request never leaves its thread. Owns every task of it; ends when the last connection did.

use std::io;
use std::net::TcpStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tracing::error;

use crate::submission::Intake;

use super::counters::Counters;
use super::refusal;
use super::service::{Local, Shared};
use super::table::{Load, SWEEP_INTERVAL, Table};
use super::{Phase, connection};

/// Refused connections of one thread that are read from so that their client gets to read its
/// answer; more are closed without.
const REFUSED_LINGERING_MAX: usize = 128;
/// A time further away than any wait.
const FAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A connection on its way to its thread.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) stream: TcpStream,
    pub(super) permit: Permit,
    /// The bound is reached: an idle connection must go for it, or it is refused.
    pub(super) evict: bool,
}

/// Counts a connection for as long as it is open.
#[derive(Debug)]
pub(super) struct Permit(Arc<Load>);

impl Permit {
    pub(super) fn new(load: &Arc<Load>) -> Self {
        load.connections.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(load))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A thread as the accept loop sees it.
#[derive(Debug)]
pub(super) struct Serving {
    pub(super) load: Arc<Load>,
    pub(super) arrivals: mpsc::Sender<Arrival>,
    /// Resolves when the thread ends, however it does.
    pub(super) ended: oneshot::Receiver<()>,
    pub(super) handle: JoinHandle<io::Result<()>>,
}

/// Starts a serving thread. `arrivals_max`: connections that may wait for it.
pub(super) fn start<I: Intake>(
    number: usize,
    shared: Arc<Shared<I>>,
    phases: watch::Receiver<Phase>,
    arrivals_max: usize,
) -> io::Result<Serving> {
    let load = Arc::new(Load::default());
    let (arrivals, receiver) = mpsc::channel(arrivals_max);
    let (ending, ended) = oneshot::channel();
    let inbox = Inbox { arrivals: receiver, phases, load: Arc::clone(&load) };
    let handle = std::thread::Builder::new().name(format!("serve-{number}")).spawn(move || {
        let _ending: oneshot::Sender<()> = ending;
        let runtime = Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(1)
            .build_local(LocalOptions::default())?;
        runtime.block_on(Thread::new(shared, &inbox.load).run(inbox));
        Ok(())
    })?;
    Ok(Serving { load, arrivals, ended, handle })
}

#[derive(Debug)]
struct Inbox {
    arrivals: mpsc::Receiver<Arrival>,
    phases: watch::Receiver<Phase>,
    load: Arc<Load>,
}

#[derive(Debug)]
struct Thread<I> {
    local: Rc<Local<I>>,
    connections: JoinSet<()>,
    refused: JoinSet<()>,
    phase: Phase,
}

impl<I: Intake> Thread<I> {
    fn new(shared: Arc<Shared<I>>, load: &Arc<Load>) -> Self {
        let settings = &shared.settings;
        let table = Table::new(Arc::clone(load), settings.header_timeout, settings.idle_timeout);
        let counters = Counters::new(shared.app.metrics.clone());
        Self {
            local: Rc::new(Local { shared, table: Rc::new(table), counters }),
            connections: JoinSet::new(),
            refused: JoinSet::new(),
            phase: Phase::Serve,
        }
    }

    async fn run(mut self, mut inbox: Inbox) {
        let mut sweep = interval(SWEEP_INTERVAL);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut end = Instant::now() + FAR;
        let mut accepting = true;
        self.enter(*inbox.phases.borrow_and_update());
        // Owns it: it ends with the thread.
        let mut attendant = JoinSet::new();
        attendant.spawn_local(self.local.shared.app.intake.attend());
        while accepting || !self.connections.is_empty() {
            tokio::select! {
                arrival = inbox.arrivals.recv(), if accepting => match arrival {
                    Some(arrival) => self.take(arrival),
                    None => accepting = false,
                },
                Some(ended) = self.connections.join_next() => log_defect(ended),
                Some(ended) = self.refused.join_next() => log_defect(ended),
                _ = sweep.tick(), if !self.connections.is_empty() => self.local.table.sweep(),
                changed = inbox.phases.changed(), if self.phase != Phase::Stop => {
                    // Without anyone left to say it, there is nothing to go on for.
                    let phase = changed.map_or(Phase::Stop, |()| *inbox.phases.borrow_and_update());
                    self.enter(phase);
                    if phase == Phase::Stop {
                        end = Instant::now() + self.local.shared.settings.stop_timeout;
                    }
                }
                () = sleep_until(end) => {
                    self.local.table.cut_all();
                    end = Instant::now() + FAR;
                }
            }
        }
        self.refused.shutdown().await;
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        // The sweep rests while there is nothing to sweep; its clock must not.
        self.local.table.sweep();
        self.local.table.enter(phase, self.local.shared.settings.stop_body_timeout);
    }

    fn take(&mut self, arrival: Arrival) {
        if self.phase == Phase::Stop {
            return;
        }
        if self.connections.is_empty() {
            self.local.table.sweep();
        }
        let table = &self.local.table;
        let metrics = &self.local.shared.app.metrics;
        if arrival.evict {
            if !table.evict() {
                metrics.connections_refused.inc();
                // An answer in the clear means nothing to who expects an encrypted one.
                let clear = self.local.shared.app.tls.is_none();
                if clear && self.refused.len() < REFUSED_LINGERING_MAX {
                    self.refused.spawn_local(refusal::refuse(arrival.stream, arrival.permit));
                }
                return;
            }
            metrics.connections_evicted.inc();
        }
        let local = Rc::clone(&self.local);
        self.connections.spawn_local(async move {
            let Arrival { stream, permit, .. } = arrival;
            let Ok(stream) = tokio::net::TcpStream::from_std(stream) else { return };
            let line = local.table.add();
            connection::serve(local, stream, line).await;
            drop(permit);
        });
    }
}

/// Tells of a connection or stream that panicked. The others never notice.
pub(super) fn log_defect(ended: Result<(), JoinError>) {
    if let Err(source) = ended {
        error!(error = %source, "request ended by a defect");
    }
}
