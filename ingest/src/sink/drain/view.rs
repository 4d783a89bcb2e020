//! Where the pulses are, as it is when it is asked. Changes nothing.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::metrics::{HeldMetrics, LedgerLabels, SinkLabels, SinkMetrics};
use crate::sink::buffer::MemoryBuffer;
use crate::sink::dead_letter::DeadLetters;
use crate::sink::progress::LogId;
use crate::sink::source::Source;

use super::board::Board;
use super::ledger::SinkLedger;
use super::sink_drain::{NO_TIME, SinkDrain};
use super::{Backlog, SinkBacklog};

/// The sinks and what they read, as all threads share them.
#[derive(Debug)]
pub(crate) struct View {
    /// Required sinks first.
    pub(crate) sinks: Vec<Arc<SinkDrain>>,
    pub(crate) log: Option<Arc<Board>>,
    pub(crate) memory: Arc<Board>,
    pub(crate) letters: Arc<DeadLetters>,
}

impl View {
    pub(crate) fn boards(&self) -> impl Iterator<Item = &Arc<Board>> {
        self.log.iter().chain([&self.memory])
    }

    /// Where each source ends now.
    pub(crate) fn ends(&self) -> Vec<(LogId, u64)> {
        self.boards().map(|board| (board.source.id(), board.source.end_seq())).collect()
    }

    /// Whether every sink has finished all of these sources up to there, and its place in the log
    /// says so after a crash too. A source that is not there any more has nothing to come.
    pub(crate) fn are_past(&self, ends: &[(LogId, u64)]) -> bool {
        self.boards().all(|board| {
            let end = ends.iter().find(|(id, _)| *id == board.source.id());
            let past = |sink: &Arc<SinkDrain>, end| match board.kind {
                Source::Log => board.durable_low(sink.index) >= end,
                Source::Memory => board.low(sink.index) >= end,
            };
            end.is_none_or(|(_, end)| self.sinks.iter().all(|sink| past(sink, *end)))
        })
    }

    pub(crate) fn required(&self) -> impl Iterator<Item = &Arc<SinkDrain>> {
        self.sinks.iter().filter(|sink| sink.is_required())
    }

    pub(crate) fn backlog(&self) -> Backlog {
        let (mut pulses, mut bytes) = (0, 0);
        for board in self.boards() {
            let unfinished = self.required().map(|sink| board.unfinished(sink.index));
            pulses += unfinished.max().unwrap_or(0);
            bytes += board.source.bytes_from(board.required_low());
        }
        Backlog { pulses, bytes, sinks: self.sinks.iter().map(|sink| self.waits(sink)).collect() }
    }

    fn waits(&self, drain: &SinkDrain) -> SinkBacklog {
        SinkBacklog {
            sink: drain.name.clone(),
            required: drain.is_required(),
            pulses: self.boards().map(|board| board.unfinished(drain.index)).sum(),
            oldest_age: self.oldest_age(drain),
            state: drain.sink.state(),
        }
    }

    pub(crate) fn ledger(&self) -> Vec<SinkLedger> {
        let boards = (self.log.as_deref(), &*self.memory);
        let ledger = |sink: &Arc<SinkDrain>| {
            SinkLedger::take((&sink.name, sink.index), &*sink.sink, boards, &self.letters)
        };
        self.sinks.iter().map(ledger).collect()
    }

    /// How long ago the oldest pulse was received that a sink has not finished; zero without one.
    fn oldest_age(&self, drain: &SinkDrain) -> Duration {
        // The reader notes the time when it looks at its source, which may be after the end of
        // the write that has finished all.
        let waiting = self.boards().filter(|board| board.unfinished(drain.index) > 0);
        let times =
            waiting.map(|board| drain.oldest_us[board.kind.index()].load(Ordering::Relaxed));
        let Some(oldest) = times.filter(|at| *at != NO_TIME).min() else { return Duration::ZERO };
        let at = UNIX_EPOCH + Duration::from_micros(u64::try_from(oldest).unwrap_or(0));
        SystemTime::now().duration_since(at).unwrap_or_default()
    }

    /// Lets metrics ask, for as long as somebody else holds the view and the buffer.
    pub(crate) fn export(
        self: &Arc<Self>,
        buffer: &Arc<MemoryBuffer>,
        metrics: &SinkMetrics,
        held: &HeldMetrics,
    ) {
        let view = Arc::downgrade(self);
        metrics.ledger.set(move || {
            let ledgers = view.upgrade().map(|view| view.ledger()).unwrap_or_default();
            ledgers.iter().flat_map(labelled).collect()
        });
        let view = Arc::downgrade(self);
        metrics.oldest_age.set(move || view.upgrade().map(|view| view.ages()).unwrap_or_default());
        let buffer = Arc::downgrade(buffer);
        held.buffer_pulses.set(move || buffer.upgrade().map_or(0, |buffer| buffer.pulses()));
    }

    fn ages(&self) -> Vec<(SinkLabels, f64)> {
        let age = |drain: &Arc<SinkDrain>| {
            (SinkLabels { sink: drain.name.clone() }, self.oldest_age(drain).as_secs_f64())
        };
        self.sinks.iter().map(age).collect()
    }
}

fn labelled(ledger: &SinkLedger) -> [(LedgerLabels, u64); 8] {
    let labels = |place| LedgerLabels { sink: ledger.sink.clone(), place };
    ledger.counts().map(|(place, count)| (labels(place), count))
}
