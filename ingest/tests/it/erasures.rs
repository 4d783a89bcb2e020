//! Erasures over HTTP: everything of one tenant that was received before, and nothing else; a
//! process killed in the middle; and nobody but the tenant's own admin key.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use xtask::client::Request;
use xtask::flags;
use xtask::ledger::drained;
use xtask::server::{Launch, Server, wait_for};

use crate::isolation::new_key;
use crate::letters::{refuse_file, refusing};
use crate::support::{SOON, example, say};

const TENANTS: [&str; 2] = ["amber", "birch"];
const KINDS: [&str; 3] = ["write", "read", "admin"];
/// Longest erasure of a test.
const ERASED_MAX: Duration = Duration::from_secs(120);
/// Rows of the erasure that is killed, and services that they are spread over: small blocks, so
/// that there are many steps.
const ROWS: usize = 60_000;
const SERVICES: usize = 500;

/// Two tenants of one server.
struct At {
    dir: TempDir,
    server: Server,
    keys: Vec<(String, String)>,
}

fn with_tenants(dir: &Path, launch: Launch) -> Launch {
    launch.flag(flags::TENANTS, &dir.join("tenants.yaml").display().to_string())
}

impl At {
    fn start(launch: impl FnOnce(&Path) -> Result<Launch>) -> Result<Self> {
        let dir = TempDir::new().context("make a directory")?;
        fs::create_dir(dir.path().join("data"))?;
        fs::write(refuse_file(dir.path()), "")?;
        let (mut text, mut keys) = ("tenants:\n".to_owned(), Vec::new());
        for tenant in TENANTS {
            text += &format!("- name: {tenant}\n  limits: {{requests_per_minute: 0}}\n  keys:\n");
            for kind in KINDS {
                let (key, line) = new_key(kind, kind)?;
                text += &format!("  {line}\n");
                keys.push((format!("{tenant}/{kind}"), key));
            }
        }
        fs::write(dir.path().join("tenants.yaml"), text)?;
        let server = with_tenants(dir.path(), launch(dir.path())?).start()?;
        server.wait_ready(SOON)?;
        Ok(Self { dir, server, keys })
    }

    fn send(
        &self,
        who: &str,
        (method, target): (&str, &str),
        body: &str,
        status: u16,
    ) -> Result<Value> {
        let key = self.keys.iter().find(|(name, _)| name == who).map(|(_, key)| &**key);
        let request = Request::new(method, target).body(body);
        let request = request.header("x-api-key", key.context("a key")?);
        let response = self.server.client().send(&request)?;
        let text = response.text();
        ensure!(response.status == status, "{who} {method} {target}: {} {text}", response.status);
        response.json()
    }

    fn get(&self, tenant: &str, target: &str) -> Result<Value> {
        self.send(&format!("{tenant}/read"), ("GET", target), "", 200)
    }

    fn pulses(&self, tenant: &str, events: impl Iterator<Item = Value>) -> Result<()> {
        let events: Vec<_> = events.map(|event| event.to_string()).collect();
        for events in events.chunks(5_000) {
            let who = format!("{tenant}/write");
            let answer = self.send(&who, ("POST", "/pulse"), &events.join("\n"), 202)?;
            ensure!(answer["accepted"] == json!(events.len()), "{answer}");
        }
        Ok(())
    }

    /// The ids of a service's rows, by all pages.
    fn rows(&self, tenant: &str, service: &str) -> Result<Vec<String>> {
        let (mut ids, mut cursor) = (Vec::new(), String::new());
        loop {
            let target = format!("/v1/pulses?service={service}&limit=1000{cursor}");
            let page = self.get(tenant, &target)?;
            for row in page["pulses"].as_array().context("rows")? {
                ids.push(row["id"].as_str().context("an id")?.to_owned());
            }
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(ids),
            }
        }
    }

    fn total(&self, tenant: &str) -> Result<Value> {
        Ok(self.get(tenant, "/v1/counts?window=2h")?["total"].clone())
    }

    fn letters(&self, tenant: &str) -> Result<usize> {
        let page = self.get(tenant, "/v1/dead-letters?limit=1000")?;
        Ok(page["dead_letters"].as_array().context("letters")?.len())
    }

    fn erase(&self, tenant: &str) -> Result<String> {
        let (who, body) = (format!("{tenant}/admin"), json!({"confirm": tenant}).to_string());
        let job = self.send(&who, ("POST", "/v1/erasures"), &body, 202)?;
        ensure!(job["state"] == "running" && job["asked_by"] == who, "{job}");
        Ok(format!("/v1/erasures/{}", job["id"].as_str().context("an id")?))
    }

    fn completed(&self, tenant: &str, target: &str) -> Result<Value> {
        wait_for(ERASED_MAX, "the end of the erasure", || {
            Ok(self.get(tenant, target)?["state"] == "completed")
        })
        .with_context(|| format!("its log:\n{}", self.server.log()))?;
        self.get(tenant, target)
    }
}

