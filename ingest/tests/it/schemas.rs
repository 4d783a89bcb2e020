//! Schemas of tenants in the real process: refused at the door, kept as dead letters, replayed
//! and edited, and a file that changes while pulses are on their way.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use xtask::client::{Request, Response};
use xtask::flags;
use xtask::ledger::{drained, in_place};
use xtask::server::{Server, wait_for};

use crate::isolation::new_key;
use crate::support::{SOON, launch};

const STRICT: &str = "- {kind: order, required: [user], schema: {properties: \
                      {value: {type: number, maximum: 10}}}, on_failure: ";

/// A server with one tenant, whose schemas are in a file.
struct Checked {
    dir: TempDir,
    key: String,
    line: String,
    server: Server,
}

impl Checked {
    fn start(schemas: &str, flush: &str) -> Result<Self> {
        let dir = TempDir::new().context("make a directory")?;
        let (key, line) = new_key("k", "admin")?;
        fs::write(dir.path().join("tenants.yaml"), tenants(&line, schemas))?;
        let server = serve(&dir, flush)?;
        Ok(Self { dir, key, line, server })
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("tenants.yaml")
    }

    fn send(&self, method: &str, target: &str, body: &str) -> Result<Response> {
        let request = Request::new(method, target).body(body).header("x-api-key", &self.key);
        self.server.client().send(&request)
    }

    fn ask(&self, method: &str, target: &str, body: &str, status: u16) -> Result<Value> {
        let response = self.send(method, target, body)?;
        let text = response.text();
        ensure!(response.status == status, "{method} {target}: {} {text}", response.status);
        response.json()
    }

    fn count(&self, name: &str, labels: &[(&str, &str)]) -> Result<f64> {
        Ok(self.server.samples()?.sum(name, labels))
    }

    fn letters(&self) -> Result<Vec<Value>> {
        drained(&self.server, SOON)?;
        let page = self.ask("GET", "/v1/dead-letters?reason=schema_violation", "", 200)?;
        page["dead_letters"].as_array().cloned().context("letters")
    }

    fn change(&self, schemas: &str, result: &str, count: f64) -> Result<()> {
        fs::write(self.file(), tenants(&self.line, schemas))?;
        let labels = [("files", "tenants"), ("result", result)];
        wait_for(SOON, "the file is read", || {
            Ok(self.count("pulsemesh_reloads_total", &labels)? == count)
        })
    }
}

fn tenants(line: &str, schemas: &str) -> String {
    let more =
        if schemas.is_empty() { String::new() } else { format!("  schemas:\n  {schemas}\n") };
    let limits = "  metadata: {team: x}\n  limits: {requests_per_minute: 0}\n";
    format!("tenants:\n- name: a\n{limits}  keys:\n  {line}\n{more}")
}

fn serve(dir: &TempDir, flush: &str) -> Result<Server> {
    let file = dir.path().join("tenants.yaml").display().to_string();
    let launch = launch(&dir.path().join("data")).flag("--tenants", &file);
    let server = launch.flag(flags::FLUSH_INTERVAL, flush).start()?;
    server.wait_ready(SOON)?;
    Ok(server)
}

