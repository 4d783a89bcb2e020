//! The product as a child process: started on free ports with its own data directory, waited
//! for, signalled, looked at, and killed when the guard goes. Never reads a fixed port.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::client::Client;
use crate::processor::time_used;
use crate::samples::Samples;

/// Longest wait for a process to listen: recovery of a log is bounded, a loaded machine is slow.
const START_MAX: Duration = Duration::from_secs(30);
/// Lines of the child's log that are kept for a failure's report.
const LOG_LINES_MAX: usize = 2_000;
/// Between two looks at something that is waited for.
const POLL: Duration = Duration::from_millis(5);

/// How a server is started.
#[derive(Debug, Clone)]
pub struct Launch {
    binary: PathBuf,
    arguments: Vec<String>,
}

impl Launch {
    /// The server `binary` on free ports, with its log lines as JSON.
    pub fn new(binary: impl Into<PathBuf>, data_dir: &Path) -> Self {
        Self { binary: binary.into(), arguments: Vec::new() }
            .flag("--listen", "127.0.0.1:0")
            .flag("--admin-listen", "127.0.0.1:0")
            .flag("--log-format", "json")
            .flag("--data-dir", &data_dir.display().to_string())
    }

    /// A program that reports its address as the server does, with no arguments yet.
    pub fn plain(binary: impl Into<PathBuf>) -> Self {
        Self { binary: binary.into(), arguments: Vec::new() }
    }

    /// Adds a flag with its value, or sets it anew.
    pub fn flag(mut self, name: &str, value: &str) -> Self {
        match self.arguments.iter().position(|argument| argument == name) {
            Some(at) => value.clone_into(&mut self.arguments[at + 1]),
            None => self.arguments.extend([name.to_owned(), value.to_owned()]),
        }
        self
    }

    /// Adds an argument alone.
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Starts the process and waits until it says where it listens.
    pub fn start(&self) -> Result<Server> {
        let mut server = self.spawn()?;
        server.wait_listening(START_MAX)?;
        Ok(server)
    }

    /// Starts the process without waiting.
    pub fn spawn(&self) -> Result<Server> {
        let mut child = Command::new(&self.binary)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {}", self.binary.display()))?;
        let stderr = child.stderr.take().context("the child has no stderr")?;
        let log = Arc::new(Mutex::new(VecDeque::new()));
        let (sender, listening) = sync_channel(1);
        let keep = Arc::clone(&log);
        thread::Builder::new()
            .name(format!("stderr-{}", child.id()))
            .spawn(move || follow(stderr, &keep, &sender))
            .context("start a thread")?;
        let none = SocketAddr::from(([0, 0, 0, 0], 0));
        Ok(Server { child, addresses: Addresses { listen: none, admin: none }, listening, log })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Addresses {
    listen: SocketAddr,
    admin: SocketAddr,
}

/// A running server; killed when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    addresses: Addresses,
    listening: Receiver<Addresses>,
    log: Arc<Mutex<VecDeque<String>>>,
}

impl Server {
    /// Where it takes pulses.
    pub fn listen(&self) -> SocketAddr {
        self.addresses.listen
    }

    /// Where it is asked for its state.
    pub fn admin(&self) -> SocketAddr {
        self.addresses.admin
    }

    /// A new client of it.
    pub fn client(&self) -> Client {
        Client::new(self.listen())
    }

    /// Waits until it says where it listens; an error if it ends before.
    pub fn wait_listening(&mut self, at_most: Duration) -> Result<()> {
        match self.listening.recv_timeout(at_most) {
            Ok(addresses) => {
                self.addresses = addresses;
                Ok(())
            }
            Err(_) => bail!("the server does not listen; its log:\n{}", self.log()),
        }
    }

    /// Waits until `/readyz` is answered 200; returns how long it took from now.
    pub fn wait_ready(&self, at_most: Duration) -> Result<Duration> {
        let start = Instant::now();
        let mut client = Client::new(self.admin());
        wait_for(at_most, "readiness", || Ok(client.get("/readyz")?.status == 200))
            .with_context(|| format!("its log:\n{}", self.log()))?;
        Ok(start.elapsed())
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.context("the child has no id")?, signal).context("signal the child")
    }

