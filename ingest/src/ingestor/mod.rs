//! The ingestor: the path of a pulse from a request's body to its receipt, and the parts that
//! the path runs through. Knows neither HTTP nor settings files.

mod at_once;
mod builder;
mod check;
mod enrich;
mod identity;
mod judge;
mod named;
mod place;
mod shared;
mod start;
mod stored;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use thiserror::Error;
use uuid::Uuid;

use crate::admission::Levels;
use crate::clock::Clock;
use crate::code::Code;
use crate::erasure::Erasures;
use crate::limits::Limiter;
use crate::log::{AppendError, DataDirLock, Log, courier};
use crate::metrics::{CodeLabels, Metrics};
use crate::pulse::{Pulse, Shape};
use crate::reservation::{Reservations, Reserved};
use crate::retention::{ClassNumber, RetentionClasses};
use crate::sharing;
use crate::sink::Sink;
use crate::sink::buffer::MemoryBuffer;
use crate::sink::drain::{Drains, SinkLedger, Whereabouts};
use crate::sink::replay::Replays;
use crate::store::Store;
use crate::submission::{Ack, EventError, Format, Intake, Receipt, Refusal, Submission};
use crate::tenant::Tenant;

use at_once::First;
use judge::{Judged, Named, Rules, judge};
use named::{Logged, Sofar};

pub use builder::{IngestorBuilder, LogBounds, Overflow};
pub use start::StartError;

/// How long closing waits for writes in flight.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one sink may take to close: a request's time-out, with what it does around it.
const SINK_CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two looks whether the threads that write files are alive.
const THREADS_LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Scratch space that a thread keeps between requests; a larger one is given back.
const SCRATCH_BYTES_KEPT: usize = 256 * 1024;

/// Takes pulses, keeps them in the log and drains them into sinks. Cloning shares it.
///
/// What a receipt guarantees is its level: `memory` survives nothing, `durable` a crash of the
/// process and of the machine, `stored` is in every required sink. Dropping the last handle
/// without [`Ingestor::close`] is a crash in this sense.
#[derive(Debug, Clone)]
pub struct Ingestor {
    parts: Arc<Parts>,
}

/// What the path of a pulse runs through.
struct Parts {
    levels: Levels,
    overflow: Overflow,
    log: Log,
    log_budget_bytes: u64,
    buffer: Arc<MemoryBuffer>,
    drains: Drains,
    /// `None`: there is no store to erase from.
    erasures: Option<Erasures>,
    reservations: Reservations,
    /// `None`: no other process knows of ids and keys.
    sharing: Option<Arc<sharing::Link>>,
    limiter: Arc<Limiter>,
    store: Option<Arc<dyn Store>>,
    sinks: Vec<Arc<dyn Sink>>,
    metrics: Arc<Metrics>,
    clock: Clock,
    retention_ms: i64,
    retention_classes: RetentionClasses,
    /// Whose pulses are that come from within the process.
    default_tenant: Tenant,
    stored_timeout: Duration,
    /// Of each level, in the order of the levels.
    accepted: [Counter; 3],
    closing: AtomicBool,
    background: start::Background,
    data_dir: PathBuf,
    /// Held as long as anything may be written.
    #[allow(dead_code, reason = "held, never asked")]
    lock: DataDirLock,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("data_dir", &self.data_dir).finish_non_exhaustive()
    }
}

/// Why an ingestor could not be flushed or closed in order. Nothing acknowledged is lost: it is
/// in the log, and goes on at the next start.
#[derive(Debug, Error)]
pub enum CloseError {
    /// A sink did not finish in time.
    #[error("sinks did not finish in time; {pulses} pulses are left in the log")]
    Unfinished {
        /// How many are left.
        pulses: u64,
    },
    /// Something on disk could not be brought to its end.
    #[error("close the data directory failed")]
    Disk(#[source] std::io::Error),
}

impl Ingestor {
    /// Settings to make one from. In `data_dir` lie the log, the cursors, the dead letters and
    /// the reservations; one process at a time has it.
    pub fn builder(data_dir: impl Into<PathBuf>) -> IngestorBuilder {
        IngestorBuilder::new(data_dir.into())
    }

