//! Starts the drains: finds where each sink goes on and gives it its threads.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

use crate::fs::Fs;
use crate::log::Log;
use crate::metrics::{HeldMetrics, SinkMetrics};
use crate::sink::buffer::MemoryBuffer;
use crate::sink::cursor::cursor_path;
use crate::sink::dead_letter::{DeadLetters, Known};
use crate::sink::log_source::LogSource;
use crate::sink::replay::Replays;
use crate::sink::shares::Shares;
use crate::sink::source::{FrameSource, Source};

use super::board::{Board, Place};
use super::keeper::{BeforeForget, Forgetter, Keeper, KeptLog};
use super::lane::Lane;
use super::reader::Reader;
use super::sink_drain::SinkDrain;
use super::view::View;
use super::{
    DrainSettings, Drains, Keeping, Need, SinkRegistration, StartError, Thread, Threads, restore,
    settings,
};

/// Everything that drains are made of.
pub struct DrainParts {
    /// The log; `None` where all is held in memory.
    pub log: Option<Log>,
    /// Pulses that only memory holds.
    pub buffer: Arc<MemoryBuffer>,
    /// Where batches go.
    pub sinks: Vec<SinkRegistration>,
    /// The data directory: cursors go to `sinks/`, dead letters to `dead-letters/`.
    pub dir: PathBuf,
    /// The file system that it lies on.
    pub fs: Arc<dyn Fs>,
    /// Sizes and times.
    pub settings: DrainSettings,
    /// Metrics of sinks.
    pub metrics: SinkMetrics,
    /// Metrics of the buffer.
    pub held: HeldMetrics,
    /// Where writes run; must have threads of its own.
    pub runtime: Handle,
    /// Told before the log forgets.
    pub before_forget: Vec<BeforeForget>,
}

impl std::fmt::Debug for DrainParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DrainParts").field("sinks", &self.sinks).finish_non_exhaustive()
    }
}

impl Drains {
    /// Finds where each sink goes on, and starts draining. Blocking.
    ///
    /// # Errors
    /// [`StartError`] says what is wrong with names, files or a missing sink.
    pub fn start(mut parts: DrainParts) -> Result<Self, StartError> {
        let log = parts.log.take().map(LogSource::new).transpose();
        let log = log.map_err(StartError::Log)?;
        Self::start_from(log.map(|log| Arc::new(log) as Arc<dyn FrameSource>), parts)
    }

    fn start_from(
        log: Option<Arc<dyn FrameSource>>,
        mut parts: DrainParts,
    ) -> Result<Self, StartError> {
        settings::check_names(&parts.sinks)?;
        parts.sinks.sort_by_key(|sink| sink.need != Need::Required);
        let required = parts.sinks.iter().filter(|sink| sink.need == Need::Required).count();
        let (letters, known) = parts.open_files()?;
        let memory: Arc<dyn FrameSource> = Arc::clone(&parts.buffer) as _;
        let places = parts.sinks.iter().map(|_| Place::default()).collect();
        let memory = Arc::new(Board::new(Source::Memory, memory, places, required));
        let log = match log {
            Some(log) => {
                let places = parts.places_in_log(&*log, &known)?;
                Some(Arc::new(Board::new(Source::Log, log, places, required)))
            }
            None => {
                parts.register(None)?;
                None
            }
        };
        let shares = Arc::new(Shares::new(required));
        if let Some(board) = &log {
            count_backlog(board, &shares, required);
        }
        let sinks = std::mem::take(&mut parts.sinks).into_iter().enumerate();
        let sinks = sinks.map(|(index, sink)| {
            let letters = Arc::clone(&letters);
            Arc::new(SinkDrain::new(index, sink, &parts.settings, letters, &parts.metrics))
        });
        let sinks = sinks.collect();
        let (stop, threads) = (Arc::default(), Mutex::new(None));
        let died = watch::Sender::new(None);
        let view = Arc::new(View { sinks, log, memory, letters: Arc::clone(&letters) });
        let replays =
            Replays::open(Arc::clone(&parts.fs), &parts.letters_dir(), Arc::clone(&view))?;
        let drains = Self { view, letters, replays, shares, stop, threads, died };
        drains.subscribe(&parts, required);
        drains.view.export(&parts.buffer, &parts.metrics, &parts.held);
        let runtime = parts.runtime.clone();
        drains.start_threads(parts)?;
        drains.replays.start(&runtime);
        Ok(drains)
    }

    fn subscribe(&self, parts: &DrainParts, required: usize) {
        let lags = self.view.sinks.iter().filter_map(|sink| match sink.need {
            Need::Required => None,
            Need::BestEffort { lag_bytes_max } => Some(lag_bytes_max),
        });
        parts.buffer.attach(required, self.view.sinks.len(), lags.max().unwrap_or(0));
        for board in self.view.boards() {
            let bells = self.view.sinks.iter().map(|sink| Arc::clone(&sink.bell));
            board.source.tell(bells.collect());
        }
    }

