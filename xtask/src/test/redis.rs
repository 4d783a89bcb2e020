//! The tests that need a real Redis, each with one of its own, as a step that has the machine for
//! itself: they measure rates. Never skipped: without `redis-server` it fails and says what to
//! install.

use super::WHOLE;
use super::step::Step;

/// All of them, or those whose names hold the word.
pub(super) fn step(word: &str) -> Step {
    let arguments = format!("test {WHOLE} --test redis -- --ignored --test-threads=1");
    let mut step = Step::cargo("redis", &arguments).within(15);
    step.arguments.extend((!word.is_empty()).then(|| word.to_owned()));
    step
}