#[test]
fn at_the_door_only_the_events_that_fail_are_refused() -> Result<()> {
    let at = Checked::start(&format!("{STRICT}reject}}"), "20ms")?;
    let alone = at.ask("POST", "/pulse", r#"{"service":"s","kind":"order"}"#, 422)?;
    assert_eq!(alone["code"], "schema_violation");
    assert_eq!(alone["detail"], "`/user`: is missing");
    let batch = [
        r#"{"service":"s","kind":"order","user":"u"}"#,
        r#"{"service":"s","kind":"order","user":"u","value":11,"event_id":"named"}"#,
        r#"{"service":"s","kind":"other"}"#,
        r#"{"service":"s","kind":"order"}"#,
        r#"{"service":7}"#,
    ];
    let answer = at.ask("POST", "/pulse?ids=true", &format!("[{}]", batch.join(",")), 202)?;
    assert_eq!((&answer["accepted"], &answer["rejected"]), (&json!(2), &json!(3)));
    let errors: Vec<_> = answer["errors"].as_array().context("errors")?.iter().collect();
    let told: Vec<_> = errors.iter().map(|error| (&error["index"], &error["code"])).collect();
    assert_eq!(told[0], (&json!(1), &json!("schema_violation")));
    assert_eq!(errors[0]["message"], "`/value`: value is greater than the maximum of 10");
    assert_eq!(told[1], (&json!(3), &json!("schema_violation")));
    assert_eq!(told[2], (&json!(4), &json!("wrong_type")));
    // The id is free: nothing holds it.
    let named = r#"{"service":"s","kind":"order","user":"u","event_id":"named"}"#;
    at.ask("POST", "/pulse?ack=stored", named, 200)?;
    let events = r#"{"event_type":"order","source":"s"}"#;
    assert_eq!(at.ask("POST", "/events", events, 422)?["code"], "schema_violation");

    // A broken schema leaves the old one; a sound one holds for the next request.
    at.change("- {kind: order, schema: {type: nothing}}", "failed", 1.0)?;
    ensure!(at.server.log().contains("schema of kind `order`"), "{}", at.server.log());
    at.ask("POST", "/pulse", batch[3], 422)?;
    at.change("- {kind: order, required: [status]}", "ok", 1.0)?;
    at.ask("POST", "/pulse", batch[0], 422)?;
    at.change("", "ok", 2.0)?;
    at.ask("POST", "/pulse", batch[3], 202)?;

    let of = |reason| [("reason", reason), ("on_failure", "reject")];
    let failures = "pulsemesh_schema_failures_total";
    assert_eq!(at.count(failures, &of("required"))?, 5.0);
    assert_eq!(at.count(failures, &of("range"))?, 1.0);
    assert_eq!(at.letters()?.len(), 0);
    Ok(())
}

#[test]
fn what_was_accepted_to_be_a_letter_becomes_one_whatever_the_file_says_by_then() -> Result<()> {
    // Nothing is drained before the process is killed.
    let mut at = Checked::start(&format!("{STRICT}dead_letter}}"), "60s")?;
    let batch = [
        r#"{"service":"s","kind":"order"}"#,
        r#"{"service":"s","kind":"order","user":"u","value":11,"event_id":"named"}"#,
        r#"{"service":"s","kind":"order","user":"u","event_id":"good"}"#,
        r#"{"service":"s","kind":"other"}"#,
    ];
    let answer = at.ask("POST", "/pulse?ids=true", &format!("[{}]", batch.join(",")), 202)?;
    assert_eq!((&answer["accepted"], &answer["rejected"]), (&json!(4), &json!(0)));
    let ids: Vec<_> = answer["ids"].as_array().context("ids")?.clone();
    at.server.kill()?;
    fs::write(at.file(), tenants(&at.line, ""))?;
    at.server = serve(&at.dir, "20ms")?;
    let letters = at.letters()?;
    assert_eq!(letters.len(), 2, "{letters:?}");
    let errors: Vec<_> = letters.iter().map(|letter| letter["error"].clone()).collect();
    ensure!(errors.contains(&json!("`/user`: is missing")), "{errors:?}");
    for letter in &letters {
        assert_eq!((&letter["stage"], &letter["attempts"]), (&json!("validate"), &json!(1)));
        assert_eq!(letter["first_at"], letter["received_at"]);
        assert!(ids[..2].contains(&letter["pulse_id"]), "{letter}");
    }
    let rows = at.ask("GET", "/v1/pulses?service=s", "", 200)?;
    assert_eq!(rows["pulses"].as_array().map(Vec::len), Some(2));
    // A repeat is one, though it became a letter.
    let again = at.ask("POST", "/pulse", batch[1], 202)?;
    assert_eq!((&again["duplicate"], &again["id"]), (&json!(true), &ids[1]));
    let samples = drained(&at.server, SOON)?;
    assert_eq!(in_place(&samples, "accepted"), 4.0);
    assert_eq!(in_place(&samples, "stored") + in_place(&samples, "dead_lettered"), 4.0);
    Ok(())
}

#[test]
fn a_letter_is_judged_again_when_it_is_replayed_or_edited() -> Result<()> {
    let at = Checked::start(&format!("{STRICT}dead_letter}}"), "20ms")?;
    for body in [r#"{"service":"s","kind":"order"}"#, r#"{"service":"s","kind":"order","value":3}"#]
    {
        at.ask("POST", "/pulse", body, 202)?;
    }
    // Whoever waits for the store is told.
    let waited = at.ask("POST", "/pulse?ack=stored", r#"{"service":"s","kind":"order"}"#, 422)?;
    assert_eq!(waited["code"], "dead_lettered");
    let letters = at.letters()?;
    assert_eq!(letters.len(), 3);
    let target = |place: usize| {
        let id = letters[place]["id"].as_str().unwrap_or_default();
        format!("/v1/dead-letters/{id}")
    };
    let failed = at.ask("POST", &format!("{}/replay", target(0)), "", 200)?;
    assert_eq!(failed["counts"]["failed"], 1, "{failed}");
    let again = at.ask("GET", &target(0), "", 200)?;
    assert_eq!((&again["attempts"], &again["stage"]), (&json!(2), &json!("validate")));
    assert_eq!(again["reason"], "schema_violation");

    let edit = format!("{}/replay", target(1));
    let refused = at.ask("POST", &edit, r#"{"service":"s","kind":"order"}"#, 422)?;
    assert_eq!(refused["code"], "schema_violation");
    let edited = at.ask("POST", &edit, r#"{"service":"s","kind":"order","user":"u"}"#, 200)?;
    assert_eq!(edited["edited_from"], letters[1]["pulse_id"]);
    assert_eq!(at.letters()?.len(), 2);

    at.change("- {kind: order, required: [service]}", "ok", 1.0)?;
    let all = at.ask("POST", "/v1/replays", "{}", 202)?;
    let replay = format!("/v1/replays/{}", all["id"].as_str().context("an id")?);
    wait_for(SOON, "the replay", || Ok(at.ask("GET", &replay, "", 200)?["state"] == "completed"))?;
    assert_eq!(at.letters()?.len(), 0);
    let pulse = letters[0]["pulse_id"].as_str().context("an id")?;
    let row = at.ask("GET", &format!("/v1/pulses/{pulse}"), "", 200)?;
    assert_eq!((&row["kind"], &row["metadata"]["team"]), (&json!("order"), &json!("x")));
    Ok(())
}

#[test]
fn the_example_of_the_documents_is_taken_and_does_what_they_say() -> Result<()> {
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/tenants.md");
    let document = fs::read_to_string(document)?;
    let (_, section) = document.split_once("## Schemas\n").context("the section")?;
    let (_, text) = section.split_once("```yaml\n").context("its example")?;
    let (example, rest) = text.split_once("```").context("its end")?;
    let at = Checked::start("", "20ms")?;
    let (_, schemas) = example.split_once("  schemas:\n  ").context("its schemas")?;
    at.change(schemas.trim_end(), "ok", 1.0)?;
    let (_, calls) = rest.split_once("```sh\n").context("its calls")?;
    let (calls, _) = calls.split_once("```").context("their end")?;
    let mut lines = calls.lines();
    while let (Some(call), Some(told)) = (lines.next(), lines.next()) {
        let (_, call) = call.split_once("localhost:8080").context("a call")?;
        let (target, body) = call.split_once(" -d '").context("a body")?;
        let response = at.send("POST", target, body.trim_end_matches('\''))?;
        let (status, told) = told.trim_start_matches("# ").split_once(' ').context("an answer")?;
        assert_eq!(response.status.to_string(), status, "{call}: {}", response.text());
        ensure!(response.text().contains(told), "{}: {told}", response.text());
    }
    Ok(())
}