fn event(service: &str, kind: &str, tenant: &str, number: usize) -> Value {
    let mut event = json!({
        "service": service, "kind": kind, "user": format!("user-of-{tenant}"),
        "payload": {"secret": format!("secret-of-{tenant}")},
    });
    if number.is_multiple_of(2) {
        event["event_id"] = json!(format!("{service}-{kind}-{number}"));
    }
    event
}

/// How many files of dead letters hold a text.
fn letter_files_with(at: &At, text: &str) -> Result<usize> {
    let mut files = 0;
    for entry in fs::read_dir(at.dir.path().join("data/dead-letters"))? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("letters-")) {
            let bytes = fs::read(&path)?;
            let found = bytes.windows(text.len()).any(|bytes| bytes == text.as_bytes());
            files += usize::from(found);
        }
    }
    Ok(files)
}

#[test]
fn what_a_tenant_sent_before_is_gone_and_all_else_stays() -> Result<()> {
    let at = At::start(refusing)?;
    for tenant in TENANTS {
        at.pulses(tenant, (0..3_000).map(|n| event("shop", "sold", tenant, n)))?;
        at.pulses(tenant, (0..200).map(|n| event("shop", "refused", tenant, n)))?;
    }
    drained(&at.server, SOON)?;
    assert_eq!((at.letters("amber")?, at.letters("birch")?), (200, 200));
    let before = at.rows("amber", "shop")?;
    assert_eq!(before.len(), 3_000);

    let target = at.erase("amber")?;
    // From here on all is kept, while the erasure goes on.
    at.pulses("amber", (10_000..10_050).map(|n| event("shop", "sold", "amber", n)))?;
    at.pulses("amber", (10_000..10_005).map(|n| event("shop", "refused", "amber", n)))?;
    let done = at.completed("amber", &target)?;
    assert_eq!(
        (&done["counts"]["rows"], &done["counts"]["dead_letters"]),
        (&json!(3_000), &json!(200))
    );
    assert_eq!(done["progress"]["stage"], "done");
    drained(&at.server, SOON)?;

    let after = at.rows("amber", "shop")?;
    assert_eq!(after.len(), 50);
    ensure!(after.iter().all(|id| !before.contains(id)), "an old row is there");
    assert_eq!((at.total("amber")?, at.letters("amber")?), (json!(50), 5));
    for id in [&*before[0], &before[2_999], "shop-sold-2"] {
        at.send("amber/read", ("GET", &format!("/v1/pulses/{id}")), "", 404)?;
        let found = at.get("amber", &format!("/v1/search?id={id}"))?;
        assert_eq!((&found["pulses"], &found["letters"]), (&json!([]), &json!([])), "{found}");
    }
    let kept = at.get("amber", "/v1/pulses/shop-sold-10002")?;
    assert_eq!(kept["user"], "user-of-amber");

    assert_eq!((at.rows("birch", "shop")?.len(), at.letters("birch")?), (3_000, 200));
    assert_eq!(at.total("birch")?, json!(3_000));
    assert_eq!(at.get("birch", "/v1/pulses/shop-sold-2")?["user"], "user-of-birch");

    // Those of before have left the disk; the file has those of after and of the other one.
    ensure!(letter_files_with(&at, "shop-refused-198")? <= 1, "of the other tenant alone");
    ensure!(letter_files_with(&at, "secret-of-birch")? > 0);
    let audit = fs::read_to_string(at.dir.path().join("data/dead-letters/audit.jsonl"))?;
    for action in ["erasure_created", "erasure_completed"] {
        let wanted = format!("\"action\":\"{action}\",\"tenant\":\"amber\"");
        ensure!(
            audit.contains(&wanted) && audit.contains("\"asked_by\":\"amber/admin\""),
            "{audit}"
        );
    }
    let samples = at.server.samples()?;
    assert_eq!(samples.sum("pulsemesh_erased_rows_total", &[]), 3_000.0);
    wait_for(SOON, "the gauge", || {
        Ok(at.server.samples()?.sum("pulsemesh_erasures_running", &[]) == 0.0)
    })
}

