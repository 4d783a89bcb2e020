//! The tests that need a real Cassandra: one cluster of three nodes for all of them, as a step
//! that has the machine for itself. Never skipped: without Java or Maven it fails and says what
//! to install.

use anyhow::{Context, Result};

use super::step::Step;
use super::{WHOLE, peer_tests};

/// What every test may rely on: a password, TLS with certificates of clients, and a value that
/// is refused for its size. Not at 127.0.0.1, where one that was started by hand may be.
/// Code that is compiled once, and quickly, lets nodes that share two cores start sooner. What a
/// node has acknowledged survives that all are killed at once: by default its commit log may lose
/// the last tenth of a second then, and no pulse may be missing.
const CLUSTER: &str = "--nodes 3 --heap 512M --address 127.0.90.1 --authentication --tls \
    --client-certificates --java=-XX:TieredStopAtLevel=1 \
    --yaml column_value_size_fail_threshold=48KiB --yaml commitlog_sync=group \
    --yaml commitlog_sync_group_window=5ms --yaml commitlog_sync_period=";

/// All of them, or those whose names hold the word: the test target `cassandra`, and tests that
/// lie in a module `cassandra` of a library.
pub(super) fn step(word: &str) -> Result<Step> {
    let own = std::env::current_exe().context("find this program")?.display().to_string();
    // Built before nodes take the memory; a build that fails is told once.
    let script = format!(
        "'{cargo}' test {WHOLE} --lib --test cassandra --example refusing --no-run \
           --quiet || exit 1\n\
         exec \"$1\" cassandra {CLUSTER} -- /bin/sh -c \"$2\" sh \"$1\"\n",
        cargo = env!("CARGO")
    );
    let mut step = Step::program("cassandra", "/bin/sh", "-c").within(40);
    step.arguments.extend([script, "sh".to_owned(), own, peer_tests("cassandra", word)]);
    Ok(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_narrows_tests_of_both_kinds() {
        let script = peer_tests("cassandra", "outage");
        assert!(script.contains("--test-threads=1 'outage'"), "{script}");
        assert!(script.contains("--test-threads=1 'cassandra::outage'"), "{script}");
    }
}
