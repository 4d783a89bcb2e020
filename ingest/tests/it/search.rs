//! Searches over HTTP: a pulse by each of its names at each step of its life, and the newest of a
//! service.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use xtask::client::Request;
use xtask::flags;
use xtask::ledger::drained;
use xtask::server::{Launch, Server, wait_for};

use crate::isolation::new_key;
use crate::support::{Fixture, SOON, example, launch};

/// More rows than one search looks at.
const MANY: usize = 12_000;

fn now_ms() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()
}

fn steps(pulse: &Value) -> Vec<&str> {
    let life = pulse["life"].as_array().map(Vec::as_slice).unwrap_or_default();
    life.iter().filter_map(|step| step["step"].as_str()).collect()
}

fn step<'p>(pulse: &'p Value, name: &str) -> Result<&'p Value> {
    let mut life = pulse["life"].as_array().context("a life")?.iter();
    life.find(|step| step["step"] == name).with_context(|| format!("no {name} in {pulse}"))
}

/// The one pulse of a search; all of it was looked at.
fn one(server: &Server, query: &str) -> Result<Value> {
    let answer = server.client().get_json(&format!("/v1/search?{query}"))?;
    let pulses = answer["pulses"].as_array().context("pulses")?;
    ensure!(pulses.len() == 1 && answer["complete"] == true, "{query}: {answer}");
    Ok(pulses[0].clone())
}

#[test]
fn a_stored_pulse_is_found_by_each_of_its_names_with_its_life() -> Result<()> {
    let fixture = Fixture::start()?;
    let body = r#"{"service":"s","event_id":"order/1","idempotency_key":"k 1","payload":{"a":1}}"#;
    let sent = fixture.post("/pulse?ack=stored", body, 200)?;
    let id = sent["id"].as_str().context("an id")?;
    for query in [&format!("id={id}"), "id=order%2F1", "idempotency_key=k%201"] {
        let pulse = one(&fixture.server, query)?;
        assert_eq!((&pulse["id"], &pulse["payload"]), (&sent["id"], &json!({"a": 1})));
        assert_eq!(steps(&pulse), ["received", "stored"]);
        assert_eq!(step(&pulse, "received")?["at"], pulse["received_at"]);
        let stored = step(&pulse, "stored")?;
        assert_eq!((&stored["sink"], &stored["at"]), (&json!("store"), &Value::Null));
    }
    for unknown in ["id=nobody", "idempotency_key=order%2F1", "id=k%201"] {
        let answer = fixture.get(&format!("/v1/search?{unknown}"))?;
        let nothing = json!({"pulses": [], "letters": [], "next": null, "complete": true});
        assert_eq!(answer, nothing, "{unknown}");
    }
    for wrong in ["", "?id=", "?id=a&service=s", "?service=s&limit=0", "?service=s&cursor=x"] {
        let response = fixture.send(&Request::get(&format!("/v1/search{wrong}")))?;
        ensure!(response.status == 400 && response.text().contains("invalid_parameter"), "{wrong}");
    }
    Ok(())
}

