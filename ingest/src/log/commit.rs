//! Group commit: appends gather in one buffer while the group before is synced; one sync serves
//! all who wait. Decides who is refused and who is told; writes nothing itself.

use std::future::Future;
use std::io;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::chain::Chain;
use super::courier;
use super::writer::Writer;
use super::{AppendError, PENDING_BYTES_MAX};

/// How often the disk's free room is looked at: a call of a microsecond each.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// Longest pause between two tries to write again; the first is [`CHECK_INTERVAL`].
const RETRY_INTERVAL_MAX: Duration = Duration::from_secs(2);
/// Room that a buffer keeps between groups; what a burst needed beyond is given back.
const BUFFER_BYTES_KEPT: usize = 1024 * 1024;

type Outcome = Result<u64, AppendError>;

/// The outcome of an append: resolves to the first pulse's number once all are synced.
/// Dropping it changes nothing for the pulses.
#[derive(Debug)]
pub struct Ticket {
    group: Arc<Group>,
    offset: u64,
    waits: bool,
}

/// Appends that share a sync, and so an outcome.
#[derive(Debug, Default)]
pub(super) struct Group {
    outcome: OnceLock<Outcome>,
    wakers: Mutex<Vec<Waker>>,
}

/// A group that the writer has taken: whatever becomes of it, its tickets are answered.
#[derive(Debug, Default)]
struct Promise(Arc<Group>);

impl Drop for Promise {
    fn drop(&mut self) {
        self.0.finish(Err(AppendError::Closed));
    }
}

/// The gathering side and the writer thread.
#[derive(Debug)]
pub(crate) struct Committer {
    shared: Arc<Shared>,
    budget_bytes: u64,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    chain: Arc<Chain>,
    pending: Mutex<Pending>,
    /// Wakes the writer.
    arrived: Condvar,
}

#[derive(Debug, Default)]
struct Pending {
    frames: Vec<u8>,
    pulses: u64,
    group: Arc<Group>,
    appends: usize,
    /// Bytes that the writer has taken and not yet answered.
    in_flight_bytes: u64,
    refusal: Option<AppendError>,
    skip_to: u64,
    closed: bool,
    /// The writer has nothing to do and waits to be woken.
    writer_waits: bool,
}

/// What the writer thread takes at once.
#[derive(Debug)]
struct Taken {
    frames: Vec<u8>,
    group: Promise,
    appends: usize,
    skip_to: u64,
    closed: bool,
}

impl Future for Ticket {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        if self.group.outcome.get().is_none() {
            let mut wakers = lock(&self.group.wakers);
            // The writer sets the outcome before it takes the wakers: seen here, or woken later.
            if self.group.outcome.get().is_none() {
                let task = context.waker();
                let is_known = self.waits && wakers.iter().any(|waker| waker.will_wake(task));
                if !is_known && !courier::take_on(&self.group, &mut wakers, task, self.waits) {
                    wakers.push(task.clone());
                }
                drop(wakers);
                self.waits = true;
                return Poll::Pending;
            }
        }
        let outcome = self.group.outcome.get().copied().unwrap_or(Err(AppendError::Closed));
        Poll::Ready(outcome.map(|first_seq| first_seq + self.offset))
    }
}

impl Group {
    /// Whether all who wait for it can be told.
    pub(super) fn is_settled(&self) -> bool {
        self.outcome.get().is_some()
    }

    pub(super) fn finish(&self, outcome: Outcome) {
        let _ = self.outcome.set(outcome);
        let wakers = std::mem::take(&mut *lock(&self.wakers));
        for waker in wakers {
            waker.wake();
        }
    }
}

impl Committer {
    pub(crate) fn start(chain: Arc<Chain>, writer: Writer, budget_bytes: u64) -> io::Result<Self> {
        let pending = Pending { refusal: writer.refusal(), ..Pending::default() };
        let shared =
            Arc::new(Shared { chain, pending: Mutex::new(pending), arrived: Condvar::new() });
        let thread = std::thread::Builder::new().name("log-writer".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || run(&shared, writer)
        })?;
        Ok(Self { shared, budget_bytes, thread: Mutex::new(Some(thread)) })
    }

    pub(crate) fn append(&self, frames: &[u8], pulses: u64) -> Result<Ticket, AppendError> {
        let mut pending = lock(&self.shared.pending);
        if pending.closed {
            return Err(AppendError::Closed);
        }
        if let Some(refusal) = pending.refusal {
            return Err(refusal);
        }
        let waiting = pending.frames.len();
        if waiting > 0 && waiting + frames.len() > PENDING_BYTES_MAX {
            return Err(AppendError::Busy);
        }
        let unsynced = pending.in_flight_bytes + (waiting + frames.len()) as u64;
        if self.shared.chain.used_bytes() + unsynced > self.budget_bytes {
            return Err(AppendError::Full);
        }
        let ticket =
            Ticket { group: Arc::clone(&pending.group), offset: pending.pulses, waits: false };
        pending.frames.extend_from_slice(frames);
        pending.pulses += pulses;
        pending.appends += 1;
        if mem::take(&mut pending.writer_waits) {
            drop(pending);
            self.shared.arrived.notify_one();
        }
        Ok(ticket)
    }

    pub(crate) fn skip_to(&self, seq: u64) {
        let mut pending = lock(&self.shared.pending);
        pending.skip_to = pending.skip_to.max(seq);
    }

    pub(crate) fn refusal(&self) -> Option<AppendError> {
        let pending = lock(&self.shared.pending);
        if pending.closed { Some(AppendError::Closed) } else { pending.refusal }
    }

    pub(crate) fn close(&self) {
        lock(&self.shared.pending).closed = true;
        self.shared.arrived.notify_one();
        let thread = lock(&self.thread).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the log's writer panicked");
        }
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.close();
    }
}

