//! The memory buffer: pulses that were answered at the level `memory` and that nothing else
//! holds. Bounded in pulses and in bytes; refuses when full, never waits and never drops.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;
use thiserror::Error;
use uuid::Uuid;

use crate::log::frame;

use super::bell::Bell;
use super::progress::LogId;
use super::source::{FrameReader, FrameSource, SourceChunk};

/// Bytes at which the next append starts another chunk: large enough that an allocation is
/// shared by thousands of appends, small enough that a finished chunk soon frees its memory.
const CHUNK_BYTES: usize = 256 * 1024;
/// A small buffer is still freed in steps of this part of it.
const CHUNKS_MIN: u64 = 8;

/// The buffer has no room for these pulses now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("memory buffer is full")]
pub struct BufferFull;

/// Holds pulses in memory until every required sink has finished them.
#[derive(Debug)]
pub struct MemoryBuffer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    id: LogId,
    pulses_max: u64,
    bytes_max: u64,
    chunk_bytes: usize,
    end_seq: AtomicU64,
    overflowed: AtomicU64,
    bells: OnceLock<Box<[Arc<Bell>]>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Frames that no reader has seen; the rest of its allocation takes the next ones.
    open: BytesMut,
    open_first: u64,
    next_seq: u64,
    closed: VecDeque<Held>,
    /// Pulses and bytes that some required sink has not finished.
    pulses: u64,
    bytes: u64,
    /// Bytes that only best-effort sinks have not finished, and how many these may be.
    spare_bytes: u64,
    spare_bytes_max: u64,
    required: usize,
    sinks: usize,
}

/// Frames that were closed for reading.
#[derive(Debug)]
struct Held {
    bytes: Bytes,
    first_seq: u64,
    end_seq: u64,
    /// Pulses that each sink has not finished; required sinks first.
    unfinished: SmallVec<[u64; 2]>,
}

