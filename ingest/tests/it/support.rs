//! What the black-box tests share: a server on a directory of its own, its tools, and waits for
//! what it does by itself.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;
use xtask::client::{Request, Response};
use xtask::flags;
pub(crate) use xtask::rows::rows;
use xtask::server::{Launch, Server};

/// Longest wait for what takes milliseconds on an idle machine.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// The binary under test.
pub(crate) fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_pulsemesh-ingest"))
}

/// An example of this crate, built beside the binary by `cargo test`.
pub(crate) fn example(name: &str) -> Result<PathBuf> {
    let path = binary().with_file_name("examples").join(name);
    ensure!(path.exists(), "{} is not built: cargo build --examples", path.display());
    Ok(path)
}

/// How the server is started on a directory; batches are sealed soon, so that tests are quick.
pub(crate) fn launch(data_dir: &Path) -> Launch {
    Launch::new(binary(), data_dir).flag(flags::FLUSH_INTERVAL, "20ms")
}

/// A server with its own directory, which goes with it.
pub(crate) struct Fixture {
    pub(crate) server: Server,
    pub(crate) dir: TempDir,
}

impl Fixture {
    /// A server with the default settings.
    pub(crate) fn start() -> Result<Self> {
        Self::with(|launch| launch)
    }

    /// A server with more flags.
    pub(crate) fn with(more: impl FnOnce(Launch) -> Launch) -> Result<Self> {
        let dir = TempDir::new().context("make a directory")?;
        let server = more(launch(dir.path())).start()?;
        server.wait_ready(SOON)?;
        Ok(Self { server, dir })
    }

    /// Sends one request on a connection of its own.
    pub(crate) fn send(&self, request: &Request) -> Result<Response> {
        self.server.client().send(request)
    }

    /// Sends JSON, which must be answered with this status; gives the answer's JSON.
    pub(crate) fn post(&self, target: &str, body: &str, status: u16) -> Result<Value> {
        let response = self.send(&Request::json(target, body))?;
        let text = response.text();
        ensure!(response.status == status, "{target} {body}: {} {text}", response.status);
        response.json()
    }

    /// Asks for JSON, which must be answered 200.
    pub(crate) fn get(&self, target: &str) -> Result<Value> {
        self.server.client().get_json(target)
    }
}

/// Runs the binary as a tool until it ends.
pub(crate) fn tool(arguments: &[&str]) -> Result<Output> {
    Command::new(binary())
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("run {arguments:?}"))
}

/// Everything that a tool printed.
pub(crate) fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// A setting of the test run.
#[allow(clippy::disallowed_methods, reason = "tests have no flags of their own")]
pub(crate) fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Says something even when the test succeeds: a seed, or what could not be checked here.
pub(crate) fn say(text: &str) {
    use std::io::Write;
    // The line is for a person; a test does not fail for want of one.
    let _ = writeln!(std::io::stderr(), "{text}");
}
