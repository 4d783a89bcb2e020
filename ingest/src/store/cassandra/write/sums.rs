//! Stands where the counts of written rows are to be: takes them and keeps none.

use crate::sink::LogId;

/// Numbers of one source, and how far it is finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) log: Option<LogId>,
    pub(crate) finished_below: u64,
}

/// A row that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counted<'a> {
    pub(crate) seq: u64,
    pub(crate) tenant: &'a str,
    pub(crate) minute_ms: i64,
    pub(crate) kind: &'a str,
}

/// The counts.
#[derive(Debug, Default)]
pub(crate) struct Sums {}

impl Sums {
    pub(crate) fn add<'a>(&self, _origin: Origin, _rows: impl Iterator<Item = Counted<'a>>) {}

    pub(crate) fn has_room(&self) -> bool {
        true
    }
}
