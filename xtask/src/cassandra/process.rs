//! A node's process by its pid file: whether it is there, signals, memory and processor time.
//! Never signals a process that is not this node's, even where the number was given again.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

use crate::processor;
use crate::server::wait_for;

/// A killed process is gone at once; one that writes a core or waits for a disk is not.
const GONE_MAX: Duration = Duration::from_secs(20);

/// The process of the node whose folder this is.
#[derive(Debug, Clone)]
pub(super) struct Process {
    dir: PathBuf,
    proc: PathBuf,
}

impl Process {
    pub(super) fn of(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), proc: PathBuf::from("/proc") }
    }

    pub(super) fn pid_file(&self) -> PathBuf {
        self.dir.join("pid")
    }

    /// What tells this node's process from every other on the machine.
    pub(super) fn mark(&self) -> String {
        format!("-Dcassandra.storagedir={}", self.dir.display())
    }

    /// Its number, if it runs or is paused.
    pub(super) fn pid(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.pid_file()).ok()?;
        let pid = Pid::from_raw(text.trim().parse().ok()?)?;
        // One that has ended and was not waited for has no command line.
        let command = fs::read(self.entry(pid, "cmdline")).ok()?;
        let mark = self.mark();
        command.split(|byte| *byte == 0).any(|part| part == mark.as_bytes()).then_some(pid)
    }

    pub(super) fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.pid().context("the node does not run")?;
        kill_process(pid, signal).with_context(|| format!("send {signal:?}"))
    }

    /// Kills it, if it runs, and waits until it is gone.
    pub(super) fn kill(&self) -> Result<()> {
        if self.pid().is_some() {
            // It may have ended since.
            let _ = self.signal(Signal::KILL);
        }
        self.wait_gone(GONE_MAX)
    }

    pub(super) fn wait_gone(&self, at_most: Duration) -> Result<()> {
        wait_for(at_most, "the end of the node", || Ok(self.pid().is_none()))
    }

    /// Bytes of memory that it has resident.
    pub(super) fn resident_bytes(&self) -> Result<u64> {
        let text = self.read("status")?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        Ok(kib.context("the status has no VmRSS")?.trim().parse::<u64>()? * 1024)
    }

    /// Processor time that it has used since it was started.
    pub(super) fn cpu_time(&self) -> Result<Duration> {
        let pid = self.pid().context("the node does not run")?;
        processor::time_used(pid.as_raw_nonzero().get().unsigned_abs())
    }

    fn read(&self, name: &str) -> Result<String> {
        let path = self.entry(self.pid().context("the node does not run")?, name);
        fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
    }

    fn entry(&self, pid: Pid, name: &str) -> PathBuf {
        self.proc.join(pid.as_raw_nonzero().to_string()).join(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_another_process_has_is_not_the_node() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut process = Process::of(&dir.path().join("node1"));
        process.proc = dir.path().join("proc");
        fs::create_dir_all(process.proc.join("77")).expect("a folder");
        fs::create_dir_all(&process.dir).expect("a folder");
        let running = |command: &str, pid: &str| {
            fs::write(process.proc.join("77/cmdline"), command).expect("written");
            fs::write(process.pid_file(), pid).expect("written");
            process.pid().is_some()
        };
        let own = format!("java\0{}\0Daemon\0", process.mark());
        assert!(running(&own, "77\n"));
        assert!(!running(&own, "78\n"), "nobody has this number");
        assert!(!running(&own, "\n"), "no number");
        assert!(!running("java\0", "77\n"), "another's process");
        assert!(!running(&format!("{}0\0", process.mark()), "77\n"), "another node's");
        assert!(!running("", "77\n"), "it has ended");
    }
}
