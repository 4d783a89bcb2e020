//! The conservation ledger: every pulse accepted for a sink is in exactly one place.

use crate::sink::Sink;

use super::board::Board;

/// Where the pulses accepted for one sink are. Each figure has its own source, none is the
/// remainder of the others: what a figure misses shows as a difference.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SinkLedger {
    /// The sink's name.
    pub sink: String,
    /// Numbers given out: by the log since the sink joined it, by memory since the start.
    pub accepted: u64,
    /// Rows that the sink holds, from its own progress where it keeps one.
    pub stored: u64,
    /// Numbers of the log that are not finished.
    pub in_log: u64,
    /// Numbers of the memory buffer that are not finished.
    pub in_memory: u64,
    /// Kept as dead letters of this sink.
    pub dead_lettered: u64,
    /// Given up because the sink, a best-effort one, was too far behind.
    pub dropped: u64,
    /// Older than the sink's retention when they came to it.
    pub expired: u64,
    /// Lost to damage of the log.
    pub damaged: u64,
}

impl SinkLedger {
    /// Whether the places add up to what was accepted. While pulses move the figures are read
    /// one after the other, so only a sink at rest must balance.
    pub fn is_balanced(&self) -> bool {
        let placed = self.stored
            + self.in_log
            + self.in_memory
            + self.dead_lettered
            + self.dropped
            + self.expired
            + self.damaged;
        self.accepted == placed
    }

    pub(crate) fn take(
        name: &str,
        index: usize,
        sink: &dyn Sink,
        (log, memory): (Option<&Board>, &Board),
    ) -> Self {
        let mut ledger = Self { sink: name.to_owned(), ..Self::default() };
        ledger.in_memory = ledger.add(index, memory);
        if let Some(log) = log {
            let stored_before = ledger.stored;
            ledger.in_log = ledger.add(index, log);
            if let Some(progress) = sink.progress(log.source.id()) {
                ledger.stored = stored_before + progress.rows;
            }
        }
        ledger
    }

    /// Adds what one source says; returns what is unfinished there.
    fn add(&mut self, index: usize, board: &Board) -> u64 {
        let (place, end) = board.place_and_end(index);
        self.accepted += place.accepted(end);
        self.stored += place.totals.stored;
        self.dead_lettered += place.totals.dead_lettered;
        self.dropped += place.totals.dropped;
        self.expired += place.totals.expired;
        self.damaged += place.totals.damaged;
        place.unfinished(end)
    }
}
