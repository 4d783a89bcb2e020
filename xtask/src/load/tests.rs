//! The load generator against small servers whose every answer is known.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use super::*;

/// Answers every request of `bytes` bytes with `answer`; closes behind `per_connection` ones.
fn serve(bytes: usize, answer: &'static str, per_connection: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
        thread::Builder::new().name(name.to_owned()).spawn(work).expect("a thread")
    };
    spawn(
        "accept",
        Box::new(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                spawn(
                    "answer",
                    Box::new(move || answer_all(stream, bytes, answer, per_connection)),
                );
            }
        }),
    );
    address
}

fn answer_all(mut stream: TcpStream, bytes: usize, answer: &str, count: usize) {
    stream.set_nodelay(true).expect("a TCP stream");
    let mut request = vec![0; bytes];
    for _ in 0..count {
        // Answers go out in two pieces, so that a head is sometimes read in parts.
        let (first, second) = answer.split_at(20);
        let sent = stream
            .read_exact(&mut request)
            .and_then(|()| stream.write_all(first.as_bytes()))
            .and_then(|()| stream.write_all(second.as_bytes()));
        if sent.is_err() {
            return;
        }
    }
}

fn plan(address: SocketAddr, request: Vec<u8>) -> Plan {
    Plan {
        address,
        connections: 5,
        threads: 2,
        requests: Arc::from([request]),
        model: Model::Closed,
        duration: Duration::from_millis(300),
        rest: Duration::ZERO,
    }
}

const ACCEPTED: &str = "HTTP/1.1 202 Accepted\r\ncontent-length: 5\r\n\r\nhello";
const REFUSED: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\n{}";

#[test]
fn every_answer_is_counted_once_whatever_the_size_of_the_request() {
    for size in [100, 3_000_000] {
        let plan = plan(serve(size, ACCEPTED, usize::MAX), vec![b'x'; size]);
        let report = run(&plan).expect("the server is up");
        assert!(report.accepted() >= 5, "{report:?}");
        assert_eq!((report.errors, report.refused()), (0, 0), "{report:?}");
        assert_eq!(report.bytes_sent, report.accepted() * size as u64);
        assert_eq!(report.latency_us.len(), report.accepted());
    }
}

#[test]
fn a_paced_load_keeps_its_rate() {
    let plan = Plan {
        model: Model::Paced { per_second: 200.0 },
        duration: Duration::from_millis(500),
        ..plan(serve(10, ACCEPTED, usize::MAX), vec![b'x'; 10])
    };
    let report = run(&plan).expect("the server is up");
    assert!((95..=101).contains(&report.accepted()), "{report:?}");
}

#[test]
fn a_refused_connection_rests() {
    let plan = Plan {
        rest: Duration::from_millis(100),
        ..plan(serve(10, REFUSED, usize::MAX), vec![b'x'; 10])
    };
    let report = run(&plan).expect("the server is up");
    assert!((5..=15).contains(&report.count(503)), "{report:?}");
}

#[test]
fn a_connection_that_the_server_closes_is_opened_again() {
    let report = run(&plan(serve(10, ACCEPTED, 3), vec![b'x'; 10])).expect("the server is up");
    assert!(report.accepted() > 15, "{report:?}");
}

#[test]
fn a_load_on_no_server_is_an_error() {
    let gone = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound");
    assert!(run(&plan(gone, vec![b'x'; 10])).is_err());
}
