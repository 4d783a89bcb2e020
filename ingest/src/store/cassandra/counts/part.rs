//! One part of a log's counts: absolute sums by tenant, minute and kind, and which of them the
//! database does not have yet. A sum only grows, so whether it was written is a comparison.

use std::collections::HashMap;
use std::sync::Arc;

use crate::sink::LogId;

use super::tally::Group;

/// Which part: its number is never used again within its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PartId {
    pub(crate) log: LogId,
    pub(crate) number: i64,
}

/// A sum as it is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SumRow {
    pub(crate) part: PartId,
    /// Which of its part's sums it is.
    pub(super) slot: u32,
    pub(crate) tenant: Arc<str>,
    /// In milliseconds since 1970.
    pub(crate) minute_ms: i64,
    pub(crate) kind: Arc<str>,
    pub(crate) pulses: i64,
}

/// One sum.
#[derive(Debug)]
pub(super) struct Sum {
    pub(super) tenant: u32,
    pub(super) kind: u32,
    pub(super) minute_ms: i64,
    pub(super) pulses: i64,
    /// The largest value that the database has answered for.
    pub(super) answered: i64,
    /// Whether it is in the list of those that may have to be written.
    listed: bool,
}

/// A part.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) id: PartId,
    pub(super) opened_at_us: i64,
    /// Whether its log survives a crash, so that its numbers may come again after one.
    pub(super) lasting: bool,
    pub(super) sums: Vec<Sum>,
    pub(super) names: Vec<Arc<str>>,
    known_names: HashMap<Arc<str>, u32>,
    index: HashMap<(u32, u32, i64), u32>,
    /// All that may have to be written; some may have been meanwhile.
    listed: Vec<u32>,
    /// How many sums the database does not have as they are.
    unwritten: usize,
}

impl Part {
    pub(super) fn new(id: PartId, opened_at_us: i64, lasting: bool) -> Self {
        Self {
            id,
            opened_at_us,
            lasting,
            sums: Vec::new(),
            names: Vec::new(),
            known_names: HashMap::new(),
            index: HashMap::new(),
            listed: Vec::new(),
            unwritten: 0,
        }
    }

    /// Adds to a group's sum.
    pub(super) fn add(&mut self, group: &Group<'_>, pulses: i64) {
        let at = self.place(group);
        let sum = &mut self.sums[at as usize];
        self.unwritten += usize::from(sum.is_written());
        sum.pulses += pulses;
        if !sum.listed {
            sum.listed = true;
            self.listed.push(at);
        }
    }

    /// The database has a group's sum as it is, as the file says.
    pub(super) fn restore_answered(&mut self, group: &Group<'_>) {
        let at = self.place(group);
        let pulses = self.sums[at as usize].pulses;
        self.has(at, pulses);
    }

    fn place(&mut self, group: &Group<'_>) -> u32 {
        let key = (self.name(group.tenant), self.name(group.kind), group.minute_ms);
        if let Some(at) = self.index.get(&key) {
            return *at;
        }
        let at = self.sums.len() as u32;
        let (tenant, kind, minute_ms) = key;
        let (pulses, answered, listed) = (0, 0, false);
        self.sums.push(Sum { tenant, kind, minute_ms, pulses, answered, listed });
        self.index.insert(key, at);
        at
    }

    fn name(&mut self, name: &str) -> u32 {
        if let Some(at) = self.known_names.get(name) {
            return *at;
        }
        let (at, name) = (self.names.len() as u32, Arc::<str>::from(name));
        self.names.push(Arc::clone(&name));
        self.known_names.insert(name, at);
        at
    }

    /// Lets a tenant's sums begin at nothing, of which the database need know nothing; whether
    /// there were any.
    pub(super) fn erase(&mut self, tenant: &str) -> bool {
        let Some(tenant) = self.known_names.get(tenant).copied() else { return false };
        let mut erased = false;
        for sum in self.sums.iter_mut().filter(|sum| sum.tenant == tenant) {
            self.unwritten -= usize::from(!sum.is_written());
            (sum.pulses, sum.answered) = (0, 0);
            erased = true;
        }
        erased
    }

    /// Whether the database has all of it.
    pub(super) fn is_written(&self) -> bool {
        self.unwritten == 0
    }

    /// Appends what the database does not have.
    pub(super) fn unwritten(&mut self, rows: &mut Vec<SumRow>) {
        let Self { id, sums, names, listed, .. } = self;
        listed.retain(|at| {
            let sum = &mut sums[*at as usize];
            sum.listed = !sum.is_written();
            sum.listed
        });
        rows.extend(listed.iter().map(|at| {
            let sum = &sums[*at as usize];
            SumRow {
                part: *id,
                slot: *at,
                tenant: Arc::clone(&names[sum.tenant as usize]),
                minute_ms: sum.minute_ms,
                kind: Arc::clone(&names[sum.kind as usize]),
                pulses: sum.pulses,
            }
        }));
    }

    /// The database has answered for a row; what was added since has still to be written.
    pub(super) fn answered(&mut self, row: &SumRow) {
        self.has(row.slot, row.pulses);
    }

    fn has(&mut self, at: u32, pulses: i64) {
        if let Some(sum) = self.sums.get_mut(at as usize) {
            let before = sum.is_written();
            sum.answered = sum.answered.max(pulses);
            self.unwritten -= usize::from(sum.is_written() && !before);
        }
    }
}

impl Sum {
    pub(super) fn is_written(&self) -> bool {
        self.answered == self.pulses
    }
}