/// Closes the log when the writer thread ends, however it ends, so that nobody waits for ever.
struct CloseAtEnd<'s>(&'s Shared);

impl Drop for CloseAtEnd<'_> {
    fn drop(&mut self) {
        let mut pending = lock(&self.0.pending);
        pending.closed = true;
        let group = Promise(std::mem::take(&mut pending.group));
        drop(pending);
        drop(group);
    }
}

fn run(shared: &Shared, mut writer: Writer) {
    let end = CloseAtEnd(shared);
    let mut buffer = Vec::new();
    let mut pause = CHECK_INTERVAL;
    let mut checked = Instant::now();
    loop {
        let wait = writer.refusal().is_some().then_some(pause);
        let taken = shared.take(std::mem::take(&mut buffer), wait);
        writer.skip_to(taken.skip_to);
        let Taken { mut frames, group, appends, closed, .. } = taken;
        if appends > 0 {
            let outcome = writer.append(&mut frames);
            shared.settle(writer.refusal());
            group.0.finish(outcome);
            writer.tidy();
            // Who was just answered often comes with a next request at once, and should be in
            // the next group: this lets them, and costs nothing where nobody else wants to run.
            std::thread::yield_now();
        } else if closed {
            break;
        }
        let due = if writer.refusal().is_some() { pause } else { CHECK_INTERVAL };
        if checked.elapsed() >= due {
            writer.check();
            checked = Instant::now();
            pause = match writer.refusal() {
                Some(AppendError::DiskFull) | None => CHECK_INTERVAL,
                Some(_) => (pause * 2).min(RETRY_INTERVAL_MAX),
            };
            shared.settle(writer.refusal());
        }
        frames.clear();
        frames.shrink_to(BUFFER_BYTES_KEPT);
        buffer = frames;
    }
    drop(end);
}

impl Shared {
    /// Takes all that is pending, leaving `buffer` for what comes; waits until there is
    /// something, but at most for `wait`.
    ///
    /// A group is never held open for more: while one is synced the next fills by itself, and
    /// a group that waited for all connections would leave the processor idle during its sync.
    fn take(&self, buffer: Vec<u8>, wait: Option<Duration>) -> Taken {
        let mut pending = self.wait_for_some(wait);
        let (skip_to, closed) = (pending.skip_to, pending.closed);
        let appends = std::mem::take(&mut pending.appends);
        if appends == 0 {
            let group = Promise::default();
            return Taken { frames: buffer, group, appends, skip_to, closed };
        }
        let next = Arc::default();
        pending.pulses = 0;
        pending.in_flight_bytes = pending.frames.len() as u64;
        let frames = std::mem::replace(&mut pending.frames, buffer);
        let group = Promise(std::mem::replace(&mut pending.group, next));
        Taken { frames, group, appends, skip_to, closed }
    }

    fn wait_for_some(&self, wait: Option<Duration>) -> MutexGuard<'_, Pending> {
        let deadline = wait.map(|wait| Instant::now() + wait);
        let mut pending = lock(&self.pending);
        while pending.appends == 0 && !pending.closed {
            pending.writer_waits = true;
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            pending = match left {
                Some(Duration::ZERO) => break,
                Some(left) => match self.arrived.wait_timeout(pending, left) {
                    Ok((pending, _)) => pending,
                    Err(poisoned) => poisoned.into_inner().0,
                },
                None => self.arrived.wait(pending).unwrap_or_else(PoisonError::into_inner),
            };
        }
        pending.writer_waits = false;
        pending
    }

    fn settle(&self, refusal: Option<AppendError>) {
        let mut pending = lock(&self.pending);
        pending.in_flight_bytes = 0;
        pending.refusal = refusal;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change leaves the state whole, so a panic elsewhere does not spoil it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