    /// Takes one pulse of the default tenant at the default level; returns when the level is
    /// reached.
    ///
    /// # Errors
    /// A refusal with its code: the pulse is not in the log (unless the code is
    /// `not_stored_in_time`, which says where it is).
    pub async fn push(&self, pulse: &Pulse<'_>) -> Result<Receipt, Refusal> {
        self.push_batch(std::slice::from_ref(pulse)).await
    }

    /// As [`Ingestor::push`], for many. Each pulse is judged alone: look at
    /// [`Receipt::errors`].
    ///
    /// # Errors
    /// As [`Ingestor::push`]; then none was accepted.
    pub async fn push_batch(&self, pulses: &[Pulse<'_>]) -> Result<Receipt, Refusal> {
        let mut body = Vec::with_capacity(pulses.len() * 128);
        for pulse in pulses {
            pulse.write_json(&mut body);
            body.push(b'\n');
        }
        let submission = Submission {
            tenant: &self.parts.default_tenant,
            shape: Shape::Pulse,
            format: Format::Lines,
            body: &body,
            ack: None,
            idempotency_key: None,
            trace: None,
            ids: true,
        };
        self.submit(submission).await
    }

    /// Writes out all that was accepted before the call; returns when every sink has it.
    ///
    /// # Errors
    /// When the drains are stopped meanwhile.
    pub async fn flush(&self) -> Result<(), CloseError> {
        if self.parts.drains.flush().await.is_ok() {
            return Ok(());
        }
        Err(CloseError::Unfinished { pulses: self.backlog_pulses() })
    }

    /// Pulses that some required sink has not finished.
    pub fn backlog_pulses(&self) -> u64 {
        self.parts.drains.backlog().pulses
    }

    /// Dead letters kept on disk.
    pub fn dead_letters(&self) -> u64 {
        self.parts.drains.dead_letters().len()
    }

    /// Whether a replay of dead letters has work to do.
    pub fn is_replaying(&self) -> bool {
        self.parts.drains.replays().is_busy()
    }

    /// For each sink, where the pulses are that were accepted for it.
    pub fn ledger(&self) -> Vec<SinkLedger> {
        self.parts.drains.ledger()
    }

    /// Whether pulses of the default level would be accepted now; if not, why.
    pub fn readiness(&self) -> Result<(), String> {
        let parts = &*self.parts;
        if parts.closing.load(Ordering::Acquire) {
            return Err("stopping".into());
        }
        if parts.levels.default == Ack::Memory {
            return Ok(());
        }
        if parts.log.used_bytes() >= parts.log_budget_bytes {
            return Err("the log is full: the store is behind".into());
        }
        parts.log.refusal().map_or(Ok(()), |refusal| Err(refusal.to_string()))
    }

    /// Resolves when a part of it has died, with what is known of it: nothing more is drained,
    /// and the process had better start anew.
    pub async fn died(&self) -> String {
        tokio::select! {
            part = self.parts.drains.died() => part,
            thread = self.thread_ends() => thread.to_owned(),
        }
    }

    async fn thread_ends(&self) -> &'static str {
        loop {
            tokio::time::sleep(THREADS_LOOK_INTERVAL).await;
            if self.parts.closing.load(Ordering::Acquire) {
                continue;
            }
            if self.parts.log.refusal() == Some(AppendError::Closed) {
                return "log-writer";
            }
            if self.parts.reservations.has_died() {
                return "reservations";
            }
            if self.parts.sharing.as_ref().is_some_and(|link| link.has_died()) {
                return "sharing";
            }
        }
    }

