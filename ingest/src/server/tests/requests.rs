//! What requests are answered.

use serde_json::json;

use super::fake::ROWS;
use super::harness::{SHORT, Server, post, settings, wait_until};
use crate::server::ServerSettings;

#[test]
fn a_pulse_is_submitted_as_its_head_says_and_answered() {
    let server = Server::start(settings());
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let answer = server.ask(&format!(
        "POST /pulse?ack=stored HTTP/1.1\r\nhost: a\r\ncontent-type: application/x-ndjson\r\n\
         idempotency-key: k-1\r\ntraceparent: {trace}\r\nx-request-id: r-1\r\n\
         content-length: 6\r\n\r\nsingle"
    ));
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["content-type"], "application/json");
    assert_eq!(answer.headers["x-request-id"], "r-1");
    assert!(answer.headers.contains_key("date"));
    let id = "00000000-0000-0000-0000-000000000007";
    assert_eq!(answer.json(), json!({"id": id, "ack": "stored"}));
    let seen = server.intake.seen.lock().expect("seen").clone();
    assert_eq!(seen, ["Pulse Lines 6 key=Some(\"k-1\") trace=true ack=Some(Stored)"]);
}

#[test]
fn each_shape_has_its_path_and_its_count() {
    let server = Server::start(settings());
    for (path, shape) in [("/pulse", "Pulse"), ("/ingest", "Ingest"), ("/events", "Events")] {
        let answer = server.ask(&format!(
            "POST {path}?ids=true HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n[]"
        ));
        assert_eq!(answer.status, 202, "{path}");
        assert_eq!(answer.json()["accepted"], 1);
        assert_eq!(answer.json()["ids"].as_array().map(Vec::len), Some(1));
        assert_eq!(server.counted(path, 202), 1);
        let seen = server.intake.seen.lock().expect("seen").pop().expect("one");
        assert!(seen.starts_with(shape), "{seen}");
    }
}

#[test]
fn a_connection_serves_request_after_request_and_pipelined_ones_in_order() {
    let server = Server::start(settings());
    let mut client = server.connect();
    for _ in 0..50 {
        assert_eq!(client.ask(post("single")).status, 202);
    }
    let health = "GET /health HTTP/1.1\r\nhost: a\r\n\r\n";
    client.send([post("single"), post("refuse"), health.to_owned(), post("x")].concat());
    let statuses: Vec<u16> = (0..4).map(|_| client.answer().status).collect();
    assert_eq!(statuses, [202, 503, 200, 202]);
    assert!(client.is_quiet());
}

#[test]
fn what_is_not_served_says_why() {
    let server = Server::start(settings());
    let long_key = "k".repeat(129);
    let many_headers: String = (0..70).map(|number| format!("x-{number}: 1\r\n")).collect();
    let cases = [
        ("GET /nothing", "", 404, "not_found"),
        ("GET /pulse", "", 405, "method_not_allowed"),
        ("POST /health", "", 405, "method_not_allowed"),
        ("POST /pulse", "", 400, "empty_body"),
        ("POST /pulse?akc=memory", "content-length: 1\r\n", 400, "invalid_parameter"),
        ("POST /pulse", "content-type: text/html\r\n", 415, "unsupported_media_type"),
        ("POST /pulse", "content-encoding: br\r\n", 415, "unsupported_encoding"),
        ("POST /pulse", "content-encoding: gzip, gzip\r\n", 415, "unsupported_encoding"),
        ("POST /pulse", &format!("idempotency-key: {long_key}\r\n"), 400, "invalid_header"),
        ("GET /health", &many_headers, 431, "headers_too_large"),
        ("GET /health?x=1", "", 400, "invalid_parameter"),
        ("GET /v1/pulses", "", 400, "invalid_parameter"),
        ("GET /v1/pulses?service=many&limit=0", "", 400, "invalid_parameter"),
        ("GET /v1/pulses?service=down", "", 503, "store_unavailable"),
        ("GET /v1/pulses?service=broken", "", 500, "internal"),
        ("GET /v1/pulses/unknown", "", 404, "not_found"),
        ("GET /v1/counts?window=soon", "", 400, "invalid_parameter"),
    ];
    for (line, headers, status, code) in cases {
        let request = format!("{line} HTTP/1.1\r\nhost: a\r\n{headers}\r\n");
        let answer = server.ask(&request);
        assert_eq!(answer.status, status, "{request}");
        assert_eq!(answer.code(), code, "{request}");
        assert_eq!(answer.headers.contains_key("retry-after"), status == 503, "{request}");
    }
    let answer = server.get("/pulse");
    assert_eq!(answer.headers["allow"], "POST");
    assert_eq!(server.counted("other", 404), 1);
    assert_eq!(server.counted("/pulse", 405), 2);
}

#[test]
fn bytes_that_are_no_request_are_told_so_and_counted() {
    let server = Server::start(settings());
    let long_line = format!("GET /{} HTTP/1.1\r\n", "x".repeat(20_000));
    let long_head = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(20_000));
    let cases = [
        ("\x16\x03\x01 hello tls", 400),
        ("GET / HTTP/9.9\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nbad header\r\n\r\n", 400),
        ("POST /pulse HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", 400),
        ("POST /pulse HTTP/1.1\r\ncontent-length: -1\r\n\r\n", 400),
        (long_line.as_str(), 431),
        (long_head.as_str(), 431),
    ];
    for (request, status) in cases {
        let mut client = server.connect();
        client.send(request);
        let answer = client.answer();
        assert_eq!(answer.status, status, "{:.60}", request);
        client.finish_sending();
        assert!(client.closed());
    }
    // Counted when their connections end.
    wait_until("all are counted", || server.counted("other", 400) == 5);
    wait_until("all are counted", || server.counted("other", 431) == 2);
    assert_eq!(server.get("/health").status, 200);
}

