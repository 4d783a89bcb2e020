//! Dead letters over HTTP: looked at, given up, edited, replayed.

mod killed;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use xtask::client::Request;
use xtask::flags;
use xtask::ledger::{drained, in_place};
use xtask::server::{Launch, Server, wait_for};

use crate::isolation::new_key;
use crate::support::{SOON, example, launch, rows};

/// Longest wait until all pulses are letters, or all letters rows.
const REPLAY_MAX: Duration = Duration::from_secs(300);

/// A server whose store refuses kind `refused` while a file exists.
struct Refusing {
    dir: TempDir,
    server: Server,
}

impl Refusing {
    fn start() -> Result<Self> {
        let dir = TempDir::new().context("make a directory")?;
        fs::create_dir(dir.path().join("data"))?;
        fs::write(refuse_file(dir.path()), "")?;
        let server = refusing(dir.path())?.start()?;
        server.wait_ready(SOON)?;
        Ok(Self { dir, server })
    }

    /// Makes dead letters.
    fn refuse(&self, service: &str, letters: usize) -> Result<()> {
        let mut client = self.server.client();
        let numbers: Vec<_> = (0..letters).collect();
        for numbers in numbers.chunks(5_000) {
            let event = |number: &usize| {
                let id = format!("{service}-{number}");
                json!({"service": service, "kind": "refused", "event_id": id}).to_string()
            };
            let body = numbers.iter().map(event).collect::<Vec<_>>().join("\n");
            let response = client.send(&Request::lines("/pulse", body))?;
            ensure!(response.status == 202, "{}", response.text());
        }
        drained(&self.server, REPLAY_MAX)?;
        Ok(())
    }

    fn accept(&self) -> Result<()> {
        fs::remove_file(refuse_file(self.dir.path())).context("let the store take all")
    }

    fn get(&self, target: &str) -> Result<Value> {
        self.server.client().get_json(target)
    }

    fn send(&self, method: &str, target: &str, body: &str, status: u16) -> Result<Value> {
        let response = self.server.client().send(&Request::new(method, target).body(body))?;
        let text = response.text();
        ensure!(response.status == status, "{method} {target}: {} {text}", response.status);
        response.json()
    }

    fn letters(&self) -> Result<f64> {
        Ok(in_place(&self.server.samples()?, "dead_lettered"))
    }

    fn check_ledger(&self) -> Result<()> {
        let samples = drained(&self.server, SOON)?;
        let places = ["stored", "dead_lettered", "dropped", "expired", "damaged"];
        let sum: f64 = places.iter().map(|place| in_place(&samples, place)).sum();
        ensure!(in_place(&samples, "accepted") == sum, "the ledger is not equal");
        Ok(())
    }
}

pub(crate) fn refuse_file(dir: &Path) -> PathBuf {
    dir.join("refuse")
}

/// A server whose store refuses kind `refused` while that file exists; its data in `data`.
pub(crate) fn refusing(dir: &Path) -> Result<Launch> {
    let file = refuse_file(dir).display().to_string();
    let launch = Launch::new(example("refusing")?, &dir.join("data"));
    Ok(launch.flag(flags::REFUSE_WHILE, &file).flag(flags::FLUSH_INTERVAL, "20ms"))
}

