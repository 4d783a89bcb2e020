//! The tests that need a real Kubernetes: one cluster for all of them, as a step that has the
//! machine for itself. Never skipped unseen: where the machine or the user can't run a cluster it
//! fails and says what is missing, unless it is left out by `--without-cluster`.

use anyhow::{Context, Result};

use super::step::Step;
use super::{WHOLE, again};

/// Not where a person's own cluster is.
const DIR: &str = "/var/tmp/pulsemesh-test";
/// Where images of the tests lie; made anew each time.
const IMAGES: &str = "target/images";

/// Builds a cluster's programs, once for all versions of this project that want the same.
pub(super) fn programs() -> Result<Step> {
    let own = std::env::current_exe().context("find this program")?.display().to_string();
    Ok(Step::program("programs", &own, "cluster build").within(40))
}

/// What only `--long` and `cargo xtask test cluster` try: stores of several nodes that roll, lose
/// a node, grow and shrink, and hundreds of meshes, take longer than all else together.
pub(super) const LONG: &[&str] = &["store::", "many::"];

/// The tests whose names hold one of the words, without a word all; none that hold one of
/// `skipped`.
pub(super) fn step(words: &[&str], skipped: &[&str]) -> Result<Step> {
    let own = std::env::current_exe().context("find this program")?.display().to_string();
    let mut step = Step::program("cluster", "/bin/sh", "-c").within(60);
    step.arguments.extend([script(words, skipped), "sh".to_owned(), own]);
    Ok(step)
}

/// What is missing is told before anything is built.
fn script(words: &[&str], skipped: &[&str]) -> String {
    let cargo = env!("CARGO");
    let again = again::arguments(&format!("'{cargo}' test"));
    // No test's name holds a quote.
    let quoted = |word: &&str| format!(" '{}'", word.replace('\'', ""));
    let words: String = words.iter().map(quoted).collect();
    let skipped: String = skipped.iter().map(|word| format!(" --skip{}", quoted(word))).collect();
    format!(
        "set -e\n\
         \"$1\" cluster check\n\
         \"$1\" cluster build\n\
         '{cargo}' test {WHOLE} --test cluster --no-run --quiet\n\
         \"$1\" images --for-tests --profile ci --out {IMAGES}\n\
         load=$(for file in {IMAGES}/*.tar; do printf ' --load %s' \"$file\"; done)\n\
         exec \"$1\" cluster --dir {DIR} run $load -- \
           \"$1\" {again} {WHOLE} --offline --test cluster -- \
           --ignored --test-threads=1 --nocapture{skipped}{words}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_narrow_the_tests() {
        let narrowed = script(&["re'fused", "life"], &[]);
        assert!(narrowed.contains("--nocapture 'refused' 'life'\n"), "{narrowed}");
        assert!(script(&[], &[]).contains("--nocapture\n"));
        let skipped = script(&[], &["store::", "many::"]);
        assert!(skipped.contains("--nocapture --skip 'store::' --skip 'many::'\n"), "{skipped}");
    }
}
