//! `cargo xtask test`: every check as a list of steps. Steps that compile into the same folder
//! wait for each other; others run beside them. A failed step stops nothing but what builds on
//! it, so that one run shows all that is wrong.

pub(crate) mod again;
mod cassandra;
mod charts;
mod cluster;
mod deny;
mod fuzz;
mod redis;
mod step;

use std::io::{self, Write};
use std::path::Path;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use clap::Args;

use step::{Outcome, Step};

/// What `cargo xtask test` is asked.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Minutes of load, of fuzzing, and thousands of crash rounds as well.
    #[arg(long)]
    long: bool,
    /// Leaves out what needs a cluster: root, containerd and more. The last line says so.
    #[arg(long)]
    without_cluster: bool,
    /// Only the steps of this name (`format`, `tidy`, `deny`, `build`, `programs`, `clippy`,
    /// `tests`, `charts`, `examples`, `crash`, `bench`, `redis`, `cassandra`, `bench-cassandra`,
    /// `cluster`, with --long `fuzz`); `redis::word`, `cassandra::word`, `cluster::word`: only its
    /// tests whose names hold the word; any other word: only the tests whose names hold it.
    /// The whole run has a part of `cluster`'s tests; by its name, or with --long, all are run.
    filter: Option<String>,
}

/// Steps that run one after the other.
type Lane = Vec<Step>;

/// Examples that serve until they are killed; tests start them.
const SERVERS: [&str; 2] = ["refusing", "throttled"];
/// One profile for all that runs, so that nothing is built twice.
const WHOLE: &str = "--config .cargo/static.toml --profile ci --workspace";

/// What `--without-cluster` leaves out. Helm is one of its programs, and charts need no cluster.
const CLUSTER_STEPS: [&str; 1] = ["cluster"];

/// Runs the steps and prints how they went; says whether all passed.
pub(crate) fn run(root: &Path, options: &Options) -> Result<bool> {
    let started = Instant::now();
    let mut outcomes = Vec::new();
    for lanes in phases(root, options)? {
        outcomes.extend(run_side_by_side(root, lanes)?);
    }
    report(&outcomes, started, if options.without_cluster { CLUSTER_STEPS.len() } else { 0 })
}

/// Lanes of a phase run side by side; the next phase begins when all have ended.
fn phases(root: &Path, options: &Options) -> Result<Vec<Vec<Lane>>> {
    let too_long = if options.long { &[] } else { cluster::LONG };
    let all = vec![
        // The long compilation, and beside it what compiles little.
        vec![vec![build()], vec![format(), tidy()?, deny::step(), cluster::programs()?]],
        // Clippy checks in a folder of its own: it waits for no lock while tests run.
        vec![vec![tests("", options.long)?, charts::step()], vec![clippy()]],
        // What measures time or kills under load has the machine for itself.
        vec![[examples(root)?, vec![crash(options.long), bench(options.long)?]].concat()],
        vec![vec![
            redis::step("", options.long)?,
            database_tests("", options.long)?,
            bench_cassandra(options.long)?,
        ]],
        vec![vec![cluster_tests(&[], too_long, options.long)?]],
        vec![if options.long { vec![fuzz::step()] } else { Vec::new() }],
    ];
    let all = if options.without_cluster { without_cluster(all) } else { all };
    let Some(filter) = &options.filter else { return Ok(all) };
    if let Some(word) = filter.strip_prefix("cassandra::") {
        return Ok(vec![vec![vec![database_tests(word, options.long)?]]]);
    }
    if let Some(word) = filter.strip_prefix("redis::") {
        return Ok(vec![vec![vec![redis::step(word, options.long)?]]]);
    }
    if let Some(word) = filter.strip_prefix("cluster::") {
        return Ok(vec![vec![vec![cluster_tests(&[word], &[], options.long)?]]]);
    }
    if filter == "cluster" {
        return Ok(vec![vec![vec![cluster_tests(&[], &[], options.long)?]]]);
    }
    let steps: Lane = all.into_iter().flatten().flatten().collect();
    let named: Lane = steps.into_iter().filter(|step| step.name == filter).collect();
    Ok(vec![vec![if named.is_empty() { vec![tests(filter, options.long)?] } else { named }]])
}

fn without_cluster(phases: Vec<Vec<Lane>>) -> Vec<Vec<Lane>> {
    let keep = |step: &Step| !CLUSTER_STEPS.contains(&step.name);
    let lane = |lane: Lane| lane.into_iter().filter(keep).collect();
    phases.into_iter().map(|lanes| lanes.into_iter().map(lane).collect()).collect()
}