#[test]
fn letters_are_listed_grouped_shown_and_given_up() -> Result<()> {
    let at = Refusing::start()?;
    at.refuse("one", 25)?;
    at.refuse("two", 5)?;
    let mut ids = BTreeSet::new();
    let mut cursor = String::new();
    loop {
        let page = at.get(&format!("/v1/dead-letters?service=one&limit=10{cursor}"))?;
        let letters = page["dead_letters"].as_array().context("letters")?;
        for letter in letters {
            assert_eq!((&letter["service"], &letter["kind"]), (&json!("one"), &json!("refused")));
            assert_eq!((&letter["reason"], &letter["stage"]), (&json!("refused"), &json!("write")));
            assert_eq!((&letter["body"], &letter["attempts"]), (&Value::Null, &json!(1)));
            assert!(ids.insert(letter["id"].as_str().context("an id")?.to_owned()));
        }
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(ids.len(), 25);
    let none = at.get("/v1/dead-letters?reason=other")?;
    assert_eq!(none["dead_letters"], json!([]));
    let text = at.get("/v1/dead-letters?text=one-17")?;
    assert_eq!(text["dead_letters"].as_array().map(Vec::len), Some(1));
    let groups = at.get("/v1/dead-letters/groups")?;
    assert_eq!(
        (&groups["groups"][0]["reason"], &groups["groups"][0]["count"]),
        (&json!("refused"), &json!(30))
    );
    assert!(groups["groups"][0]["sample"]["body"].is_string(), "{groups}");

    let id = ids.first().context("a letter")?;
    let target = format!("/v1/dead-letters/{id}");
    let letter = at.get(&target)?;
    assert!(letter["body"].as_str().is_some_and(|body| body.contains("one-")), "{letter}");
    assert_eq!(letter["history"].as_array().map(Vec::len), Some(1));
    at.send("DELETE", &target, "", 200)?;
    for (method, target) in [("DELETE", &*target), ("GET", &target)] {
        assert_eq!(at.send(method, target, "", 404)?["code"], "not_found");
    }
    for unknown in ["x", "019c1425-7c00-7d5e-9f0a-3b1f6f0c2a11"] {
        at.send("DELETE", &format!("/v1/dead-letters/{unknown}"), "", 404)?;
        at.send("POST", &format!("/v1/dead-letters/{unknown}/replay"), "", 404)?;
        at.send("POST", &format!("/v1/replays/{unknown}/pause"), "", 404)?;
    }
    assert_eq!(at.send("POST", "/v1/replays", "[]", 400)?["code"], "not_an_object");
    assert_eq!(at.send("GET", "/v1/dead-letters?limit=x", "", 400)?["code"], "invalid_parameter");
    assert_eq!(at.letters()?, 29.0);
    at.check_ledger()
}

#[test]
fn one_letter_is_replayed_or_edited_and_a_dry_run_changes_nothing() -> Result<()> {
    let at = Refusing::start()?;
    at.refuse("one", 3)?;
    let page = at.get("/v1/dead-letters")?;
    let target = |place: usize| -> Result<String> {
        let id = page["dead_letters"][place]["id"].as_str().context("an id")?;
        Ok(format!("/v1/dead-letters/{id}/replay"))
    };
    let failed = at.send("POST", &target(0)?, "", 200)?;
    assert_eq!((&failed["state"], &failed["counts"]["failed"]), (&json!("completed"), &json!(1)));
    let again = at.get(target(0)?.trim_end_matches("/replay"))?;
    assert_eq!((&again["attempts"], &again["stage"]), (&json!(2), &json!("replay")));

    // Edited to what the store takes: another pulse, which says which one it stands for.
    let edited = r#"{"service":"one","kind":"taken","value":7}"#;
    let new = at.send("POST", &target(1)?, edited, 200)?;
    assert_eq!(new["edited_from"], page["dead_letters"][1]["pulse_id"]);
    let id = new["id"].as_str().context("an id")?;
    let row = at.get(&format!("/v1/pulses/{id}"))?;
    assert_eq!(row["metadata"]["edited_from"], new["edited_from"]);
    assert_eq!(row["event_time"], page["dead_letters"][1]["event_time"]);
    at.send("POST", &target(1)?, edited, 404)?;
    at.send("POST", &target(2)?, r#"{"service":7}"#, 400)?;

    let dry = at.send("POST", "/v1/replays", r#"{"dry_run":true}"#, 200)?;
    assert_eq!((&dry["counts"]["matched"], &dry["counts"]["stored"]), (&json!(2), &json!(0)));
    assert_eq!(dry["sample"].as_array().map(Vec::len), Some(2));
    assert_eq!(at.letters()?, 2.0);

    at.accept()?;
    let replayed = at.send("POST", &target(0)?, "", 200)?;
    assert_eq!(replayed["counts"]["stored"], 1);
    let pulse = page["dead_letters"][0]["pulse_id"].as_str().context("an id")?;
    let row = at.get(&format!("/v1/pulses/{pulse}"))?;
    for name in ["event_time", "received_at"] {
        assert_eq!(row[name], page["dead_letters"][0][name], "{name} is as it was");
    }
    at.send("POST", &target(0)?, "", 404)?;
    assert_eq!(rows(&at.server, "one")?.len(), 2);
    assert_eq!(at.get("/v1/replays")?["replays"].as_array().map(Vec::len), Some(3));
    at.check_ledger()
}

#[test]
fn the_audit_says_by_which_key_and_never_tells_it() -> Result<()> {
    let dir = TempDir::new()?;
    fs::create_dir(dir.path().join("data"))?;
    fs::write(refuse_file(dir.path()), "")?;
    let (key, line) = new_key("night-shift", "admin")?;
    let (writing, writing_line) = new_key("shop", "both")?;
    let file = dir.path().join("tenants.yaml");
    fs::write(&file, format!("tenants:\n- name: a\n  keys:\n  {line}\n  {writing_line}\n"))?;
    let launch = refusing(dir.path())?.flag(flags::TENANTS, &file.display().to_string());
    let server = launch.start()?;
    server.wait_ready(SOON)?;
    let send = |method: &str, target: &str, key: &str, body: &str| {
        let request = Request::new(method, target).body(body).header("x-api-key", key);
        let response = server.client().send(&request)?;
        ensure!(response.status < 300, "{method} {target}: {}", response.text());
        response.json()
    };
    for _ in 0..3 {
        send("POST", "/pulse", &writing, r#"{"service":"s","kind":"refused"}"#)?;
    }
    drained(&server, SOON)?;
    let page = send("GET", "/v1/dead-letters", &key, "")?;
    let letter = |place: usize| -> Result<String> {
        let id = page["dead_letters"][place]["id"].as_str().context("a letter")?;
        Ok(format!("/v1/dead-letters/{id}"))
    };
    send("DELETE", &letter(0)?, &key, "")?;
    let edited = r#"{"service":"s","kind":"taken"}"#;
    send("POST", &format!("{}/replay", letter(1)?), &key, edited)?;
    let replay = send("POST", &format!("{}/replay", letter(2)?), &key, "")?;
    assert_eq!(replay["asked_by"], "a/night-shift");
    let audit = fs::read_to_string(dir.path().join("data/dead-letters/audit.jsonl"))?;
    let mut actions = Vec::new();
    for line in audit.lines() {
        let line: Value = serde_json::from_str(line)?;
        assert_eq!(line["asked_by"], "a/night-shift", "{line}");
        actions.push(line["action"].as_str().context("an action")?.to_owned());
    }
    assert_eq!(actions, ["discarded", "edited", "replay_created", "replay_completed"]);
    let told = audit + &server.log();
    ensure!(!told.contains(&key) && !told.contains(&writing), "a key is told");
    Ok(())
}

#[test]
fn a_paused_replay_is_resumed_after_a_restart_and_then_cancelled() -> Result<()> {
    let mut at = Refusing::start()?;
    at.refuse("paused", 2_000)?;
    at.accept()?;
    let replay = at.send("POST", "/v1/replays", r#"{"rate":400}"#, 202)?;
    let target = format!("/v1/replays/{}", replay["id"].as_str().context("an id")?);
    let stored = |at: &Refusing| -> Result<f64> {
        at.get(&target)?["counts"]["stored"].as_f64().context("a count")
    };
    wait_for(SOON, "some letters", || Ok(stored(&at)? > 0.0))?;
    let paused = at.send("POST", &format!("{target}/pause"), "", 200)?;
    assert_eq!(paused["state"], "paused");
    at.server.stop(SOON)?;
    at.server = refusing(at.dir.path())?.start()?;
    at.server.wait_ready(SOON)?;
    assert_eq!(at.get(&target)?["state"], "paused");
    let before = stored(&at)?;
    assert!(before < 2_000.0, "{before}");
    at.send("POST", &format!("{target}/resume"), "", 200)?;
    wait_for(SOON, "more letters", || Ok(stored(&at)? > before))?;
    at.send("POST", &format!("{target}/cancel"), "", 200)?;
    wait_for(SOON, "its end", || Ok(at.get(&target)?["state"] == "cancelled"))?;
    let ended = at.send("POST", &format!("{target}/resume"), "", 409)?;
    assert_eq!(ended["code"], "replay_ended");
    assert_eq!(at.letters()?, 2_000.0 - stored(&at)?);
    assert_eq!(rows(&at.server, "paused")?.len() as f64, stored(&at)?);
    at.check_ledger()
}

#[test]
fn draining_before_the_stop_does_not_wait_for_letters_that_nobody_replays() -> Result<()> {
    let mut at = Refusing::start()?;
    at.refuse("left", 10)?;
    at.server.stop(SOON)?;
    at.server = refusing(at.dir.path())?.argument(flags::STOP_DRAIN).start()?;
    at.server.wait_ready(SOON)?;
    let asked = Instant::now();
    at.server.stop(SOON)?;
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    assert!(at.server.log().contains("dead letters stay on disk"), "{}", at.server.log());
    let server = launch(&at.dir.path().join("data")).start()?;
    assert_eq!(in_place(&server.samples()?, "dead_lettered"), 10.0);
    Ok(())
}
