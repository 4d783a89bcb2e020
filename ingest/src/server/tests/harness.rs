//! A server on a port of its own, and a client that sends exactly the bytes it is told to.

#![allow(clippy::disallowed_methods, reason = "a test may start what it waits for")]

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::watch;

use crate::metrics::{Metrics, RequestLabels, unregistered};
use crate::tenant::Tenants;

use super::super::tls::Tls;
use super::super::{App, Phase, ServeError, ServerSettings, bind, serve};
use super::fake::FakeIntake;

/// Longest that anything in these tests may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
/// A timeout that a test waits for.
pub(super) const SHORT: Duration = Duration::from_millis(300);

pub(super) fn settings() -> ServerSettings {
    ServerSettings { threads: 2, body_bytes_max: 256 * 1024, ..ServerSettings::default() }
}

/// A running server; stops when dropped.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) intake: Arc<FakeIntake>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) phases: watch::Sender<Phase>,
    thread: Option<JoinHandle<Result<(), ServeError>>>,
}

impl Server {
    pub(super) fn start(settings: ServerSettings) -> Self {
        Self::start_for(Tenants::open(), settings)
    }

    pub(super) fn start_for(tenants: Tenants, settings: ServerSettings) -> Self {
        Self::start_with(tenants, None, settings)
    }

    pub(super) fn start_with(
        tenants: Tenants,
        tls: Option<Arc<Tls>>,
        settings: ServerSettings,
    ) -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().expect("a runtime");
        let entered = runtime.enter();
        let listener = bind(([127, 0, 0, 1], 0).into()).expect("bind a free port");
        drop(entered);
        let address = listener.local_addr().expect("the port");
        let intake = Arc::new(FakeIntake::default());
        let metrics = unregistered();
        let app = App {
            intake: Arc::clone(&intake),
            tenants: Arc::new(tenants),
            tls,
            metrics: metrics.http.clone(),
            exposition: Arc::new(|| "# EOF\n".to_owned()),
        };
        let (phases, receiver) = watch::channel(Phase::Serve);
        let thread = std::thread::Builder::new()
            .name("server".into())
            .spawn(move || runtime.block_on(serve(listener, settings, app, receiver)))
            .expect("a thread");
        Self { address, intake, metrics, phases, thread: Some(thread) }
    }

    pub(super) fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// Sends one request on a connection of its own.
    pub(super) fn ask(&self, request: &str) -> Answer {
        self.connect().ask(request)
    }

    pub(super) fn get(&self, path: &str) -> Answer {
        self.ask(&format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n"))
    }

    /// Waits until `waiting` submissions wait.
    pub(super) fn wait_for_waiting(&self, waiting: usize) {
        wait_until("submissions wait", || self.intake.waiting.load(Ordering::SeqCst) == waiting);
    }

    /// Waits until the heads of so many requests were read.
    pub(super) fn wait_for_admitted(&self, admitted: usize) {
        wait_until("heads are read", || self.intake.admitted.load(Ordering::SeqCst) >= admitted);
    }

    pub(super) async fn wait_for_waiting_async(&self, waiting: usize) {
        while self.intake.waiting.load(Ordering::SeqCst) != waiting {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(super) fn counted(&self, endpoint: &'static str, code: u16) -> u64 {
        let labels = RequestLabels { endpoint, code };
        self.metrics.http.requests.get_or_create(&labels).get()
    }

    /// Waits for the end of a server that was told to stop; how long it took.
    pub(super) fn ended(&mut self) -> Duration {
        let begun = Instant::now();
        let thread = self.thread.take().expect("it runs");
        wait_until("the server ends", || thread.is_finished());
        thread.join().expect("no panic").expect("no error");
        begun.elapsed()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.phases.send_replace(Phase::Stop);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            if !std::thread::panicking() {
                ended.expect("no panic").expect("no error");
            }
        }
    }
}

pub(super) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A `POST /pulse` with a length.
pub(super) fn post(body: &str) -> String {
    format!("POST /pulse HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// One answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HashMap<String, String>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a JSON answer")
    }

    /// The code of a problem document.
    pub(super) fn code(&self) -> String {
        assert_eq!(self.headers["content-type"], "application/problem+json");
        let body = self.json();
        assert_eq!(body["status"], self.status);
        body["code"].as_str().expect("a code").to_owned()
    }

    pub(super) fn closes(&self) -> bool {
        self.headers.get("connection").is_some_and(|value| value == "close")
    }
}

/// A connection of a client.
#[derive(Debug)]
pub(super) struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    pub(super) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("connect");
        stream.set_read_timeout(Some(PATIENCE)).expect("a read timeout");
        stream.set_nodelay(true).expect("no delay");
        Self { stream, buffer: Vec::new() }
    }

    pub(super) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("send");
    }

    /// Sends what the server may have stopped listening to; whether it could be sent.
    pub(super) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    pub(super) fn ask(&mut self, request: impl AsRef<[u8]>) -> Answer {
        self.send(request);
        self.answer()
    }

    pub(super) fn finish_sending(&self) {
        self.stream.shutdown(Shutdown::Write).expect("shut down");
    }

    /// Reads one answer with a length.
    pub(super) fn answer(&mut self) -> Answer {
        self.answer_to(true)
    }

    /// Reads the answer to a HEAD, which has a length and no body.
    pub(super) fn answer_to_head(&mut self) -> Answer {
        self.answer_to(false)
    }

    fn answer_to(&mut self, has_body: bool) -> Answer {
        let head_end = loop {
            match self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                Some(at) => break at + 4,
                None => assert!(self.read_more(), "an answer, not {:?}", self.text()),
            }
        };
        let head: Vec<u8> = self.buffer.drain(..head_end).collect();
        let head = String::from_utf8(head).expect("an answer's head is text");
        let mut lines = head.split("\r\n");
        let first = lines.next().expect("a status line");
        let status = first.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
        let headers: HashMap<String, String> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let length = headers.get("content-length").map_or(0, |text| text.parse().expect("number"));
        let length = if has_body { length } else { 0 };
        while self.buffer.len() < length {
            assert!(self.read_more(), "the whole body");
        }
        Answer { status, headers, body: self.buffer.drain(..length).collect() }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.buffer).into_owned()
    }

    fn read_more(&mut self) -> bool {
        let mut piece = [0; 4096];
        let bytes = self.stream.read(&mut piece).unwrap_or(0);
        self.buffer.extend_from_slice(&piece[..bytes]);
        bytes > 0
    }

    /// Waits until the server closes; everything it sent until then must have been read.
    pub(super) fn closed(&mut self) -> bool {
        assert!(self.buffer.is_empty(), "nothing more, not {:?}", self.text());
        let mut piece = [0; 1];
        match self.stream.read(&mut piece) {
            Ok(bytes) => bytes == 0,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    }

    /// Whether the connection is open and has nothing to read.
    pub(super) fn is_quiet(&self) -> bool {
        self.stream.set_nonblocking(true).expect("non-blocking");
        let peeked = self.stream.peek(&mut [0; 1]);
        self.stream.set_nonblocking(false).expect("blocking");
        peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }
}