    /// Kills it (`SIGKILL`) and waits until it is gone.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill().context("kill the child")?;
        self.child.wait().context("wait for the killed child")?;
        Ok(())
    }

    /// Waits until it ends by itself.
    pub fn wait(&mut self, at_most: Duration) -> Result<ExitStatus> {
        let mut status = None;
        wait_for(at_most, "the end of the process", || {
            status = self.child.try_wait()?;
            Ok(status.is_some())
        })
        .with_context(|| format!("its log:\n{}", self.log()))?;
        status.context("the child ended without a status")
    }

    /// Asks it to stop (`SIGTERM`) and waits until it has; it must exit 0.
    pub fn stop(&mut self, at_most: Duration) -> Result<()> {
        self.signal(Signal::TERM)?;
        let status = self.wait(at_most)?;
        ensure!(status.success(), "it ended with {status}; its log:\n{}", self.log());
        Ok(())
    }

    /// The last lines of its log.
    pub fn log(&self) -> String {
        let lines = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().map(|line| format!("{line}\n")).collect()
    }

    /// Its metrics, from the admin listener.
    pub fn samples(&self) -> Result<Samples> {
        let response = Client::new(self.admin()).get("/metrics")?;
        ensure!(response.status == 200, "/metrics answers {}", response.status);
        Samples::parse(&response.text())
    }

    /// Processor time that it has used since its start.
    pub fn cpu_time(&self) -> Result<Duration> {
        time_used(self.child.id())
    }

    /// Its resident memory, in bytes.
    pub fn resident_bytes(&self) -> Result<u64> {
        let path = format!("/proc/{}/status", self.child.id());
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        Ok(kib.context("the status has no VmRSS")?.trim().parse::<u64>()? * 1024)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already; nothing is left to do then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Looks again and again until `done` says yes; an error once `at_most` is over.
pub fn wait_for(
    at_most: Duration,
    what: &str,
    mut done: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let deadline = Instant::now() + at_most;
    loop {
        let outcome = done();
        if matches!(outcome, Ok(true)) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            outcome.with_context(|| format!("wait {at_most:?} for {what}"))?;
            bail!("{what} did not come within {at_most:?}");
        }
        thread::sleep(POLL);
    }
}

fn follow(stderr: ChildStderr, log: &Mutex<VecDeque<String>>, listening: &SyncSender<Addresses>) {
    for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line).into_owned();
        if let Some(addresses) = parse_listening(&line) {
            // Only the first is waited for.
            let _ = listening.try_send(addresses);
        }
        let mut lines = log.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == LOG_LINES_MAX {
            lines.pop_front();
        }
        lines.push_back(line);
    }
}

/// Reads the event `listening` with its fields `listen` and `admin_listen`, flat or nested.
fn parse_listening(line: &str) -> Option<Addresses> {
    let event: Value = serde_json::from_str(line).ok()?;
    let fields = event.get("fields").unwrap_or(&event);
    if fields.get("message")?.as_str()? != "listening" {
        return None;
    }
    let address = |name: &str| fields.get(name)?.as_str()?.parse().ok();
    Some(Addresses { listen: address("listen")?, admin: address("admin_listen")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_addresses_are_read_from_a_flat_or_a_nested_event() {
        let fields = r#""message":"listening","listen":"127.0.0.1:1","admin_listen":"[::1]:2""#;
        for line in
            [format!("{{{fields}}}"), format!(r#"{{"level":"INFO","fields":{{{fields}}}}}"#)]
        {
            let addresses = parse_listening(&line).expect("an address");
            assert_eq!(addresses.listen.port(), 1);
            assert_eq!(addresses.admin.to_string(), "[::1]:2");
        }
        assert_eq!(parse_listening("listening on 127.0.0.1:1"), None);
        assert_eq!(parse_listening(r#"{"message":"listening"}"#), None);
    }

    #[test]
    fn a_process_that_ends_at_once_is_reported_with_its_log() {
        let launch = Launch::plain("/bin/sh").flag("-c", "echo no such flag >&2; exit 3");
        let error = launch.start().expect_err("it never listens");
        assert!(error.to_string().contains("no such flag"), "{error:#}");
    }

    #[test]
    fn a_wait_ends_with_the_last_error() {
        let mut looks = 0;
        let error = wait_for(Duration::from_millis(20), "luck", || {
            looks += 1;
            bail!("look {looks} failed")
        });
        assert!(looks > 1);
        assert!(format!("{:#}", error.expect_err("it never comes")).contains("failed"));
    }
}