#[test]
fn letters_of_the_erased_are_on_no_file_of_letters() -> Result<()> {
    let at = At::start(refusing)?;
    at.pulses("amber", (0..10).map(|n| event("shop", "refused", "amber", n)))?;
    at.pulses("birch", (0..400).map(|n| event("shop", "refused", "birch", n)))?;
    drained(&at.server, SOON)?;
    ensure!(letter_files_with(&at, "secret-of-amber")? == 1);
    at.completed("amber", &at.erase("amber")?)?;
    ensure!(letter_files_with(&at, "secret-of-amber")? == 0, "few of a file's letters were erased");
    assert_eq!((at.letters("amber")?, at.letters("birch")?), (0, 400));
    Ok(())
}

#[test]
fn only_the_tenants_own_admin_key_erases_after_naming_it() -> Result<()> {
    let at = At::start(refusing)?;
    let confirm = |name: &str| json!({ "confirm": name }).to_string();
    for who in ["amber/read", "amber/write"] {
        let refused = at.send(who, ("POST", "/v1/erasures"), &confirm("amber"), 403)?;
        assert_eq!(refused["code"], "not_permitted");
    }
    for (body, status, code) in [
        (confirm("birch"), 422, "not_confirmed"),
        (confirm("AMBER"), 422, "not_confirmed"),
        ("{}".to_owned(), 400, "invalid_json"),
        ("[]".to_owned(), 400, "not_an_object"),
        (confirm(&"a".repeat(4_000)), 413, "body_too_large"),
    ] {
        let refused = at.send("amber/admin", ("POST", "/v1/erasures"), &body, status)?;
        assert_eq!(refused["code"], code, "{body}");
    }
    at.send("amber/admin", ("POST", "/v1/erasures?all=true"), &confirm("amber"), 400)?;
    assert_eq!(at.get("amber", "/v1/erasures")?, json!({"erasures": []}));

    let target = at.erase("amber")?;
    at.completed("amber", &target)?;
    assert_eq!(at.get("birch", "/v1/erasures")?, json!({"erasures": []}));
    at.send("birch/admin", ("GET", &target), "", 404)?;
    at.send("birch/admin", ("POST", &format!("{target}/cancel")), "", 404)?;
    at.send("amber/read", ("POST", &format!("{target}/cancel")), "", 403)?;
    let ended = at.send("amber/admin", ("POST", &format!("{target}/cancel")), "", 409)?;
    assert_eq!(ended["code"], "erasure_ended");
    for unknown in ["x", "019c1425-7c00-7d5e-9f0a-3b1f6f0c2a11"] {
        at.send("amber/read", ("GET", &format!("/v1/erasures/{unknown}")), "", 404)?;
        at.send("amber/admin", ("POST", &format!("/v1/erasures/{unknown}/cancel")), "", 404)?;
    }
    Ok(())
}

