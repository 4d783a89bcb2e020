//! The tests that need a real Redis, each with one of its own, as a step that has the machine for
//! itself: they measure rates. Never skipped: without `redis-server` it fails and says what to
//! install.

use anyhow::Result;

use super::cargo_test;
use super::step::Step;

/// All of them, or those whose names hold the word.
pub(super) fn step(word: &str) -> Result<Step> {
    let mut step = cargo_test("redis", "--test redis -- --ignored --test-threads=1")?.within(15);
    step.arguments.extend((!word.is_empty()).then(|| word.to_owned()));
    Ok(step)
}
