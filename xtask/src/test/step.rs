//! One step of the tests: a command or a check, run to its end within a time, with its output
//! kept for when it fails.

use std::fs::File;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::again::FLAKY;
use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process_group};

/// Between two looks at a running command.
const POLL: Duration = Duration::from_millis(50);

/// Something to be run.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) name: &'static str,
    pub(super) program: String,
    pub(super) arguments: Vec<String>,
    pub(super) environment: Vec<(&'static str, String)>,
    /// After this long it is killed and has failed.
    pub(super) at_most: Duration,
}

impl Step {
    /// `cargo` with arguments that hold no space.
    pub(super) fn cargo(name: &'static str, arguments: &str) -> Self {
        Self::program(name, env!("CARGO"), arguments)
    }

    /// A program with arguments that hold no space.
    pub(super) fn program(name: &'static str, program: &str, arguments: &str) -> Self {
        Self {
            name,
            program: program.to_owned(),
            arguments: arguments.split_whitespace().map(str::to_owned).collect(),
            environment: Vec::new(),
            at_most: Duration::from_secs(25 * 60),
        }
    }

    pub(super) fn within(mut self, minutes: u64) -> Self {
        self.at_most = Duration::from_secs(minutes * 60);
        self
    }

    pub(super) fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.environment.push((name, value.to_string()));
        self
    }

    /// Runs it to its end.
    pub(super) fn run(&self, root: &Path) -> Outcome {
        let started = Instant::now();
        let (passed, output) = match self.capture(root) {
            Ok(end) => end,
            Err(error) => (false, format!("{error:#}\n")),
        };
        Outcome { name: self.name, passed, output, took: started.elapsed() }
    }

    fn capture(&self, root: &Path) -> Result<(bool, String)> {
        // A file takes any amount without a reader, and both streams in order.
        let mut file = tempfile::tempfile().context("make a file for the output")?;
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            // An error's chain says what went wrong; its stack is a page of the test runner.
            .env("RUST_LIB_BACKTRACE", "0")
            // What rustup and cargo set for this process is not meant for the next cargo.
            .env_remove("CARGO_MANIFEST_DIR")
            .env_remove("CARGO_PKG_NAME")
            .current_dir(root)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file.try_clone()?)
            .process_group(0)
            .spawn()
            .with_context(|| format!("run {}", self.program))?;
        let passed = self.wait(&mut child)?;
        let mut output = read_back(&mut file)?;
        if passed.is_none() {
            output.push_str(&format!("\nkilled after {:?}\n", self.at_most));
        }
        Ok((passed.unwrap_or(false), output))
    }

    /// Whether it succeeded; `None` when its time was over.
    fn wait(&self, child: &mut Child) -> Result<Option<bool>> {
        let deadline = Instant::now() + self.at_most;
        loop {
            if let Some(status) = child.try_wait().context("wait for the command")? {
                return Ok(Some(status.success()));
            }
            if Instant::now() >= deadline {
                let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
                kill_process_group(group.context("the command has no id")?, Signal::KILL)?;
                child.wait().context("wait for the killed command")?;
                return Ok(None);
            }
            thread::sleep(POLL);
        }
    }
}

fn read_back(file: &mut File) -> Result<String> {
    use std::io::Seek;
    file.rewind().context("read the output")?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).context("read the output")?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// How a step ended.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    pub(super) name: &'static str,
    pub(super) passed: bool,
    pub(super) output: String,
    pub(super) took: Duration,
}

impl Outcome {
    /// The lines of a passed step that are worth a look.
    pub(super) fn summary(&self) -> Vec<&str> {
        const TELLING: [&str; 7] =
            ["test result:", "crash rounds:", "after ", "NOT CHECKED", "skipped:", "| ", FLAKY];
        let lines = self.output.lines().map(str::trim);
        lines.filter(|line| TELLING.iter().any(|start| line.starts_with(start))).collect()
    }

    /// How many tests passed, failed and were left out, by cargo's own lines.
    pub(super) fn tests(&self) -> [u64; 3] {
        let mut sum = [0; 3];
        for line in self.output.lines().filter(|line| line.trim().starts_with("test result:")) {
            let words: Vec<&str> = line.split_whitespace().collect();
            for (total, name) in sum.iter_mut().zip(["passed;", "failed;", "ignored;"]) {
                let at = words.iter().position(|word| *word == name);
                let number = at.and_then(|at| words.get(at.checked_sub(1)?)?.parse::<u64>().ok());
                *total += number.unwrap_or_default();
            }
        }
        // They failed once, and were counted again among those that passed.
        let [passed, failed, ignored] = sum;
        [passed, failed.saturating_sub(self.flaky() as u64), ignored]
    }

    /// How those failed that passed when they were run again: what they printed then.
    pub(super) fn first_failures(&self) -> String {
        if self.flaky() == 0 {
            return String::new();
        }
        let mut told = false;
        let lines = self.output.lines().filter(|line| {
            told |= *line == "failures:";
            let is_told = told;
            told &= !line.starts_with("test result:");
            is_told
        });
        lines.map(|line| format!("\n          {line}")).collect()
    }

    /// How many tests passed only when they were run again.
    pub(super) fn flaky(&self) -> usize {
        self.output.lines().filter(|line| line.starts_with(FLAKY)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(step: &Step) -> Outcome {
        step.run(Path::new("."))
    }

    fn shell(script: &str) -> Step {
        let mut step = Step::program("shell", "/bin/sh", "-c");
        step.arguments.push(script.to_owned());
        step
    }

    #[test]
    fn a_step_keeps_both_streams_and_its_exit_code_decides() {
        let failed = run(&shell("echo out; echo err >&2; exit 3"));
        assert!(!failed.passed);
        assert_eq!(failed.output, "out\nerr\n");
        assert!(run(&shell("echo $SEED | grep -q 7").with("SEED", 7)).passed);
        assert!(!run(&Step::program("none", "/no/such/program", "")).passed);
    }

    #[test]
    fn a_step_that_hangs_is_killed_with_its_children() {
        let mut step = shell("sleep 60 & sleep 60");
        step.at_most = Duration::from_millis(100);
        let outcome = run(&step);
        assert!(!outcome.passed && outcome.output.contains("killed after"));
        assert!(outcome.took < Duration::from_secs(10));
    }

    #[test]
    fn tests_are_counted_over_all_binaries() {
        let output = "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered\n\
            noise\ntest result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured\n";
        let outcome =
            Outcome { name: "x", passed: true, output: output.into(), took: Duration::ZERO };
        assert_eq!(outcome.tests(), [15, 2, 1]);
        assert_eq!(outcome.summary().len(), 2);
        let output = format!("{output}{FLAKY}x::y passed only when it was run again, alone\n");
        let outcome = Outcome { output, ..outcome };
        assert_eq!((outcome.tests(), outcome.flaky()), ([15, 1, 1], 1));
        let output = format!("before\nfailures:\n  why\ntest result: FAILED.\n{FLAKY}x\n");
        let outcome = Outcome { output, ..outcome };
        assert_eq!(outcome.first_failures().matches("why").count(), 1);
        assert!(!outcome.first_failures().contains("before"));
    }
}
