//! A client for one request at a time: HTTP/1.1 over a blocking socket, with a deadline and a
//! bound on the answer. Knows nothing of pulses.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// Largest answer that is read: any of ours is far below, and what is above is not ours.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// Where requests go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    host: String,
    port: u16,
    /// In front of every path; empty or without a slash at its end.
    prefix: String,
}

impl Target {
    /// Reads an address such as `http://127.0.0.1:8080`, with a path in front if need be.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.starts_with("https://") {
            return Err("https is not built in; check the plain port, past the proxy".to_owned());
        }
        let with_scheme =
            if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let uri = with_scheme.parse::<::http::Uri>().ok();
        let uri = uri.filter(|uri| uri.scheme_str() == Some("http"));
        let host = uri.as_ref().and_then(|uri| uri.host()).filter(|host| !host.is_empty());
        let (Some(uri), Some(host)) = (&uri, host) else {
            return Err("write an address such as http://127.0.0.1:8080".to_owned());
        };
        Ok(Self {
            host: host.trim_matches(['[', ']']).to_owned(),
            port: uri.port_u16().unwrap_or(80),
            prefix: uri.path().trim_end_matches('/').to_owned(),
        })
    }

    /// The host and port, as a `Host` header has them.
    fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority(), self.prefix)
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// In seconds.
    pub(super) retry_after: Option<u64>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// The body as JSON.
    pub(super) fn json(&self) -> Option<serde_json::Value> {
        serde_json::from_slice(&self.body).ok()
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum CallError {
    /// The name of the host leads nowhere.
    Resolve(io::Error),
    /// Nobody takes the connection.
    Connect(io::Error),
    /// The connection was taken and broke.
    Broken(io::Error),
    /// No whole answer within this time.
    Timeout(Duration),
    /// What came back is not HTTP.
    NotHttp,
    /// What came back is larger than any of our answers.
    TooLarge,
}

/// Opens a connection within `timeout`.
pub(super) fn connect(target: &Target, timeout: Duration) -> Result<TcpStream, CallError> {
    let deadline = Instant::now() + timeout;
    let addresses =
        (target.host.as_str(), target.port).to_socket_addrs().map_err(CallError::Resolve)?;
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match TcpStream::connect_timeout(&address, left(deadline, timeout)?) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    match last.kind() {
        io::ErrorKind::NotFound => Err(CallError::Resolve(last)),
        io::ErrorKind::TimedOut => Err(CallError::Timeout(timeout)),
        _ => Err(CallError::Connect(last)),
    }
}

/// Sends one request and reads its answer, both within `timeout`. A `body` is JSON and is
/// posted; without one the path is got. `key` is that of a tenant.
pub(super) fn call(
    target: &Target,
    path: &str,
    body: Option<&str>,
    key: Option<&str>,
    timeout: Duration,
) -> Result<Answer, CallError> {
    let deadline = Instant::now() + timeout;
    let mut stream = connect(target, timeout)?;
    let method = if body.is_some() { "POST" } else { "GET" };
    let body = body.unwrap_or_default();
    let key = key.map(|key| format!("x-api-key: {key}\r\n")).unwrap_or_default();
    let request = format!(
        "{method} {}{path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\naccept: */*\r\n\
         user-agent: pulsemesh-check\r\n{key}content-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        target.prefix,
        target.authority(),
        body.len()
    );
    let sent = stream
        .set_write_timeout(Some(left(deadline, timeout)?))
        .and_then(|()| stream.write_all(request.as_bytes()));
    // A server may answer and close before it has read everything: its answer counts.
    match (sent, read_answer(&mut stream, deadline, timeout)) {
        (_, Ok(answer)) => Ok(answer),
        (Err(error), Err(_)) => Err(failed(error, timeout)),
        (Ok(()), Err(error)) => Err(error),
    }
}

fn left(deadline: Instant, timeout: Duration) -> Result<Duration, CallError> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(CallError::Timeout(timeout)) } else { Ok(left) }
}

fn failed(error: io::Error, timeout: Duration) -> CallError {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => CallError::Timeout(timeout),
        _ => CallError::Broken(error),
    }
}

