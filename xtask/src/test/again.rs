//! Tests with real databases and a real cluster share a machine with whatever else runs on it.
//! One that fails is run once more, alone. That hides nothing: what passes only then is told as
//! flaky, and more than a few failures are a failure at once.

use std::io::{BufRead, BufReader, Write, pipe};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use clap::Args;

/// More than so many failed tests are no bad luck.
const AGAIN_MAX: usize = 3;
/// Begins the line of each test that passed only when it was run again.
pub(super) const FLAKY: &str = "flaky: ";

/// A run of `cargo test`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// With all of its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// The arguments that run another command of `cargo test` by way of this program.
pub(super) fn arguments(command: &str) -> String {
    format!("again -- {command}")
}

/// Runs the tests, and once more those that failed; says whether each passed in the end.
pub(crate) fn run(options: &Options) -> Result<bool> {
    run_to(&mut std::io::stdout(), options)
}

fn run_to(out: &mut impl Write, options: &Options) -> Result<bool> {
    let first = run_once(out, &options.command)?;
    let Some(names) = first.to_run_again() else { return Ok(first.passed) };
    writeln!(out, "\nrun again, alone: {}", names.join(", "))?;
    let second = run_once(out, &again(&options.command, names))?;
    if second.passed {
        for name in names {
            writeln!(out, "{FLAKY}{name} passed only when it was run again, alone")?;
        }
    }
    Ok(second.passed)
}

/// The command for these tests alone, one after the other.
fn again(command: &[String], names: &[String]) -> Vec<String> {
    let of_cargo = command.iter().take_while(|argument| *argument != "--");
    let mut again: Vec<String> = of_cargo.cloned().collect();
    let more = ["--", "--exact", "--include-ignored", "--test-threads=1"];
    again.extend(more.map(str::to_owned));
    if command.iter().any(|argument| argument == "--nocapture") {
        again.push("--nocapture".to_owned());
    }
    again.extend(names.iter().cloned());
    again
}

/// How tests ended.
#[derive(Debug, Default)]
struct Ended {
    passed: bool,
    failed: Vec<String>,
    /// Programs of tests that told which tests failed, and all that failed.
    told: usize,
    broken: usize,
    /// Names since the last heading of failures.
    listed: Vec<String>,
}

impl Ended {
    /// The failed tests; `None` if there are none, too many, or not all are known: a program
    /// that was killed or could not be built tells no names.
    fn to_run_again(&self) -> Option<&[String]> {
        let known = !self.failed.is_empty() && self.broken <= self.told;
        (!self.passed && known && self.failed.len() <= AGAIN_MAX).then_some(&self.failed)
    }

    /// Reads a line of what `cargo test` prints.
    fn read(&mut self, line: &str) {
        if line == "failures:" {
            self.listed.clear();
        } else if line.starts_with("test result: FAILED") {
            self.told += 1;
            self.failed.append(&mut self.listed);
        } else if line.starts_with("error: test failed") {
            self.broken += 1;
        } else if let Some(name) = line.strip_prefix("    ").filter(|name| is_name(name)) {
            self.listed.push(name.to_owned());
        }
    }
}

/// Whether this is a path of Rust names.
fn is_name(text: &str) -> bool {
    let of_name = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == ':';
    !text.is_empty() && text.chars().all(of_name)
}

/// Runs a command to its end and passes its lines on as they come.
fn run_once(out: &mut impl Write, command: &[String]) -> Result<Ended> {
    let (program, arguments) = command.split_first().context("a command is missing")?;
    let (reader, writer) = pipe().context("make a pipe")?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .spawn()
        .with_context(|| format!("run {program}"))?;
    let mut ended = Ended::default();
    for line in BufReader::new(reader).split(b'\n') {
        let line = String::from_utf8_lossy(&line.context("read what it prints")?).into_owned();
        writeln!(out, "{line}")?;
        ended.read(&line);
    }
    ended.passed = child.wait().context("wait for the command")?.success();
    Ok(ended)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    const FAILED: &str = "test a::one ... FAILED\n\nfailures:\n\n---- a::one stdout ----\n\
        \x20   thread\nfailures:\n    a::one\n\ntest result: FAILED. 1 passed; 1 failed;\n\
        error: test failed, to rerun pass `--test it`\n";

    fn ended(output: &str) -> Ended {
        let mut ended = Ended::default();
        output.lines().for_each(|line| ended.read(line));
        ended
    }

    #[test]
    fn failed_tests_are_read_from_the_list_and_not_from_what_they_print() {
        assert_eq!(ended(FAILED).to_run_again(), Some(&["a::one".to_owned()][..]));
        assert_eq!(ended(&FAILED.repeat(2)).failed.len(), 2);
    }

    #[test]
    fn too_many_failures_and_those_without_a_name_are_final() {
        assert!(ended(&FAILED.repeat(AGAIN_MAX)).to_run_again().is_some());
        assert!(ended(&FAILED.repeat(AGAIN_MAX + 1)).to_run_again().is_none());
        let killed = format!("{FAILED}error: test failed, to rerun pass `--lib`\n");
        assert!(ended(&killed).to_run_again().is_none());
        assert!(ended("error: could not compile `x`\n").to_run_again().is_none());
    }

    #[test]
    fn only_the_failed_tests_are_run_again() {
        let command = ["cargo", "test", "--test", "it", "--", "--ignored", "word"];
        let command = command.map(str::to_owned);
        let told = again(&command, &["a::one".to_owned()]).join(" ");
        let wanted = "cargo test --test it -- --exact --include-ignored --test-threads=1 a::one";
        assert_eq!(told, wanted);
    }

    /// A script in place of cargo: it fails as often as the file has lines, one a run.
    fn failing(times: usize) -> (TempDir, Options) {
        let dir = TempDir::new().expect("a folder");
        fs::write(dir.path().join("left"), "x\n".repeat(times)).expect("write");
        fs::write(dir.path().join("failed"), FAILED).expect("write");
        let script = format!(
            "cd {}; [ -s left ] || exit 0; sed -i 1d left; cat failed; exit 1",
            dir.path().display()
        );
        let command = ["/bin/sh", "-c", &script].map(str::to_owned).to_vec();
        (dir, Options { command })
    }

    #[test]
    fn a_test_that_fails_twice_has_failed() {
        for (times, passes) in [(0, true), (1, true), (2, false)] {
            let (_dir, options) = failing(times);
            let mut told = Vec::new();
            assert_eq!(run_to(&mut told, &options).expect("run it"), passes, "{times}");
            let told = String::from_utf8(told).expect("text");
            assert_eq!(told.contains(FLAKY), times == 1, "{told}");
        }
    }
}