fn format() -> Step {
    Step::cargo("format", "fmt --all --check")
}

fn tidy() -> Result<Step> {
    let own = std::env::current_exe().context("find this program")?;
    Ok(Step::program("tidy", &own.display().to_string(), "tidy"))
}

fn clippy() -> Step {
    Step::cargo("clippy", "clippy --workspace --all-targets --quiet -- -D warnings")
}

fn build() -> Step {
    Step::cargo("build", &format!("build {WHOLE} --bins --examples --tests --quiet"))
}

fn tests(filter: &str, long: bool) -> Result<Step> {
    let mut step = cargo_test("tests", "--no-fail-fast")?;
    step.arguments.extend((!filter.is_empty()).then(|| filter.to_owned()));
    if !long {
        return Ok(step);
    }
    // Without, as many as every gate can wait for. Requests are of each store.
    let step = step.with("PULSEMESH_ISOLATION_REQUESTS", 100_000);
    Ok(step.with("PULSEMESH_LETTERS", 1_000_000))
}

/// Tests of the whole project, each of which has a second chance.
fn cargo_test(name: &'static str, arguments: &str) -> Result<Step> {
    let own = std::env::current_exe().context("find this program")?;
    let command = format!("{} test {WHOLE} {arguments}", env!("CARGO"));
    Ok(Step::program(name, &own.display().to_string(), &again::arguments(&command)))
}

/// Tests that need one kind of peer, those of both kinds though one fails: a test target of the
/// peer's name, and tests in modules of that name of a library. For a shell whose `$1` is this
/// program.
fn peer_tests(peer: &str, word: &str) -> String {
    let again = again::arguments(&format!("'{}' test", env!("CARGO")));
    // No test's name holds a quote.
    let word = word.replace('\'', "");
    format!(
        "failed=0\n\
         \"$1\" {again} {WHOLE} --no-fail-fast --test {peer} -- \
           --ignored --test-threads=1 '{word}' || failed=1\n\
         \"$1\" {again} {WHOLE} --no-fail-fast --lib -- \
           --ignored --test-threads=1 '{peer}::{word}' || failed=1\n\
         exit $failed\n"
    )
}

fn crash(long: bool) -> Step {
    let rounds = if long { 2_000 } else { 100 };
    let arguments = "--test it -- --ignored --nocapture --exact crash::rounds";
    Step::cargo("crash", &format!("test {WHOLE} {arguments}"))
        .with("PULSEMESH_CRASH_ROUNDS", rounds)
        .within(if long { 120 } else { 15 })
}

fn bench(long: bool) -> Result<Step> {
    let own = std::env::current_exe().context("find this program")?;
    let arguments = if long { "bench --profile ci" } else { "bench --profile ci --smoke" };
    Ok(Step::program("bench", &own.display().to_string(), arguments).within(60))
}

fn database_tests(word: &str, long: bool) -> Result<Step> {
    let step = cassandra::step(word)?;
    Ok(if long { step.with("PULSEMESH_LONG", 1) } else { step })
}

fn cluster_tests(words: &[&str], skipped: &[&str], long: bool) -> Result<Step> {
    let step = cluster::step(words, skipped)?;
    Ok(if long { step.with("PULSEMESH_LONG", 1).within(120) } else { step })
}

/// The same with a real Cassandra, which must not run beside the tests' own.
fn bench_cassandra(long: bool) -> Result<Step> {
    let Step { program, mut arguments, .. } = bench(long)?;
    arguments.push("--cassandra".to_owned());
    let step = Step::program("bench-cassandra", &program, "").within(if long { 90 } else { 15 });
    Ok(Step { arguments, ..step })
}

/// Every example of the library is run to its end.
fn examples(root: &Path) -> Result<Lane> {
    let folder = root.join("ingest/examples");
    let mut names: Vec<String> = match std::fs::read_dir(&folder) {
        Ok(entries) => entries
            .filter_map(|entry| Some(entry.ok()?.path().file_stem()?.to_str()?.to_owned()))
            .filter(|name| !SERVERS.contains(&name.as_str()))
            .collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error).context("list the examples"),
    };
    names.sort();
    // They were built with all else; `cargo run` would build some crates for them alone.
    let own = std::env::current_exe().context("find this program")?;
    let target = own.parent().and_then(Path::parent).context("find the target folder")?;
    let program = |name: String| {
        xtask::built::folder(target, "ci").join("examples").join(name).display().to_string()
    };
    let run = |name| Step::program("examples", &program(name), "").within(5);
    Ok(names.into_iter().map(run).collect())
}

