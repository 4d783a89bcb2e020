//! The charts as Helm renders them. Never skipped: without Helm it fails and says how to get it.

use super::WHOLE;
use super::step::Step;

/// All tests of the target `charts`.
pub(super) fn step() -> Step {
    Step::cargo("charts", &format!("test {WHOLE} --test charts -- --ignored")).within(15)
}
