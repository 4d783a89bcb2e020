//! Fuzzing, where a nightly compiler is installed: the targets of `fuzz/` for some minutes
//! each. Builds them as cargo-fuzz would, without needing it.

use super::step::Step;

const SECONDS_EACH: u32 = 120;
/// Memory at which a target has failed: the largest body and its events, many times over.
const RESIDENT_MIB_MAX: u32 = 1024;
/// What libFuzzer needs of the compiler, and the checks of a debug build.
const FLAGS: &str = "--cfg fuzzing -Cdebug-assertions -Coverflow-checks \
    -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares";

/// Builds and runs all targets; says so where there is no nightly compiler.
pub(super) fn step() -> Step {
    // With a target named, build scripts are not instrumented.
    let script = format!(
        "set -eu\n\
         if ! rustc +nightly --version 2>/dev/null; then\n\
           echo 'skipped: fuzz, there is no nightly compiler here'; exit 0\n\
         fi\n\
         host=$(rustc -vV | sed -n 's/^host: //p')\n\
         export RUSTUP_TOOLCHAIN=nightly RUSTFLAGS='{FLAGS}'\n\
         cd fuzz\n\
         for file in fuzz_targets/*.rs; do\n\
           name=$(basename \"$file\" .rs)\n\
           cargo build --quiet --release --bin $name --target $host --target-dir ../target/fuzz\n\
           mkdir -p corpus/$name artifacts/$name\n\
           ../target/fuzz/$host/release/$name -max_total_time={SECONDS_EACH} \
             -rss_limit_mb={RESIDENT_MIB_MAX} -artifact_prefix=artifacts/$name/ corpus/$name 2>&1\n\
         done\n"
    );
    let mut step = Step::program("fuzz", "/bin/sh", "-c").within(60);
    step.arguments.push(script);
    step
}