    /// What it means that other processes can't be asked for ids and keys; `None`: they can, or
    /// need not be.
    pub fn not_shared(&self) -> Option<&'static str> {
        self.parts.sharing.as_ref().and_then(|link| shared::why_not(link.mode()))
    }

    /// No longer waits for batches to fill.
    pub fn seal(&self) {
        self.parts.drains.seal();
    }

    /// Stops taking pulses, finishes the writes in flight and closes what is on disk. What is
    /// left stays in the log for the next start.
    ///
    /// # Errors
    /// When something on disk could not be brought to its end.
    pub async fn close(&self) -> Result<(), CloseError> {
        let parts = &*self.parts;
        parts.closing.store(true, Ordering::Release);
        // First erasures, then the drains that these use, which note in the log what they have
        // finished.
        let deadline = Instant::now() + CLOSE_TIMEOUT;
        if let Some(erasures) = &parts.erasures {
            erasures.stop(deadline).await;
        }
        parts.drains.stop(deadline).await;
        for sink in &parts.sinks {
            match tokio::time::timeout(SINK_CLOSE_TIMEOUT, sink.close()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::warn!(error = format!("{error:#}"), "close of a sink failed");
                }
                Err(_elapsed) => tracing::warn!("a sink did not close in time"),
            }
        }
        let log = parts.log.clone();
        blocking(move || log.close()).await?;
        let reservations = parts.reservations.clone();
        let reserved = blocking(move || reservations.close()).await?;
        parts.background.close();
        reserved.map_err(CloseError::Disk)
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, CloseError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| CloseError::Disk(std::io::Error::other(error)))
}

impl Parts {
    fn rules(&self) -> Rules<'_> {
        let store = self.store.as_deref();
        Rules {
            now_us: (self.clock)(),
            retention_ms: self.retention_ms,
            class: ClassNumber::DEFAULT,
            classes: &self.retention_classes,
            store,
        }
    }

    /// Judges a request and hands what is good and unnamed to the log or the buffer.
    fn take(
        &self,
        rules: Rules<'_>,
        submission: &Submission<'_>,
        level: Ack,
    ) -> Result<(Judged, Option<place::Placed>), Refusal> {
        with_scratch(|frames| {
            let judged = judge(rules, submission, frames)?;
            for (reason, on_failure) in &judged.failures {
                self.metrics.schemas.failed(*reason, *on_failure);
            }
            self.limiter.charge(&submission.tenant.name, judged.events as u64);
            if judged.framed == 0 {
                return Ok((judged, None));
            }
            let placed = self.place(&submission.tenant.name, level, frames, judged.framed)?;
            Ok((judged, Some(placed)))
        })
    }

    /// What most requests need not: named events, and waiting for the sinks.
    async fn go_on(
        &self,
        (rules, submission): (Rules<'_>, &Submission<'_>),
        (named, reserved): (Vec<Named>, Option<Reserved>),
        logged: Option<Logged>,
        receipt: Receipt,
    ) -> Result<Receipt, Refusal> {
        let logged = logged.into_iter().collect();
        let mut sofar = Sofar { receipt, logged, repeats: Vec::new() };
        if !named.is_empty() {
            let request = (rules, submission);
            self.submit_named(request, named, reserved, &mut sofar).await?;
        }
        if sofar.receipt.ack == Ack::Stored {
            self.stored(&submission.tenant.name, &mut sofar).await?;
        }
        sofar.receipt.errors.sort_by_key(|error| error.index);
        Ok(sofar.receipt)
    }

    fn count(&self, receipt: &Receipt) {
        let pulses = &self.metrics.pulses;
        if receipt.accepted > 0 {
            self.accepted[receipt.ack as usize].inc_by(receipt.accepted as u64);
        }
        if receipt.duplicates > 0 {
            pulses.duplicate.inc_by(receipt.duplicates as u64);
        }
        for error in &receipt.errors {
            self.count_rejected(error.reject.code, 1);
        }
    }

    fn count_rejected(&self, code: Code, pulses: u64) {
        let label = CodeLabels { code: code.as_str() };
        self.metrics.pulses.rejected.get_or_create(&label).inc_by(pulses);
    }
}

