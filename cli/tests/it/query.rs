//! `query`, and what is told when the server can't be asked.

use std::net::TcpListener;

use anyhow::{Result, ensure};
use serde_json::json;
use xtask::client::Request;
use xtask::ledger::drained;
use xtask::tenants::{QUIET, write_file};

use crate::support::{Fixture, SOON, run, run_with};

fn with_pulses() -> Result<Fixture> {
    let at = Fixture::start()?;
    let line = |n| {
        let kind = if n % 4 == 0 { "order" } else { "click" };
        json!({"service": "s", "kind": kind, "latency_ms": n, "metadata": {"n": n}}).to_string()
    };
    let text = (0..2_200).map(line).collect::<Vec<_>>().join("\n");
    let file = at.file("f", &text)?;
    at.run(&["send", "--file", &file])?.expect(0)?;
    drained(&at.server, SOON)?;
    Ok(at)
}

#[test]
fn pages_are_read_until_there_are_enough() -> Result<()> {
    let at = with_pulses()?;
    let count = |more: &[&str]| {
        let typed = [&["query", "s", "--json"], more].concat();
        Ok::<_, anyhow::Error>(at.run(&typed)?.expect(0)?.lines()?.len())
    };
    assert_eq!(count(&[])?, 100);
    assert_eq!(count(&["--limit", "1500"])?, 1_500);
    assert_eq!(count(&["--all"])?, 2_200);
    assert_eq!(count(&["--all", "--kind", "order"])?, 550);
    assert_eq!(count(&["--kind", "order", "--limit", "7"])?, 7);
    assert_eq!(count(&["--from", "15m", "--limit", "3"])?, 3);
    assert_eq!(count(&["--to", "15m"])?, 0);
    assert_eq!(count(&["--from", "2026-01-31T12:00:00Z", "--to", "2026-01-31T13:00:00Z"])?, 0);
    Ok(())
}

#[test]
fn people_see_a_table_without_colours_or_control_characters() -> Result<()> {
    let at = Fixture::start()?;
    let typed = ["send", "--service", "s", "--metadata", "a=\u{1b}[31m", "--ack", "stored"];
    at.run(&typed)?.expect(0)?;
    let table = at.run(&["query", "s"])?.expect(0)?.out;
    let (head, row) = table.split_once('\n').expect("two lines");
    assert_eq!(head.split_whitespace().collect::<Vec<_>>()[..3], ["TIME", "KIND", "STATUS"]);
    ensure!(row.contains("a=\\u{1b}[31m") && !table.contains('\u{1b}'), "{table}");
    let id = &row[head.find("ID").expect("a column")..];
    let id = id.split_whitespace().next().expect("an id in its column");
    ensure!(id.len() == 36 && id.matches('-').count() == 4, "{table}");
    Ok(())
}

#[test]
fn a_payload_comes_back_as_it_was_sent_and_on_one_line() -> Result<()> {
    let at = Fixture::start()?;
    let payload = r#"{"n":123456789012345678901234567890.10,"b":1,"a":"x"}"#;
    let body = format!("{{\"service\":\"s\",\n\"payload\":\n{}}}", payload.replace(',', ",\r\n"));
    let sent = at.server.client().send(&Request::json("/pulse?ack=stored", body))?;
    ensure!(sent.status == 200, "{}", sent.text());
    let row = at.run(&["query", "s", "--json"])?.expect(0)?;
    assert_eq!(row.lines()?.len(), 1, "{row:?}");
    let text: String = row.out.chars().filter(|character| !character.is_whitespace()).collect();
    ensure!(text.contains(payload), "{text}");
    Ok(())
}

#[test]
fn a_wrong_address_is_told_with_what_to_do() -> Result<()> {
    let free = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let nobody = format!("http://{free}");
    let cases = [
        (nobody.as_str(), 1, "takes no connection", "Start the server"),
        ("http://no-such-host.invalid", 1, "has no address", "Check the host"),
    ];
    for (url, code, what, advice) in cases {
        let asked = run(&["--url", url, "query", "s"])?.expect(code)?;
        ensure!(asked.err.contains(what) && asked.err.contains(advice), "{asked:?}");
        let place = format!("GET {url}/v1/pulses?service=s");
        ensure!(asked.err.contains(&place) && asked.out.is_empty(), "{asked:?}");
        let error = run(&["--url", url, "query", "s", "--json"])?.expect(code)?.error()?;
        ensure!(error["what"].as_str().is_some_and(|text| text.contains(what)), "{error}");
    }
    let asked = run(&["--url", "localhost:8080", "query", "s"])?.expect(2)?;
    ensure!(asked.err.contains("write http://host:8080"), "{asked:?}");
    Ok(())
}

#[test]
fn keys_come_from_the_environment_or_a_file_and_wrong_ones_are_told() -> Result<()> {
    let at = Fixture::with(|launch, dir| {
        Ok(launch.flag("--tenants", &write_file(dir, &[(QUIET, 0)])?.display().to_string()))
    })?;
    let url = at.url();
    let typed = ["--url", &url, "query", "s", "--json"];
    let none = run(&typed)?.expect(1)?.error()?;
    assert_eq!((&none["status"], &none["code"]), (&json!(401), &json!("no_api_key")));
    let wrong = run_with(("PULSEMESH_API_KEY", "not-a-key-of-anybody"), &typed)?.expect(1)?;
    ensure!(!wrong.err.contains("not-a-key"), "a key is told: {wrong:?}");
    assert_eq!(wrong.error()?["code"], "unknown_api_key");
    ensure!(wrong.error()?["what_to_do"].as_str().is_some_and(|text| text.contains("whole")));
    run_with(("PULSEMESH_API_KEY", QUIET.key), &typed)?.expect(0)?;
    let file = at.file("key", &format!("{}\n", QUIET.key))?;
    at.run(&["query", "s", "--api-key-file", &file])?.expect(0)?;
    // The flag goes before the variable.
    let with_file = [&typed[..], &["--api-key-file", &file]].concat();
    run_with(("PULSEMESH_API_KEY", "wrong"), &with_file)?.expect(0)?;
    Ok(())
}
