//! Bodies: their bounds in size and time, and what is refused before they are read.

use std::io::Write;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::fake::REFUSED_BYTES;
use super::harness::{SHORT, Server, post, settings, wait_until};
use crate::server::ServerSettings;

fn head(headers: &str) -> String {
    format!("POST /pulse HTTP/1.1\r\nhost: a\r\n{headers}\r\n")
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("write to memory");
    encoder.finish().expect("finish in memory")
}

#[test]
fn what_the_head_decides_is_answered_before_the_body_is_sent() {
    let server = Server::start(ServerSettings { bytes_in_flight_max: 100_000, ..settings() });
    let cases = [
        ("content-length: 262145\r\n".to_owned(), 413, "body_too_large"),
        ("content-length: 99999999999\r\n".to_owned(), 413, "body_too_large"),
        (format!("content-length: {REFUSED_BYTES}\r\n"), 503, "log_full"),
        ("content-length: 100001\r\n".to_owned(), 503, "overloaded"),
        (
            "content-length: 10\r\ncontent-type: image/png\r\n".to_owned(),
            415,
            "unsupported_media_type",
        ),
    ];
    for expect in ["", "expect: 100-continue\r\n"] {
        for (headers, status, code) in &cases {
            let mut client = server.connect();
            let answer = client.ask(head(&format!("{headers}{expect}")));
            assert_eq!((answer.status, answer.code().as_str()), (*status, *code), "{headers}");
            assert!(answer.closes(), "a connection with a body on its way can't go on");
            client.finish_sending();
            assert!(client.closed());
        }
    }
    assert!(server.intake.seen.lock().expect("seen").is_empty());
}

#[test]
fn a_refused_body_that_has_arrived_keeps_the_connection() {
    let server = Server::start(settings());
    let mut client = server.connect();
    for _ in 0..3 {
        let body = "x".repeat(REFUSED_BYTES as usize);
        let answer = client.ask(format!("{}{body}", head("content-length: 7777\r\n")));
        assert_eq!(answer.status, 503);
        let seconds: u64 = answer.headers["retry-after"].parse().expect("a number");
        assert!((3..=4).contains(&seconds), "2.5 s, rounded up and spread: {seconds}");
        if answer.closes() {
            // The head came in a piece of its own.
            client = server.connect();
        }
    }
    let wrong = "POST /nothing HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody";
    let mut client = server.connect();
    for _ in 0..3 {
        let answer = client.ask(wrong);
        assert_eq!((answer.status, answer.closes()), (404, false));
    }
    assert_eq!(client.ask(post("single")).status, 202);
}

#[test]
fn a_client_that_sends_all_before_it_reads_still_gets_the_answer() {
    let server = Server::start(settings());
    for _ in 0..10 {
        let mut client = server.connect();
        client.send(head("content-length: 4000000\r\n"));
        assert!(client.try_send(vec![b'x'; 4_000_000]), "it is read to its end");
        assert_eq!(client.answer().code(), "body_too_large");
    }
}

#[test]
fn a_client_that_waits_to_be_told_is_told() {
    let server = Server::start(settings());
    let mut client = server.connect();
    for _ in 0..2 {
        client.send(head("content-length: 6\r\nexpect: 100-continue\r\n"));
        assert_eq!(client.answer().status, 100);
        client.send("single");
        assert_eq!(client.answer().status, 202);
    }
}

#[test]
fn a_body_may_arrive_in_pieces_with_and_without_a_length() {
    let server = Server::start(settings());
    let body = "single ".repeat(30_000);
    let mut client = server.connect();
    client.send(head(&format!("content-length: {}\r\n", body.len())));
    for piece in body.as_bytes().chunks(50_000) {
        client.send(piece);
    }
    assert_eq!(client.answer().status, 202);
    client.send(head("transfer-encoding: chunked\r\n"));
    for piece in body.as_bytes().chunks(50_000) {
        client.send(format!("{:x}\r\n", piece.len()));
        client.send(piece);
        client.send("\r\n");
    }
    client.send("0\r\ntrailer: ignored\r\n\r\n");
    assert_eq!(client.answer().status, 202);
    let seen = server.intake.seen.lock().expect("seen").clone();
    assert!(seen.iter().all(|seen| seen.contains(" 210000 ")), "{seen:?}");
}

#[test]
fn a_body_that_never_ends_is_cut_at_the_bound() {
    let server = Server::start(settings());
    let mut client = server.connect();
    client.send(head("transfer-encoding: chunked\r\n"));
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    let mut sent = 0;
    while sent < 1_000 && client.is_quiet() && client.try_send(&chunk) {
        sent += 1;
    }
    let answer = client.answer();
    assert_eq!(answer.code(), "body_too_large");
    assert!(answer.closes());
    assert!(sent < 1_000);
    let metrics = &server.metrics.http;
    wait_until("its bytes are given back", || metrics.bytes_in_flight.get() == 0);
}