#[test]
fn an_erasure_waits_for_the_log_and_can_be_cancelled_meanwhile() -> Result<()> {
    let stuck = |dir: &Path| {
        let launch = Launch::new(example("throttled")?, &dir.join("data"));
        Ok(launch.flag(flags::ROWS_PER_SECOND, "0").flag(flags::FLUSH_INTERVAL, "20ms"))
    };
    let mut at = At::start(stuck)?;
    at.pulses("amber", (0..10).map(|n| event("shop", "sold", "amber", n)))?;
    let target = at.erase("amber")?;
    wait_for(SOON, "the log to be waited for", || {
        Ok(at.get("amber", &target)?["progress"]["stage"] == "log")
    })?;
    let body = json!({"confirm": "amber"}).to_string();
    let refused = at.send("amber/admin", ("POST", "/v1/erasures"), &body, 429)?;
    assert_eq!(refused["code"], "too_many_erasures");
    at.server.kill()?;

    at.server = with_tenants(at.dir.path(), stuck(at.dir.path())?).start()?;
    at.server.wait_ready(SOON)?;
    assert_eq!(at.get("amber", &target)?["state"], "running");
    let ended = at.send("amber/admin", ("POST", &format!("{target}/cancel")), "", 200)?;
    assert_eq!(ended["state"], "cancelled");
    at.server.kill()?;

    // What was not erased is stored after all.
    let launch = refusing(at.dir.path())?;
    at.server = with_tenants(at.dir.path(), launch).start()?;
    at.server.wait_ready(SOON)?;
    drained(&at.server, SOON)?;
    assert_eq!(at.get("amber", &target)?["state"], "cancelled");
    assert_eq!(at.rows("amber", "shop")?.len(), 10);
    Ok(())
}

#[test]
fn what_is_in_the_log_when_a_killed_process_comes_back_is_erased_too() -> Result<()> {
    let stuck = |dir: &Path| {
        let launch = Launch::new(example("throttled")?, &dir.join("data"));
        Ok(launch.flag(flags::ROWS_PER_SECOND, "0").flag(flags::FLUSH_INTERVAL, "20ms"))
    };
    let mut at = At::start(stuck)?;
    for tenant in TENANTS {
        at.pulses(tenant, (0..100).map(|n| event("shop", "sold", tenant, n)))?;
    }
    let target = at.erase("amber")?;
    at.pulses("amber", (100..110).map(|n| event("shop", "sold", "amber", n)))?;
    at.server.kill()?;
    at.server = with_tenants(at.dir.path(), refusing(at.dir.path())?).start()?;
    at.server.wait_ready(SOON)?;
    at.completed("amber", &target)?;
    drained(&at.server, SOON)?;
    assert_eq!((at.rows("amber", "shop")?.len(), at.total("amber")?), (10, json!(10)));
    assert_eq!((at.rows("birch", "shop")?.len(), at.total("birch")?), (100, json!(100)));
    Ok(())
}

#[test]
fn a_process_killed_three_times_erases_all_and_no_row_of_another_tenant() -> Result<()> {
    let mut at = At::start(refusing)?;
    let service = |n: usize| format!("service-{}", n % SERVICES);
    for tenant in TENANTS {
        at.pulses(tenant, (0..ROWS).map(|n| event(&service(n), "sold", tenant, n)))?;
    }
    drained(&at.server, ERASED_MAX)?;
    let target = at.erase("amber")?;
    at.pulses("amber", (ROWS..ROWS + 500).map(|n| event(&service(n), "sold", "amber", n)))?;
    let erased = |at: &At| -> Result<u64> {
        at.get("amber", &target)?["counts"]["rows"].as_u64().context("a count")
    };
    let mut killed = 0;
    for part in [1, ROWS as u64 / 3, ROWS as u64 * 2 / 3] {
        wait_for(ERASED_MAX, "a part of the rows", || Ok(erased(&at)? >= part))?;
        killed += u64::from(at.get("amber", &target)?["state"] == "running");
        at.server.kill()?;
        at.server = with_tenants(at.dir.path(), refusing(at.dir.path())?).start()?;
        at.server.wait_ready(SOON)?;
    }
    ensure!(killed > 0, "it was over before it could be killed");
    let done = at.completed("amber", &target)?;
    say(&format!("erased {} rows, killed {killed} times in the middle", done["counts"]["rows"]));
    drained(&at.server, SOON)?;
    assert_eq!((at.total("amber")?, at.total("birch")?), (json!(500), json!(ROWS)));
    for number in [0, 1, SERVICES / 2, SERVICES - 1] {
        assert_eq!(at.rows("amber", &service(number))?.len(), 1);
        assert_eq!(at.rows("birch", &service(number))?.len(), ROWS / SERVICES);
        let id = format!("{}-sold-{}", service(number), number - number % 2);
        if number.is_multiple_of(2) {
            at.send("amber/read", ("GET", &format!("/v1/pulses/{id}")), "", 404)?;
            assert_eq!(at.get("birch", &format!("/v1/pulses/{id}"))?["user"], "user-of-birch");
        }
    }
    Ok(())
}
