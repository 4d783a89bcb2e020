//! Hostile clients: each gets its 4xx or its connection closed, costs bounded memory, and no
//! other client notices.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use xtask::client::{Request, connect, receive};
use xtask::flags;
use xtask::ledger::drained;

use crate::support::{Fixture, SOON, rows, say};

const MIB: u64 = 1024 * 1024;
/// What bodies in flight may use (`--bytes-in-flight` unless set), and 64 MiB beside it.
const GROWTH_MAX: u64 = 128 * MIB;
/// Files that this process needs beside the connections it opens.
const SPARE_FILES: u64 = 200;

/// A good client is served at once.
fn check_served(fixture: &Fixture) -> Result<()> {
    let asked = Instant::now();
    fixture.post("/pulse", r#"{"service_name":"good"}"#, 202)?;
    let took = asked.elapsed();
    ensure!(took < Duration::from_secs(1), "a fresh client was served after {took:?}");
    Ok(())
}

fn check_alive(fixture: &Fixture, sent: usize) -> Result<()> {
    drained(&fixture.server, SOON)?;
    ensure!(rows(&fixture.server, "good")?.len() == sent, "another's pulse was lost");
    Ok(())
}

#[test]
fn a_bomb_costs_what_it_weighs() -> Result<()> {
    let fixture = Fixture::start()?;
    check_served(&fixture)?;
    let before = fixture.server.resident_bytes()?;
    let zeros = vec![b' '; 512 * MIB as usize];
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&zeros)?;
    let gzip = gzip.finish()?;
    // Its last four bytes tell its size: as much as is allowed.
    let mut liar = gzip.clone();
    let told = liar.last_chunk_mut().context("a trailer")?;
    *told = (32 * MIB as u32).to_le_bytes();
    let bombs = [("gzip", gzip), ("gzip", liar), ("zstd", zstd::encode_all(&zeros[..], 19)?)];
    drop(zeros);
    for (encoding, bomb) in bombs {
        for _ in 0..20 {
            let request =
                Request::json("/pulse", bomb.clone()).header("content-encoding", encoding);
            let response = fixture.send(&request)?;
            assert_eq!(response.status, 413, "{encoding}: {}", response.text());
            let code = response.json()?["code"].to_string();
            assert!(code.contains("ratio") || code.contains("decompressed"), "{encoding}: {code}");
        }
    }
    let grown = fixture.server.resident_bytes()?.saturating_sub(before);
    assert!(grown < GROWTH_MAX, "{grown} bytes more are resident");
    check_served(&fixture)?;
    check_alive(&fixture, 2)
}

#[test]
fn a_body_that_is_declared_too_large_is_refused_before_it_is_sent() -> Result<()> {
    let fixture = Fixture::start()?;
    for length in ["8388609", "99999999999", "9223372036854775807"] {
        let mut stream = connect(fixture.server.listen())?;
        write!(stream, "POST /pulse HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n")?;
        let (response, close) = receive(&mut stream)?;
        assert_eq!(response.status, 413, "{length}: {}", response.text());
        assert_eq!(response.json()?["code"], "body_too_large");
        assert!(close, "{length}: nothing else on this connection can be understood");
    }
    check_served(&fixture)
}

#[test]
fn a_body_that_never_ends_is_cut_off_at_its_bound() -> Result<()> {
    let fixture = Fixture::start()?;
    let mut stream = connect(fixture.server.listen())?;
    stream.write_all(
        b"POST /pulse HTTP/1.1\r\nhost: a\r\ncontent-type: application/x-ndjson\r\n\
          transfer-encoding: chunked\r\n\r\n",
    )?;
    let line = "{\"service_name\":\"endless\"}\n".repeat(1000);
    let chunk = format!("{:x}\r\n{line}\r\n", line.len());
    let mut sent = 0;
    while stream.write_all(chunk.as_bytes()).is_ok() {
        sent += chunk.len() as u64;
        ensure!(sent < 64 * MIB, "{sent} bytes were taken");
    }
    // Where the answer was not torn away by the reset, it says why.
    if let Ok((response, _)) = receive(&mut stream) {
        assert_eq!(response.status, 413, "{}", response.text());
    }
    drained(&fixture.server, SOON)?;
    assert_eq!(rows(&fixture.server, "endless")?.len(), 0, "half a request is none");
    check_served(&fixture)
}

#[test]
fn a_slow_head_and_a_slow_body_are_cut_off() -> Result<()> {
    let fixture = Fixture::with(|launch| {
        launch.flag(flags::HEADER_TIMEOUT, "1s").flag(flags::BODY_TIMEOUT, "1s")
    })?;
    let head = "POST /pulse HTTP/1.1\r\nhost: a\r\ncontent-length: 5000\r\n\r\n";
    for (sent_at_once, code) in [(0, "408"), (20, "408"), (head.len(), "408")] {
        let mut stream = connect(fixture.server.listen())?;
        stream.set_read_timeout(Some(Duration::from_millis(50)))?;
        stream.write_all(&head.as_bytes()[..sent_at_once])?;
        let started = Instant::now();
        let answer = drip(&mut stream, head, sent_at_once)?;
        assert!(started.elapsed() < Duration::from_secs(5), "cut off after a while");
        // A head that never came may be answered by closing; a body is owed an answer.
        if sent_at_once == head.len() {
            assert!(answer.contains(code) && answer.contains("body_timeout"), "{answer}");
        }
        check_served(&fixture)?;
    }
    check_alive(&fixture, 3)
}

