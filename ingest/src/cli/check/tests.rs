//! The check against servers that behave well, badly, or not at all.

#![allow(clippy::disallowed_methods, reason = "a test may start what it waits for")]

use std::io::Write;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;

use clap::Parser;

use super::*;

#[derive(Debug, Parser)]
struct Typed {
    #[command(flatten)]
    arguments: CheckArguments,
}

/// Answers requests, one connection each, by their head and body; `None` closes at once.
type Serve = dyn Fn(&str, &str) -> Option<String> + Send + Sync;

fn server(serve: Box<Serve>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    thread::spawn(move || {
        for stream in listener.incoming() {
            // A connection that is only tried sends nothing.
            let Ok(mut stream) = stream else { continue };
            let Some((head, body)) = xtask::request::read(&mut stream) else { continue };
            if let Some(answer) = serve(&head, &body) {
                let _ = stream.write_all(answer.as_bytes());
            }
        }
    });
    format!("http://{address}")
}

fn answer(status: u16, body: &str) -> Option<String> {
    Some(format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
}

fn id_of(body: &str) -> String {
    let pulse: serde_json::Value = serde_json::from_str(body).expect("a pulse");
    assert_eq!(pulse["service_name"], "pulsemesh-check");
    pulse["event_id"].as_str().expect("an id").to_owned()
}

/// A process that works; `unreadable` times the pulse is not there yet.
fn well(unreadable: usize) -> String {
    let left = Arc::new(Mutex::new(unreadable));
    server(Box::new(move |head, body| {
        if head.starts_with("GET /health ") {
            return answer(200, r#"{"status":"ok"}"#);
        }
        if head.starts_with("POST /pulse ") {
            return answer(202, &format!(r#"{{"id":"{}","ack":"durable"}}"#, id_of(body)));
        }
        let id = head.strip_prefix("GET /v1/pulses/")?.split(' ').next()?;
        let mut left = left.lock().expect("not poisoned");
        if *left > 0 {
            *left -= 1;
            return answer(404, r#"{"code":"not_found"}"#);
        }
        answer(200, &format!(r#"{{"id":"{id}","service":"pulsemesh-check","kind":"pulse"}}"#))
    }))
}

/// A process whose `path` answers so and which is well otherwise.
fn except(path: &'static str, status: u16, body: &'static str) -> String {
    let well = well(0);
    server(Box::new(move |head, request| {
        if head.contains(path) {
            return answer(status, body);
        }
        let (method, rest) = head.split_once(' ')?;
        let target = Target::parse(&well).ok()?;
        let sent = (method == "POST").then_some(request);
        let found =
            http::call(&target, rest.split(' ').next()?, sent, None, Duration::from_secs(10));
        let found = found.ok()?;
        answer(found.status, &String::from_utf8_lossy(&found.body))
    }))
}

fn check(words: &[&str]) -> (bool, String) {
    let words = std::iter::once(&"check").chain(words);
    let arguments = Typed::try_parse_from(words).expect("sound arguments").arguments;
    let mut out = Vec::new();
    let code = run(&arguments, &mut out).expect("written");
    (code == ExitCode::from(EXIT_OK), String::from_utf8(out).expect("text"))
}

#[test]
fn a_process_that_works_passes_every_step_even_if_its_store_is_a_little_behind() {
    let admin =
        server(Box::new(|_, _| answer(200, "[+] log: ok\n[-] store: slow (told only)\nok\n")));
    let (ok, text) = check(&[&well(3), "--admin", &admin]);
    assert!(ok, "{text}");
    let names: Vec<_> = text.lines().map(|line| line[8..17].trim_end()).collect();
    assert_eq!(names, ["connect", "health", "ready", "post", "read back"]);
    assert!(text.lines().all(|line| line.starts_with("ok      ")), "{text}");
    assert!(text.contains("202 at the level `durable`") && text.contains("store: slow"), "{text}");
}

#[test]
fn json_holds_the_same_for_programs() {
    let (ok, text) = check(&[&well(0), "--json"]);
    let report: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert!(ok && report["ok"] == true && text.ends_with("}\n"), "{text}");
    assert_eq!(report["steps"].as_array().map(Vec::len), Some(4));
    assert_eq!(report["steps"][2]["name"], "post");
    let (ok, text) = check(&[&except("/pulse ", 503, r#"{"code":"disk_full"}"#), "--json"]);
    let report: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert!(!ok && report["ok"] == false, "{text}");
    assert_eq!(report["steps"].as_array().map(Vec::len), Some(3), "it stops where it fails");
    assert!(report["steps"][2]["advice"].as_str().is_some_and(|text| text.contains("free space")));
}

#[test]
fn each_failure_is_named_with_what_to_do() {
    let full = r#"{"code":"log_full","title":"The log is full","detail":"1 GiB of 1 GiB"}"#;
    let cases: [(String, &str, &str); 10] = [
        (except("/health", 404, "nope"), "health", "something other than pulsemesh-ingest"),
        (except("/health", 200, "<html>"), "health", "something other than pulsemesh-ingest"),
        (except("/health", 502, ""), "health", "does not reach the process"),
        (except("/pulse ", 401, ""), "post", "credentials"),
        (except("/pulse ", 403, ""), "post", "credentials"),
        (except("/pulse ", 429, r#"{"code":"over_share"}"#), "post", "holds the most"),
        (except("/pulse ", 503, full), "post", "503: log_full: The log is full: 1 GiB of 1 GiB"),
        (except("/pulse ", 202, r#"{"id":"x","ack":"memory"}"#), "post", "does not hold the id"),
        (except("/v1/", 200, r#"{"id":"x"}"#), "read back", "another pulse came back"),
        (
            server(Box::new(|_, _| Some("SSH-2.0-x\r\n".to_owned()))),
            "health",
            "does not speak HTTP",
        ),
    ];
    for (url, step, expected) in cases {
        let (ok, text) = check(&[&url, "--timeout", "5s"]);
        let last = text.lines().rev().nth(1).expect("a step and its advice");
        assert!(!ok && last.starts_with(&format!("failed  {step}")), "{text}");
        assert!(text.contains(expected), "`{text}` lacks `{expected}`");
    }
}

#[test]
fn a_process_that_is_not_there_silent_or_breaks_off_is_told_apart() {
    let closed = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let silent_url = format!("http://{}", silent.local_addr().expect("bound"));
    let cases = [
        (format!("http://{closed}"), "takes no connection", "start pulsemesh-ingest"),
        (silent_url, "no answer within 200 ms", "--timeout waits longer"),
        (server(Box::new(|_, _| None)), "broke", "see the log of the process"),
        ("http://no-such-host.invalid".to_owned(), "has no address", "check the name"),
    ];
    for (url, wrong, advice) in cases {
        let (ok, text) = check(&[&url, "--timeout", "200ms"]);
        assert!(!ok && text.contains(wrong) && text.contains(advice), "{text}");
    }
}

#[test]
fn a_pulse_that_never_becomes_readable_costs_the_timeout_and_says_so() {
    let (ok, text) = check(&[&well(usize::MAX), "--timeout", "300ms"]);
    assert!(!ok && text.contains("acknowledged and can't be read after 300 ms"), "{text}");
}

#[test]
fn an_unready_process_is_told_with_its_reasons() {
    let admin = server(Box::new(|_, _| answer(503, "[-] log: disk is full\nnot ready\n")));
    let (ok, text) = check(&[&well(0), "--admin", &admin]);
    assert!(!ok && text.contains("not ready: [-] log: disk is full"), "{text}");
}