impl MemoryBuffer {
    /// A buffer for at most `pulses_max` pulses in at most `bytes_max` bytes.
    pub fn new(pulses_max: u64, bytes_max: u64) -> Self {
        let part = usize::try_from(bytes_max / CHUNKS_MIN).unwrap_or(CHUNK_BYTES);
        let shared = Shared {
            id: LogId(Uuid::now_v7()),
            pulses_max,
            bytes_max,
            chunk_bytes: CHUNK_BYTES.min(part).max(4096),
            end_seq: AtomicU64::new(0),
            overflowed: AtomicU64::new(0),
            bells: OnceLock::new(),
            state: Mutex::new(State::default()),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Takes finished frames of `pulses` pulses in all and numbers them; returns the first
    /// number.
    pub fn append(&self, frames: &[u8], pulses: u64) -> Result<u64, BufferFull> {
        let shared = &*self.shared;
        let first_seq = {
            let mut state = shared.lock();
            let bytes = state.bytes + frames.len() as u64;
            if state.pulses + pulses > shared.pulses_max || bytes > shared.bytes_max {
                return Err(BufferFull);
            }
            state.pulses += pulses;
            state.bytes = bytes;
            let first_seq = state.push(frames, shared.chunk_bytes);
            shared.end_seq.store(state.next_seq, Ordering::SeqCst);
            first_seq
        };
        for bell in shared.bells.get().into_iter().flatten() {
            bell.ring();
        }
        Ok(first_seq)
    }

    /// Pulses that some required sink has not finished.
    pub fn pulses(&self) -> u64 {
        self.shared.lock().pulses
    }

    /// Bytes that some required sink has not finished.
    pub fn bytes(&self) -> u64 {
        self.shared.lock().bytes
    }

    /// Notes pulses that were answered as accepted and dropped for want of room.
    pub fn count_overflowed(&self, pulses: u64) {
        self.shared.overflowed.fetch_add(pulses, Ordering::Relaxed);
    }

    /// How many pulses it can hold.
    pub fn pulses_max(&self) -> u64 {
        self.shared.pulses_max
    }

    /// Says who reads it: `sinks` sinks, of which the first `required` hold its budget. The
    /// others are given `spare_bytes_max` bytes to lag behind these. Called once.
    pub(crate) fn attach(&self, required: usize, sinks: usize, spare_bytes_max: u64) {
        let mut state = self.shared.lock();
        state.close();
        (state.required, state.sinks) = (required, sinks);
        state.spare_bytes_max = spare_bytes_max;
        for held in &mut state.closed {
            held.unfinished = SmallVec::from_elem(held.end_seq - held.first_seq, sinks);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change leaves the state whole, so a panic elsewhere takes nothing from it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn push(&mut self, frames: &[u8], chunk_bytes: usize) -> u64 {
        if self.open.capacity() - self.open.len() < frames.len() {
            // Growing would copy what is there; a new allocation every few thousand appends
            // does not.
            self.close();
            self.open = BytesMut::with_capacity(chunk_bytes.max(frames.len()));
        }
        let (at, first_seq) = (self.open.len(), self.next_seq);
        self.open.extend_from_slice(frames);
        self.next_seq += frame::seal(&mut self.open[at..], first_seq);
        first_seq
    }

    fn close(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let held = Held {
            bytes: self.open.split().freeze(),
            first_seq: self.open_first,
            end_seq: self.next_seq,
            unfinished: SmallVec::from_elem(self.next_seq - self.open_first, self.sinks),
        };
        self.open_first = self.next_seq;
        if self.required == 0 && self.sinks > 0 {
            self.pulses -= held.end_seq - held.first_seq;
            self.spare(held.bytes.len() as u64);
        }
        self.closed.push_back(held);
        self.drop_spare();
    }

    fn finish(&mut self, sink: usize, start: u64, end: u64) {
        let mut at = self.closed.partition_point(|held| held.end_seq <= start);
        while let Some(held) = self.closed.get_mut(at) {
            let overlap = end.min(held.end_seq).saturating_sub(start.max(held.first_seq));
            if overlap == 0 {
                return;
            }
            let before = held.required_max(self.required);
            if let Some(unfinished) = held.unfinished.get_mut(sink) {
                *unfinished = unfinished.saturating_sub(overlap);
            }
            let after = held.required_max(self.required);
            let (bytes, done) = (held.bytes.len() as u64, held.is_done());
            self.pulses -= before - after;
            if before > 0 && after == 0 {
                self.spare(bytes);
            }
            if done {
                self.spare_bytes -= bytes;
                self.closed.remove(at);
            } else {
                at += 1;
            }
        }
    }

    fn spare(&mut self, bytes: u64) {
        self.bytes -= bytes;
        self.spare_bytes += bytes;
    }

    /// Lets go of what only best-effort sinks have not finished, the oldest first.
    fn drop_spare(&mut self) {
        let mut at = 0;
        while self.spare_bytes > self.spare_bytes_max && at < self.closed.len() {
            if self.closed[at].required_max(self.required) == 0 {
                self.spare_bytes -= self.closed[at].bytes.len() as u64;
                self.closed.remove(at);
            } else {
                at += 1;
            }
        }
    }
}

impl Held {
    fn required_max(&self, required: usize) -> u64 {
        self.unfinished.iter().take(required).copied().max().unwrap_or(0)
    }

    fn is_done(&self) -> bool {
        self.unfinished.iter().all(|unfinished| *unfinished == 0)
    }
}

impl FrameSource for MemoryBuffer {
    fn id(&self) -> LogId {
        self.shared.id
    }

    fn start_seq(&self) -> u64 {
        0
    }

    fn overflowed(&self) -> u64 {
        self.shared.overflowed.load(Ordering::Relaxed)
    }

    fn end_seq(&self) -> u64 {
        self.shared.end_seq.load(Ordering::SeqCst)
    }

    fn bytes_from(&self, seq: u64) -> u64 {
        let state = self.shared.lock();
        let at = state.closed.partition_point(|held| held.end_seq <= seq);
        let closed: usize = state.closed.range(at..).map(|held| held.bytes.len()).sum();
        (closed + state.open.len()) as u64
    }

    fn reader(&self, seq: u64) -> Box<dyn FrameReader> {
        Box::new(BufferReader { shared: Arc::clone(&self.shared), seq })
    }

    fn tell(&self, bells: Box<[Arc<Bell>]>) {
        let _once = self.shared.bells.set(bells);
    }

    fn finished(&self, sink: usize, ranges: &[(u64, u64)]) {
        let mut state = self.shared.lock();
        for (start, end) in ranges {
            state.finish(sink, *start, *end);
        }
        state.drop_spare();
    }

    fn set_low(&self, _seq: u64) {}

    fn skip_to(&self, _seq: u64) {
        // Its numbers begin with the process; nothing is older.
    }

    fn forget(&self, _seq: u64) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Debug)]
struct BufferReader {
    shared: Arc<Shared>,
    seq: u64,
}

impl FrameReader for BufferReader {
    fn read(&mut self, _bytes_max: usize) -> io::Result<Option<SourceChunk>> {
        let mut state = self.shared.lock();
        if state.closed.back().is_none_or(|held| held.end_seq <= self.seq) {
            state.close();
        }
        let at = state.closed.partition_point(|held| held.end_seq <= self.seq);
        let Some(held) = state.closed.get(at) else {
            // Numbers that were let go of, and nothing behind them.
            if state.open_first <= self.seq {
                return Ok(None);
            }
            self.seq = state.open_first;
            let (first_seq, end_seq) = (self.seq, self.seq);
            return Ok(Some(SourceChunk { bytes: Bytes::new(), first_seq, end_seq }));
        };
        self.seq = held.end_seq;
        let (bytes, first_seq, end_seq) = (held.bytes.clone(), held.first_seq, held.end_seq);
        Ok(Some(SourceChunk { bytes, first_seq, end_seq }))
    }
}

#[cfg(test)]
mod tests;