#[test]
fn a_pulse_that_waits_in_the_log_or_in_memory_is_found_by_id() -> Result<()> {
    let dir = TempDir::new()?;
    // Nothing is drained.
    let start = || launch(dir.path()).flag(flags::FLUSH_INTERVAL, "60s").start();
    let mut server = start()?;
    server.wait_ready(SOON)?;
    let send = |server: &Server, target: &str, body: &str| -> Result<String> {
        let answer = server.client().send(&Request::json(target, body))?.json()?;
        Ok(answer["id"].as_str().context("an id")?.to_owned())
    };
    let logged = send(&server, "/pulse", r#"{"service":"s","value":7}"#)?;
    send(&server, "/pulse", r#"{"service":"s","idempotency_key":"k"}"#)?;
    let held = send(&server, "/pulse?ack=memory", r#"{"service":"s"}"#)?;
    let waits = ["received", "logged", "waiting"];
    for query in [&format!("id={logged}"), "idempotency_key=k"] {
        let pulse = one(&server, query)?;
        assert_eq!(steps(&pulse), waits, "{query}");
        assert_eq!(step(&pulse, "waiting")?["sink"], "store");
    }
    assert_eq!(one(&server, &format!("id={logged}"))?["value"], 7);
    assert_eq!(steps(&one(&server, &format!("id={held}"))?), ["received", "waiting"]);
    // What is in the log is known after a crash too; what was in memory is gone.
    server.kill()?;
    server = start()?;
    server.wait_ready(SOON)?;
    assert_eq!(steps(&one(&server, &format!("id={logged}"))?), waits);
    let gone = server.client().get_json(&format!("/v1/search?id={held}"))?;
    assert_eq!(gone["pulses"], json!([]));
    Ok(())
}

#[test]
fn a_dead_letter_is_told_with_its_reason_and_then_as_replayed_or_edited() -> Result<()> {
    let dir = TempDir::new()?;
    let refuse = dir.path().join("refuse");
    fs::write(&refuse, "")?;
    let launch = Launch::new(example("refusing")?, &dir.path().join("data"));
    let launch = launch.flag("--refuse-while", &refuse.display().to_string());
    let server = launch.flag(flags::FLUSH_INTERVAL, "20ms").start()?;
    server.wait_ready(SOON)?;
    let mut client = server.client();
    for id in ["one", "two"] {
        let body = format!(r#"{{"service":"s","kind":"refused","event_id":"{id}"}}"#);
        assert_eq!(client.send(&Request::json("/pulse", body))?.status, 202);
    }
    drained(&server, SOON)?;
    let letter = |query: &str| -> Result<String> {
        let pulse = one(&server, query)?;
        assert_eq!(steps(&pulse), ["received", "logged", "dead_lettered"]);
        let dead = step(&pulse, "dead_lettered")?;
        assert_eq!((&dead["reason"], &dead["sink"]), (&json!("refused"), &json!("store")));
        assert_eq!(
            (&dead["error"], &dead["attempts"]),
            (&json!("the kind is not taken"), &json!(1))
        );
        Ok(dead["letter"].as_str().context("its letter")?.to_owned())
    };
    let (first, second) = (letter("id=one")?, letter("id=two")?);
    // By the letter's own id, too.
    let answer = client.get_json(&format!("/v1/search?id={first}"))?;
    assert_eq!(answer["letters"][0], {
        let page = client.get_json("/v1/dead-letters")?;
        let letters = page["dead_letters"].as_array().context("letters")?.clone();
        letters.into_iter().find(|letter| letter["id"] == first.as_str()).context("it")?
    });
    assert_eq!(answer["pulses"][0]["id"], one(&server, "id=one")?["id"]);

    fs::remove_file(&refuse)?;
    let replay = Request::new("POST", &format!("/v1/dead-letters/{first}/replay"));
    assert_eq!(client.send(&replay)?.status, 200);
    let pulse = one(&server, "id=one")?;
    assert_eq!(steps(&pulse), ["received", "replayed", "stored"]);
    let replayed = step(&pulse, "replayed")?;
    assert_eq!((&replayed["letter"], &replayed["reason"]), (&json!(first), &json!("refused")));
    ensure!(replayed["at"].is_string(), "{replayed}");

    let edit = Request::new("POST", &format!("/v1/dead-letters/{second}/replay"));
    let edited = client.send(&edit.body(r#"{"service":"s","kind":"taken"}"#))?.json()?;
    let pulse = one(&server, &format!("id={}", edited["id"].as_str().context("an id")?))?;
    assert_eq!(steps(&pulse), ["received", "replayed", "stored"]);
    assert_eq!(step(&pulse, "replayed")?["edited_from"], edited["edited_from"]);
    Ok(())
}

#[test]
fn the_newest_of_a_service_are_found_by_kind_status_and_user_within_a_bound() -> Result<()> {
    let fixture = Fixture::start()?;
    let mut client = fixture.server.client();
    let begun = now_ms();
    let event = |number: &usize| {
        let kind = if number.is_multiple_of(2) { "even" } else { "odd" };
        let user = if number % 4_000 == 1 { "rare" } else { "u" };
        let time = format!("\"event_time\":{}", begun + *number as u128);
        format!(r#"{{"service":"s","kind":"{kind}","user":"{user}","status":"s{number}",{time}}}"#)
    };
    for numbers in (0..MANY).collect::<Vec<_>>().chunks(4_000) {
        let body = numbers.iter().map(event).collect::<Vec<_>>().join("\n");
        assert_eq!(client.send(&Request::lines("/pulse", body))?.status, 202);
    }
    drained(&fixture.server, SOON)?;
    let page = fixture.get("/v1/search?service=s&kind=odd&limit=3")?;
    let found: Vec<_> = page["pulses"].as_array().context("pulses")?.clone();
    let statuses: Vec<_> = found.iter().map(|pulse| pulse["status"].clone()).collect();
    assert_eq!(statuses, [MANY - 1, MANY - 3, MANY - 5].map(|number| format!("s{number}")));
    assert_eq!(steps(&found[0]), ["received", "stored"]);
    assert_eq!(page["complete"], true);
    let next = page["next"].as_str().context("more")?;
    let more = fixture.get(&format!("/v1/search?service=s&kind=odd&limit=1&cursor={next}"))?;
    assert_eq!(more["pulses"][0]["status"], format!("s{}", MANY - 7));
    let alone = fixture.get("/v1/search?service=s&status=s11000&user=u")?;
    assert_eq!(alone["pulses"].as_array().map(Vec::len), Some(1));
    // Only a part is looked at; the cursor leads to the rest.
    let (mut found, mut cursor, mut pages) = (0, String::new(), 0);
    loop {
        let page = fixture.get(&format!("/v1/search?service=s&user=rare{cursor}"))?;
        found += page["pulses"].as_array().map_or(0, Vec::len);
        pages += 1;
        assert_eq!(page["complete"], page["next"].is_null(), "{page}");
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!((found, pages), (MANY / 4_000, 2));
    Ok(())
}

#[test]
fn nobody_finds_what_is_anothers_and_a_key_that_writes_finds_nothing() -> Result<()> {
    let dir = TempDir::new()?;
    let (file, mut lines, mut keys) = (dir.path().join("t.yaml"), Vec::new(), Vec::new());
    for kind in ["admin", "read", "write"] {
        let (key, line) = new_key(kind, kind)?;
        lines.push(line);
        keys.push(key);
    }
    let (other, line) = new_key("other", "both")?;
    let of_a = lines.iter().map(|line| format!("  {line}\n")).collect::<String>();
    fs::write(
        &file,
        format!("tenants:\n- name: a\n  keys:\n{of_a}- name: b\n  keys:\n  {line}\n"),
    )?;
    let fixture = Fixture::with(|launch| launch.flag("--tenants", &file.display().to_string()))?;
    let mut client = fixture.server.client();
    let body = r#"{"service":"s","event_id":"e","idempotency_key":"k"}"#;
    let sent = client.send(&Request::json("/pulse", body).header("x-api-key", &keys[0]))?;
    let id = sent.json()?["id"].as_str().context("an id")?.to_owned();
    let ask = |key: &str, query: &str| {
        let request = Request::get(&format!("/v1/search?{query}")).header("x-api-key", key);
        fixture.server.client().send(&request)
    };
    let queries = [&format!("id={id}"), "id=e", "idempotency_key=k", "service=s"];
    for query in queries {
        wait_for(SOON, "the pulse", || {
            Ok(ask(&keys[1], query)?.json()?["pulses"].as_array().map(Vec::len) == Some(1))
        })?;
        assert_eq!(ask(&other, query)?.json()?["pulses"], json!([]), "{query}");
        assert_eq!(ask(&keys[2], query)?.status, 403, "{query}");
        assert_eq!(ask("pmk_nobody", query)?.status, 401, "{query}");
    }
    Ok(())
}