impl Intake for Ingestor {
    fn admit(&self, tenant: &Tenant, ack: Option<Ack>, bytes: u64) -> Result<(), Refusal> {
        let parts = &*self.parts;
        if parts.closing.load(Ordering::Relaxed) {
            return Err(Refusal::later(Code::Stopping, Duration::from_secs(1)));
        }
        let level = parts.levels.choose(ack, tenant.ack_highest)?;
        if level == Ack::Memory {
            return Ok(());
        }
        if let Some(refusal) = parts.log.refusal() {
            return Err(parts.refusal_of(refusal));
        }
        parts.admit_to_log(&tenant.name, bytes)
    }

    async fn submit(&self, submission: Submission<'_>) -> Result<Receipt, Refusal> {
        let parts = &self.parts;
        if parts.closing.load(Ordering::Relaxed) {
            return Err(Refusal::later(Code::Stopping, Duration::from_secs(1)));
        }
        let level = parts.levels.choose(submission.ack, submission.tenant.ack_highest)?;
        let rules = parts.rules();
        let (judged, placed) = parts.take(rules, &submission, level)?;
        let numbers = match placed {
            Some(placed) => parts.placed(placed).await?,
            None => None,
        };
        let first = parts.log_at_once(rules, &submission, level, &judged)?;
        let mut receipt = Receipt {
            ack: level,
            accepted: judged.framed as usize,
            duplicates: 0,
            errors: judged.errors,
            ids: judged.ids,
            single: judged.single,
        };
        match first {
            First::Logging(logging) => {
                logging.logged().await?;
                receipt.accepted += judged.named.len();
            }
            First::Nothing if judged.named.is_empty() && level != Ack::Stored => {}
            first => {
                let indexes = || unnamed(judged.events, &receipt.errors, &judged.named);
                let logged = numbers.map(|numbers| Logged { numbers, indexes: indexes() });
                let reserved =
                    if let First::Asked(reserved) = first { Some(reserved) } else { None };
                let named = (judged.named, reserved);
                let rest = parts.go_on((rules, &submission), named, logged, receipt);
                receipt = Box::pin(rest).await?;
            }
        }
        parts.count(&receipt);
        Ok(receipt)
    }

    fn attend(&self) -> impl Future<Output = ()> + 'static {
        courier()
    }

    async fn id_of_key(&self, tenant: &str, key: &str) -> Option<Uuid> {
        let reservations = &self.parts.reservations;
        let key = reservations.keys().of_key(tenant, key);
        reservations.find(key).await.map(|fixed| fixed.id)
    }

    fn store(&self) -> Option<Arc<dyn Store>> {
        self.parts.store.clone()
    }

    fn whereabouts(&self) -> Option<Whereabouts> {
        Some(self.parts.drains.whereabouts())
    }

    fn replays(&self) -> Option<Replays> {
        Some(self.parts.drains.replays().clone())
    }

    fn erasures(&self) -> Option<Erasures> {
        self.parts.erasures.clone()
    }
}

/// The places of those of a request's events that are neither refused nor named.
fn unnamed(events: usize, errors: &[EventError], named: &[Named]) -> Vec<usize> {
    let is_refused = |at: &usize| errors.binary_search_by_key(at, |error| error.index).is_ok();
    let is_named = |at: &usize| named.binary_search_by_key(at, |event| event.index).is_ok();
    (0..events).filter(|at| !is_refused(at) && !is_named(at)).collect()
}

/// Runs `work` with this thread's scratch space, empty.
fn with_scratch<T>(work: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    thread_local! {
        static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.clear();
        let done = work(scratch);
        if scratch.capacity() > SCRATCH_BYTES_KEPT {
            scratch.clear();
            scratch.shrink_to(SCRATCH_BYTES_KEPT);
        }
        done
    })
}
