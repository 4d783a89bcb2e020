//! The tests that need a real Cassandra: one cluster of three nodes for all of them, as a step
//! that has the machine for itself. Never skipped: without Java or Maven it fails and says what
//! to install.

use anyhow::{Context, Result};

use super::WHOLE;
use super::step::Step;

/// What every test may rely on: a password, TLS with certificates of clients, and a value that
/// is refused for its size.
const CLUSTER: &str = "cassandra --nodes 3 --heap 512M --authentication --tls \
    --client-certificates --yaml column_value_size_fail_threshold=48KiB -- /bin/sh -c";

/// All of them, or those whose names hold the word: the test target `cassandra`, and tests that
/// lie in a module `cassandra` of a library.
pub(super) fn step(word: &str) -> Result<Step> {
    let own = std::env::current_exe().context("find this program")?;
    let mut step = Step::program("cassandra", &own.display().to_string(), CLUSTER).within(40);
    step.arguments.push(script(word));
    Ok(step)
}

/// Built before it is run, so that a failed build is told once. Tests of both kinds are run
/// though one fails.
fn script(word: &str) -> String {
    let cargo = env!("CARGO");
    // Quoted: a test's name holds no quote.
    let word = word.replace('\'', "");
    format!(
        "'{cargo}' test {WHOLE} --lib --test cassandra --no-run --quiet || exit 1\n\
         failed=0\n\
         '{cargo}' test {WHOLE} --no-fail-fast --test cassandra -- \
           --ignored --test-threads=1 '{word}' || failed=1\n\
         '{cargo}' test {WHOLE} --no-fail-fast --lib -- \
           --ignored --test-threads=1 'cassandra::{word}' || failed=1\n\
         exit $failed\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_narrows_tests_of_both_kinds() {
        let script = script("outage");
        assert!(script.contains("--test-threads=1 'outage'"), "{script}");
        assert!(script.contains("--test-threads=1 'cassandra::outage'"), "{script}");
    }

    #[test]
    fn the_command_of_the_step_is_one_argument() {
        let step = step("").expect("this program is known");
        let before = step.arguments.iter().rev().nth(1).expect("an argument");
        assert_eq!(before, "-c");
    }
}
