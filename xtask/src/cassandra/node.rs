//! One node under control: stopped, killed, paused, started again on its data, looked at.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;

use super::cql::{self, Consistency};
use super::process::Process;
use super::settings::Place;
use super::{config, java};
use crate::server::wait_for;

/// A node writes all it holds to disk before it ends.
const STOP_MAX: Duration = Duration::from_secs(60);
/// Between two questions to a node that does not answer yet: each costs it some work.
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// A shell writes the number of the process that it has started.
const PID_MAX: Duration = Duration::from_secs(10);
/// End of a log that is shown with a failure.
const LOG_LINES_MAX: usize = 60;

/// A node of a cluster.
#[derive(Debug)]
pub struct Node {
    index: usize,
    place: Arc<Place>,
    process: Process,
}

impl Node {
    pub(super) fn new(index: usize, place: Arc<Place>) -> Self {
        let process = Process::of(&place.settings.node_dir(index));
        Self { index, place, process }
    }

    /// Where clients connect, with TLS or without.
    pub fn address(&self) -> SocketAddr {
        self.place.settings.address(self.index)
    }

    /// Starts it with the cluster's settings and the data that it has; `wait_up` tells when it
    /// can be asked.
    pub fn start(&self) -> Result<()> {
        self.start_with(&[])
    }

    /// Starts it with further keys of `cassandra.yaml`, which the next start forgets.
    pub fn start_with(&self, yaml: &[(String, String)]) -> Result<()> {
        ensure!(!self.is_running(), "the node {} runs already", self.address());
        let dir = self.place.settings.node_dir(self.index);
        fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
        let text = config::render(&self.place.settings, self.index, yaml);
        fs::write(dir.join("cassandra.yaml"), text).context("write cassandra.yaml")?;
        let _ = fs::remove_file(self.process.pid_file());
        java::start(&self.place, self.index)?;
        wait_for(PID_MAX, "the node's process", || Ok(self.process.pid_file().exists()))
    }

    /// Asks it to end (`SIGTERM`) and waits until it has; it writes out what it holds before.
    pub fn stop(&self) -> Result<()> {
        self.terminate()?;
        self.wait_gone()
    }

    pub(super) fn terminate(&self) -> Result<()> {
        self.process.signal(Signal::TERM)
    }

    pub(super) fn wait_gone(&self) -> Result<()> {
        self.process.wait_gone(STOP_MAX)
    }

    /// Kills it (`SIGKILL`), if it runs, and waits until it is gone.
    pub fn kill(&self) -> Result<()> {
        self.process.kill()
    }

    /// Stops its process where it is (`SIGSTOP`): connections stay, nothing is answered.
    pub fn pause(&self) -> Result<()> {
        self.process.signal(Signal::STOP)
    }

    /// Lets a paused process go on.
    pub fn resume(&self) -> Result<()> {
        self.process.signal(Signal::CONT)
    }

    /// Whether its process is there, paused or not.
    pub fn is_running(&self) -> bool {
        self.process.pid().is_some()
    }

    /// Waits until it can be logged in to and asked. A login needs more than half of the nodes.
    pub fn wait_up(&self, at_most: Duration) -> Result<()> {
        let query = "SELECT key FROM system.local";
        self.wait_answer(query, Consistency::One, at_most)
    }

    /// Waits until it answers with the help of as many nodes, itself among them.
    pub fn wait_sees(&self, nodes: usize, at_most: Duration) -> Result<()> {
        let consistency = match nodes {
            1 => Consistency::One,
            2 => Consistency::Two,
            3 => Consistency::Three,
            _ => bail!("there are 1 to 3 nodes, not {nodes}"),
        };
        // Each node has a replica of it.
        self.wait_answer("SELECT role FROM system_auth.roles", consistency, at_most)
    }

    /// The last lines of its log, of all its starts.
    pub fn log_tail(&self) -> String {
        let path = self.log();
        let text = match fs::read(&path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) => format!("read {}: {error}", path.display()),
        };
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES_MAX)..].join("\n")
    }

    /// Bytes of memory that it has resident.
    pub fn resident_bytes(&self) -> Result<u64> {
        self.process.resident_bytes()
    }

    /// Processor time that it has used since it was started.
    pub fn cpu_time(&self) -> Result<Duration> {
        self.process.cpu_time()
    }

    /// Runs `nodetool` for this node, such as `["flush"]`, and returns what it prints. Takes
    /// about a second of one processor.
    pub fn nodetool(&self, arguments: &[&str]) -> Result<String> {
        java::nodetool(&self.place, self.index, arguments)
    }

    /// `nodetool` for this node, to be run by something else: a program and its first arguments.
    pub fn nodetool_command(&self) -> Command {
        java::nodetool_command(&self.place, self.index)
    }

    fn log(&self) -> PathBuf {
        self.place.settings.node_dir(self.index).join("system.log")
    }

    fn wait_answer(&self, query: &str, consistency: Consistency, at_most: Duration) -> Result<()> {
        let login = self.place.settings.login();
        let mut ended = false;
        wait_for(at_most, "the node's answer", || {
            ended = !self.is_running();
            if ended {
                return Ok(true);
            }
            let answer = cql::ask(self.address(), login, query, consistency);
            if answer.is_err() {
                thread::sleep(ASK_AGAIN);
            }
            answer.map(|()| true)
        })
        .and_then(|()| if ended { bail!("its process has ended") } else { Ok(()) })
        .with_context(|| format!("node {}; its log:\n{}", self.address(), self.log_tail()))
    }
}
