//! Drains over a real log and buffer, and a sink that answers as a test wants.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use uuid::Uuid;

use crate::fs::{Fs, OsFs};
use crate::log::frame::{Entry, Envelope, FrameBuilder};
use crate::log::{Log, LogSettings};
use crate::metrics::{Metrics, unregistered};
use crate::pulse::Shape;
use crate::sink::buffer::MemoryBuffer;
use crate::sink::drain::{
    DrainParts, DrainSettings, Drains, Need, RetrySettings, SinkRegistration,
};
use crate::sink::progress::{LogId, Progress};
use crate::sink::{Batch, Sink, SinkError, Written};

/// Longest wait for anything; only a failing test takes it.
pub(crate) const LONG: Duration = Duration::from_secs(30);

/// No number is this.
pub(crate) const DEFECT: u64 = u64::MAX;

/// What the sink says to a batch; `None`: it takes it.
pub(crate) type Answer = dyn Fn(&Batch) -> Option<SinkError> + Send + Sync;

/// An idempotent sink that holds ids.
pub(crate) struct ScriptedSink {
    answer: Box<Answer>,
    /// While set, writes wait.
    pub(crate) stuck: AtomicBool,
    /// While set, syncs wait.
    pub(crate) sync_stuck: AtomicBool,
    keeps_progress: bool,
    state: Mutex<SinkHeld>,
}

#[derive(Debug, Default)]
pub(crate) struct SinkHeld {
    pub(crate) rows: HashSet<Uuid>,
    /// The tenants of each batch that was taken, in order.
    pub(crate) batches: Vec<HashMap<String, usize>>,
    pub(crate) attempts: usize,
    progress: HashMap<LogId, Progress>,
}

impl fmt::Debug for ScriptedSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScriptedSink")
    }
}

impl ScriptedSink {
    pub(crate) fn new(
        answer: impl Fn(&Batch) -> Option<SinkError> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Self::with_progress(false, answer)
    }

    pub(crate) fn with_progress(
        keeps_progress: bool,
        answer: impl Fn(&Batch) -> Option<SinkError> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            answer: Box::new(answer),
            stuck: AtomicBool::new(false),
            sync_stuck: AtomicBool::new(false),
            keeps_progress,
            state: Mutex::default(),
        })
    }

    pub(crate) fn taking_all() -> Arc<Self> {
        Self::new(|_| None)
    }

    /// Rows that it has taken in all, by its own count.
    pub(crate) fn rows_of_progress(&self) -> u64 {
        self.held().progress.values().map(|progress| progress.rows).sum()
    }

    pub(crate) fn held(&self) -> MutexGuard<'_, SinkHeld> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, batch: &Batch) -> Result<Written, SinkError> {
        self.held().attempts += 1;
        if let Some(error) = (self.answer)(batch) {
            return Err(error);
        }
        let mut held = self.held();
        let mut tenants = HashMap::new();
        for record in batch.rows() {
            held.rows.insert(record.entry.id);
            *tenants.entry(record.envelope.tenant.to_owned()).or_default() += 1;
        }
        held.batches.push(tenants);
        if let Some(log) = batch.log() {
            let progress = held.progress.entry(log).or_default();
            for row in batch.row_refs() {
                progress.rows += u64::from(!progress.finished.contains(row.seq));
                progress.finished.insert(row.seq, row.seq + 1);
            }
            progress.finished.raise(batch.finished_below());
        }
        Ok(Written { rows: batch.len() as u64, expired: 0 })
    }
}

impl Sink for ScriptedSink {
    fn write<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<Written, SinkError>> {
        async move {
            while_set(&self.stuck).await;
            self.take(batch)
        }
        .boxed()
    }

    fn sync(&self) -> BoxFuture<'_, anyhow::Result<()>> {
        async move {
            while_set(&self.sync_stuck).await;
            Ok(())
        }
        .boxed()
    }

    fn progress(&self, log: LogId) -> Option<Progress> {
        self.keeps_progress.then(|| self.held().progress.get(&log).cloned().unwrap_or_default())
    }
}

