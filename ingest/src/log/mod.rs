//! The append-only log that a pulse is in before its answer: segments on local disk, one writer
//! that syncs a group at a time, readers behind it. Knows frames, not what is in them.

mod chain;
mod commit;
mod courier;
#[cfg(test)]
mod crash_tests;
pub mod frame;
#[cfg(test)]
mod frame_tests;
mod lock;
mod positions;
mod reader;
mod recovery;
mod scan;
mod segment;
mod tail;
#[cfg(test)]
mod tests;
pub mod tool;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use crate::fs::Fs;
use crate::metrics::LogMetrics;
use crate::sink::progress::LogId;

use self::chain::{Chain, Home};
use self::commit::Committer;
use self::recovery::Recovered;
use self::writer::{Writer, WriterSettings};

pub use self::commit::Ticket;
pub use self::courier::courier;
pub use self::lock::{DataDirLock, LockError};
pub use self::reader::{LogReader, ReadChunk};

/// Most bytes that wait for the sync in progress; an append beyond is refused. At 180 MB/s (the
/// rate of 600,000 pulses of 300 bytes a second) it holds what comes in during a sync of 45 ms,
/// which is 200 times as long as a sync takes on a sound disk.
pub const PENDING_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Where the log is and how large it may be.
#[derive(Debug, Clone)]
pub struct LogSettings {
    /// Its own directory; made if it is not there.
    pub dir: PathBuf,
    /// Bytes not finished by every required sink at which appends are refused.
    pub budget_bytes: u64,
    /// Bytes at which the next segment is begun. One segment is read at start.
    pub segment_bytes: u64,
    /// Bytes that must stay free on the disk; below, appends are refused.
    pub free_bytes_min: u64,
}

/// Why the log was not opened. Nothing was changed.
#[derive(Debug, Error)]
pub enum OpenError {
    /// It was written by a newer version of this program.
    #[error("{} has log format {found}; this program knows formats up to {known}", path.display())]
    Newer {
        /// The file that says so.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format that is known here.
        known: u32,
    },
    /// A segment of another log lies in the directory.
    #[error("{} belongs to log {found}, not to log {expected} of this directory", path.display())]
    Foreign {
        /// The segment.
        path: PathBuf,
        /// The log that it belongs to.
        found: LogId,
        /// The log that the directory holds.
        expected: LogId,
    },
    /// The file system refused.
    #[error("{action} {} failed", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file or directory.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl OpenError {
    fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { action, path: path.to_path_buf(), source }
    }
}

/// Why pulses are not in the log. They may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum AppendError {
    /// The budget is used up: the sinks are behind.
    #[error("log budget is used up")]
    Full,
    /// More waits for the disk than is held in memory.
    #[error("log has too much waiting for the disk")]
    Busy,
    /// The disk is full, or has less than its reserve free.
    #[error("disk is full")]
    DiskFull,
    /// The disk did not take the write.
    #[error("log could not be written")]
    Failed,
    /// The log is closed.
    #[error("log is closed")]
    Closed,
}

impl AppendError {
    fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull,
            _ => Self::Failed,
        }
    }
}

/// The log. Clones are handles to the same one; the last that goes closes it.
#[derive(Debug, Clone)]
pub struct Log {
    chain: Arc<Chain>,
    committer: Arc<Committer>,
}

impl Log {
    /// Opens the log in `settings.dir`, or makes one, and starts its writer thread. The caller
    /// holds the [`DataDirLock`]. Takes as long with a backlog as without. Blocking.
    ///
    /// # Errors
    /// [`OpenError::Newer`] and [`OpenError::Foreign`] for what must not be touched, else
    /// [`OpenError::Io`]. A full disk is no error: appends are refused until there is room.
    pub fn open(
        settings: LogSettings,
        fs: Arc<dyn Fs>,
        metrics: LogMetrics,
    ) -> Result<Self, OpenError> {
        let (chain, mut writer) = open_core(&settings, fs, metrics)?;
        chain.metrics.budget_bytes.set(settings.budget_bytes as i64);
        writer.check();
        let committer = Committer::start(Arc::clone(&chain), writer, settings.budget_bytes)
            .map_err(|error| OpenError::io("start the writer of", &settings.dir, error))?;
        Ok(Self { chain, committer: Arc::new(committer) })
    }