fn run_side_by_side(root: &Path, lanes: Vec<Lane>) -> Result<Vec<Outcome>> {
    thread::scope(|scope| {
        let run = |lane: Lane| {
            let steps = move || lane.iter().map(|step| run_one(root, step)).collect::<Vec<_>>();
            thread::Builder::new().name("steps".into()).spawn_scoped(scope, steps)
        };
        let threads = lanes.into_iter().map(run).collect::<io::Result<Vec<_>>>()?;
        let mut outcomes = Vec::new();
        for thread in threads {
            outcomes.extend(thread.join().map_err(|_| anyhow!("a step panicked"))?);
        }
        Ok(outcomes)
    })
}

fn run_one(root: &Path, step: &Step) -> Outcome {
    say(&format!("{:<9} …", step.name));
    let outcome = step.run(root);
    let word = if outcome.passed { "ok" } else { "FAILED" };
    let mut text = format!("{:<9} {word} in {:.1} s", step.name, outcome.took.as_secs_f64());
    for line in outcome.summary() {
        text.push_str(&format!("\n          {line}"));
    }
    if !outcome.passed {
        text.push_str(&format!("\n{}", outcome.output));
    } else {
        text.push_str(&outcome.first_failures());
    }
    say(&text);
    outcome
}

/// The whole text at once: steps run side by side.
fn say(text: &str) {
    // With nobody to read, the exit code still tells.
    let _ = writeln!(io::stdout().lock(), "{text}");
}

/// The last line is for programs, too: one word may stand before the numbers.
fn report(outcomes: &[Outcome], started: Instant, skipped: usize) -> Result<bool> {
    let tests = outcomes
        .iter()
        .map(Outcome::tests)
        .fold([0; 3], |sum, tests| [sum[0] + tests[0], sum[1] + tests[1], sum[2] + tests[2]]);
    let failed: Vec<&str> =
        outcomes.iter().filter(|outcome| !outcome.passed).map(|outcome| outcome.name).collect();
    let mut out = io::stdout().lock();
    let [passed, broken, left_out] = tests;
    let flaky: usize = outcomes.iter().map(Outcome::flaky).sum();
    writeln!(out, "\ntests: {passed} passed, {broken} failed, {left_out} ignored, {flaky} flaky")?;
    writeln!(out, "steps: {:.0} s in all", started.elapsed().as_secs_f64())?;
    for name in &failed {
        writeln!(out, "failed: {name}")?;
    }
    let numbers = format!("{} passed, {} failed", outcomes.len() - failed.len(), failed.len());
    if skipped == 0 {
        writeln!(out, "{numbers}")?;
    } else {
        writeln!(out, "without-cluster: {numbers}, {skipped} skipped")?;
    }
    Ok(failed.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(filter: Option<&str>) -> Vec<&'static str> {
        names_of(&Options {
            long: false,
            without_cluster: false,
            filter: filter.map(str::to_owned),
        })
    }

    fn names_of(options: &Options) -> Vec<&'static str> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let phases = phases(&root, options).expect("the steps are known");
        let names = phases.iter().flatten().flatten().map(|step| step.name);
        names.filter(|name| *name != "examples").collect()
    }

    #[test]
    fn a_filter_names_a_step_or_else_tests() {
        assert_eq!(names(Some("fuzz")), ["tests"], "fuzzing is for --long");
        let all = [
            "build",
            "format",
            "tidy",
            "deny",
            "programs",
            "tests",
            "charts",
            "clippy",
            "crash",
            "bench",
            "redis",
            "cassandra",
            "bench-cassandra",
            "cluster",
        ];
        assert_eq!(names(None), all);
        assert_eq!(names(Some("cassandra")), ["cassandra"]);
        assert_eq!(names(Some("cassandra::outage")), ["cassandra"]);
        assert_eq!(names(Some("cluster::rolling")), ["cluster"]);
        assert_eq!(names(Some("redis")), ["redis"]);
        assert_eq!(names(Some("redis::hangs")), ["redis"]);
        assert_eq!(names(Some("tidy")), ["tidy"]);
        assert_eq!(names(Some("a_first_pulse")), ["tests"]);
    }

    #[test]
    fn without_a_cluster_all_other_steps_are_left() {
        let without = Options { long: false, without_cluster: true, filter: None };
        let left = names_of(&without);
        assert!(CLUSTER_STEPS.iter().all(|name| !left.contains(name)), "{left:?}");
        assert_eq!(left.len() + CLUSTER_STEPS.len(), names(None).len());
    }
}
