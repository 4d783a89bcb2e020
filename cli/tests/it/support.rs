//! What the tests share: a server on a directory of its own, and the program run to its end.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;
pub(crate) use xtask::rows::rows;
use xtask::server::{Launch, Server};

/// Longest wait for what takes milliseconds on an idle machine.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// Pieces that a program is given before it has read one.
const PIECES_MAX: usize = 4;

/// The program under test.
fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_pulsemesh"))
}

/// A program of the server's crate, which a build of the workspace puts beside this one.
pub(crate) fn beside(name: &str) -> Result<PathBuf> {
    let path = binary().with_file_name(name);
    ensure!(path.exists(), "{} is not built: cargo build --bins --examples", path.display());
    Ok(path)
}

/// How a server is started on a directory; batches are sealed soon, so that tests are quick.
pub(crate) fn launch(data_dir: &Path) -> Result<Launch> {
    Ok(Launch::new(beside("pulsemesh-ingest")?, data_dir).flag("--flush-interval", "20ms"))
}

/// A server with its own directory, which goes with it.
pub(crate) struct Fixture {
    pub(crate) server: Server,
    pub(crate) dir: TempDir,
}

impl Fixture {
    /// A server that is open to everybody.
    pub(crate) fn start() -> Result<Self> {
        Self::with(|launch, _| Ok(launch))
    }

    /// A server with more flags, and its directory.
    pub(crate) fn with(more: impl FnOnce(Launch, &Path) -> Result<Launch>) -> Result<Self> {
        let dir = TempDir::new().context("make a directory")?;
        let server = more(launch(&dir.path().join("data"))?, dir.path())?.start()?;
        server.wait_ready(SOON)?;
        Ok(Self { server, dir })
    }

    /// What is given as `--url`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.server.listen())
    }

    /// Runs the program with this server.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<Run> {
        run(&[&["--url", &self.url()], arguments].concat())
    }

    /// Writes a file into the directory.
    pub(crate) fn file(&self, name: &str, text: &str) -> Result<String> {
        let path = self.dir.path().join(name);
        fs::write(&path, text)?;
        Ok(path.display().to_string())
    }
}

/// How the program ended.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Run {
    fn of(output: Output) -> Result<Self> {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).context("read what it printed");
        let code = output.status.code().context("it was killed")?;
        Ok(Self { code, out: text(output.stdout)?, err: text(output.stderr)? })
    }

    /// It must have ended with this code.
    pub(crate) fn expect(self, code: i32) -> Result<Self> {
        ensure!(self.code == code, "{self:?}");
        Ok(self)
    }

    /// The one document that was printed.
    pub(crate) fn json(&self) -> Result<Value> {
        ensure!(self.out.lines().count() == 1, "not one document: {self:?}");
        serde_json::from_str(&self.out).with_context(|| format!("{self:?}"))
    }

    /// The document of each line that was printed.
    pub(crate) fn lines(&self) -> Result<Vec<Value>> {
        let parse = |line| serde_json::from_str(line).with_context(|| format!("{self:?}"));
        self.out.lines().map(parse).collect()
    }

    /// What went wrong, as programs are told.
    pub(crate) fn error(&self) -> Result<Value> {
        let error: Value = serde_json::from_str(&self.err).with_context(|| format!("{self:?}"))?;
        Ok(error["error"].clone())
    }
}

/// The program with nothing of this process's environment that it reads.
pub(crate) fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    for name in ["PULSEMESH_URL", "PULSEMESH_API_KEY", "NO_COLOR", "http_proxy", "HTTP_PROXY"] {
        command.env_remove(name);
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs the program to its end.
pub(crate) fn run(arguments: &[&str]) -> Result<Run> {
    Run::of(program(arguments).output().context("run the program")?)
}

/// Runs the program with a variable.
pub(crate) fn run_with(variable: (&str, &str), arguments: &[&str]) -> Result<Run> {
    let output = program(arguments).env(variable.0, variable.1).output();
    Run::of(output.context("run the program")?)
}

/// Runs the program with something to read.
pub(crate) fn run_reading(input: &str, arguments: &[&str]) -> Result<Run> {
    let mut child = begin(program(arguments).stdin(Stdio::piped()))?;
    let mut stdin = child.stdin.take().context("no standard input")?;
    stdin.write_all(input.as_bytes())?;
    drop(stdin);
    Run::of(child.wait_with_output()?)
}

/// What a running program reads, given piece by piece: whoever gives waits for nobody, though the
/// program reads nothing for a while. Dropped, it is the end of what there is.
pub(crate) struct Feed {
    pieces: mpsc::SyncSender<String>,
    _writer: JoinHandle<()>,
}

impl Feed {
    /// Of a program that was begun with a pipe to read from.
    pub(crate) fn of(child: &mut Child) -> Result<Self> {
        let mut stdin = child.stdin.take().context("no standard input")?;
        let (pieces, given) = mpsc::sync_channel::<String>(PIECES_MAX);
        let write = move || {
            // A program that ends before it has read all needs no more.
            let _ = given.iter().try_for_each(|piece| stdin.write_all(piece.as_bytes()));
        };
        let writer = thread::Builder::new().name("feed".to_owned()).spawn(write)?;
        Ok(Self { pieces, _writer: writer })
    }

    /// Gives more.
    pub(crate) fn give(&self, piece: String) {
        let _ = self.pieces.send(piece);
    }
}

/// Begins to run the program.
pub(crate) fn begin(command: &mut Command) -> Result<Child> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().context("run the program")
}

/// Waits for its end.
pub(crate) fn ended(child: Child) -> Result<Run> {
    Run::of(child.wait_with_output()?)
}