    /// Which log it is.
    pub fn id(&self) -> LogId {
        self.chain.id
    }

    /// Hands in finished frames that hold `pulses` pulses; the ticket gives the first one's
    /// number once all are synced. Never blocks on the disk.
    ///
    /// # Errors
    /// At once when the log can't take them now; [`AppendError`] says why.
    pub fn append(&self, frames: &[u8], pulses: u64) -> Result<Ticket, AppendError> {
        self.committer.append(frames, pulses)
    }

    /// The first number that a pulse of this log could ever have had.
    pub fn start_seq(&self) -> u64 {
        0
    }

    /// The number behind the last synced pulse.
    pub fn end_seq(&self) -> u64 {
        self.chain.end_seq()
    }

    /// Where the log ends, in bytes of frames, as [`ReadChunk::end_position`] counts them.
    pub fn end_position(&self) -> u64 {
        self.chain.end_position()
    }

    /// Numbers below `seq` are never given out from now on: for a sink whose progress lies
    /// beyond the log's end, because the log's last segment was lost.
    pub fn skip_to(&self, seq: u64) {
        self.committer.skip_to(seq);
    }

    /// A reader whose first pulse is number `seq`, or the first behind it that is there.
    pub fn reader(&self, seq: u64) -> LogReader {
        LogReader::new(Arc::clone(&self.chain), seq)
    }

    /// Calls `growth` from now on, each time after [`Log::end_seq`] has grown, on the thread
    /// that writes the log: it must be quick. Only the first call of this counts.
    pub fn on_growth(&self, growth: impl Fn() + Send + Sync + 'static) {
        self.chain.on_growth(growth);
    }

    /// Every required sink has finished the numbers below `seq`: they no longer count against
    /// the budget.
    pub fn release(&self, seq: u64) {
        self.chain.release(seq);
    }

    /// Bytes of frames that were not released.
    pub fn used_bytes(&self) -> u64 {
        self.chain.used_bytes()
    }

    /// Removes the segments whose numbers are all below `seq`; a damaged one is set aside. All
    /// cursors must be synced at `seq` or beyond. Blocking. Returns how many are gone.
    ///
    /// # Errors
    /// What the file system says; the segments are forgotten all the same, and are found again
    /// at the next start.
    pub fn forget(&self, seq: u64) -> io::Result<usize> {
        self.chain.forget(seq)
    }

    /// Why an append would be refused now, the budget apart.
    pub fn refusal(&self) -> Option<AppendError> {
        self.committer.refusal()
    }

    /// Syncs what is pending, answers its tickets, and ends the writer. Blocking; again is fine.
    pub fn close(&self) {
        self.committer.close();
    }
}

/// Recovers the log without starting anything.
fn open_core(
    settings: &LogSettings,
    fs: Arc<dyn Fs>,
    metrics: LogMetrics,
) -> Result<(Arc<Chain>, Writer), OpenError> {
    let recovered = recovery::recover(&*fs, &settings.dir, settings.segment_bytes)?;
    tracing::info!(
        log = %recovered.id,
        segments = recovered.segments.len(),
        next_seq = recovered.start.next_seq,
        written_again = recovered.start.carry.end_seq - recovered.start.carry.first_seq,
        "opened the log"
    );
    Ok(assemble(settings, fs, metrics, recovered))
}

fn assemble(
    settings: &LogSettings,
    fs: Arc<dyn Fs>,
    metrics: LogMetrics,
    recovered: Recovered,
) -> (Arc<Chain>, Writer) {
    let Recovered { id, segments, start_seq, start, damaged } = recovered;
    let chain = Arc::new(Chain::new(
        Home { fs, directory: settings.dir.clone(), id },
        metrics,
        segments,
        start_seq,
    ));
    if let Some(ordinal) = damaged {
        chain.mark_damaged(ordinal);
    }
    let sizes = WriterSettings {
        segment_bytes: settings.segment_bytes,
        free_bytes_min: settings.free_bytes_min,
    };
    let writer = Writer::new(Arc::clone(&chain), sizes, start);
    (chain, writer)
}
