//! What is counted of each log, in memory: which numbers, and the sums that they are in. Pure.
//!
//! Two rules make counts exact, wherever a crash comes between two steps:
//!
//! - The numbers that were counted and the sums that they are in are one file, replaced as one
//!   step, before the drain's cursor moves past them. A number that comes again after a crash
//!   is in the file's sums and passed over, or is in none of them and counted.
//! - The database gets no sum and no write time that the file does not have. So it has no number
//!   that is counted again after a crash, whatever part that is counted into then, and what is
//!   written then has the newer write time, even where the clock has jumped back.

use std::mem;

use uuid::Uuid;

use crate::sink::{LogId, SeqSet};

use super::part::{Part, PartId, SumRow};
use super::tally::Tally;

/// Sums of a part after which the next begins: some 6 MB of memory and 2 MB of the file.
pub(super) const PART_SUMS_MAX: usize = 50_000;
/// A part's age after which the next begins, so that the minutes of long ago leave memory.
pub(super) const PART_AGE_MAX_US: i64 = 3_600_000_000;
/// All sums in memory, written or not, beyond which no more rows may be written: some 50 MB.
/// A flush each second makes room for more new sums than rows can be written in a second, so
/// it is met only where counts fail and rows do not. What is being written when it is met is
/// still counted; the drain's concurrent batches bound how much that is.
pub(crate) const SUMS_MAX: usize = 250_000;
/// What is counted of one log.
#[derive(Debug)]
pub(super) struct Ledger {
    pub(super) counted: SeqSet,
    pub(super) open: Part,
}

/// What is counted.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) log: Option<Ledger>,
    /// Of pulses that only memory holds: nothing of it is in the file, as they do not come
    /// again after a crash.
    memory: Option<Ledger>,
    /// Of dead letters that were replayed. Not in the file either: after a crash in the middle of
    /// a replay its last piece may be counted twice, or not at all.
    replayed: Option<Ledger>,
    /// Parts that are not added to any more and have sums that are not written yet.
    pub(super) closed: Vec<Part>,
    /// The last write time, in microseconds since 1970.
    pub(super) stamp_us: i64,
    /// Grows with each change that the file must have before the drain's cursor moves.
    pub(super) changes: u64,
}

/// Numbers of one source, and how far it is finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The log; `None` where only memory held the pulses.
    pub(crate) log: Option<LogId>,
    /// Whether the numbers are those of replays.
    pub(crate) replay: bool,
    /// All below are finished and will not come again.
    pub(crate) finished_below: u64,
}

/// What a flush is to write, all with one write time.
#[derive(Debug, Default)]
pub(super) struct Flush {
    pub(super) stamp_us: i64,
    pub(super) rows: Vec<SumRow>,
}

impl Ledger {
    /// Of a log of which no file tells. Its first part's number is one that no lost file told.
    fn new(log: LogId, lasting: bool, now_us: i64) -> Self {
        let number = i64::from(rand::random::<u32>()) << 24;
        let open = Part::new(PartId { log, number }, now_us, lasting);
        Self { counted: SeqSet::default(), open }
    }

    /// Counts those rows of which it has not counted the number; returns whether any.
    fn add(&mut self, finished_below: u64, tally: &Tally<'_>) -> bool {
        self.counted.raise(finished_below);
        let mut fresh = vec![0; tally.groups.len()];
        for run in &tally.runs {
            let missing = self.counted.missing(run.seq, run.end_seq());
            for at in run.first..run.end {
                let seq = run.seq + (at - run.first) as u64;
                if missing == (run.end - run.first) as u64
                    || (missing > 0 && !self.counted.contains(seq))
                {
                    fresh[tally.groups_of_rows[at] as usize] += 1;
                }
            }
            self.counted.insert(run.seq, run.end_seq());
        }
        let mut any = false;
        for (group, pulses) in tally.groups.iter().zip(fresh).filter(|(_, pulses)| *pulses > 0) {
            self.open.add(group, pulses);
            any = true;
        }
        any
    }

    fn is_due(&self, now_us: i64) -> bool {
        let age_us = now_us.saturating_sub(self.open.opened_at_us);
        let (sums, old) = (self.open.sums.len(), age_us >= PART_AGE_MAX_US);
        sums >= PART_SUMS_MAX || (sums > 0 && old)
    }
}

