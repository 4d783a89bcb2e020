//! One batch's rows grouped by what they are counted by, made before the lock is taken: within
//! it, nothing is hashed per row.

use std::collections::HashMap;

/// A row that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counted<'a> {
    /// Its number in the log or in the memory buffer.
    pub(crate) seq: u64,
    pub(crate) tenant: &'a str,
    /// Start of the minute of its event time, in milliseconds since 1970.
    pub(crate) minute_ms: i64,
    pub(crate) kind: &'a str,
}

/// What pulses are counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Group<'a> {
    pub(super) tenant: &'a str,
    pub(super) minute_ms: i64,
    pub(super) kind: &'a str,
}

/// Rows with consecutive numbers, as places in [`Tally::groups_of_rows`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) seq: u64,
    pub(super) first: usize,
    pub(super) end: usize,
}

impl Run {
    /// The number after its last.
    pub(super) fn end_seq(self) -> u64 {
        self.seq + (self.end - self.first) as u64
    }
}

/// A batch's rows by group.
#[derive(Debug, Default)]
pub(super) struct Tally<'a> {
    pub(super) groups: Vec<Group<'a>>,
    /// For each row its group.
    pub(super) groups_of_rows: Vec<u32>,
    pub(super) runs: Vec<Run>,
}

impl<'a> Tally<'a> {
    pub(super) fn of(rows: impl Iterator<Item = Counted<'a>>) -> Self {
        let mut tally = Self::default();
        tally.groups_of_rows.reserve(rows.size_hint().0);
        let mut known = HashMap::new();
        let mut last = usize::MAX;
        for Counted { seq, tenant, minute_ms, kind } in rows {
            let group = Group { tenant, minute_ms, kind };
            if tally.groups.get(last) != Some(&group) {
                last = *known.entry(group).or_insert_with(|| {
                    tally.groups.push(group);
                    tally.groups.len() - 1
                });
            }
            tally.push(seq, last as u32);
        }
        tally
    }

    fn push(&mut self, seq: u64, group: u32) {
        let at = self.groups_of_rows.len();
        self.groups_of_rows.push(group);
        match self.runs.last_mut() {
            Some(run) if run.end_seq() == seq => run.end += 1,
            _ => self.runs.push(Run { seq, first: at, end: at + 1 }),
        }
    }
}
