//! The log's segments as all threads know them: which there are, how far each is synced, what is
//! finished. The one owner of that state; writes no frames and reads none.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::fs::Fs;
use crate::metrics::LogMetrics;
use crate::sink::progress::LogId;

use super::positions::Positions;
use super::segment::{HEADER_BYTES, Kind, Name};

/// One segment.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    pub(crate) name: Name,
    /// The number behind its last, as far as known.
    pub(crate) end_seq: u64,
    /// How far it was synced, header included: nothing beyond is read.
    pub(crate) bytes: u64,
    /// Bytes of frames in the log before this segment's.
    pub(crate) base: u64,
    /// Bytes of the file.
    pub(crate) disk_bytes: u64,
}

impl Segment {
    fn end_position(&self) -> u64 {
        self.base + self.bytes.saturating_sub(HEADER_BYTES as u64)
    }
}

/// Where a number is to be read.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) segment: Segment,
    /// Numbers from here on are not this segment's.
    pub(crate) limit_seq: u64,
    /// Numbers below were forgotten, not lost.
    pub(crate) forgotten_below: u64,
}

#[derive(Debug)]
struct State {
    segments: VecDeque<Segment>,
    positions: Positions,
    forgotten_below: u64,
    end_seq: u64,
}

/// Whom to tell of growth.
#[derive(Default)]
struct Growth(OnceLock<Box<dyn Fn() + Send + Sync>>);

impl fmt::Debug for Growth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Growth")
    }
}

/// What the writer, the readers and the log's handles share.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) fs: Arc<dyn Fs>,
    pub(crate) directory: PathBuf,
    pub(crate) id: LogId,
    pub(crate) metrics: LogMetrics,
    state: Mutex<State>,
    growth: Growth,
    end_seq: AtomicU64,
    end_position: AtomicU64,
    low_position: AtomicU64,
}

/// Which log it is and where it lies.
#[derive(Debug)]
pub(crate) struct Home {
    pub(crate) fs: Arc<dyn Fs>,
    pub(crate) directory: PathBuf,
    pub(crate) id: LogId,
}

impl Chain {
    pub(crate) fn new(
        Home { fs, directory, id }: Home,
        metrics: LogMetrics,
        segments: Vec<Segment>,
        start_seq: u64,
    ) -> Self {
        let mut positions = Positions::starting_at(start_seq);
        for segment in &segments {
            positions.extend(segment.end_seq, segment.end_position());
        }
        let end_seq = segments.last().map_or(start_seq, |segment| segment.end_seq);
        let end_position = positions.end();
        let state = State { segments: segments.into(), positions, forgotten_below: 0, end_seq };
        let chain = Self {
            fs,
            directory,
            id,
            metrics,
            state: Mutex::new(state),
            growth: Growth::default(),
            end_seq: AtomicU64::new(end_seq),
            end_position: AtomicU64::new(end_position),
            low_position: AtomicU64::new(0),
        };
        chain.show(&chain.lock());
        chain
    }

    /// The number behind the last synced one.
    pub(crate) fn end_seq(&self) -> u64 {
        // SeqCst, as its store is: whoever falls asleep after a look at it that was too early is
        // seen asleep by the growth's caller, and is woken.
        self.end_seq.load(Ordering::SeqCst)
    }

    /// Bytes of frames ever synced, counted from where the log began at its start.
    pub(crate) fn end_position(&self) -> u64 {
        self.end_position.load(Ordering::Acquire)
    }

    /// Bytes of frames that are not finished.
    pub(crate) fn used_bytes(&self) -> u64 {
        // In this order a release between the two loads makes the answer too high, never too low.
        let low = self.low_position.load(Ordering::Acquire);
        self.end_position.load(Ordering::Acquire).saturating_sub(low)
    }

    pub(crate) fn path(&self, name: Name) -> PathBuf {
        self.directory.join(name.to_string())
    }

    /// The last segment has grown to `bytes`, synced, and ends at `end_seq`.
    pub(crate) fn grow(&self, bytes: u64, end_seq: u64) {
        let mut state = self.lock();
        if let Some(last) = state.segments.back_mut() {
            last.bytes = bytes;
            last.end_seq = end_seq;
        }
        self.publish(state);
    }

    /// A segment was made; its first group is synced.
    pub(crate) fn push(&self, name: Name, bytes: u64, end_seq: u64, disk_bytes: u64) {
        let mut state = self.lock();
        let base = state.positions.end();
        state.segments.push_back(Segment { name, end_seq, bytes, base, disk_bytes });
        self.publish(state);
    }

    /// The last segment got no frame and never will: it is no part of the log any more.
    pub(crate) fn drop_empty(&self, ordinal: u64) {
        let mut state = self.lock();
        if state.segments.back().is_some_and(|last| last.name.ordinal == ordinal) {
            state.segments.pop_back();
        }
    }