    fn start_threads(&self, parts: DrainParts) -> Result<(), StartError> {
        let needs = self.view.sinks.iter().map(|sink| sink.need).collect();
        let sinks_dir = parts.sinks_dir();
        let before_forget = parts.before_forget;
        let forgetter = self
            .view
            .log
            .as_ref()
            .map(|board| Arc::new(Forgetter::new(Arc::clone(board), needs, before_forget)));
        let (mut readers, mut keepers) = (Vec::new(), Vec::new());
        for sink in &self.view.sinks {
            readers.push(self.start_reader(sink, &parts.runtime).map_err(StartError::Thread)?);
            let kept_log = self.view.log.as_ref().zip(forgetter.as_ref());
            let keeper = Keeper {
                drain: Arc::clone(sink),
                log: kept_log.map(|(board, forgetter)| KeptLog {
                    board: Arc::clone(board),
                    forgetter: Arc::clone(forgetter),
                    fs: Arc::clone(&parts.fs),
                    path: cursor_path(&sinks_dir, &sink.name),
                }),
                memory: Arc::clone(&self.view.memory),
                runtime: parts.runtime.clone(),
            };
            let (stop, stopped) = mpsc::sync_channel(1);
            let name = format!("cursor-{}", sink.name);
            let thread =
                self.spawn(name, move || keeper.run(&stopped)).map_err(StartError::Thread)?;
            keepers.push(Keeping { thread, stop });
        }
        let threads = Threads { readers, keepers };
        *self.threads.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(threads);
        Ok(())
    }

    fn start_reader(&self, sink: &Arc<SinkDrain>, runtime: &Handle) -> io::Result<Thread> {
        let lane = |board: &Arc<Board>| {
            Lane::new(Arc::clone(sink), Arc::clone(board), Arc::clone(&self.shares))
        };
        let lanes = self.view.log.iter().chain([&self.view.memory]).map(lane).collect();
        let reader = Reader::new(Arc::clone(sink), lanes, runtime.clone());
        let stop = Arc::clone(&self.stop);
        self.spawn(format!("drain-{}", sink.name), move || reader.run(|| stop.deadline()))
    }

    fn spawn(&self, name: String, work: impl FnOnce() + Send + 'static) -> io::Result<Thread> {
        let (end, ended) = oneshot::channel();
        let (died, me) = (self.died.clone(), name.clone());
        let handle = thread::Builder::new().name(name).spawn(move || {
            // Dropped when the work is over, also when it panics.
            let _end = Ending { _end: end, died, name: me };
            work();
        })?;
        Ok(Thread { handle, ended })
    }
}

impl DrainParts {
    fn sinks_dir(&self) -> PathBuf {
        self.dir.join("sinks")
    }

    fn letters_dir(&self) -> PathBuf {
        self.dir.join("dead-letters")
    }

    fn open_files(&self) -> Result<(Arc<DeadLetters>, Known), StartError> {
        let sinks_dir = self.sinks_dir();
        let made = self.fs.create_dir_all(&sinks_dir).and_then(|()| self.fs.sync_dir(&self.dir));
        // A cursor that was replaced just before a kill is acted upon from now on.
        let made = made.and_then(|()| self.fs.sync_dir(&sinks_dir));
        made.map_err(|source| StartError::Io { path: sinks_dir, source })?;
        let (letters, known) = DeadLetters::open(
            Arc::clone(&self.fs),
            self.letters_dir(),
            self.settings.dead_letter_bytes_max,
        )?;
        self.metrics.dead_letter_bytes.set(i64::try_from(letters.bytes()).unwrap_or(i64::MAX));
        let capacity = i64::try_from(self.buffer.pulses_max()).unwrap_or(i64::MAX);
        self.held.buffer_capacity.set(capacity);
        Ok((Arc::new(letters), known))
    }

    fn register(&self, log: Option<&dyn FrameSource>) -> Result<(), StartError> {
        let forget = &self.settings.forget;
        restore::register(&*self.fs, &self.sinks_dir(), &self.sinks, forget, log)
    }

    fn places_in_log(
        &self,
        log: &dyn FrameSource,
        known: &Known,
    ) -> Result<Vec<Place>, StartError> {
        self.register(Some(log))?;
        let sinks_dir = self.sinks_dir();
        let place = |sink: &SinkRegistration| {
            let named = (&*sink.name, &*sink.sink);
            restore::place_in_log(&*self.fs, &sinks_dir, named, log, known)
        };
        self.sinks.iter().map(place).collect()
    }
}

/// Tells that a thread has ended, and how.
struct Ending {
    _end: oneshot::Sender<()>,
    died: watch::Sender<Option<String>>,
    name: String,
}

impl Drop for Ending {
    fn drop(&mut self) {
        if thread::panicking() {
            tracing::error!(thread = self.name, "thread died");
            self.died.send_if_modified(|first| {
                let is_first = first.is_none();
                first.get_or_insert_with(|| self.name.clone());
                is_first
            });
        }
    }
}

fn count_backlog(board: &Board, shares: &Shares, required: usize) {
    let (low, end) = (board.required_low(), board.source.end_seq());
    board.source.set_low(low);
    let starts = (0..required).map(|sink| board.low(sink)).collect();
    shares.set_backlog(board.source.bytes_from(low), end, starts);
}