async fn while_set(flag: &AtomicBool) {
    while flag.load(Ordering::SeqCst) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Whether a batch holds the pulse of this id.
pub(crate) fn holds(batch: &Batch, id: u128) -> bool {
    batch.rows().any(|record| record.entry.id == Uuid::from_u128(id))
}

pub(crate) fn unknown() -> SinkError {
    SinkError::Unknown(anyhow::anyhow!("no reason given"))
}

pub(crate) fn required(name: &str, sink: &Arc<ScriptedSink>) -> SinkRegistration {
    SinkRegistration { name: name.to_owned(), sink: Arc::clone(sink) as _, need: Need::Required }
}

/// Short waits, small batches.
pub(crate) fn settings() -> DrainSettings {
    DrainSettings {
        batch_size: 100,
        flush_interval: Duration::from_millis(5),
        workers: 2,
        retry: RetrySettings {
            wait_first: Duration::from_millis(1),
            wait_max: Duration::from_millis(10),
            write_timeout: LONG,
        },
        ..DrainSettings::default()
    }
}

/// Drains with what they read from.
pub(crate) struct Rig {
    pub(crate) log: Log,
    pub(crate) buffer: Arc<MemoryBuffer>,
    pub(crate) drains: Drains,
    pub(crate) metrics: Arc<Metrics>,
    /// What the log has said that it forgets; told so at [`DEFECT`], its teller panics.
    pub(crate) forgotten: Arc<AtomicU64>,
}

impl Rig {
    pub(crate) fn start(dir: &Path, sinks: Vec<SinkRegistration>, settings: DrainSettings) -> Self {
        Self::start_on(Arc::new(OsFs), dir, sinks, settings).expect("drains start")
    }

    pub(crate) fn start_on(
        fs: Arc<dyn Fs>,
        dir: &Path,
        sinks: Vec<SinkRegistration>,
        settings: DrainSettings,
    ) -> anyhow::Result<Self> {
        let metrics = unregistered();
        let log_settings = LogSettings {
            dir: dir.join("log"),
            budget_bytes: 256 << 20,
            segment_bytes: 64 << 10,
            free_bytes_min: 0,
        };
        fs.create_dir_all(dir)?;
        fs.sync_dir(dir.parent().expect("a parent"))?;
        let log = Log::open(log_settings, Arc::clone(&fs), metrics.log.clone())?;
        let buffer = Arc::new(MemoryBuffer::new(1_000_000, 256 << 20));
        let forgotten = Arc::new(AtomicU64::new(0));
        let told = Arc::clone(&forgotten);
        let drains = Drains::start(DrainParts {
            log: Some(log.clone()),
            buffer: Arc::clone(&buffer),
            sinks,
            dir: dir.to_owned(),
            fs,
            settings,
            metrics: metrics.sinks.clone(),
            held: metrics.held.clone(),
            runtime: Handle::current(),
            before_forget: vec![Box::new(move |seq| {
                assert!(told.fetch_max(seq, Ordering::SeqCst) < DEFECT, "a defect");
                Ok(())
            })],
        })?;
        Ok(Self { log, buffer, drains, metrics, forgotten })
    }

    /// Logs pulses with these ids; returns their first number.
    pub(crate) async fn log(&self, tenant: &str, ids: std::ops::Range<u128>) -> u64 {
        let pulses = (ids.end - ids.start) as u64;
        let frames = frames(tenant, ids);
        self.drains.shares().add(tenant, frames.len() as u64);
        self.log.append(&frames, pulses).expect("room").await.expect("logged")
    }

    pub(crate) fn buffer(&self, tenant: &str, ids: std::ops::Range<u128>) {
        let pulses = (ids.end - ids.start) as u64;
        let frames = frames(tenant, ids);
        self.drains.shares().add(tenant, frames.len() as u64);
        self.buffer.append(&frames, pulses).expect("room");
    }

    pub(crate) async fn flush(&self) {
        let flushed = tokio::time::timeout(LONG, self.drains.flush()).await;
        flushed.expect("flushed in time").expect("not stopped");
    }

    pub(crate) async fn stop(self) {
        self.stop_within(LONG).await;
    }

    pub(crate) async fn stop_within(self, patience: Duration) {
        self.drains.stop(Instant::now() + patience).await;
        self.log.close();
    }

    /// Ids of the dead letters.
    pub(crate) fn dead(&self) -> Vec<u128> {
        let letters = self.drains.dead_letters().iter();
        letters
            .map(|letter| {
                let letter = letter.expect("readable");
                letter.record().expect("a pulse").entry.id.as_u128()
            })
            .collect()
    }

    pub(crate) fn assert_balanced(&self) {
        for ledger in self.drains.ledger() {
            assert!(ledger.is_balanced(), "{ledger:?}");
        }
    }
}

/// Finished frames of one tenant; each pulse's bytes are its id.
pub(crate) fn frames(tenant: &str, ids: std::ops::Range<u128>) -> Vec<u8> {
    let envelope = Envelope {
        tenant,
        shape: Shape::Pulse,
        received_at_us: 1_700_000_000_000_000,
        trace: None,
    };
    let mut bytes = Vec::new();
    let mut ids = ids.peekable();
    while ids.peek().is_some() {
        let mut frame = FrameBuilder::new(&mut bytes, &envelope);
        for id in ids.by_ref() {
            frame.push(&Entry {
                id: Uuid::from_u128(id),
                event_time_ms: 1_700_000_000_000,
                shard: 0,
                service: "checkout",
                kind: "pulse",
                key: None,
                body_hash: None,
                refused: None,
                raw: id.to_string().as_bytes(),
            });
            if frame.is_full() {
                break;
            }
        }
        frame.finish();
    }
    bytes
}

pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < LONG, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