fn read_answer(
    stream: &mut TcpStream,
    deadline: Instant,
    timeout: Duration,
) -> Result<Answer, CallError> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 8 * 1024];
    loop {
        stream
            .set_read_timeout(Some(left(deadline, timeout)?))
            .map_err(|error| failed(error, timeout))?;
        let read = match stream.read(&mut buffer) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed(error, timeout)),
        };
        bytes.extend_from_slice(&buffer[..read]);
        match parse(&bytes, read == 0) {
            Parsed::Whole(answer) => return Ok(answer),
            Parsed::NotHttp => return Err(CallError::NotHttp),
            Parsed::Part if read == 0 => {
                let cut = "the connection ended within the answer";
                return Err(CallError::Broken(io::Error::new(io::ErrorKind::UnexpectedEof, cut)));
            }
            Parsed::Part if bytes.len() > ANSWER_BYTES_MAX => return Err(CallError::TooLarge),
            Parsed::Part => {}
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Parsed {
    Whole(Answer),
    Part,
    NotHttp,
}

/// Reads what has come so far; `ended` says that no more will.
fn parse(bytes: &[u8], ended: bool) -> Parsed {
    const START: &[u8] = b"HTTP/1.";
    let common = bytes.len().min(START.len());
    if bytes[..common] != START[..common] {
        return Parsed::NotHttp;
    }
    let Some(head_end) = memchr::memmem::find(bytes, b"\r\n\r\n") else { return Parsed::Part };
    let head = String::from_utf8_lossy(&bytes[..head_end]);
    let body = &bytes[head_end + 4..];
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let Some(status) = status else { return Parsed::NotHttp };
    let headers: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(':')).collect();
    let header = |name: &str| {
        let found = headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim())
    };
    let chunked = header("transfer-encoding").is_some_and(|coding| coding.contains("chunked"));
    let length = header("content-length").and_then(|length| length.parse::<usize>().ok());
    let body = match length {
        _ if chunked => unchunk(body),
        Some(length) => body.get(..length).map(<[u8]>::to_vec),
        None => ended.then(|| body.to_vec()),
    };
    let retry_after = header("retry-after").and_then(|seconds| seconds.parse().ok());
    body.map_or(Parsed::Part, |body| Parsed::Whole(Answer { status, retry_after, body }))
}

/// The content of a chunked body, once its last chunk is there.
fn unchunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = memchr::memmem::find(rest, b"\r\n")?;
        let size = std::str::from_utf8(&rest[..end]).ok()?.split(';').next()?.trim();
        let size = usize::from_str_radix(size, 16).ok()?;
        rest = &rest[end + 2..];
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size.checked_add(2)?..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(status: u16, retry_after: Option<u64>, body: &str) -> Parsed {
        Parsed::Whole(Answer { status, retry_after, body: body.into() })
    }

    #[test]
    fn an_answer_is_whole_when_its_framing_says_so() {
        let cases = [
            ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", false, whole(200, None, "ok")),
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok", false, Parsed::Part),
            ("HTTP/1.0 404\r\n\r\ngone", false, Parsed::Part),
            ("HTTP/1.0 404\r\n\r\ngone", true, whole(404, None, "gone")),
            (
                "HTTP/1.1 503 X\r\nretry-after: 3\r\ncontent-length:0\r\n\r\n",
                false,
                whole(503, Some(3), ""),
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                 2\r\nok\r\nA;x=1\r\n0123456789\r\n0\r\n\r\n",
                false,
                whole(200, None, "ok0123456789"),
            ),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nok", false, Parsed::Part),
            ("HTTP/1.1 200", false, Parsed::Part),
            ("HT", false, Parsed::Part),
            ("SSH-2.0-OpenSSH_9.6\r\n", false, Parsed::NotHttp),
            ("HTTP/1.1 fine\r\n\r\n", false, Parsed::NotHttp),
        ];
        for (text, ended, expected) in cases {
            assert_eq!(parse(text.as_bytes(), ended), expected, "{text:?}");
        }
    }

    #[test]
    fn a_target_is_read_as_people_write_it() {
        let cases = [
            ("http://127.0.0.1:8080", Some("http://127.0.0.1:8080")),
            ("http://mesh:8080/in/", Some("http://mesh:8080/in")),
            ("localhost:8080", Some("http://localhost:8080")),
            ("http://mesh", Some("http://mesh:80")),
            ("http://[::1]:8080", Some("http://[::1]:8080")),
            ("https://mesh", None),
            ("ftp://mesh", None),
            ("", None),
            ("http://", None),
        ];
        for (text, expected) in cases {
            let target = Target::parse(text).ok().map(|target| target.to_string());
            assert_eq!(target.as_deref(), expected, "{text}");
        }
    }
}
