//! The frames that were read and are in no batch yet: queued by tenant, taken in turn. Pure
//! bookkeeping; reads nothing and writes nothing.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;

use crate::log::frame::{Frame, HEADER_BYTES, Header};
use crate::sink::batch::{Chunk, RowRef};
use crate::sink::progress::SeqSet;
use crate::sink::shares::{Shares, TenantShare};
use crate::sink::source::SourceChunk;

/// Rows that a tenant may have in a turn: forty tenants share a batch of 5,000, and a store that
/// sorts by tenant still gets runs worth sorting.
const TURN_ROWS: usize = 128;
/// Bytes that end a turn as well: large rows are no reason for a longer one.
const TURN_BYTES: usize = 1024 * 1024;
/// Tenants without frames that are remembered.
const TENANTS_IDLE_MAX: usize = 4_096;
/// How far back a batch looks for a chunk that it has already: finding none costs a second
/// reference to it, nothing else.
const CHUNKS_LOOKED_AT: usize = 8;

/// A chunk that counts against the window for as long as anything refers to it.
#[derive(Debug)]
pub(crate) struct Lease {
    bytes: Bytes,
    read_at: Instant,
    used: Arc<AtomicUsize>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.used.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

/// Frames of one source on their way to one sink.
#[derive(Debug)]
pub(crate) struct Window {
    sink: usize,
    used: Arc<AtomicUsize>,
    queued_rows: usize,
    tenants: Vec<Tenant>,
    by_name: HashMap<Box<str>, usize>,
    /// Tenants that have frames, the one whose turn it is first.
    turns: VecDeque<usize>,
    tenants_soft: usize,
    finished: Finished,
}

/// What was finished before it was read: in an earlier run, or given up.
#[derive(Debug)]
struct Finished {
    set: SeqSet,
    end: u64,
}

#[derive(Debug)]
struct Tenant {
    name: Box<str>,
    share: Arc<TenantShare>,
    runs: VecDeque<Run>,
    /// What is left of its turn.
    rows_left: usize,
    bytes_left: usize,
}

/// Consecutive frames of one tenant in one chunk.
#[derive(Debug)]
struct Run {
    lease: Arc<Lease>,
    /// Offset of the frame that is next, and of the entry in it (0: its first).
    frame: usize,
    entry: usize,
    /// Entries of that frame that were taken.
    taken: u32,
    end: usize,
}

/// Rows taken from a window.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub(crate) chunks: Vec<Chunk>,
    pub(crate) leases: Vec<Arc<Lease>>,
    pub(crate) rows: Vec<RowRef>,
    pub(crate) bytes: usize,
    pub(crate) parts: Vec<(Arc<TenantShare>, u64)>,
    /// Numbers whose frames are not laid out as frames are.
    pub(crate) damaged: Vec<(u64, u64)>,
}

/// How much is taken at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TakeLimits {
    pub(crate) rows_max: usize,
    pub(crate) bytes_max: usize,
}

impl Window {
    /// An empty window of the sink of this index, which passes over what is `finished`.
    pub(crate) fn new(sink: usize, finished: SeqSet) -> Self {
        Self {
            sink,
            used: Arc::new(AtomicUsize::new(0)),
            queued_rows: 0,
            tenants: Vec::new(),
            by_name: HashMap::new(),
            turns: VecDeque::new(),
            finished: Finished { end: finished.end(), set: finished },
            tenants_soft: TENANTS_IDLE_MAX,
        }
    }

