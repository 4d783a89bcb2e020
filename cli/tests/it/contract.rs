//! `search` against a responder that gives answers which a server would take long to come to. It
//! knows nothing of the server: whether both keep to it, tests of the real one show.

use std::io::Write;
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::support::run;

/// Answers its requests in order, and tells what they were: the first line, and the body.
fn responder(answers: Vec<(u16, Value)>) -> Result<(String, Receiver<(String, String)>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}", listener.local_addr()?);
    let (sender, asked) = sync_channel(answers.len());
    let serve = move || {
        for ((status, body), stream) in answers.into_iter().zip(listener.incoming()) {
            let Ok(mut stream) = stream else { return };
            let Some((head, sent)) = xtask::request::read(&mut stream) else { return };
            let request = (head.lines().next().unwrap_or_default().to_owned(), sent);
            let body = body.to_string();
            let head = format!("HTTP/1.1 {status} X\r\nconnection: close\r\n");
            let answer = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
            // Whoever does not wait for it finds its test failed.
            let _ = (sender.try_send(request), stream.write_all(answer.as_bytes()));
        }
    };
    thread::Builder::new().name("responder".into()).spawn(serve)?;
    Ok((url, asked))
}

fn pulse(id: &str) -> Value {
    json!({
        "id": id, "tenant": "t", "service": "s", "kind": "order", "status": "ok",
        "event_time": "2026-01-31T12:00:00.000Z", "received_at": "2026-01-31T12:00:01.000Z",
        "life": [
            {"step": "received", "at": "2026-01-31T12:00:01.000Z"},
            {"step": "dead_lettered", "at": "2026-01-31T12:00:02.000Z", "sink": "store",
             "reason": "refused"},
            {"step": "stored", "at": null, "sink": "store"},
        ],
    })
}

#[test]
fn a_pulse_is_found_with_its_line_of_life() -> Result<()> {
    let found = json!({"pulses": [pulse("a")], "letters": [], "next": null, "complete": true});
    let (url, asked) = responder(vec![(200, found.clone()), (200, found.clone())])?;
    let shown = run(&["--url", &url, "search", "order/1"])?.expect(0)?.out;
    assert_eq!(asked.recv()?.0, "GET /v1/search?id=order%2F1 HTTP/1.1");
    let expected = "\
a  s  order  2026-01-31T12:00:00.000Z
  received_at=2026-01-31T12:00:01.000Z status=ok
  AT                        STEP           BY
  2026-01-31T12:00:01.000Z  received
  2026-01-31T12:00:02.000Z  dead_lettered  store  reason=refused
  -                         stored         store
";
    assert_eq!(shown, expected);
    let typed = ["--url", &url, "search", "--key", "k", "--json"];
    assert_eq!(run(&typed)?.expect(0)?.json()?, found);
    assert_eq!(asked.recv()?.0, "GET /v1/search?idempotency_key=k HTTP/1.1");
    Ok(())
}

#[test]
fn pages_of_a_service_are_one_answer_and_what_is_missing_is_told() -> Result<()> {
    let page = |id, next: Value, complete| {
        (200, json!({"pulses": [pulse(id)], "letters": [], "next": next, "complete": complete}))
    };
    let (url, asked) = responder(vec![
        page("a", json!("c1"), true),
        page("b", Value::Null, false),
        (200, json!({"pulses": [], "letters": [], "next": null, "complete": true})),
        (200, json!({"pulses": [], "letters": [{"id": "l", "reason": "refused"}], "next": null})),
    ])?;
    let typed = ["--url", &url, "search", "--service", "s", "--status", "ok", "--user", "u"];
    let found = run(&[&typed[..], &["--kind", "k", "--json"]].concat())?.expect(3)?.json()?;
    assert_eq!(found["pulses"].as_array().map(Vec::len), Some(2));
    assert_eq!(found["complete"], false);
    let first = asked.recv()?.0;
    let filters = "/v1/search?service=s&kind=k&status=ok&user=u&limit=20";
    assert_eq!(first, format!("GET {filters} HTTP/1.1"));
    ensure!(asked.recv()?.0.contains("limit=19&cursor=c1"));
    let none = run(&["--url", &url, "search", "x"])?.expect(4)?;
    ensure!(none.err.contains("no such pulse"), "{none:?}");
    let letter = run(&["--url", &url, "search", "l"])?.expect(0)?;
    ensure!(letter.out.contains("refused"), "{letter:?}");
    let none = run(&["search"])?.expect(2)?;
    ensure!(none.err.contains("--service"), "{none:?}");
    Ok(())
}
