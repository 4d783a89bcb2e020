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
/// What they may get in each further layout, so that a partition which several of them share
/// stays below 100,000 rows.
const STEP_BYTES: u64 = 8_000 * ROW_BYTES;
/// How much further a step spreads, and how much finer it cuts, as powers of two.
const STEP_LOG2: u8 = 3;

/// Partitions side by side before there are slices, as a power of two: the newest rows are read
/// from as many.
const SPREAD_LOG2: u8 = 3;

/// The [`State`]; the load of the layout; the load of its fullest slice.
const STATE: usize = 0;
const LOAD: usize = 1;
const FULLEST: usize = 2;
/// In the slot of a slice: the load since it was widened, and by how much that was, as a power
/// of two.
const SLICE_LOAD: usize = 0;
const SLICE_WIDER: usize = 1;

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
    let load = slot.add(LOAD, pulse.load);
    if state.layout.slices() == 1 {
        return state.grown(slot, pulse, load).layout;
    }
    let layout = state.layout;
    let slice = layout.slice_of(pulse.event_time_ms);
    let number = u64::from(layout.code()) << 16 | u64::from(slice);
    let slice = Widened { slot: slices.slot(mix(key, number), pulse.now_s), layout, slice };
    slice.place(state, slot, pulse, load)
}

/// A slice that may be spread further than the others of its bucket: it alone, as what comes all
/// at once or with one event time says nothing of what comes next.
#[derive(Debug, Clone, Copy)]
struct Widened<'s> {
    slot: &'s Slot,
    /// Of the bucket.
    layout: Layout,
    slice: u16,
}

impl Widened<'_> {
    fn place(self, state: State, bucket: &Slot, pulse: Pulse, load: u64) -> Layout {
        let wider = self.slot.get(SLICE_WIDER);
        let layout = self.widened(wider);
        let in_slice = self.slot.add(SLICE_LOAD, pulse.load);
        let each = if wider == 0 {
            note_fullest(bucket, in_slice);
            state.left(self.slice, pulse)
        } else {
            STEP_BYTES
        };
        if !is_over(in_slice, each, layout, pulse) {
            return layout;
        }
        let one = wider > 0 || in_slice > load / 2 || layout.slices_log2() == SLICES_LOG2_MAX;
        if !one {
            return state.change(bucket, finer(layout)).layout;
        }
        let next = wider + u64::from(STEP_LOG2);
        if self.widened(next) != layout && self.slot.replace(SLICE_WIDER, wider, next) {
            self.slot.set(SLICE_LOAD, 0);
        }
        self.widened(self.slot.get(SLICE_WIDER))
    }

    fn widened(self, by_log2: u64) -> Layout {
        let spread = u64::from(self.layout.spread_log2()) + by_log2;
        Layout::new(self.layout.slices_log2(), spread.min(SPREAD_LOG2_MAX.into()) as u8)
    }
}

fn finer(layout: Layout) -> Layout {
    Layout::new(layout.slices_log2().saturating_add(STEP_LOG2), layout.spread_log2())
}

/// A thread that comes between may set less; the next pulse of the slice mends it.
fn note_fullest(bucket: &Slot, in_slice: u64) {
    if in_slice > bucket.get(FULLEST) {
        bucket.set(FULLEST, in_slice);
    }
}

/// Whether a slice's partitions have got more than so many bytes each, from all writers.
fn is_over(in_slice: u64, each: u64, layout: Layout, pulse: Pulse) -> bool {
    in_slice.saturating_mul(pulse.writers) > each.saturating_mul(u64::from(layout.spread()))
}

/// A bucket's layout, how many partitions the earlier ones had, and what these may have put into
/// one of them.
#[derive(Debug, Clone, Copy)]
struct State {
    word: u64,
    layout: Layout,
    earlier: u32,
    filled: u64,
}

impl State {
    fn read(slot: &Slot) -> Self {
        Self::of(slot.get(STATE))
    }

    /// From the lowest: the layout's code, the partitions as a power of two from 1, the load.
    fn of(word: u64) -> Self {
        let layout = Layout::from_code(word as u16 & 0xff);
        let earlier = 1_u32.checked_shl((word >> 8) as u32 & 0xff).unwrap_or(u32::MAX) >> 1;
        Self { word, layout, earlier, filled: word >> 16 }
    }

    /// What to go on with in a bucket of one slice that has got so much: only where there are
    /// several it can be known whether one of them gets all.
    fn grown(self, slot: &Slot, pulse: Pulse, load: u64) -> Self {
        note_fullest(slot, load);
        if !is_over(load, self.left(0, pulse), self.layout, pulse) {
            return self;
        }
        let spread = self.layout.spread_log2() < SPREAD_LOG2;
        let next = if spread { Layout::new(0, SPREAD_LOG2) } else { finer(self.layout) };
        self.change(slot, next)
    }

    /// What each partition of a slice may get in this layout: less where earlier layouts have put
    /// rows of other slices.
    fn left(self, slice: u16, pulse: Pulse) -> u64 {
        let full = if pulse.passed { PASSED_FULL_BYTES } else { FULL_BYTES };
        if self.layout.shards_of_slice(slice).start.unsigned_abs() >= self.earlier {
            return full;
        }
        full.saturating_sub(self.filled.saturating_mul(pulse.writers)).max(STEP_BYTES)
    }

    /// Goes on with another layout. Returns what is so now, whoever made it so.
    fn change(self, slot: &Slot, layout: Layout) -> Self {
        let got = slot.get(FULLEST) / u64::from(self.layout.spread());
        let filled = self.filled.saturating_add(got).min(u64::MAX >> 16);
        let log2 = u64::from(self.layout.slices_log2() + self.layout.spread_log2());
        let next = filled << 16 | (log2 + 1) << 8 | u64::from(layout.code());
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
        check(100_000, 256, 8);
        check(600_000, 1024, 8);
        check(1_200_000, 1024, 16);
        check(u64::MAX >> 20, 1024, 256);
    }

    #[test]
    fn a_slice_that_gets_all_is_spread_alone_until_nothing_is_left_to_spread() {
        let (buckets, slices) = (Sketch::new(600), Sketch::new(600));
        let of = |event_time_ms, load| {
            let (now_s, writers, least) = (1, 1, Layout::new(7, 3));
            let pulse = Pulse { event_time_ms, load, least, passed: false, writers, now_s };
            place(buckets.slot(1, 1), &slices, 1, pulse)
        };
        let mut seen = vec![of(0, 1)];
        for _ in 0..100_000 {
            let layout = of(0, 200 * ROW_BYTES);
            if seen.last() != Some(&layout) {
                seen.push(layout);
            }
        }
        assert_eq!(seen, [Layout::new(7, 3), Layout::new(7, 6), Layout::new(7, 8)]);
        assert_eq!(of(500_000, 1), Layout::new(7, 3), "another slice stays as it was");
    }

    #[test]
    fn a_bucket_whose_slices_all_get_too_much_is_cut_finer() {
        let (buckets, slices) = (Sketch::new(600), Sketch::new(600));
        let mut last = Layout::ONE;
        for number in 0..200_000 {
            let (event_time_ms, load) = (number % 600 * 1_000, 500 * ROW_BYTES);
            let (least, passed, writers, now_s) = (Layout::ONE, true, 1, 1);
            let pulse = Pulse { event_time_ms, load, least, passed, writers, now_s };
            let layout = place(buckets.slot(1, 1), &slices, 1, pulse);
            assert!(layout.slices() >= last.slices(), "it only grows");
            last = layout;
        }
        assert_eq!(last.slices_log2(), SLICES_LOG2_MAX);
    }
}