    /// Bytes of all chunks that are queued or being written.
    pub(crate) fn used_bytes(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Rows that are queued.
    pub(crate) fn queued_rows(&self) -> usize {
        self.queued_rows
    }

    /// When the row was read that has waited longest.
    pub(crate) fn oldest_read_at(&self) -> Option<Instant> {
        self.fronts().map(|run| run.lease.read_at).min()
    }

    /// Whether any row below `seq` is queued.
    pub(crate) fn holds_below(&self, seq: u64) -> bool {
        self.fronts().any(|run| {
            Frame::read_proven(&run.lease.bytes[run.frame..])
                .is_ok_and(|frame| frame.header().first_seq + u64::from(run.taken) < seq)
        })
    }

    /// These numbers are finished; frames that hold some of them are yet to come.
    pub(crate) fn pass_over(&mut self, start: u64, end: u64) {
        self.finished.set.insert(start, end);
        self.finished.end = self.finished.end.max(end);
    }

    fn fronts(&self) -> impl Iterator<Item = &Run> {
        self.turns.iter().filter_map(|tenant| self.tenants[*tenant].runs.front())
    }

    /// Queues a chunk's frames. Returns the numbers of frames that can't be read.
    pub(crate) fn push(&mut self, chunk: &SourceChunk, shares: &Shares) -> Vec<(u64, u64)> {
        self.forget_idle();
        let bytes = chunk.bytes.clone();
        self.used.fetch_add(bytes.len(), Ordering::Relaxed);
        let used = Arc::clone(&self.used);
        let lease = Arc::new(Lease { bytes, read_at: Instant::now(), used });
        let backlog_end = shares.backlog_end();
        let (mut at, mut next_seq, mut tenant) = (0, chunk.first_seq, usize::MAX);
        let mut unreadable = Vec::new();
        while at < lease.bytes.len() {
            let bytes = &lease.bytes[at..];
            let Ok(frame) = Frame::read_proven(bytes) else {
                let Ok(header) = Header::read(bytes) else { break };
                next_seq = header.first_seq + u64::from(header.count);
                unreadable.push((header.first_seq, next_seq));
                at += header.frame_bytes();
                continue;
            };
            let (header, name) = (frame.header(), frame.envelope().tenant);
            if self.tenants.get(tenant).is_none_or(|last| *last.name != *name) {
                tenant = self.tenant_index(name, shares);
            }
            next_seq = header.first_seq + u64::from(header.count);
            if header.first_seq < backlog_end {
                let share = &self.tenants[tenant].share;
                shares.attribute(share, header.first_seq, next_seq, header.frame_bytes() as u64);
            }
            self.queue(tenant, &lease, at, &frame);
            at += header.frame_bytes();
        }
        if next_seq < chunk.end_seq {
            unreadable.push((next_seq, chunk.end_seq));
        }
        unreadable
    }

    fn queue(&mut self, tenant: usize, lease: &Arc<Lease>, at: usize, frame: &Frame<'_>) {
        let header = frame.header();
        let (start, bytes) = (header.first_seq, header.frame_bytes());
        let mut rows = u64::from(header.count);
        if start < self.finished.end {
            rows = self.finished.set.missing(start, start + rows);
        }
        let queue = &mut self.tenants[tenant];
        if rows == 0 {
            queue.share.finish(self.sink, bytes as u64);
            return;
        }
        self.queued_rows += rows as usize;
        if queue.runs.is_empty() {
            self.turns.push_back(tenant);
        }
        match queue.runs.back_mut() {
            Some(run) if run.end == at && Arc::ptr_eq(&run.lease, lease) => run.end += bytes,
            _ => {
                let (lease, end) = (Arc::clone(lease), at + bytes);
                queue.runs.push_back(Run { lease, frame: at, entry: 0, taken: 0, end });
            }
        }
    }

    fn tenant_index(&mut self, name: &str, shares: &Shares) -> usize {
        if let Some(index) = self.by_name.get(name) {
            return *index;
        }
        let (share, index) = (shares.tenant(name), self.tenants.len());
        self.by_name.insert(name.into(), index);
        let name = name.into();
        self.tenants.push(Tenant {
            name,
            share,
            runs: VecDeque::new(),
            rows_left: 0,
            bytes_left: 0,
        });
        index
    }

    fn forget_idle(&mut self) {
        if self.tenants.len() < self.tenants_soft {
            return;
        }
        let mut tenants: Vec<_> = self.tenants.drain(..).map(Some).collect();
        self.by_name.clear();
        for turn in &mut self.turns {
            let Some(tenant) = tenants[*turn].take() else { continue };
            *turn = self.tenants.len();
            self.by_name.insert(tenant.name.clone(), *turn);
            self.tenants.push(tenant);
        }
        self.tenants_soft = TENANTS_IDLE_MAX.max(2 * self.tenants.len());
    }

    /// Takes rows, tenants in turn, until a limit is reached or nothing is queued.
    pub(crate) fn take(&mut self, limits: TakeLimits) -> Taken {
        let mut taken = Taken::default();
        taken.rows.reserve_exact(limits.rows_max.min(self.queued_rows));
        while taken.rows.len() < limits.rows_max && taken.bytes < limits.bytes_max {
            let Some(&index) = self.turns.front() else { break };
            let tenant = &mut self.tenants[index];
            if tenant.rows_left == 0 {
                (tenant.rows_left, tenant.bytes_left) = (TURN_ROWS, TURN_BYTES);
            }
            tenant.take(&mut taken, limits, &self.finished);
            if tenant.runs.is_empty() {
                tenant.rows_left = 0;
                self.turns.pop_front();
            } else if tenant.rows_left == 0 {
                self.turns.rotate_left(1);
            }
        }
        let lost: u64 = taken.damaged.iter().map(|(start, end)| end - start).sum();
        self.queued_rows = self.queued_rows.saturating_sub(taken.rows.len() + lost as usize);
        if self.turns.is_empty() {
            self.queued_rows = 0;
        }
        taken
    }
}

impl Tenant {
    /// Goes on with its turn until the turn or a limit ends.
    fn take(&mut self, taken: &mut Taken, limits: TakeLimits, finished: &Finished) {
        let bytes_before = taken.bytes;
        while let Some(run) = self.runs.front_mut() {
            let room = self.rows_left.min(limits.rows_max - taken.rows.len());
            let bytes_room = self.bytes_left.min(limits.bytes_max.saturating_sub(taken.bytes));
            if room == 0 || bytes_room == 0 {
                break;
            }
            let (rows, bytes) = (taken.rows.len(), taken.bytes);
            run.take_from_frame(taken, room, bytes_room, finished);
            self.rows_left -= taken.rows.len() - rows;
            self.bytes_left = self.bytes_left.saturating_sub(taken.bytes - bytes);
            if run.frame >= run.end {
                self.runs.pop_front();
            }
        }
        if self.bytes_left == 0 {
            self.rows_left = 0;
        }
        let bytes = (taken.bytes - bytes_before) as u64;
        match taken.parts.last_mut() {
            _ if bytes == 0 => {}
            Some((share, sum)) if Arc::ptr_eq(share, &self.share) => *sum += bytes,
            _ => taken.parts.push((Arc::clone(&self.share), bytes)),
        }
    }
}

impl Run {
    /// Takes rows of its next frame, at most `rows_max` and about `bytes_max`.
    fn take_from_frame(
        &mut self,
        taken: &mut Taken,
        rows_max: usize,
        bytes_max: usize,
        finished: &Finished,
    ) {
        let Ok(frame) = Frame::read_proven(&self.lease.bytes[self.frame..]) else {
            // It was read when it was queued.
            self.frame = self.end;
            return;
        };
        let header = frame.header();
        let chunk = taken.chunk_index(&self.lease);
        let mut entry = if self.taken == 0 { frame.first_offset() } else { self.entry };
        let start = if self.taken == 0 { 0 } else { entry };
        let rows_end = taken.rows.len() + rows_max;
        let bytes_end = entry.saturating_add(bytes_max);
        while self.taken < header.count {
            let seq = header.first_seq + u64::from(self.taken);
            // Finished rows go with the row before them: no frame is kept for them alone.
            let finished = seq < finished.end && finished.set.contains(seq);
            if !finished && (taken.rows.len() >= rows_end || entry >= bytes_end) {
                break;
            }
            let Some(next) = frame.offset_after(entry) else {
                taken.damaged.push((seq, header.first_seq + u64::from(header.count)));
                self.taken = header.count;
                break;
            };
            if !finished {
                let (frame, entry) = (self.frame as u32, entry as u32);
                taken.rows.push(RowRef { seq, chunk, frame, entry });
            }
            entry = next;
            self.taken += 1;
        }
        if self.taken < header.count {
            taken.bytes += entry - start;
            self.entry = entry;
        } else {
            taken.bytes += header.frame_bytes() - start;
            self.frame += header.frame_bytes();
            (self.entry, self.taken) = (0, 0);
        }
    }
}

impl Taken {
    fn chunk_index(&mut self, lease: &Arc<Lease>) -> u32 {
        let near = self.leases.iter().enumerate().rev().take(CHUNKS_LOOKED_AT);
        for (index, known) in near {
            if Arc::ptr_eq(known, lease) {
                return index as u32;
            }
        }
        self.leases.push(Arc::clone(lease));
        self.chunks.push(lease.bytes.clone());
        (self.leases.len() - 1) as u32
    }
}

/// The receive time of a chunk's first frame, in microseconds since 1970.
pub(crate) fn received_at_us(chunk: &Chunk) -> Option<i64> {
    debug_assert!(chunk.is_empty() || chunk.len() >= HEADER_BYTES, "chunks hold whole frames");
    Frame::read_proven(chunk).ok().map(|frame| frame.envelope().received_at_us)
}