impl State {
    /// As a file told it.
    pub(super) fn restored(log: Option<Ledger>, closed: Vec<Part>, stamp_us: i64) -> Self {
        Self { log, closed, stamp_us, ..Self::default() }
    }

    pub(super) fn add(&mut self, origin: Origin, tally: &Tally<'_>, now_us: i64) {
        let fresh = || Ledger::new(LogId(Uuid::now_v7()), false, now_us);
        let ledger = match origin.log {
            _ if origin.replay => self.replayed.get_or_insert_with(fresh),
            Some(log) => self.ledger_of(log, now_us),
            None => self.memory.get_or_insert_with(fresh),
        };
        let lasting = ledger.open.lasting;
        let any = ledger.add(origin.finished_below, tally);
        self.changes += u64::from(any && lasting);
    }

    /// The ledger of a log. There is never more than one log, but its directory may have been
    /// set up anew; what is unwritten of the former one is still written.
    fn ledger_of(&mut self, log: LogId, now_us: i64) -> &mut Ledger {
        if let Some(former) = self.log.take_if(|ledger| ledger.open.id.log != log) {
            self.closed.push(former.open);
        }
        self.log.get_or_insert_with(|| Ledger::new(log, true, now_us))
    }

    /// Lets a tenant's sums begin at nothing, wherever they are. No flush may be under way.
    pub(super) fn erase(&mut self, tenant: &str) {
        let erased = self.parts_mut().map(|part| part.erase(tenant)).fold(false, |a, b| a | b);
        self.closed.retain(|part| !part.is_written());
        self.changes += u64::from(erased);
    }

    /// Whether more rows may be written.
    pub(super) fn has_room(&self) -> bool {
        let open =
            self.log.iter().chain(&self.memory).chain(&self.replayed).map(|ledger| &ledger.open);
        open.chain(&self.closed).map(|part| part.sums.len()).sum::<usize>() < SUMS_MAX
    }

    /// Begins new parts where the open ones are full or old.
    pub(super) fn roll(&mut self, now_us: i64) {
        for ledger in self.log.iter_mut().chain(&mut self.memory).chain(&mut self.replayed) {
            if !ledger.is_due(now_us) {
                continue;
            }
            let PartId { log, number } = ledger.open.id;
            let next = PartId { log, number: number.wrapping_add(1) };
            let next = Part::new(next, now_us, ledger.open.lasting);
            self.closed.push(mem::replace(&mut ledger.open, next));
        }
    }

    /// Whether the database has all.
    pub(super) fn is_written(&self) -> bool {
        self.parts().all(Part::is_written)
    }

    /// All that the database does not have. A write time is above all before it even where the
    /// clock has jumped back: an older sum never wins.
    pub(super) fn flush(&mut self, now_us: i64) -> Flush {
        self.stamp_us = now_us.max(self.stamp_us.saturating_add(1));
        let mut flush = Flush { stamp_us: self.stamp_us, rows: Vec::new() };
        for part in self.parts_mut() {
            part.unwritten(&mut flush.rows);
        }
        flush
    }

    /// The database has answered for these.
    pub(super) fn answered(&mut self, rows: &[SumRow]) {
        for row in rows {
            if let Some(part) = self.parts_mut().find(|part| part.id == row.part) {
                part.answered(row);
            }
        }
        self.closed.retain(|part| !part.is_written());
    }

    /// Closed parts that the file is to hold.
    pub(super) fn closed_of_logs(&self) -> impl Iterator<Item = &Part> {
        self.closed.iter().filter(|part| part.lasting)
    }

    fn parts(&self) -> impl Iterator<Item = &Part> {
        let open =
            self.log.iter().chain(&self.memory).chain(&self.replayed).map(|ledger| &ledger.open);
        open.chain(&self.closed)
    }

    fn parts_mut(&mut self) -> impl Iterator<Item = &mut Part> {
        let open = self
            .log
            .iter_mut()
            .chain(&mut self.memory)
            .chain(&mut self.replayed)
            .map(|ledger| &mut ledger.open);
        open.chain(&mut self.closed)
    }
}
