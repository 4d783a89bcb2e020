//! A blocking HTTP/1.1 client for tests: one connection, every wait bounded, nothing retried,
//! so that a test sees exactly what the server did.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::http::{Head, split_header};

/// Longest wait for a connection, a write or the next bytes of an answer.
pub const WAIT_MAX: Duration = Duration::from_secs(30);

/// A request.
#[derive(Debug, Clone, Default)]
pub struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    /// A request without a body.
    pub fn new(method: &str, target: &str) -> Self {
        Self { method: method.to_owned(), target: target.to_owned(), ..Self::default() }
    }

    /// A `GET`.
    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// A `POST` of JSON.
    pub fn json(target: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::new("POST", target).header("content-type", "application/json").body(body)
    }

    /// A `POST` of one JSON document a line.
    pub fn lines(target: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::new("POST", target).header("content-type", "application/x-ndjson").body(body)
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// The bytes that go over the wire.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = format!("{} {} HTTP/1.1\r\nhost: test\r\n", self.method, self.target);
        for (name, value) in &self.headers {
            bytes.push_str(&format!("{name}: {value}\r\n"));
        }
        if !self.body.is_empty() || self.method == "POST" {
            bytes.push_str(&format!("content-length: {}\r\n", self.body.len()));
        }
        bytes.push_str("\r\n");
        let mut bytes = bytes.into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// A response.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Header names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// The value of a header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The body as text, damaged parts replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body)
            .with_context(|| format!("read JSON from a {} answer: {}", self.status, self.text()))
    }
}

/// One connection, opened when it is first needed and again after the server closed it.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    stream: Option<TcpStream>,
}

impl Client {
    /// A client of the server at `address`.
    pub fn new(address: SocketAddr) -> Self {
        Self { address, stream: None }
    }

    /// Sends `GET target`.
    pub fn get(&mut self, target: &str) -> Result<Response> {
        self.send(&Request::get(target))
    }

    /// Sends `GET target`, which must be answered 200 with JSON.
    pub fn get_json(&mut self, target: &str) -> Result<Value> {
        let response = self.get(target)?;
        ensure!(response.status == 200, "{target}: {} {}", response.status, response.text());
        response.json()
    }

    /// Sends a request and waits for its answer.
    pub fn send(&mut self, request: &Request) -> Result<Response> {
        self.send_bytes(&request.to_bytes())
    }

    /// Sends bytes, valid HTTP or not, and waits for an answer. A server may answer and close
    /// before it has read everything, so a failed write is no error if an answer is there.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> Result<Response> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => connect(self.address)?,
        };
        let sent = stream.write_all(bytes);
        let (response, close) = match (receive(&mut stream), sent) {
            (Err(_), Err(error)) => return Err(error).context("send a request"),
            (received, _) => received?,
        };
        if !close {
            self.stream = Some(stream);
        }
        Ok(response)
    }
}

/// Opens a connection whose reads and writes are bounded by [`WAIT_MAX`].
pub fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, WAIT_MAX)
        .with_context(|| format!("connect to {address}"))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(WAIT_MAX))?;
    stream.set_write_timeout(Some(WAIT_MAX))?;
    Ok(stream)
}

/// Reads one response; says whether the connection ends with it.
pub fn receive(stream: &mut TcpStream) -> Result<(Response, bool)> {
    let mut input = Vec::with_capacity(4096);
    let head = loop {
        if let Some(head) = Head::parse(&input)? {
            // An interim answer (100 Continue) is followed by the real one.
            if head.status >= 200 {
                break head;
            }
            input.drain(..head.bytes);
            continue;
        }
        read_more(stream, &mut input).context("wait for an answer")?;
    };
    let headers = read_headers(&input[..head.bytes]);
    input.drain(..head.bytes);
    let body = if head.chunked {
        read_chunks(stream, input)?
    } else {
        while input.len() < head.body_bytes {
            read_more(stream, &mut input).context("read the body of an answer")?;
        }
        ensure!(input.len() == head.body_bytes, "more bytes came than the answer declares");
        input
    };
    Ok((Response { status: head.status, headers, body }, head.close))
}

fn read_more(stream: &mut TcpStream, input: &mut Vec<u8>) -> Result<()> {
    let mut buffer = [0; 64 * 1024];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => bail!("the server closed the connection"),
            Ok(count) => {
                input.extend_from_slice(&buffer[..count]);
                return Ok(());
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn read_headers(head: &[u8]) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    head.split(|byte| *byte == b'\n')
        .skip(1)
        .filter_map(split_header)
        .map(|(name, value)| (text(name).to_ascii_lowercase(), text(value)))
        .collect()
}

fn read_chunks(stream: &mut TcpStream, mut input: Vec<u8>) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let Some(end) = input.windows(2).position(|pair| pair == b"\r\n") else {
            read_more(stream, &mut input)?;
            continue;
        };
        let size = usize::from_str_radix(std::str::from_utf8(&input[..end])?.trim(), 16)?;
        while input.len() < end + 2 + size + 2 {
            read_more(stream, &mut input)?;
        }
        body.extend_from_slice(&input[end + 2..end + 2 + size]);
        input.drain(..end + 2 + size + 2);
        if size == 0 {
            return Ok(body);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    fn answered(answer: &'static str) -> Result<Response> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let serve = move || {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut request = [0; 1024];
            let read = stream.read(&mut request).expect("a request");
            assert!(request[..read].starts_with(b"GET /x HTTP/1.1\r\n"));
            stream.write_all(answer.as_bytes()).expect("the client reads");
        };
        let server = thread::Builder::new().name("one-answer".into()).spawn(serve).expect("thread");
        let response = Client::new(address).get("/x");
        server.join().expect("the server saw its request");
        response
    }

    #[test]
    fn bodies_come_by_length_or_in_chunks_and_interim_answers_are_passed_over() {
        for answer in [
            "HTTP/1.1 200 OK\r\nContent-Length: 7\r\nX-A: b\r\n\r\n{\"a\":1}",
            "HTTP/1.1 100 Continue\r\n\r\n\
             HTTP/1.1 200 OK\r\nContent-Length: 7\r\nx-a:b\r\n\r\n{\"a\":1}",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nx-a: b\r\n\r\n\
             3\r\n{\"a\r\n4\r\n\":1}\r\n0\r\n\r\n",
        ] {
            let response = answered(answer).expect("an answer");
            assert_eq!((response.status, response.header("x-a")), (200, Some("b")), "{answer}");
            assert_eq!(response.json().expect("JSON")["a"], 1, "{answer}");
        }
    }

    #[test]
    fn an_answer_that_is_cut_short_is_an_error() {
        for answer in ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"]
        {
            assert!(answered(answer).is_err(), "{answer}");
        }
    }
}
