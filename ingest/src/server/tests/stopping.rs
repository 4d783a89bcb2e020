//! Stopping: what is announced, what is finished, what is cut.

use std::time::{Duration, Instant};

use super::harness::{SHORT, Server, post, settings, wait_until};
use crate::server::{Phase, ServerSettings};

#[test]
fn during_the_delay_everything_is_served_and_told_to_go() {
    let server = Server::start(settings());
    let mut idle = server.connect();
    assert!(!idle.ask(post("single")).closes());
    server.phases.send_replace(Phase::Delay);
    wait_until("it is announced", || server.ask(&post("single")).closes());
    assert!(idle.is_quiet(), "an idle one is not cut off");
    let answer = idle.ask(post("single"));
    assert_eq!((answer.status, answer.closes()), (202, true));
    assert!(idle.closed());
}

#[test]
fn a_stop_closes_the_idle_and_answers_those_in_progress() {
    let mut server = Server::start(settings());
    let mut fresh = server.connect();
    let mut idle = server.connect();
    assert_eq!(idle.ask(post("single")).status, 202);
    let mut sending = server.connect();
    sending.send("POST /pulse HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\n\r\nsin");
    let mut known = server.connect();
    assert_eq!(known.ask(post("single")).status, 202);
    // Its thread may be another one: what has not been read is not in progress.
    server.wait_for_admitted(3);
    server.phases.send_replace(Phase::Stop);
    assert!(idle.closed() && fresh.closed() && known.closed());
    sending.send("gle");
    let answer = sending.answer();
    assert_eq!((answer.status, answer.closes()), (202, true));
    assert!(sending.closed());
    assert!(server.ended() < Duration::from_secs(2));
    assert!(std::net::TcpStream::connect(server.address).is_err(), "it accepts no more");
}

#[test]
fn a_body_that_does_not_come_is_not_waited_for_when_stopping() {
    let mut server = Server::start(ServerSettings { stop_body_timeout: SHORT, ..settings() });
    let mut sending = server.connect();
    sending.send("POST /pulse HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\n\r\nsin");
    let mut head = server.connect();
    head.send("POST /pulse HT");
    // Both must have arrived: what has not is no request in progress.
    wait_until("both are open", || server.metrics.http.connections.get() == 2);
    server.wait_for_admitted(1);
    std::thread::sleep(Duration::from_millis(100));
    server.phases.send_replace(Phase::Stop);
    assert_eq!(sending.answer().code(), "body_timeout");
    sending.finish_sending();
    assert!(sending.closed() && head.closed());
    assert!(server.ended() < Duration::from_secs(3));
}

#[test]
fn an_answer_that_never_comes_does_not_hold_up_the_stop_for_ever() {
    let begun = Instant::now();
    let mut server = Server::start(ServerSettings { stop_timeout: 2 * SHORT, ..settings() });
    let mut stuck = server.connect();
    stuck.send(post("stall"));
    server.wait_for_waiting(1);
    server.phases.send_replace(Phase::Stop);
    assert!(stuck.closed());
    server.ended();
    assert!(begun.elapsed() >= 2 * SHORT);
    server.wait_for_waiting(0);
}

#[test]
fn a_server_whose_owner_is_gone_stops() {
    let mut server = Server::start(settings());
    assert_eq!(server.get("/health").status, 200);
    let (unused, _) = tokio::sync::watch::channel(Phase::Serve);
    drop(std::mem::replace(&mut server.phases, unused));
    server.ended();
}
