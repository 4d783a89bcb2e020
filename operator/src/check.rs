//! `check URL`: asks a running operator whether it is ready, for `helm test` and for people in
//! images that have no curl. Blocking, with a deadline; knows nothing of meshes.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::time::Duration;

use thiserror::Error;

/// Longest wait for the connection, and for each part of the answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Far more than the list of an operator's checks.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// Why there is no answer.
#[derive(Debug, Error)]
enum CheckError {
    #[error("read {0}: write an address such as http://pulsemesh-operator.pulsemesh.svc:8081")]
    Address(String),
    #[error("connect to {address}")]
    Connect { address: String, source: io::Error },
    #[error("read the answer of {address}")]
    Answer { address: String, source: io::Error },
    #[error("understand the answer of {0}: it does not speak HTTP/1.1")]
    NotHttp(String),
}

/// Asks `/readyz?verbose` and writes what it answers, or why it does not; succeeds where it is
/// ready.
///
/// # Errors
/// When `out` can't be written.
pub fn run(url: &str, out: &mut dyn Write) -> io::Result<ExitCode> {
    match ask(url) {
        Ok((200, body)) => {
            writeln!(out, "the operator at {url} is ready\n{}", body.trim_end())?;
            Ok(ExitCode::SUCCESS)
        }
        Ok((status, body)) => {
            writeln!(out, "the operator at {url} answers {status}\n{}", body.trim_end())?;
            Ok(ExitCode::FAILURE)
        }
        Err(error) => {
            let cause = std::error::Error::source(&error);
            let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
            writeln!(out, "failed to {error}{cause}")?;
            Ok(ExitCode::FAILURE)
        }
    }
}

/// The status and the body.
fn ask(url: &str) -> Result<(u16, String), CheckError> {
    let address = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/');
    if address.is_empty() || address.contains('/') || !address.contains(':') {
        return Err(CheckError::Address(url.to_owned()));
    }
    let failed = |source| CheckError::Answer { address: address.to_owned(), source };
    let connected = connect(address);
    let mut stream =
        connected.map_err(|source| CheckError::Connect { address: address.to_owned(), source })?;
    let request = format!(
        "GET /readyz?verbose HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
         user-agent: pulsemesh-operator-check\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).map_err(failed)?;
    let mut bytes = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes).map_err(failed)?;
    parse(&String::from_utf8_lossy(&bytes)).ok_or_else(|| CheckError::NotHttp(address.to_owned()))
}

fn connect(address: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, TIMEOUT) {
            Ok(stream) => {
                stream.set_read_timeout(Some(TIMEOUT))?;
                stream.set_write_timeout(Some(TIMEOUT))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The connection is closed after the answer, so its end is the body's.
fn parse(answer: &str) -> Option<(u16, String)> {
    let rest = answer.strip_prefix("HTTP/1.")?;
    let status = rest.split(' ').nth(1)?.trim_end().parse().ok()?;
    let (_, body) = rest.split_once("\r\n\r\n")?;
    Some((status, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// What `check` says of a server that answers so, and whether it succeeds.
    fn check(answer: &'static str) -> (bool, String) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let serve = move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut request = [0; 1024];
            let read = stream.read(&mut request).expect("a request");
            stream.write_all(answer.as_bytes()).expect("written");
            String::from_utf8_lossy(&request[..read]).into_owned()
        };
        let server = thread::Builder::new().spawn(serve).expect("a thread");
        let mut out = Vec::new();
        let code = run(&url, &mut out).expect("written");
        let request = server.join().expect("served");
        assert!(request.starts_with("GET /readyz?verbose HTTP/1.1\r\n"), "{request}");
        (code == ExitCode::SUCCESS, String::from_utf8(out).expect("text"))
    }

    #[test]
    fn only_an_operator_that_says_so_is_ready() {
        let (ok, text) = check("HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n[+] lease: ok");
        assert!(ok && text.ends_with("is ready\n[+] lease: ok\n"), "{text}");
        let (ok, text) = check("HTTP/1.1 503 Service Unavailable\r\n\r\n[-] watch: down 40 s");
        assert!(!ok && text.contains("answers 503\n[-] watch: down 40 s"), "{text}");
        let (ok, text) = check("SSH-2.0-x\r\n");
        assert!(!ok && text.contains("does not speak HTTP/1.1"), "{text}");
    }

    #[test]
    fn an_operator_that_is_not_there_is_told_with_its_address() {
        let closed = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr();
        let closed = format!("http://{}", closed.expect("bound"));
        for (url, expected) in [
            (closed.as_str(), "failed to connect to 127.0.0.1:"),
            ("https://x", "write an address such as"),
            ("", "write an address such as"),
        ] {
            let mut out = Vec::new();
            let code = run(url, &mut out).expect("written");
            let text = String::from_utf8(out).expect("text");
            assert!(code != ExitCode::SUCCESS && text.contains(expected), "{text}");
        }
    }
}