#[test]
fn a_head_is_answered_like_a_get_without_its_body() {
    let server = Server::start(settings());
    for path in ["/health", "/metrics", "/v1/counts", "/v1/pulses/order%2F1", "/nothing"] {
        let get = server.get(path);
        let mut client = server.connect();
        for _ in 0..2 {
            client.send(format!("HEAD {path} HTTP/1.1\r\nhost: a\r\n\r\n"));
            let head = client.answer_to_head();
            assert_eq!(head.status, get.status, "{path}");
            assert_eq!(head.headers["content-length"], get.body.len().to_string(), "{path}");
        }
        assert!(client.is_quiet(), "{path}");
    }
}

#[test]
fn an_old_client_is_answered_and_closed() {
    let server = Server::start(settings());
    let mut client = server.connect();
    let answer = client.ask("POST /pulse HTTP/1.0\r\ncontent-length: 6\r\n\r\nsingle");
    assert_eq!(answer.status, 202);
    assert!(client.closed());
}

#[test]
fn metrics_and_health_are_plain() {
    let server = Server::start(settings());
    assert_eq!(server.get("/health").json(), json!({"status": "ok"}));
    let metrics = server.get("/metrics");
    assert_eq!(metrics.body, b"# EOF\n");
    assert!(metrics.headers["content-type"].starts_with("application/openmetrics-text"));
}

#[test]
fn one_pulse_is_found_by_id_by_its_text_and_by_its_key() {
    let server = Server::start(settings());
    for path in [
        "/v1/pulses/00000000-0000-0000-0000-000000000001",
        "/v1/pulses/order%2F1",
        "/v1/pulses?idempotency_key=known",
        "/v1/pulses?idempotency_key=old",
    ] {
        let answer = server.get(path);
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.json()["id"].is_string(), "{path}");
    }
    assert_eq!(server.get("/v1/pulses?idempotency_key=other").code(), "not_found");
}

#[test]
fn pages_follow_each_other_until_every_row_was_seen_once() {
    let server = Server::start(settings());
    for limit in [1_000, 100, 33] {
        let mut ids = Vec::new();
        let mut cursor = String::new();
        loop {
            let path = format!("/v1/pulses?service=many&limit={limit}{cursor}");
            let answer = server.get(&path).json();
            let rows = answer["pulses"].as_array().expect("rows").clone();
            assert!(rows.len() <= limit);
            ids.extend(rows.iter().map(|row| row["id"].as_str().expect("an id").to_owned()));
            match answer["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(ids.len(), ROWS);
        assert!(ids.is_sorted_by(|newer, older| newer > older), "newest first, none twice");
    }
}

#[test]
fn counts_are_those_of_the_window() {
    let server = Server::start(settings());
    let answer = server.get("/v1/counts?from=60000&to=120000&by=kind").json();
    let kinds = json!([{"kind": "request", "pulses": 3}]);
    assert_eq!(answer["counts"], kinds);
    assert_eq!(answer["total"], 3);
    assert_eq!(answer["from"], "1970-01-01T00:01:00.000Z");
}

#[test]
fn a_store_that_does_not_answer_holds_up_neither_clients_nor_accepting() {
    let query_timeout = 4 * SHORT;
    let server = Server::start(ServerSettings {
        query_timeout,
        queries_max: 2,
        bytes_in_flight_max: 100,
        ..settings()
    });
    let mut stuck: Vec<_> = (0..8).map(|_| server.connect()).collect();
    for client in &mut stuck {
        client.send("GET /v1/pulses?service=stall HTTP/1.1\r\nhost: a\r\n\r\n");
    }
    for _ in 0..20 {
        assert_eq!(server.ask(&post("single")).status, 202);
    }
    for client in &mut stuck {
        let answer = client.answer();
        assert_eq!((answer.status, answer.code().as_str()), (503, "store_unavailable"));
        assert!(answer.headers.contains_key("retry-after"));
    }
    assert_eq!(server.get("/v1/pulses?service=many").status, 200, "turns came back");
}

#[test]
fn an_answer_that_is_not_ready_in_time_says_so() {
    let server = Server::start(ServerSettings { handler_timeout: SHORT, ..settings() });
    let answer = server.ask(&post("stall"));
    assert_eq!((answer.status, answer.code().as_str()), (503, "timed_out"));
    let stored = "POST /pulse?ack=stored HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nstall";
    assert_eq!(server.ask(stored).code(), "not_stored_in_time");
    server.wait_for_waiting(0);
}

#[test]
fn a_client_that_goes_away_takes_its_wait_along() {
    let server = Server::start(settings());
    let mut client = server.connect();
    client.send(post("stall"));
    server.wait_for_waiting(1);
    drop(client);
    server.wait_for_waiting(0);
}

#[test]
fn a_defect_costs_its_own_connection_alone() {
    let server = Server::start(settings());
    let mut other = server.connect();
    assert_eq!(other.ask(post("single")).status, 202);
    for _ in 0..4 {
        let mut client = server.connect();
        client.send(post("defect"));
        assert!(client.closed());
    }
    assert_eq!(other.ask(post("single")).status, 202);
    assert_eq!(server.ask(&post("single")).status, 202);
}
