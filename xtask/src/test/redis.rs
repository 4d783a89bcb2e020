//! The tests that need a real Redis, each with one of its own, as a step that has the machine for
//! itself: they measure rates. Never skipped: without `redis-server` it fails and says what to
//! install.

use anyhow::{Context, Result};

use super::step::Step;
use super::{WHOLE, again};

/// Requests of the run that kills a server and Redis, where there is time.
const REQUESTS_LONG: u64 = 1_000_000;

/// All of them, or those whose names hold the word: the test target `redis`, and tests that lie
/// in a module `redis` of a library.
pub(super) fn step(word: &str, long: bool) -> Result<Step> {
    let own = std::env::current_exe().context("find this program")?.display().to_string();
    let mut step = Step::program("redis", "/bin/sh", "-c").within(if long { 60 } else { 15 });
    step.arguments.extend([commands(word), "sh".to_owned(), own]);
    Ok(if long { step.with("PULSEMESH_IDEMPOTENT_REQUESTS", REQUESTS_LONG) } else { step })
}

/// Tests of both kinds are run though one fails.
fn commands(word: &str) -> String {
    let again = again::arguments(&format!("'{}' test", env!("CARGO")));
    // No test's name holds a quote.
    let word = word.replace('\'', "");
    format!(
        "failed=0\n\
         \"$1\" {again} {WHOLE} --no-fail-fast --test redis -- \
           --ignored --test-threads=1 '{word}' || failed=1\n\
         \"$1\" {again} {WHOLE} --no-fail-fast --lib -- \
           --ignored --test-threads=1 'redis::{word}' || failed=1\n\
         exit $failed\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_narrows_tests_of_both_kinds() {
        let script = commands("once");
        assert!(script.contains("--test-threads=1 'once'"), "{script}");
        assert!(script.contains("--test-threads=1 'redis::once'"), "{script}");
    }
}
