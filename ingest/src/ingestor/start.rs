//! From settings to a running ingestor: everything on disk opened in the order in which one
//! part needs the next.

use std::io;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use thiserror::Error;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinSet;
use tracing::warn;

use crate::admission::Levels;
use crate::erasure::{Erasures, Remembered};
use crate::fs::{Fs, OsFs};
use crate::log::frame::Frame;
use crate::log::{DataDirLock, LockError, Log, LogSettings, OpenError};
use crate::metrics::AckLabels;
use crate::reservation::{self, Reservations, Restoring, SystemClock};
use crate::sharing::{self, LEASE, LinkSettings, Settled};
use crate::sink::Sink;
use crate::sink::buffer::MemoryBuffer;
use crate::sink::drain::{self, DrainParts, DrainSettings, Drains, Need};
use crate::submission::Ack;
use crate::tenant::{DEFAULT_TENANT, Tenant};

use super::shared::Recent;
use super::{Ingestor, IngestorBuilder, Parts};

/// Threads of the background runtime: sinks wait more than they work, and one that works on the
/// thread must not stop the other.
const BACKGROUND_THREADS: usize = 2;
/// Most threads that sinks may block at the same time.
const BLOCKING_THREADS_MAX: usize = 16;
/// Between two calls of [`Sink::maintain`].
const MAINTAIN_INTERVAL: Duration = Duration::from_secs(60);
/// How much of the log is read at a time when reservations are restored.
const RESTORE_READ_BYTES: usize = 1 << 20;

