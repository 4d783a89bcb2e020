//! Just enough of the CQL binary protocol (version 4) to see whether a node answers. Reads no
//! rows: tests that want rows have the driver.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

const CONNECT_MAX: Duration = Duration::from_secs(1);
/// A query that needs all replicas waits for them this long on a busy machine.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Answers of these questions have some hundred bytes.
const BODY_BYTES_MAX: usize = 1 << 20;

const VERSION_REQUEST: u8 = 0x04;
const ERROR: u8 = 0x00;
const STARTUP: u8 = 0x01;
const READY: u8 = 0x02;
const AUTHENTICATE: u8 = 0x03;
const QUERY: u8 = 0x07;
const RESULT: u8 = 0x08;
const AUTH_RESPONSE: u8 = 0x0F;
const AUTH_SUCCESS: u8 = 0x10;

/// How many replicas a question is put to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(super) enum Consistency {
    One = 1,
    Two = 2,
    Three = 3,
}

/// Connects, logs in if a name and a password are given, and asks; an error unless the node
/// answers with a result.
pub(super) fn ask(
    address: SocketAddr,
    login: Option<(&str, &str)>,
    query: &str,
    consistency: Consistency,
) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, CONNECT_MAX).context("connect")?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    stream.set_write_timeout(Some(ANSWER_MAX))?;
    start(&mut stream, login)?;
    let (answer, _) = exchange(&mut stream, QUERY, &query_body(query, consistency))?;
    ensure!(answer == RESULT, "answered {answer:#04x} to a query");
    Ok(())
}

fn start(stream: &mut (impl Read + Write), login: Option<(&str, &str)>) -> Result<()> {
    // A map of one pair of strings.
    let body = [&[0, 1][..], &string("CQL_VERSION"), &string("3.0.0")].concat();
    let (answer, _) = exchange(stream, STARTUP, &body)?;
    if answer == READY {
        return Ok(());
    }
    ensure!(answer == AUTHENTICATE, "answered {answer:#04x} to the start");
    let (name, password) = login.context("a login is asked for")?;
    let token = format!("\0{name}\0{password}");
    let body = [&(token.len() as i32).to_be_bytes()[..], token.as_bytes()].concat();
    let (answer, _) = exchange(stream, AUTH_RESPONSE, &body)?;
    ensure!(answer == AUTH_SUCCESS, "answered {answer:#04x} to the login");
    Ok(())
}

fn query_body(query: &str, consistency: Consistency) -> Vec<u8> {
    let mut body = (query.len() as i32).to_be_bytes().to_vec();
    body.extend_from_slice(query.as_bytes());
    body.extend_from_slice(&(consistency as u16).to_be_bytes());
    // No flags: no values, no pages.
    body.push(0);
    body
}

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat()
}

/// Sends one request and returns the kind and the body of its answer.
fn exchange(stream: &mut (impl Read + Write), kind: u8, body: &[u8]) -> Result<(u8, Vec<u8>)> {
    // Version, no flags, stream 0.
    let mut request = vec![VERSION_REQUEST, 0, 0, 0, kind];
    request.extend_from_slice(&(body.len() as i32).to_be_bytes());
    request.extend_from_slice(body);
    stream.write_all(&request).context("send")?;
    let mut head = [0; 9];
    stream.read_exact(&mut head).context("read an answer")?;
    let length = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) as usize;
    ensure!(length <= BODY_BYTES_MAX, "an answer of {length} bytes");
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer).context("read an answer")?;
    if head[4] == ERROR {
        // A code of four bytes and a string.
        let text = answer.get(6..).unwrap_or_default();
        bail!("refused: {}", String::from_utf8_lossy(text));
    }
    Ok((head[4], answer))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{self, Cursor};

    /// Answers with what it is given and keeps what is sent.
    struct Fake {
        answers: Cursor<Vec<u8>>,
        sent: Vec<u8>,
    }

    impl Fake {
        fn new(answers: &[(u8, &[u8])]) -> Self {
            let frame = |(kind, body): &(u8, &[u8])| {
                let length = (body.len() as u32).to_be_bytes();
                [&[0x84, 0, 0, 0, *kind][..], &length, body].concat()
            };
            let answers = answers.iter().flat_map(frame).collect();
            Self { answers: Cursor::new(answers), sent: Vec::new() }
        }
    }

    impl Read for Fake {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.answers.read(buffer)
        }
    }

    impl Write for Fake {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.sent.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_login_is_sent_only_where_it_is_asked_for() {
        let login = Some(("cassandra", "secret"));
        let mut open = Fake::new(&[(READY, b"")]);
        start(&mut open, login).expect("it is open");
        assert!(!open.sent.ends_with(b"secret"));
        let mut closed = Fake::new(&[(AUTHENTICATE, b"\0\x01P"), (AUTH_SUCCESS, b"")]);
        start(&mut closed, login).expect("the login is right");
        assert!(closed.sent.ends_with(b"\0\0\0\x11\0cassandra\0secret"));
        assert!(start(&mut Fake::new(&[(AUTHENTICATE, b"\0\x01P")]), None).is_err());
    }

    #[test]
    fn a_refusal_is_told_with_its_text() {
        let mut refusing = Fake::new(&[(ERROR, b"\0\0\x10\0\0\x04gone")]);
        let error = start(&mut refusing, None).expect_err("it refuses");
        assert_eq!(error.to_string(), "refused: gone");
        let mut short = Fake::new(&[(ERROR, b"")]);
        assert!(start(&mut short, None).is_err());
        assert!(start(&mut Fake::new(&[]), None).is_err(), "nothing is answered");
    }

    #[test]
    fn a_query_ends_with_its_consistency_and_no_flags() {
        assert_eq!(query_body("Q", Consistency::Three), b"\0\0\0\x01Q\0\x03\0");
    }
}