    /// The name of the segment `ordinal`, unless it is to be kept just as it is.
    pub(crate) fn sealable(&self, ordinal: u64) -> Option<Name> {
        let state = self.lock();
        let found = state.segments.iter().find(|segment| segment.name.ordinal == ordinal);
        found.map(|segment| segment.name).filter(|name| name.kind == Kind::Live)
    }

    /// The segment `ordinal` now takes so many bytes on disk.
    pub(crate) fn set_disk_bytes(&self, ordinal: u64, disk_bytes: u64) {
        let mut state = self.lock();
        let found = state.segments.iter_mut().find(|segment| segment.name.ordinal == ordinal);
        if let Some(segment) = found {
            segment.disk_bytes = disk_bytes;
        }
        self.show(&state);
    }

    fn publish(&self, mut state: MutexGuard<'_, State>) {
        if let Some((end_seq, position)) =
            state.segments.back().map(|last| (last.end_seq, last.end_position()))
        {
            state.positions.extend(end_seq, position);
            state.end_seq = end_seq;
            self.end_position.store(position, Ordering::Release);
            self.end_seq.store(end_seq, Ordering::SeqCst);
        }
        self.show(&state);
        drop(state);
        if let Some(growth) = self.growth.0.get() {
            growth();
        }
    }

    /// Calls `growth` from now on, after each growth of the log. Only the first call counts.
    pub(crate) fn on_growth(&self, growth: impl Fn() + Send + Sync + 'static) {
        let _first = self.growth.0.set(Box::new(growth));
    }

    /// Where number `seq`, or the first that is there behind it, is to be read; `None` at the
    /// log's end.
    pub(crate) fn place(&self, seq: u64) -> Option<Place> {
        let state = self.lock();
        if seq >= state.end_seq {
            return None;
        }
        // A segment's numbers end where the next one's begin.
        let behind = state.segments.partition_point(|segment| segment.name.first_seq <= seq);
        let index = behind.saturating_sub(1);
        let segment = state.segments.get(index)?.clone();
        let limit_seq =
            state.segments.get(index + 1).map_or(state.end_seq, |next| next.name.first_seq);
        Some(Place { segment, limit_seq, forgotten_below: state.forgotten_below })
    }

    /// Numbers below `seq` are finished and no longer count against the budget.
    pub(crate) fn release(&self, seq: u64) {
        let mut state = self.lock();
        state.positions.release(seq);
        self.low_position.store(state.positions.low(), Ordering::Release);
        self.show(&state);
    }

    /// Removes the segments that lie wholly below `seq`, but for the last; keeps damaged ones
    /// under another name. Returns how many are gone from the log.
    pub(crate) fn forget(&self, seq: u64) -> io::Result<usize> {
        let mut gone = Vec::new();
        {
            let mut state = self.lock();
            while let Some(next) = state.segments.get(1).map(|next| next.name.first_seq)
                && next <= seq
            {
                state.forgotten_below = next;
                gone.extend(state.segments.pop_front());
            }
            self.show(&state);
        }
        if gone.is_empty() {
            return Ok(0);
        }
        for segment in &gone {
            self.put_away(segment.name)?;
        }
        self.fs.sync_dir(&self.directory)?;
        Ok(gone.len())
    }

    fn put_away(&self, name: Name) -> io::Result<()> {
        let path = self.path(name);
        let done = match name.kind {
            Kind::Live => self.fs.remove(&path),
            Kind::LiveDamaged => self.fs.rename(&path, &self.path(name.with(Kind::SetAside))),
            Kind::SetAside => Ok(()),
        };
        match done {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }

    /// Damage was found in the segment `ordinal`: it will be set aside, not removed.
    pub(crate) fn mark_damaged(&self, ordinal: u64) {
        let mut state = self.lock();
        let found = state.segments.iter_mut().find(|segment| segment.name.ordinal == ordinal);
        let Some(segment) = found else { return };
        if segment.name.kind != Kind::Live {
            return;
        }
        let name = segment.name.with(Kind::LiveDamaged);
        // Under the lock, so that nobody removes it at the same time.
        match self.fs.rename(&self.path(segment.name), &self.path(name)) {
            Ok(()) => {
                segment.name = name;
                self.metrics.segments_set_aside.inc();
                tracing::error!(segment = %name, "found damage in the log; the segment is kept");
            }
            Err(error) => tracing::warn!(%error, segment = %name, "mark damaged segment failed"),
        }
    }

    fn show(&self, state: &State) {
        let used = state.positions.end().saturating_sub(state.positions.low());
        self.metrics.bytes.set(used as i64);
        self.metrics.segments.set(state.segments.len() as i64);
        let disk: u64 = state.segments.iter().map(|segment| segment.disk_bytes).sum();
        self.metrics.disk_bytes.set(disk as i64);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change leaves the state whole, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
