//! Erasures in the database: all that two processes have stored of a tenant before, by one of
//! them, which is killed in the middle; and nothing that came later or is another tenant's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use xtask::client::Request;
use xtask::flags;
use xtask::ledger::drained;
use xtask::server::{Server, wait_for};

use crate::letters::example;
use crate::support::{Bed, SOON, connected};

const TENANTS: [&str; 2] = ["amber", "birch"];
/// Pulses of each tenant, service and process; half of them have ids of their own.
const PULSES: usize = 1_500;
const LETTERS: usize = 40;
const SERVICES: usize = 30;
const ERASED_MAX: Duration = Duration::from_secs(180);
/// Tables of a tenant's data.
const TABLES: [&str; 4] =
    ["pulse_events_by_service", "pulse_ids", "pulse_counts", "pulse_dead_letters"];

/// Servers with two tenants that refuse pulses of kind `refused`.
struct At {
    bed: Bed,
    dir: TempDir,
    keys: Vec<(&'static str, String)>,
}

impl At {
    fn new() -> Result<Self> {
        let at = Self { bed: Bed::new("erase")?, dir: TempDir::new()?, keys: Vec::new() };
        fs::write(at.file("refuse"), "")?;
        let (mut text, mut keys) = ("tenants:\n".to_owned(), Vec::new());
        for tenant in TENANTS {
            let (mut lines, limits) = (String::new(), "limits: {requests_per_minute: 0}");
            for kind in ["both", "admin"] {
                let (key, line) = new_key(kind)?;
                lines += &format!("  {line}\n");
                keys.push((tenant, key));
            }
            text += &format!("- name: {tenant}\n  {limits}\n  keys:\n{lines}");
        }
        fs::write(at.file("tenants.yaml"), text)?;
        Ok(Self { keys, ..at })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn start(&self, name: &str) -> Result<Server> {
        let launch = self.bed.launch_of(&example("refusing")?, &self.file(name));
        let server = launch
            .flag(flags::REFUSE_WHILE, &self.file("refuse").display().to_string())
            .flag(flags::TENANTS, &self.file("tenants.yaml").display().to_string())
            .start()?;
        server.wait_ready(SOON)?;
        connected(&server)?;
        Ok(server)
    }

    /// Asks with the key of a tenant that may do it.
    fn ask(
        &self,
        (server, tenant): (&Server, &str),
        (method, target): (&str, &str),
        body: &str,
    ) -> Result<(u16, Value)> {
        let mut keys = self.keys.iter().filter(|(of, _)| *of == tenant).map(|(_, key)| key);
        let admin = target.starts_with("/v1/erasures");
        let key = if admin { keys.next_back() } else { keys.next() };
        let request = Request::new(method, target).body(body);
        let request = request.header("x-api-key", key.context("a key")?);
        let response = server.client().send(&request)?;
        Ok((response.status, response.json()?))
    }

    fn get(&self, of: (&Server, &str), target: &str) -> Result<Value> {
        let (status, answer) = self.ask(of, ("GET", target), "")?;
        ensure!(status == 200, "{target}: {status} {answer}");
        Ok(answer)
    }

    fn send(&self, of: (&Server, &str), kind: &str, numbers: std::ops::Range<usize>) -> Result<()> {
        let event = |number: usize| {
            let service = format!("service-{}", number % SERVICES);
            let mut event = json!({"service": service, "kind": kind, "user": of.1});
            if number.is_multiple_of(2) {
                event["event_id"] = json!(format!("{kind}-{number}"));
            }
            event.to_string()
        };
        let body = numbers.map(event).collect::<Vec<_>>().join("\n");
        let (status, answer) = self.ask(of, ("POST", "/pulse"), &body)?;
        ensure!(status == 202 && answer["rejected"] == 0, "{answer}");
        Ok(())
    }

    /// Rows of all services of a tenant.
    fn rows(&self, of: (&Server, &str)) -> Result<usize> {
        let mut rows = 0;
        for service in 0..SERVICES {
            let page = self.get(of, &format!("/v1/pulses?service=service-{service}&limit=1000"))?;
            ensure!(page["next"].is_null(), "there are more");
            rows += page["pulses"].as_array().context("rows")?.len();
        }
        Ok(rows)
    }

    fn letters(&self, of: (&Server, &str)) -> Result<usize> {
        let page = self.get(of, "/v1/dead-letters?limit=1000")?;
        ensure!(page["complete"] == true && page["next"].is_null(), "{page}");
        Ok(page["dead_letters"].as_array().context("letters")?.len())
    }

    fn total(&self, of: (&Server, &str)) -> Result<Value> {
        Ok(self.get(of, "/v1/counts?window=2h")?["total"].clone())
    }
}

/// Has a key made by the binary; gives it and its line for the file.
fn new_key(kind: &str) -> Result<(String, String)> {
    let binary = Path::new(env!("CARGO_BIN_EXE_pulsemesh-ingest"));
    let arguments = ["tenant", "key", "--name", kind, "--kind", kind];
    let output = Command::new(binary).args(arguments).output().context("make a key")?;
    let text = String::from_utf8(output.stdout)?;
    let key = text.split_whitespace().find(|word| word.starts_with("pmk_"));
    let line = text.lines().find(|line| line.trim_start().starts_with("- {"));
    Ok((key.context("no key")?.to_owned(), line.context("no line")?.trim().to_owned()))
}

/// Has both servers store pulses of both tenants, and letters.
fn fill(at: &At, first: &Server, second: &Server) -> Result<()> {
    for tenant in TENANTS {
        at.send((first, tenant), "sold", 0..PULSES)?;
        at.send((second, tenant), "sold", PULSES..2 * PULSES)?;
        at.send((first, tenant), "refused", 0..LETTERS)?;
    }
    for server in [first, second] {
        drained(server, SOON)?;
    }
    for tenant in TENANTS {
        wait_for(SOON, "letters to be handed over", || {
            Ok(at.letters((second, tenant))? == LETTERS)
        })?;
        wait_for(SOON, "counts", || Ok(at.total((second, tenant))? == json!(2 * PULSES)))?;
    }
    assert_eq!(at.rows((first, "amber"))?, 2 * PULSES);
    for table in TABLES {
        ensure!(at.bed.rows_of(table, "amber")? > 0, "{table} has nothing to erase");
    }
    Ok(())
}

#[test]
#[ignore = "needs the database of cargo xtask test cassandra"]
fn what_a_tenant_sent_before_is_gone_from_all_tables_and_all_else_stays() -> Result<()> {
    let at = At::new()?;
    let (mut first, second) = (at.start("first")?, at.start("second")?);
    fill(&at, &first, &second)?;
    let body = json!({"confirm": "amber"}).to_string();
    let (status, job) = at.ask((&first, "amber"), ("POST", "/v1/erasures"), &body)?;
    ensure!(status == 202, "{job}");
    let target = format!("/v1/erasures/{}", job["id"].as_str().context("an id")?);
    at.send((&first, "amber"), "later", 0..30)?;
    at.send((&second, "amber"), "later", 30..60)?;
    at.send((&first, "amber"), "refused", 1_000..1_004)?;
    wait_for(ERASED_MAX, "some rows", || {
        Ok(at.get((&first, "amber"), &target)?["counts"]["rows"].as_u64() > Some(0))
    })?;
    let in_the_middle = at.get((&first, "amber"), &target)?;
    first.kill()?;
    ensure!(in_the_middle["state"] == "running", "{in_the_middle}");
    first = at.start("first")?;
    let (status, _) = at.ask((&first, "birch"), ("GET", &target), "")?;
    assert_eq!(status, 404);
    wait_for(ERASED_MAX, "the end of the erasure", || {
        Ok(at.get((&first, "amber"), &target)?["state"] == "completed")
    })
    .with_context(|| format!("its log:\n{}", first.log()))?;
    for server in [&first, &second] {
        drained(server, SOON)?;
    }

    for server in [&first, &second] {
        assert_eq!((at.rows((server, "amber"))?, at.rows((server, "birch"))?), (60, 2 * PULSES));
        for number in [0, PULSES - 2, 2 * PULSES - 2] {
            let old = format!("/v1/pulses/sold-{number}");
            assert_eq!(at.ask((server, "amber"), ("GET", &old), "")?.0, 404);
            assert_eq!(at.get((server, "birch"), &old)?["user"], "birch");
        }
        for number in [0, 28, 30, 58] {
            let kept = at.get((server, "amber"), &format!("/v1/pulses/later-{number}"))?;
            assert_eq!(kept["kind"], "later");
        }
        wait_for(SOON, "letters of later", || Ok(at.letters((server, "amber"))? == 4))?;
        assert_eq!(at.letters((server, "birch"))?, LETTERS);
        assert_eq!(at.total((server, "birch"))?, json!(2 * PULSES));
    }
    // Whatever leads to them, or nothing does.
    assert_eq!(at.bed.rows_of("pulse_events_by_service", "amber")?, 60);
    assert_eq!(at.bed.rows_of("pulse_ids", "amber")?, 60);
    assert_eq!(at.bed.rows_of("pulse_dead_letters", "amber")?, 4);
    assert_eq!(at.bed.rows_of("pulse_events_by_service", "birch")?, 2 * PULSES);
    assert_eq!(at.bed.rows_of("pulse_ids", "birch")?, 2 * PULSES);
    // Sums of another process may go on in the minute of the erasure.
    let total = at.total((&first, "amber"))?.as_u64().context("a total")?;
    ensure!((60..=60 + PULSES as u64).contains(&total), "{total}");
    let kinds = at.get((&first, "amber"), "/v1/counts?window=2h&by=kind")?.to_string();
    ensure!(kinds.contains("later"), "{kinds}");
    Ok(())
}
