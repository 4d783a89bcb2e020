//! The conservation ledger: every pulse accepted for a sink is in exactly one place.

use crate::sink::Sink;
use crate::sink::dead_letter::{DeadLetters, Left};

use super::board::{Board, Place};

/// Where the pulses accepted for one sink are. Each figure has its own source, none is the
/// remainder of the others: what a figure misses shows as a difference.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SinkLedger {
    /// The sink's name.
    pub sink: String,
    /// Numbers given out: by the log since the sink joined it, by memory since the start, and
    /// what overflowed the memory buffer.
    pub accepted: u64,
    /// Rows that the sink holds, from its own progress where it keeps one.
    pub stored: u64,
    /// Numbers of the log that are not finished.
    pub in_log: u64,
    /// Numbers of the memory buffer that are not finished.
    pub in_memory: u64,
    /// Kept as dead letters of this sink.
    pub dead_lettered: u64,
    /// Given up because the sink, a best-effort one, was too far behind, or the memory buffer was
    /// full and the settings say to drop; and dead letters that a person gave up.
    pub dropped: u64,
    /// Older than the sink's retention when they came to it.
    pub expired: u64,
    /// Lost to damage of the log.
    pub damaged: u64,
}

impl SinkLedger {
    /// Whether the places add up to what was accepted, as they do at any moment.
    pub fn is_balanced(&self) -> bool {
        let [(_, accepted), places @ ..] = self.counts();
        accepted == places.iter().map(|(_, count)| count).sum::<u64>()
    }

    /// What was accepted and then every place, each with its name.
    pub(crate) fn counts(&self) -> [(&'static str, u64); 8] {
        [
            ("accepted", self.accepted),
            ("stored", self.stored),
            ("in_log", self.in_log),
            ("in_memory", self.in_memory),
            ("dead_lettered", self.dead_lettered),
            ("dropped", self.dropped),
            ("expired", self.expired),
            ("damaged", self.damaged),
        ]
    }

    pub(crate) fn take(
        (name, index): (&str, usize),
        sink: &dyn Sink,
        (log, memory): (Option<&Board>, &Board),
        letters: &DeadLetters,
    ) -> Self {
        let mut ledger = Self { sink: name.to_owned(), ..Self::default() };
        // Asked before the places: a letter leaves after it was counted there.
        let left = |board: &Board| letters.left(name, board.source.id());
        let (left_log, left_memory) = (log.map(left), left(memory));
        ledger.in_memory = ledger.add(&memory.place(index), memory, left_memory);
        if let Some(log) = log {
            let mut place = log.place(index);
            // Asked after the place is copied: a sink has committed what is finished.
            if let Some(progress) = sink.progress(log.source.id()) {
                place.adopt(&progress);
            }
            ledger.in_log = ledger.add(&place, log, left_log.unwrap_or_default());
        }
        ledger
    }

    /// Adds what one source says; returns what is unfinished there.
    fn add(&mut self, place: &Place, board: &Board, left: Left) -> u64 {
        // Asked last: what is finished was given out before.
        let end = board.source.end_seq();
        let overflowed = board.source.overflowed();
        self.accepted += place.accepted(end) + overflowed;
        // A cursor that was lost knows of fewer letters than have left.
        let mut letters = place.totals.dead_lettered;
        let mut take = |count: u64| {
            let taken = count.min(letters);
            letters -= taken;
            taken
        };
        self.stored += place.totals.stored + take(left.replayed);
        self.expired += place.totals.expired + take(left.expired);
        self.dropped += place.totals.dropped + overflowed + take(left.discarded);
        self.dead_lettered += letters;
        self.damaged += place.totals.damaged;
        place.unfinished(end)
    }
}