/// Sends one byte every 50 ms until the server ends the connection; gives what it answered.
fn drip(stream: &mut TcpStream, head: &str, from: usize) -> Result<String> {
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    let rest = head.as_bytes()[from..].iter().chain(std::iter::repeat(&b' '));
    for byte in rest.take(200) {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(String::from_utf8_lossy(&answer).into_owned()),
            Ok(count) => answer.extend_from_slice(&buffer[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return Ok(String::from_utf8_lossy(&answer).into_owned()),
        }
        // The connection may be gone: the next read tells.
        let _ = stream.write_all(&[*byte]);
    }
    ensure!(!answer.is_empty(), "the server let 200 bytes drip in");
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[test]
fn a_body_that_ends_early_is_no_request() -> Result<()> {
    let fixture = Fixture::start()?;
    let mut stream = connect(fixture.server.listen())?;
    stream.write_all(
        b"POST /pulse HTTP/1.1\r\nhost: a\r\ncontent-type: application/x-ndjson\r\n\
          content-length: 1000\r\n\r\n{\"service_name\":\"early\"}\n",
    )?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    // Whether it is answered or closed is the server's choice.
    let _ = stream.read_to_string(&mut answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    drained(&fixture.server, SOON)?;
    assert_eq!(rows(&fixture.server, "early")?.len(), 0);
    check_served(&fixture)
}

#[test]
fn what_is_no_http_is_refused_and_forgotten() -> Result<()> {
    let fixture = Fixture::start()?;
    let long_header =
        format!("GET /health HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "y".repeat(200_000));
    let many_headers =
        format!("GET /health HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(5_000));
    let long_target = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "z".repeat(200_000));
    for garbage in [
        "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\u{1}\u{fc}\u{3}\u{3}", // a TLS hello
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "POST /pulse HTTP/1.1\r\nhost: a\r\ncontent-length: x\r\n\r\n",
        "POST /pulse HTTP/1.1\r\nhost: a\r\ncontent-length: 18446744073709551615\r\n\r\n",
        "POST /pulse HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
        "POST /pulse HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        "POST /pulse HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n\r\n",
        "GET /%zz HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET /v1/pulses?service=%ff%fe HTTP/1.1\r\nhost: a\r\n\r\n",
        &long_header,
        &many_headers,
        &long_target,
    ] {
        let mut stream = connect(fixture.server.listen())?;
        // The server may close before it has read it all.
        let _ = stream.write_all(garbage.as_bytes());
        let _ = stream.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        let start = garbage.get(..40).unwrap_or(garbage);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{start}: {answer}");
        check_served(&fixture)?;
    }
    check_alive(&fixture, 13)
}

#[test]
fn twenty_thousand_idle_connections_do_not_keep_a_fresh_client_waiting() -> Result<()> {
    let attempts = 20_000;
    let room = file_room(attempts + SPARE_FILES)?;
    let fixture = Fixture::start()?;
    check_served(&fixture)?;
    let before = fixture.server.resident_bytes()?;
    let mut held = Vec::new();
    for attempt in 0..attempts {
        if held.len() as u64 + SPARE_FILES >= room {
            let all = held.len();
            held.retain(is_open);
            ensure!(held.len() < all, "{all} connections are open and no more can be opened");
        }
        let stream = TcpStream::connect(fixture.server.listen())
            .with_context(|| format!("open connection {attempt}"))?;
        held.push(stream);
        if attempt % 5_000 == 4_999 {
            check_served(&fixture)?;
        }
    }
    held.retain(is_open);
    for _ in 0..10 {
        check_served(&fixture)?;
    }
    let grown = fixture.server.resident_bytes()?.saturating_sub(before);
    say(&format!("{} of {attempts} idle connections are held, {grown} bytes more", held.len()));
    assert!(grown < GROWTH_MAX, "{grown} bytes more are resident");
    check_alive(&fixture, 15)
}

/// How many files this process may open; asks for `wanted`, where it may.
fn file_room(wanted: u64) -> Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    let maximum = limit.maximum.map_or(wanted, |maximum| maximum.max(wanted));
    let raised = Rlimit { current: Some(maximum), maximum: Some(maximum) };
    if setrlimit(Resource::Nofile, raised).is_err() {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        setrlimit(Resource::Nofile, raised).context("raise the limit of open files")?;
    }
    getrlimit(Resource::Nofile).current.context("a limit")
}

/// Whether the server has not closed it.
fn is_open(stream: &TcpStream) -> bool {
    let mut byte = [0];
    let peeked = stream.set_nonblocking(true).and_then(|()| stream.peek(&mut byte));
    matches!(peeked, Err(error) if error.kind() == ErrorKind::WouldBlock)
}
