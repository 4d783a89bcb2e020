//! How much comes of a service, by windows of ten seconds: quick to rise, slow to fall, so that a
//! service that pauses keeps its layout. Measures; decides nothing.

use super::sketch::Slot;

/// Length of a window.
const WINDOW_US: i64 = 10_000_000;
/// How many windows a bucket has.
pub(super) const WINDOWS_OF_BUCKET: u64 = 60;
/// After so many windows without anything, nothing is left of what was measured.
const FORGOTTEN_AFTER: u64 = 120;

/// The window that the slot counts in, what has come in it, and what came in those before.
const WINDOW: usize = 0;
const COUNT: usize = 1;
const BEFORE: usize = 2;

/// What comes of a service in one window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rate {
    pub(super) per_window: u64,
    /// More than twice what was known has come already: it will be more still.
    pub(super) rises: bool,
}

/// Counts `load` now and returns what comes of its service.
pub(super) fn measure(slot: &Slot, now_us: i64, load: u64) -> Rate {
    roll(slot, now_us.max(0).unsigned_abs() / WINDOW_US.unsigned_abs());
    let count = slot.add(COUNT, load);
    let before = slot.get(BEFORE);
    Rate { per_window: count.max(before), rises: count / 2 > before }
}

fn roll(slot: &Slot, window: u64) {
    let counted = slot.get(WINDOW);
    // Threads read the clock before they count: one may still be in the window before.
    if counted == window || counted == window + 1 || !slot.replace(WINDOW, counted, window) {
        return;
    }
    let count = slot.get(COUNT);
    slot.set(COUNT, 0);
    let passed = window.saturating_sub(counted).max(1);
    let before = decayed(slot.get(BEFORE), passed).max(decayed(count, passed - 1));
    slot.set(BEFORE, before);
}

/// What is left after so many windows: half after two minutes.
fn decayed(load: u64, windows: u64) -> u64 {
    if windows > FORGOTTEN_AFTER {
        return 0;
    }
    (0..windows).fold(load, |load, _| load - load / 16)
}

#[cfg(test)]
mod tests {
    use super::super::sketch::Sketch;
    use super::*;

    #[test]
    fn a_rate_is_known_within_its_window_and_halves_in_two_minutes() {
        let sketch = Sketch::new(600);
        let slot = sketch.slot(7, 0);
        let at = |second: i64, load| measure(slot, second * 1_000_000, load);
        assert_eq!(at(3, 1_000), Rate { per_window: 1_000, rises: true });
        assert_eq!(at(13, 1_500), Rate { per_window: 1_500, rises: false });
        assert_eq!(at(9, 0), Rate { per_window: 1_500, rises: false }, "a late thread");
        assert_eq!(at(20, 10).per_window, 1_500);
        let later = at(20 + 120, 10).per_window;
        assert!((600..=800).contains(&later), "{later}");
        assert_eq!(at(20 + 7_200, 10).per_window, 10);
        // A clock that was set back begins anew rather than count one window for ever.
        for _ in 0..3 {
            assert_eq!(at(60, 0).rises, at(60, 0).rises);
        }
        assert!(at(75, 0).per_window <= 10);
    }
}