#[test]
fn a_body_without_a_length_is_refused_when_the_bytes_in_flight_are_taken() {
    let server = Server::start(ServerSettings { bytes_in_flight_max: 100_000, ..settings() });
    let mut client = server.connect();
    client.send(head("transfer-encoding: chunked\r\n"));
    client.try_send(format!("1d4c0\r\n{}\r\n0\r\n\r\n", "x".repeat(120_000)));
    let answer = client.answer();
    assert_eq!((answer.status, answer.code().as_str()), (503, "overloaded"));
}

#[test]
fn bytes_in_flight_are_held_until_the_answer() {
    let server = Server::start(ServerSettings { bytes_in_flight_max: 10, ..settings() });
    let mut waiting = server.connect();
    waiting.send(post("stall"));
    server.wait_for_waiting(1);
    assert_eq!(server.ask(&post("single")).code(), "overloaded");
    assert_eq!(server.ask(&post("other")).status, 202, "the other half is free");
    drop(waiting);
    server.wait_for_waiting(0);
    wait_until("they are given back", || server.ask(&post("single")).status == 202);
}

#[test]
fn a_body_that_stalls_or_drips_is_timed_out() {
    let server = Server::start(ServerSettings {
        body_stall_timeout: SHORT,
        body_timeout: 3 * SHORT,
        ..settings()
    });
    let mut stalls = server.connect();
    stalls.send(head("content-length: 100\r\n"));
    stalls.send("some");
    let answer = stalls.answer();
    assert_eq!((answer.status, answer.code().as_str()), (408, "body_timeout"));
    assert!(answer.closes());

    let mut drips = server.connect();
    drips.send(head("content-length: 100000\r\n"));
    let begun = Instant::now();
    while drips.is_quiet() {
        assert!(begun.elapsed() < Duration::from_secs(10), "dripping must not help");
        drips.try_send("x");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(begun.elapsed() > SHORT, "it made progress");
    assert_eq!(drips.answer().code(), "body_timeout");
}

#[test]
fn a_body_that_ends_early_is_told_so_where_someone_listens() {
    let server = Server::start(settings());
    let mut client = server.connect();
    client.send(head("transfer-encoding: chunked\r\n"));
    client.send("zz\r\n");
    let answer = client.answer();
    assert_eq!((answer.status, answer.code().as_str()), (400, "body_incomplete"));
    drop(client);

    let mut client = server.connect();
    client.send(head("content-length: 100\r\n"));
    drop(client);
    assert_eq!(server.get("/health").status, 200);
}

#[test]
fn compressed_bodies_are_expanded_within_bounds() {
    let server = Server::start(ServerSettings {
        decompressed_bytes_max: 1_250_000,
        decompress_ratio_max: 100,
        ..settings()
    });
    let text = b"single, and some more text".repeat(1_000);
    // Text that hardly compresses: as a whole it is expanded aside, and what begins with some of
    // it keeps within the ratio.
    let mut state = 1_u32;
    let noise: Vec<u8> = (0..100_000)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect();
    let zeros = vec![0; 1_300_000];
    let honest = [&noise[..13_000], &zeros].concat();
    let cases = [
        ("gzip", gzip(&text), 202, None),
        ("gzip", gzip(&noise), 202, None),
        ("zstd", zstd::encode_all(&text[..], 3).expect("zstd"), 202, None),
        (
            "zstd",
            zstd::encode_all(&zeros[..], 3).expect("zstd"),
            413,
            Some("compression_ratio_too_high"),
        ),
        ("gzip", gzip(&honest), 413, Some("decompressed_too_large")),
        ("gzip", gzip(&text)[..40].to_vec(), 400, Some("corrupt_encoding")),
        ("zstd", b"not zstd".to_vec(), 400, Some("corrupt_encoding")),
    ];
    for (encoding, body, status, code) in cases {
        let mut client = server.connect();
        let headers = format!("content-length: {}\r\ncontent-encoding: {encoding}\r\n", body.len());
        client.send(head(&headers));
        client.send(&body);
        let answer = client.answer();
        assert_eq!(answer.status, status, "{encoding} {}", body.len());
        if let Some(code) = code {
            assert_eq!(answer.code(), code);
        }
    }
    let seen = server.intake.seen.lock().expect("seen").clone();
    let lengths = [" 26000 ", " 100000 ", " 26000 "];
    assert_eq!(seen.len(), lengths.len());
    assert!(seen.iter().zip(lengths).all(|(seen, length)| seen.contains(length)), "{seen:?}");
}
