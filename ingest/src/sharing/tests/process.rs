//! Processes that share ids and keys, as far as this module is concerned: each has a link and the
//! task that asks, on a thread of its own.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::clock::{now_us, system_clock};
use crate::reservation::Fixed;
use crate::sharing::link::{Link, Unavailable};
use crate::sharing::metrics::SharingMetrics;
use crate::sharing::{
    Claimed, LEASE, LinkSettings, Mode, Namer, Question, Settled, Shared, Verdict, start,
};
use crate::sink::LogId;

/// Longest wait for what takes a moment on an idle machine.
pub(super) const SOON: Duration = Duration::from_secs(30);

/// One process; dropped, it is as if it was killed.
pub(super) struct Process {
    pub(super) link: Arc<Link>,
    pub(super) log: LogId,
    runtime: Option<Runtime>,
}

/// How a process differs from a new one with the usual lease.
pub(super) struct Begin {
    pub(super) log: LogId,
    pub(super) lease: Duration,
    pub(super) settled: Vec<Settled>,
}

impl Default for Begin {
    fn default() -> Self {
        Self { log: LogId(Uuid::new_v4()), lease: LEASE, settled: Vec::new() }
    }
}

impl Process {
    /// One that shares.
    pub(super) async fn begin(shared: &Shared, begin: Begin) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a thread");
        let settings = LinkSettings {
            log: begin.log,
            window: Duration::from_secs(120),
            lease: begin.lease,
            settled: begin.settled,
            clock: system_clock(),
            metrics: SharingMetrics::default(),
        };
        let (link, worker) = start(shared.clone(), settings).expect("it is shared");
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn_on(worker.run(), runtime.handle());
        // It ends with the runtime.
        tasks.detach_all();
        let process = Self { link, log: begin.log, runtime: Some(runtime) };
        let until = Instant::now() + 4 * SOON;
        while process.link.mode() != Mode::Shared {
            assert!(Instant::now() < until, "it does not come to share");
            sleep(Duration::from_millis(5)).await;
        }
        process
    }

    pub(super) async fn new(shared: &Shared) -> Self {
        Self::begin(shared, Begin::default()).await
    }

    /// Takes the keys of pulses.
    pub(super) async fn take(
        &self,
        questions: &[Question],
    ) -> Result<(Vec<Verdict>, Claimed), Unavailable> {
        self.link.take(questions.to_vec()).await
    }

    /// What it is told of one pulse; what it gets it gives back.
    pub(super) async fn look(&self, question: &Question) -> Result<Verdict, Unavailable> {
        Ok(self.take(std::slice::from_ref(question)).await?.0[0])
    }

    /// The verdict once nobody has the pulse in flight.
    pub(super) async fn settled(&self, question: &Question) -> Result<Verdict, Unavailable> {
        let until = Instant::now() + SOON;
        loop {
            let verdict = self.look(question).await?;
            if verdict != Verdict::InFlight || Instant::now() > until {
                return Ok(verdict);
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends without a word, with what it holds.
    pub(super) fn kill(mut self, held: Claimed) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        // What it would give back reaches nobody.
        std::mem::forget(held);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// What a pulse with this body leads to that was accepted now.
pub(super) fn fixed(id: Uuid, body: u128) -> Fixed {
    let received_at_us = now_us();
    Fixed { id, event_time_ms: received_at_us / 1_000, received_at_us, body_hash: body, shard: 3 }
}

/// A pulse with an idempotency key.
pub(super) fn keyed(key: &str, body: u128) -> Question {
    let id = Uuid::new_v5(&Uuid::NAMESPACE_OID, key.as_bytes());
    Question { keys: Namer::new("acme").keys(None, Some(key)), fixed: fixed(id, body) }
}

/// A pulse with an id of its own, and perhaps a key.
pub(super) fn named(id: u128, key: Option<&str>, body: u128) -> Question {
    let id = Uuid::from_u128(id);
    Question { keys: Namer::new("acme").keys(Some(id), key), fixed: fixed(id, body) }
}
