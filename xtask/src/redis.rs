//! A real Redis for tests and benchmarks: the `redis-server` of this machine as a child process
//! on a free port with a folder of its own, killed, paused and started again at will.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::server::wait_for;

/// Longest wait until it answers: it takes milliseconds on an idle machine.
const START_MAX: Duration = Duration::from_secs(20);
/// Longest wait for one answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// A running Redis; killed when dropped.
#[derive(Debug)]
pub struct Redis {
    child: Option<Child>,
    arguments: Vec<String>,
    port: u16,
    dir: TempDir,
}

impl Redis {
    /// One that keeps nothing: started again it is empty.
    ///
    /// # Errors
    /// When there is no `redis-server`, or it does not answer.
    pub fn start() -> Result<Self> {
        Self::with(&["--save", "", "--appendonly", "no"])
    }

    /// One with these arguments of `redis-server`, beside a port and a folder.
    ///
    /// # Errors
    /// As [`Redis::start`].
    pub fn with(arguments: &[&str]) -> Result<Self> {
        let dir = TempDir::new().context("make a folder")?;
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let mut redis = Self { child: None, arguments, port: free_port()?, dir };
        redis.start_again()?;
        Ok(redis)
    }

    /// Where its files are.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Its port at 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its address for `--redis-url`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Starts it where it was, once it was killed.
    ///
    /// # Errors
    /// As [`Redis::start`].
    pub fn start_again(&mut self) -> Result<()> {
        let log = fs::File::create(self.dir.path().join("log")).context("make its log")?;
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &self.port.to_string(), "--dir"])
            .arg(self.dir.path())
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("start redis-server; on Debian: apt-get install -y redis-server")?;
        self.child = Some(child);
        let answers = || Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok());
        let log = self.dir.path().join("log");
        let log = || fs::read_to_string(log).unwrap_or_default();
        wait_for(START_MAX, "Redis", answers).with_context(|| format!("its log:\n{}", log()))
    }

    /// Kills it (`SIGKILL`) and waits until it is gone.
    ///
    /// # Errors
    /// When it can't be waited for.
    pub fn kill(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        child.kill().context("kill redis-server")?;
        child.wait().context("wait for redis-server")?;
        Ok(())
    }

    /// Has it hang: it takes connections and answers none (`SIGSTOP`).
    ///
    /// # Errors
    /// When it does not run.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// When it does not run.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let child = self.child.as_ref().context("Redis does not run")?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.context("Redis has no id")?, signal).context("signal Redis")
    }

    /// Asks it one thing; gives the first line of the answer without its type, of a text the text.
    ///
    /// # Errors
    /// When it does not answer, or with an error.
    pub fn ask(&self, words: &[&str]) -> Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        let mut question = format!("*{}\r\n", words.len());
        for word in words {
            question.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        stream.write_all(question.as_bytes())?;
        let mut lines = BufReader::new(stream).lines();
        let first = lines.next().context("Redis closed the connection")??;
        ensure!(!first.is_empty(), "Redis answered an empty line");
        match first.split_at(1) {
            ("-", error) => bail!("Redis: {error}"),
            ("$", "-1") => Ok(String::new()),
            ("$", _) => lines.next().context("Redis closed the connection")?.context("read"),
            (_, value) => Ok(value.to_owned()),
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It may have ended already; nothing is left to do then.
        let _ = self.kill();
    }
}

/// A port that nobody has now. Another may take it before it is used; nothing better is to be had.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
    Ok(listener.local_addr()?.port())
}
