//! The layout of one service's bucket, which only grows: by what comes of the service, and by
//! what has come for one slice of it. Every layout that a bucket had is where its readers look,
//! so changes are few.

use super::super::layout::{Layout, SLICES_LOG2_MAX, SPREAD_LOG2_MAX};
use super::rate::{Rate, WINDOWS_OF_BUCKET};
use super::sketch::{Sketch, Slot};
use super::{ROW_BYTES, mix};

/// What a partition gets where the rate says how many there must be: half of what it may hold, as
/// layouts that a bucket had earlier may have filled the same partition.
const PARTITION_BYTES: u64 = 50_000 * ROW_BYTES;
/// What the partitions of a slice may have got when it turns out that more comes for the slice
/// than the rate has told.
const FULL_BYTES: u64 = 60_000 * ROW_BYTES;
/// The same in a bucket that has passed, which begins with one partition and may need every step.
const PASSED_FULL_BYTES: u64 = 40_000 * ROW_BYTES;
/// What they may get in each further layout. A bucket needs four of them at most, so that a
/// partition which all of them share stays below 100,000 rows.
const STEP_BYTES: u64 = 12_000 * ROW_BYTES;
/// How much further a step spreads, as a power of two.
const STEP_LOG2: u8 = 3;
/// Partitions side by side before there are slices, as a power of two: the newest rows are read
/// from as many.
const SPREAD_LOG2: u8 = 3;

/// The layout with what its partitions had got before it; the load of the layout; the load of
/// its fullest slice.
const STATE: usize = 0;
const LOAD: usize = 1;
const FULLEST: usize = 2;
/// In the slot of a slice.
const SLICE_LOAD: usize = 0;

/// The layout that a rate asks for. One that rises is met with four times as many partitions at
/// each step, so that a start from nothing leaves half as many layouts behind.
pub(super) fn layout_of(rate: Rate, writers: u64) -> Layout {
    let per_bucket = rate.per_window.saturating_mul(WINDOWS_OF_BUCKET).saturating_mul(writers);
    let partitions = per_bucket.div_ceil(PARTITION_BYTES).max(1);
    let log2 = (u64::BITS - (partitions - 1).leading_zeros()) as u8;
    let log2 = if rate.rises { log2.next_multiple_of(2) } else { log2 };
    let slices = log2.saturating_sub(SPREAD_LOG2).min(SLICES_LOG2_MAX);
    Layout::new(slices, log2 - slices)
}

/// What is to be placed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pulse {
    pub(super) event_time_ms: i64,
    /// Its bytes, [`ROW_BYTES`] at least.
    pub(super) load: u64,
    /// The layout that it needs at least.
    pub(super) least: Layout,
    /// Whether its bucket has passed.
    pub(super) passed: bool,
    pub(super) writers: u64,
    pub(super) now_s: u32,
}

/// Counts a pulse in its bucket and gives its layout. `key` is the bucket's, `slices` has the
/// loads of slices.
pub(super) fn place(slot: &Slot, slices: &Sketch, key: u64, pulse: Pulse) -> Layout {
    let mut state = State::read(slot);
    let least = state.layout.joined(pulse.least);
    if least != state.layout {
        state = state.change(slot, least);
    }
    let layout = state.layout;
    let load = slot.add(LOAD, pulse.load);
    let in_slice = if layout.slices() == 1 {
        load
    } else {
        let slice =
            u64::from(layout.code()) << 16 | u64::from(layout.slice_of(pulse.event_time_ms));
        slices.slot(mix(key, slice), pulse.now_s).add(SLICE_LOAD, pulse.load)
    };
    // A thread that comes between may set less; the next pulse of the slice mends it.
    if in_slice > slot.get(FULLEST) {
        slot.set(FULLEST, in_slice);
    }
    let may_have = state.left(pulse).saturating_mul(u64::from(layout.spread()));
    if in_slice.saturating_mul(pulse.writers) <= may_have {
        return layout;
    }
    match stepped(layout, in_slice > load / 2) {
        Some(next) => state.change(slot, next).layout,
        None => layout,
    }
}

/// The next layout where a slice has become too full; `one` says that it has most of the bucket.
fn stepped(layout: Layout, one: bool) -> Option<Layout> {
    let (slices, spread) = (layout.slices_log2(), layout.spread_log2());
    let wider = Layout::new(slices, spread.saturating_add(STEP_LOG2));
    let finer = Layout::new(slices.saturating_add(STEP_LOG2), spread);
    let next = if spread < SPREAD_LOG2 {
        Layout::new(slices, SPREAD_LOG2)
    } else if slices == 0 {
        // Whether it is one slice or all is known only where there are several.
        finer
    } else if spread < SPREAD_LOG2_MAX && (one || slices == SLICES_LOG2_MAX) {
        wider
    } else {
        finer
    };
    (next != layout).then_some(next)
}

/// A bucket's layout, and what earlier ones may have put into one of its partitions.
#[derive(Debug, Clone, Copy)]
struct State {
    word: u64,
    layout: Layout,
    filled: u64,
}

impl State {
    fn read(slot: &Slot) -> Self {
        Self::of(slot.get(STATE))
    }

    fn of(word: u64) -> Self {
        Self { word, layout: Layout::from_code(word as u16), filled: word >> 16 }
    }

    /// What each partition of a slice may get in this layout.
    fn left(self, pulse: Pulse) -> u64 {
        let full = if pulse.passed { PASSED_FULL_BYTES } else { FULL_BYTES };
        full.saturating_sub(self.filled.saturating_mul(pulse.writers)).max(STEP_BYTES)
    }

    /// Goes on with another layout. Returns what is so now, whoever made it so.
    fn change(self, slot: &Slot, layout: Layout) -> Self {
        let got = slot.get(FULLEST) / u64::from(self.layout.spread());
        let filled = self.filled.saturating_add(got).min(u64::MAX >> 16);
        let next = filled << 16 | u64::from(layout.code());
        if slot.replace(STATE, self.word, next) {
            slot.set(LOAD, 0);
            slot.set(FULLEST, 0);
        }
        Self::read(slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_asks_for_as_many_partitions_as_its_rows_fill_by_half() {
        let check = |rows_per_second: u64, slices, spread| {
            let rate = Rate { per_window: rows_per_second * 10 * ROW_BYTES, rises: false };
            let found = layout_of(rate, 1);
            assert_eq!((found.slices(), found.spread()), (slices, spread), "{rows_per_second}/s");
        };
        check(0, 1, 1);
        check(83, 1, 1);
        check(84, 1, 2);
        check(600, 1, 8);
        check(700, 2, 8);
        check(10_000, 16, 8);
        check(100_000, 64, 32);
        check(u64::MAX >> 20, 64, 256);
    }

    #[test]
    fn steps_end_where_nothing_can_be_spread_further() {
        for one in [false, true] {
            let mut layout = Layout::ONE;
            let mut steps = 0;
            while let Some(next) = stepped(layout, one) {
                assert_eq!(next, layout.joined(next), "it only grows");
                (layout, steps) = (next, steps + 1);
            }
            assert_eq!((layout, steps), (Layout::new(6, 8), 5));
        }
    }
}
