//! Limits of tenants over HTTP: decided before the body, told in every answer of who has any.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::harness::{Answer, Server, settings};
use crate::limits::Limiter;
use crate::limits::metrics::LimitMetrics;
use crate::tenant::{KeyHash, Limits, Permission, Permissions, Table, Tenant, Tenants};

const ALL: [Permission; 3] = [Permission::Read, Permission::Write, Permission::Admin];

/// Tenants of which each has the key of its own name.
fn server(tenants: &[(&str, Limits)]) -> (Server, Arc<Limiter>) {
    let mut table = Table::default();
    for (name, limits) in tenants {
        let tenant = Arc::new(Tenant { limits: *limits, ..Tenant::unlimited(*name) });
        table.add(&tenant).expect("a new name");
        let key = KeyHash::of(name);
        table.add_key(key, &tenant, "first", Permissions::of(&ALL)).expect("a new key");
    }
    let limiter = Limiter::new(1, LimitMetrics::default());
    let tenants = Tenants::of(table).limited_by(Arc::clone(&limiter));
    (Server::start_for(tenants, settings()), limiter)
}

fn limits(requests_per_minute: u64, pulses_per_minute: u64, burst: u64) -> Limits {
    Limits { requests_per_minute, pulses_per_minute, burst }
}

fn post(key: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST /pulse HTTP/1.1\r\nhost: a\r\nx-api-key: {key}\r\n{headers}\
         content-length: {length}\r\n\r\n{body}"
    )
}

fn get(key: &str, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: a\r\nx-api-key: {key}\r\n\r\n")
}

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.headers.get(name).map(String::as_str)
}

#[test]
fn who_is_over_its_limit_is_told_when_to_come_back_and_nobody_else_is() {
    let (server, _limiter) = server(&[("hot", limits(6, 0, 3)), ("quiet", Limits::NONE)]);
    let mut client = server.connect();
    for left in (0..3).rev() {
        let answer = client.ask(post("hot", "", "single"));
        assert_eq!(answer.status, 202);
        assert_eq!(header(&answer, "ratelimit-policy"), Some("\"requests\";q=6;w=60"));
        let told = header(&answer, "ratelimit").expect("what is left");
        assert!(told.starts_with(&format!("\"requests\";r={left};t=")), "{told}");
    }
    let answer = client.ask(post("hot", "", "single"));
    assert_eq!((answer.status, answer.code().as_str()), (429, "too_many_requests"));
    let wait: u64 = header(&answer, "retry-after").and_then(|s| s.parse().ok()).expect("a time");
    assert!((9..=15).contains(&wait), "{wait}");
    assert_eq!(header(&answer, "ratelimit"), Some("\"requests\";r=0;t=10"));
    let asked = client.ask(get("hot", "/v1/pulses?service=many&limit=1"));
    assert_eq!(asked.status, 429, "queries count too, on the same connection");
    let other = server.ask(&post("quiet", "", "single"));
    assert_eq!((other.status, header(&other, "ratelimit")), (202, None));
    assert_eq!(server.intake.admitted.load(Ordering::SeqCst), 4, "three and the other's");
}

#[test]
fn a_body_that_will_be_refused_is_not_waited_for() {
    let (server, _limiter) = server(&[("hot", limits(1, 0, 1))]);
    assert_eq!(server.ask(&post("hot", "", "single")).status, 202);
    let head = post("hot", "expect: 100-continue\r\n", "").replace("length: 0", "length: 9000");
    let answer = server.ask(&head);
    assert_eq!((answer.status, answer.closes()), (429, true));
    assert_eq!(server.counted("/pulse", 429), 1);
}

#[test]
fn pulses_that_are_owed_refuse_and_the_answer_tells_of_both_limits() {
    let (server, limiter) = server(&[("hot", limits(600, 600, 0))]);
    limiter.charge("hot", 100);
    let answer = server.ask(&post("hot", "", "single"));
    assert_eq!((answer.status, answer.code().as_str()), (429, "too_many_pulses"));
    let policy = header(&answer, "ratelimit-policy");
    assert_eq!(policy, Some("\"requests\";q=600;w=60, \"pulses\";q=600;w=60"));
    let told = header(&answer, "ratelimit").expect("what is left");
    assert!(told.starts_with("\"requests\";r=10;t=0, \"pulses\";r=0;t="), "{told}");
}

#[test]
fn the_open_tenant_has_no_limit() {
    let server = Server::start(settings());
    let mut client = server.connect();
    for _ in 0..400 {
        let answer = client.ask(post("any", "", "single"));
        assert_eq!((answer.status, header(&answer, "ratelimit")), (202, None));
    }
}
