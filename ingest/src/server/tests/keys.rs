//! Who asks: which key is whose and what it allows, decided before the body is read.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::harness::{Answer, Server, settings};
use crate::tenant::{KeyHash, Permission, Permissions, Table, Tenant, Tenants};

fn tenants() -> Tenants {
    let mut table = Table::default();
    let both = Permissions::of(&[Permission::Read, Permission::Write]);
    let keys = [
        ("a", "a-read", Permissions::of(&[Permission::Read])),
        ("a", "a-write", Permissions::of(&[Permission::Write])),
        ("b", "b-both", both),
    ];
    for (name, key, permissions) in keys {
        let tenant = table.find(name).cloned().unwrap_or_else(|| Arc::new(Tenant::unlimited(name)));
        // The second key's tenant is there.
        let _ = table.add(&tenant);
        table.add_key(KeyHash::of(key), &tenant, "first", permissions).expect("a new key");
    }
    Tenants::of(table)
}

fn request(method: &str, path: &str, headers: &str) -> String {
    let body = if method == "POST" { "content-length: 6\r\n\r\nsingle" } else { "\r\n" };
    format!("{method} {path} HTTP/1.1\r\nhost: a\r\n{headers}{body}")
}

fn told(answer: &Answer) -> (u16, String) {
    let code = if answer.status < 400 { String::new() } else { answer.code() };
    (answer.status, code)
}

#[test]
fn each_request_needs_a_key_that_allows_it() {
    let server = Server::start_for(tenants(), settings());
    let none = "";
    let (read, write) = ("x-api-key: a-read\r\n", "authorization: Bearer a-write\r\n");
    let unknown = "x-api-key: c\r\n";
    let differ = "x-api-key: a-read\r\nauthorization: Bearer a-write\r\n";
    let pulses = "/v1/pulses?service=many&limit=1";
    let cases = [
        ("POST", "/pulse", none, 401, "no_api_key"),
        ("POST", "/pulse", unknown, 401, "unknown_api_key"),
        ("POST", "/pulse", differ, 400, "invalid_header"),
        ("POST", "/pulse", read, 403, "not_permitted"),
        ("POST", "/events", write, 202, ""),
        ("GET", pulses, none, 401, "no_api_key"),
        ("GET", pulses, write, 403, "not_permitted"),
        ("GET", pulses, read, 200, ""),
        ("GET", "/v1/search?service=many", write, 403, "not_permitted"),
        ("GET", "/v1/search?service=many", read, 200, ""),
        ("GET", "/v1/search?id=order%2F1&service=many", read, 400, "invalid_parameter"),
        ("GET", "/v1/counts", write, 403, "not_permitted"),
        ("GET", "/v1/counts", read, 200, ""),
        ("GET", "/v1/pulses/order%2F1", write, 403, "not_permitted"),
        ("GET", "/v1/pulses/order%2F1", read, 200, ""),
        ("GET", "/metrics", none, 401, "no_api_key"),
        ("GET", "/metrics", read, 403, "not_permitted"),
        ("GET", "/health", none, 200, ""),
        ("GET", "/nothing", none, 404, "not_found"),
        ("GET", "/pulse", none, 405, "method_not_allowed"),
    ];
    for (method, path, headers, status, code) in cases {
        let answer = server.ask(&request(method, path, headers));
        assert_eq!(told(&answer), (status, code.to_owned()), "{method} {path} {headers}");
        let challenged = answer.headers.get("www-authenticate").map(String::as_str);
        let expected = (status == 401).then_some("Bearer realm=\"pulsemesh\"");
        assert_eq!(challenged, expected, "{method} {path} {headers}");
        for key in ["a-read", "a-write"] {
            assert!(!String::from_utf8_lossy(&answer.body).contains(key));
        }
    }
    assert_eq!(server.intake.admitted.load(Ordering::SeqCst), 1);
    assert_eq!(server.counted("/pulse", 401), 2);
    assert_eq!(server.counted("/pulse", 403), 1);
}

#[test]
fn the_body_of_a_request_without_a_right_is_not_waited_for() {
    let server = Server::start_for(tenants(), settings());
    for headers in ["", "x-api-key: c\r\n", "x-api-key: a-read\r\n"] {
        for expect in ["", "expect: 100-continue\r\n"] {
            let mut client = server.connect();
            let head = "POST /pulse HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n";
            let answer = client.ask(format!("{head}{headers}{expect}\r\n"));
            assert!(matches!(answer.status, 401 | 403), "{}", answer.status);
            assert!(answer.closes(), "the body is on its way");
        }
    }
    assert_eq!(server.intake.admitted.load(Ordering::SeqCst), 0);
}

#[test]
fn what_is_sent_and_asked_is_that_of_the_keys_tenant() {
    let server = Server::start_for(tenants(), settings());
    for (key, tenant) in [("a-write", "a"), ("b-both", "b")] {
        let answer = server.ask(&request("POST", "/pulse", &format!("x-api-key: {key}\r\n")));
        assert_eq!(answer.status, 202);
        let tenants = server.intake.tenants.lock().expect("tenants").clone();
        assert_eq!(tenants.last().map(String::as_str), Some(tenant));
    }
    let ask =
        |key: &str, path: &str| server.ask(&request("GET", path, &format!("x-api-key: {key}\r\n")));
    let paths = ["/v1/pulses?service=many&limit=1", "/v1/pulses/order%2F1"];
    for (key, tenant) in [("a-read", "a"), ("b-both", "b")] {
        for path in paths.iter().chain(&["/v1/pulses?idempotency_key=old"]) {
            let body = String::from_utf8(ask(key, path).body).expect("text");
            assert!(body.contains(&format!("\"tenant\":\"{tenant}\"")), "{body}");
        }
    }
    let page = ask("a-read", paths[0]).json();
    let next = page["next"].as_str().expect("there are more");
    let path = format!("{}&cursor={next}", paths[0]);
    assert_eq!(ask("a-read", &path).status, 200);
    assert_eq!(told(&ask("b-both", &path)), (400, "invalid_parameter".to_owned()));
}

#[test]
fn without_tenants_no_header_about_keys_matters() {
    let server = Server::start(settings());
    for headers in [
        "",
        "x-api-key: a\r\n",
        "authorization: Basic YTpi\r\n",
        "x-api-key: a\r\nx-api-key: b\r\nauthorization: Bearer c\r\n",
    ] {
        for (method, path) in [("POST", "/pulse"), ("GET", "/metrics"), ("GET", "/v1/counts")] {
            assert!(server.ask(&request(method, path, headers)).status < 300, "{headers}");
        }
    }
}
