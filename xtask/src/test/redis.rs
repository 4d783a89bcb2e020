//! The tests that need a real Redis, each with one of its own, as a step that has the machine for
//! itself: they measure rates. Never skipped: without `redis-server` it fails and says what to
//! install.

use anyhow::{Context, Result};

use super::peer_tests;
use super::step::Step;

/// Requests of the run that kills a server and Redis, where there is time.
const REQUESTS_LONG: u64 = 1_000_000;

/// All of them, or those whose names hold the word: the test target `redis`, and tests that lie
/// in a module `redis` of a library.
pub(super) fn step(word: &str, long: bool) -> Result<Step> {
    let own = std::env::current_exe().context("find this program")?.display().to_string();
    let mut step = Step::program("redis", "/bin/sh", "-c").within(if long { 60 } else { 15 });
    step.arguments.extend([peer_tests("redis", word), "sh".to_owned(), own]);
    Ok(if long { step.with("PULSEMESH_IDEMPOTENT_REQUESTS", REQUESTS_LONG) } else { step })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_narrows_tests_of_both_kinds() {
        let script = peer_tests("redis", "once");
        assert!(script.contains("--test-threads=1 'once'"), "{script}");
        assert!(script.contains("--test-threads=1 'redis::once'"), "{script}");
    }
}
