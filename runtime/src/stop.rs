//! When the process stops: the first signal asks it to, the second says at once. Decides
//! nothing about how.

use std::io;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{info, warn};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Running,
    Stopping,
    AtOnce,
}

/// The stop signal. Clones share it.
#[derive(Debug, Clone)]
pub struct Stop {
    phase: Arc<watch::Sender<Phase>>,
}

impl Default for Stop {
    fn default() -> Self {
        Self { phase: Arc::new(watch::Sender::new(Phase::Running)) }
    }
}

impl Stop {
    /// A signal that nobody has given yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the process to stop. Asking again changes nothing.
    pub fn request(&self) {
        self.raise_to(Phase::Stopping);
    }

    /// What a signal from outside does: the first asks to stop, a second says at once.
    pub fn signal(&self) {
        let phase = if self.is_requested() { Phase::AtOnce } else { Phase::Stopping };
        self.raise_to(phase);
    }

    /// Whether the process was asked to stop; for threads that poll.
    pub fn is_requested(&self) -> bool {
        *self.phase.borrow() >= Phase::Stopping
    }

    /// Whether it was told to exit at once.
    pub fn is_at_once(&self) -> bool {
        *self.phase.borrow() == Phase::AtOnce
    }

    /// Waits until the process is asked to stop.
    pub async fn requested(&self) {
        self.reached(Phase::Stopping).await;
    }

    /// Waits until the process is told to exit at once.
    pub async fn at_once(&self) {
        self.reached(Phase::AtOnce).await;
    }

    /// Takes `SIGTERM` and `SIGINT` from now on, on `runtime`, until the guard is dropped.
    ///
    /// # Errors
    /// When the handlers can't be installed.
    pub fn follow_signals(&self, runtime: &Handle) -> io::Result<SignalGuard> {
        let _context = runtime.enter();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let stop = self.clone();
        let task = runtime.spawn(async move {
            loop {
                let name = tokio::select! {
                    Some(()) = terminate.recv() => "SIGTERM",
                    Some(()) = interrupt.recv() => "SIGINT",
                    else => return,
                };
                stop.signal();
                if stop.is_at_once() {
                    warn!(signal = name, "exiting at once");
                } else {
                    info!(signal = name, "stopping; a second signal exits at once");
                }
            }
        });
        Ok(SignalGuard { task })
    }

    fn raise_to(&self, phase: Phase) {
        self.phase.send_if_modified(|now| {
            let raised = *now < phase;
            *now = phase.max(*now);
            raised
        });
    }

    async fn reached(&self, phase: Phase) {
        // An error means that the sender is gone, and `self` holds it.
        let _ = self.phase.subscribe().wait_for(|now| *now >= phase).await;
    }
}

/// Stops taking signals when it is dropped.
#[derive(Debug)]
pub struct SignalGuard {
    task: JoinHandle<()>,
}

impl Drop for SignalGuard {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test may start what it waits for")]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_second_signal_says_at_once_and_a_second_request_does_not() {
        let stop = Stop::new();
        assert!(!stop.is_requested());
        stop.request();
        stop.request();
        stop.requested().await;
        assert!(stop.is_requested() && !stop.is_at_once());
        stop.signal();
        stop.at_once().await;
        assert!(stop.is_at_once());
    }

    #[tokio::test]
    async fn those_who_wait_are_woken_by_a_clone() {
        let stop = Stop::new();
        let other = stop.clone();
        let waiting = tokio::spawn(async move { other.requested().await });
        stop.signal();
        timeout(Duration::from_secs(10), waiting).await.expect("woken").expect("no panic");
    }

    #[tokio::test]
    async fn real_signals_raise_it_step_by_step() {
        let stop = Stop::new();
        let _guard = stop.follow_signals(&Handle::current()).expect("handlers");
        let send = || {
            let me = rustix::process::getpid();
            rustix::process::kill_process(me, rustix::process::Signal::TERM).expect("sent");
        };
        send();
        timeout(Duration::from_secs(10), stop.requested()).await.expect("first signal");
        send();
        timeout(Duration::from_secs(10), stop.at_once()).await.expect("second signal");
    }
}