/// Why an ingestor could not be started. Nothing on disk was changed but what recovery mends.
#[derive(Debug, Error)]
pub enum StartError {
    /// No sink at all, or a level that can't be given.
    #[error("{0}")]
    Settings(&'static str),
    /// Another process has the directory.
    #[error("take the data directory failed")]
    Lock(#[source] LockError),
    /// The log can't be opened.
    #[error("open the log failed")]
    Log(#[source] OpenError),
    /// The reservations can't be opened.
    #[error("open the reservations failed")]
    Reservations(#[source] reservation::OpenError),
    /// The drains can't be started.
    #[error("start the drains failed")]
    Drains(#[source] drain::StartError),
    /// What is kept of erasures can't be read.
    #[error("open the erasures failed")]
    Erasures(#[source] anyhow::Error),
    /// The disk or a thread failed.
    #[error("{action} failed")]
    Io {
        /// What was to be done.
        action: &'static str,
        /// Why it could not.
        #[source]
        source: io::Error,
    },
}

impl StartError {
    fn io(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, source }
    }
}

impl Ingestor {
    pub(super) fn start(mut builder: IngestorBuilder) -> Result<Self, StartError> {
        let levels = levels(&builder)?;
        let fs: Arc<dyn Fs> = Arc::new(OsFs);
        let background = Background::start().map_err(StartError::io("start threads"))?;
        let directory = builder.data_dir.clone();
        make_directory(&*fs, &directory).map_err(StartError::io("make the data directory"))?;
        let lock = match builder.lock.take() {
            Some(lock) => lock,
            None => DataDirLock::acquire(&directory).map_err(StartError::Lock)?,
        };
        let log = open_log(&builder, &fs)?;
        let (reservations, settled) = open_reservations(&builder, &log, &fs)?;
        let sharing = start_sharing(&mut builder, &log, settled, &background);
        let buffer =
            Arc::new(MemoryBuffer::new(builder.buffer_pulses as u64, builder.buffer_bytes as u64));
        builder.metrics.held.buffer_capacity.set(builder.buffer_pulses as i64);
        let erasing = open_erasures(&builder, &fs)?;
        let drains = start_drains(&builder, (&log, &buffer), &reservations, fs, &background)?;
        let erasures = start_erasures(&builder, erasing, &drains, &background);
        background.maintain(builder.sinks.iter().map(|sink| Arc::clone(&sink.sink)));
        let accepted = [Ack::Memory, Ack::Durable, Ack::Stored].map(|level| {
            let label = AckLabels { ack: level.as_str() };
            builder.metrics.pulses.accepted.get_or_create(&label).clone()
        });
        let parts = Parts {
            levels,
            overflow: builder.overflow,
            log,
            log_budget_bytes: builder.log.budget_bytes,
            buffer,
            drains,
            erasures,
            reservations,
            sharing,
            store: builder.store,
            sinks: builder.sinks.into_iter().map(|sink| sink.sink).collect(),
            limiter: builder.limiter,
            metrics: builder.metrics,
            clock: builder.clock,
            default_tenant: Tenant::unlimited(DEFAULT_TENANT),
            retention_ms: i64::try_from(builder.retention.as_millis()).unwrap_or(i64::MAX),
            retention_classes: builder.retention_classes,
            stored_timeout: builder.stored_timeout,
            accepted,
            closing: AtomicBool::new(false),
            background,
            data_dir: directory,
            lock,
        };
        Ok(Self { parts: Arc::new(parts) })
    }
}

/// Makes a directory so that a power loss can't take it with all that is synced below it.
fn make_directory(fs: &dyn Fs, directory: &Path) -> io::Result<()> {
    fs.create_dir_all(directory)?;
    match directory.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => fs.sync_dir(parent),
        _ => fs.sync_dir(Path::new(".")),
    }
}

fn levels(builder: &IngestorBuilder) -> Result<Levels, StartError> {
    if builder.sinks.is_empty() {
        return Err(StartError::Settings("an ingestor needs a store or a sink"));
    }
    if builder.ack > builder.ack_highest {
        return Err(StartError::Settings("the default level is above the highest"));
    }
    let required = builder.sinks.iter().any(|sink| sink.need == Need::Required);
    if builder.ack == Ack::Stored && !required {
        return Err(StartError::Settings("the level stored needs a required sink"));
    }
    // Nobody could say when a pulse is stored.
    let highest =
        if required { builder.ack_highest } else { builder.ack_highest.min(Ack::Durable) };
    Ok(Levels { default: builder.ack, highest })
}

fn open_log(builder: &IngestorBuilder, fs: &Arc<dyn Fs>) -> Result<Log, StartError> {
    let settings = LogSettings {
        dir: builder.data_dir.join("log"),
        budget_bytes: builder.log.budget_bytes,
        segment_bytes: builder.log.segment_bytes,
        free_bytes_min: builder.log.free_bytes_min,
    };
    Log::open(settings, Arc::clone(fs), builder.metrics.log.clone()).map_err(StartError::Log)
}

/// Reads the reservations' files and, from the log, what these lack: about a second's worth.
fn open_reservations(
    builder: &IngestorBuilder,
    log: &Log,
    fs: &Arc<dyn Fs>,
) -> Result<(Reservations, Vec<Settled>), StartError> {
    let settings = reservation::Settings {
        window: builder.idempotency_window,
        keys_max: builder.idempotency_keys,
        log: Some(log.id()),
    };
    let directory = builder.data_dir.join("reservations");
    let clock = Arc::new(SystemClock::default());
    let held = builder.metrics.held.clone();
    let mut restoring = Restoring::open(&directory, Arc::clone(fs), settings, clock, held)
        .map_err(StartError::Reservations)?;
    let from = restoring.restore_from_seq();
    let mut recent = Recent::of(builder);
    let mut reader = log.reader(recent.start_seq(from, log.end_seq()));
    while let Some(chunk) =
        reader.read(RESTORE_READ_BYTES).map_err(StartError::io("read the log"))?
    {
        let mut at = 0;
        while let Ok(frame) = Frame::read_proven(&chunk.bytes[at..]) {
            let is_new = frame.header().end_seq() > from;
            frame.entries().for_each(|(_, record)| {
                recent.note(&record);
                if is_new {
                    restoring.restore(&record);
                }
            });
            at += frame.header().frame_bytes();
        }
    }
    let log = log.clone();
    let reservations = restoring.start(move || log.end_seq());
    Ok((reservations.map_err(StartError::io("start threads"))?, recent.settled))
}

/// Shares ids and keys from now on, where that is set.
fn start_sharing(
    builder: &mut IngestorBuilder,
    log: &Log,
    settled: Vec<Settled>,
    background: &Background,
) -> Option<Arc<sharing::Link>> {
    let settings = LinkSettings {
        log: log.id(),
        window: builder.idempotency_window,
        lease: LEASE,
        settled,
        clock: Arc::clone(&builder.clock),
        metrics: builder.metrics.sharing.clone(),
    };
    let (link, worker) = sharing::start(std::mem::take(&mut builder.shared), settings)?;
    background.keep(worker.run());
    Some(link)
}

/// Reads what erasures there are, and has the store take nothing that they are about, before
/// anything is written to it.
fn open_erasures(
    builder: &IngestorBuilder,
    fs: &Arc<dyn Fs>,
) -> Result<Option<Remembered>, StartError> {
    let Some(store) = &builder.store else { return Ok(None) };
    let opened = Remembered::open(Arc::clone(fs), &builder.data_dir);
    let remembered = opened.map_err(|error| StartError::Erasures(error.into()))?;
    remembered.bar(&**store);
    Ok(Some(remembered))
}

fn start_erasures(
    builder: &IngestorBuilder,
    remembered: Option<Remembered>,
    drains: &Drains,
    background: &Background,
) -> Option<Erasures> {
    let (store, clock) = (Arc::clone(builder.store.as_ref()?), Arc::clone(&builder.clock));
    let metrics = builder.metrics.erasures.clone();
    let erasures = Erasures::new(remembered?, store, drains, clock, metrics);
    erasures.start(background.handle());
    Some(erasures)
}

fn start_drains(
    builder: &IngestorBuilder,
    (log, buffer): (&Log, &Arc<MemoryBuffer>),
    reservations: &Reservations,
    fs: Arc<dyn Fs>,
    background: &Background,
) -> Result<Drains, StartError> {
    let settings = DrainSettings {
        batch_size: builder.batch_rows,
        flush_interval: builder.flush_interval,
        workers: builder.workers,
        window_bytes: builder.window_bytes,
        dead_letter_bytes_max: builder.dead_letter_bytes,
        tenants: builder.tenants.clone(),
        ..DrainSettings::default()
    };
    let before_forget = reservations.clone();
    Drains::start(DrainParts {
        log: Some(log.clone()),
        buffer: Arc::clone(buffer),
        sinks: builder.sinks.clone(),
        dir: builder.data_dir.clone(),
        fs,
        settings,
        metrics: builder.metrics.sinks.clone(),
        held: builder.metrics.held.clone(),
        runtime: background.handle().clone(),
        before_forget: vec![Box::new(move |seq| before_forget.sync_up_to(seq))],
    })
    .map_err(StartError::Drains)
}

/// The runtime of what is not on the path of a request. Ends without waiting for tasks that
/// block: they have had their deadline.
#[derive(Debug)]
pub(super) struct Background {
    handle: Handle,
    runtime: Mutex<Option<Runtime>>,
    /// Keys whose group is synced after their request has ended.
    abandoned: Mutex<JoinSet<()>>,
    maintaining: Mutex<JoinSet<()>>,
}

impl Background {
    fn start() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(BACKGROUND_THREADS)
            .max_blocking_threads(BLOCKING_THREADS_MAX)
            .thread_name("background")
            .thread_keep_alive(Duration::from_secs(10))
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        Ok(Self {
            handle,
            runtime: Mutex::new(Some(runtime)),
            abandoned: Mutex::default(),
            maintaining: Mutex::default(),
        })
    }

    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Runs what a request has left behind. It must end by itself.
    pub(super) fn finish(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut abandoned = self.abandoned.lock().unwrap_or_else(PoisonError::into_inner);
        while abandoned.try_join_next().is_some() {}
        abandoned.spawn_on(work, &self.handle);
    }

    /// Runs what ends with the process.
    fn keep(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut maintaining = self.maintaining.lock().unwrap_or_else(PoisonError::into_inner);
        maintaining.spawn_on(work, &self.handle);
    }

    fn maintain(&self, sinks: impl Iterator<Item = Arc<dyn Sink>>) {
        let mut maintaining = self.maintaining.lock().unwrap_or_else(PoisonError::into_inner);
        for sink in sinks {
            maintaining.spawn_on(keep_in_order(sink), &self.handle);
        }
    }

    pub(super) fn close(&self) {
        let runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(runtime) = runtime {
            runtime.shutdown_background();
        }
    }
}

async fn keep_in_order(sink: Arc<dyn Sink>) {
    loop {
        tokio::time::sleep(MAINTAIN_INTERVAL).await;
        if let Err(error) = sink.maintain().await {
            warn!(error = format!("{error:#}"), "maintain the sink failed; tried again later");
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.close();
    }
}
