//! Connections: how many, how long, and who makes room for whom.

use std::time::{Duration, Instant};

use super::harness::{SHORT, Server, post, settings, wait_until};
use crate::server::ServerSettings;

#[test]
fn a_head_that_does_not_come_is_not_waited_for() {
    let server = Server::start(ServerSettings { header_timeout: SHORT, ..settings() });
    let begun = Instant::now();
    let mut silent = server.connect();
    let mut half = server.connect();
    half.send("POST /pulse HTT");
    let mut preface = server.connect();
    preface.send("PRI * HTTP/2.0\r\n");
    let mut used = server.connect();
    assert_eq!(used.ask(post("single")).status, 202);
    used.send("POST /pulse HTT");
    let mut drips = server.connect();
    while drips.is_quiet() {
        assert!(begun.elapsed() < Duration::from_secs(10), "dripping must not help");
        drips.try_send("x");
        std::thread::sleep(Duration::from_millis(20));
    }
    for client in [&mut silent, &mut half, &mut preface, &mut used, &mut drips] {
        assert!(client.closed());
    }
    assert!(begun.elapsed() >= SHORT);
}

#[test]
fn an_idle_connection_is_closed_and_a_used_one_is_not() {
    let server = Server::start(ServerSettings { idle_timeout: 3 * SHORT, ..settings() });
    let mut idle = server.connect();
    assert_eq!(idle.ask(post("single")).status, 202);
    let begun = Instant::now();
    let mut used = server.connect();
    while begun.elapsed() < 6 * SHORT {
        assert_eq!(used.ask(post("single")).status, 202);
        std::thread::sleep(SHORT / 3);
    }
    assert!(!idle.is_quiet(), "it is closed by now");
    assert!(idle.closed());
    assert_eq!(used.ask(post("single")).status, 202);
}

#[test]
fn a_connection_that_was_idle_for_long_goes_on_as_before() {
    let server = Server::start(ServerSettings { header_timeout: 2 * SHORT, ..settings() });
    let mut client = server.connect();
    assert_eq!(client.ask(post("single")).status, 202);
    for _ in 0..2 {
        // Longer than a connection keeps its buffers.
        std::thread::sleep(Duration::from_millis(2_500));
        assert!(client.is_quiet());
        client.send([post("single"), post("x")].concat());
        assert_eq!([client.answer().status, client.answer().status], [202, 202]);
    }
    std::thread::sleep(Duration::from_millis(2_500));
    client.send("POST /pu");
    assert!(client.closed(), "a head that does not come is not waited for here either");
    assert_eq!(server.counted("/pulse", 202), 5);
}

#[test]
fn an_answer_that_is_not_taken_ends_its_connection() {
    // An answer that lies whole in the connection's own buffer counts as given: if that is where
    // it stops, the connection ends as one that idles.
    let idle_timeout = Duration::from_secs(5);
    let settings = ServerSettings { answer_timeout: SHORT, idle_timeout, ..settings() };
    let server = Server::start(ServerSettings { threads: 1, ..settings });
    let mut client = server.connect();
    assert_eq!(client.ask(post("single")).status, 202);
    wait_until("its connection is known", || server.metrics.http.connections.get() == 1);
    // More answers than the buffers of both ends hold.
    let page = "GET /v1/pulses?service=many&limit=1000 HTTP/1.1\r\nhost: a\r\n\r\n";
    for _ in 0..2_000 {
        if !client.try_send(page) {
            break;
        }
    }
    wait_until("its connection is gone", || server.metrics.http.connections.get() == 0);
    assert_eq!(server.get("/health").status, 200);
}

#[test]
fn the_longest_idle_makes_room_for_a_new_one() {
    let settings = ServerSettings { connections_max: 4, threads: 1, ..settings() };
    let server = Server::start(settings);
    let mut clients: Vec<_> = (0..4).map(|_| server.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.ask(post("single")).status, 202);
    }
    assert_eq!(clients[0].ask(post("single")).status, 202, "the second is now idle longest");
    let mut fresh = server.connect();
    assert_eq!(fresh.ask(post("single")).status, 202);
    assert!(clients[1].closed());
    assert_eq!(server.metrics.http.connections_evicted.get(), 1);
    for place in [0, 2, 3] {
        assert_eq!(clients[place].ask(post("single")).status, 202);
    }
}

#[test]
fn without_an_idle_one_a_new_connection_is_refused_at_once() {
    let server = Server::start(ServerSettings { connections_max: 4, ..settings() });
    let mut busy: Vec<_> = (0..4).map(|_| server.connect()).collect();
    for client in &mut busy {
        client.send(post("stall"));
    }
    server.wait_for_waiting(4);
    let begun = Instant::now();
    for sends_first in [true, false] {
        let mut fresh = server.connect();
        if sends_first {
            fresh.try_send(post("single"));
        }
        let answer = fresh.answer();
        assert_eq!((answer.status, answer.code().as_str()), (503, "overloaded"));
        assert!(answer.closes() && answer.headers.contains_key("retry-after"));
        fresh.finish_sending();
        assert!(fresh.closed());
    }
    assert!(begun.elapsed() < Duration::from_secs(1));
    assert_eq!(server.metrics.http.connections_refused.get(), 2);
    assert_eq!(server.metrics.http.connections_evicted.get(), 0);
    drop(busy);
    server.wait_for_waiting(0);
    wait_until("there is room", || server.ask(&post("single")).status == 202);
}

#[test]
fn a_fresh_client_is_served_among_thousands_of_idle_attempts() {
    let server = Server::start(ServerSettings { connections_max: 256, ..settings() });
    let mut attempts = Vec::new();
    for round in 0..20 {
        attempts.extend((0..100).map(|number| {
            let mut client = server.connect();
            if number % 2 == 0 {
                client.try_send("POST /pulse HT");
            }
            client
        }));
        let begun = Instant::now();
        assert_eq!(server.ask(&post("single")).status, 202, "round {round}");
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    }
    assert!(server.metrics.http.connections_evicted.get() > 1_500);
    assert_eq!(server.metrics.http.connections_refused.get(), 0);
    drop(attempts);
}
