//! Tenants in the real process: keys from the command line, a file that changes while it runs,
//! and keys that are told nowhere.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;
use xtask::client::{Client, Request};
use xtask::flags;
use xtask::ledger::drained;
use xtask::server::{Server, wait_for};

use crate::isolation::new_key;
use crate::support::{Fixture, SOON, launch, printed, tool};

const PULSE: &str = r#"{"service":"s"}"#;

fn start(file: &Path) -> Result<Fixture> {
    Fixture::with(|launch| launch.flag("--tenants", &file.display().to_string()))
}

fn send(client: &mut Client, key: &str) -> Result<u16> {
    Ok(client.send(&Request::json("/pulse", PULSE).header("x-api-key", key))?.status)
}

fn reloads(server: &Server, result: &str) -> Result<f64> {
    let samples = server.samples()?;
    let labels = [("files", "tenants"), ("result", result)];
    Ok(samples.sum("pulsemesh_reloads_total", &labels))
}

#[test]
fn a_changed_file_holds_for_the_next_request_and_a_broken_one_changes_nothing() -> Result<()> {
    let dir = TempDir::new()?;
    let file = dir.path().join("tenants.yaml");
    let (old, old_line) = new_key("old", "write")?;
    let (new, new_line) = new_key("new", "write")?;
    fs::write(&file, format!("tenants:\n- name: a\n  keys:\n  {old_line}\n"))?;
    let fixture = start(&file)?;
    let mut client = fixture.server.client();
    assert_eq!((send(&mut client, &old)?, send(&mut client, &new)?), (202, 401));

    fs::write(&file, "tenants:\n- name: a\n  kyes: []\n")?;
    wait_for(
        SOON,
        "the broken file is noticed",
        || Ok(reloads(&fixture.server, "failed")? == 1.0),
    )?;
    ensure!(fixture.server.log().contains("unknown field `kyes`"), "{}", fixture.server.log());
    fs::remove_file(&file)?;
    wait_for(SOON, "its loss is noticed", || Ok(reloads(&fixture.server, "failed")? == 2.0))?;
    assert_eq!((send(&mut client, &old)?, send(&mut client, &new)?), (202, 401));

    let text = format!("tenants:\n- name: a\n  keys:\n  {new_line}\n");
    fs::write(dir.path().join("next"), text)?;
    fs::rename(dir.path().join("next"), &file)?;
    wait_for(SOON, "the new key is known", || Ok(send(&mut client, &new)? == 202))?;
    assert_eq!(send(&mut client, &old)?, 401, "the old one is withdrawn at the same moment");
    wait_for(SOON, "it is counted", || Ok(reloads(&fixture.server, "ok")? == 1.0))?;
    Ok(())
}

#[test]
fn a_wrong_file_is_told_at_the_start_with_its_line() -> Result<()> {
    let dir = TempDir::new()?;
    let file = dir.path().join("tenants.yaml");
    fs::write(&file, "tenants:\n- name: a\n- name: a\n")?;
    let (data, path) = (dir.path().join("data"), file.display().to_string());
    let data = data.display().to_string();
    for more in
        [&["--check-config"][..], &["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]]
    {
        let arguments = [&["--tenants", &path, "--data-dir", &data], more].concat();
        let output = tool(&arguments)?;
        assert_eq!(output.status.code(), Some(2), "{}", printed(&output));
        let told = printed(&output);
        ensure!(told.contains(&format!("{path}:3: tenant `a` is named before")), "{told}");
    }
    Ok(())
}

#[test]
fn a_check_with_a_key_works_and_without_one_says_what_is_missing() -> Result<()> {
    let dir = TempDir::new()?;
    let (file, secret) = (dir.path().join("tenants.yaml"), dir.path().join("key"));
    let (key, line) = new_key("check", "both")?;
    fs::write(&file, format!("tenants:\n- name: a\n  keys:\n  {line}\n"))?;
    fs::write(&secret, format!("{key}\n"))?;
    let fixture = start(&file)?;
    let url = format!("http://{}", fixture.server.listen());
    let output = tool(&["check", &url])?;
    ensure!(printed(&output).contains("--api-key-file"), "{}", printed(&output));
    assert_eq!(output.status.code(), Some(1));
    let output = tool(&["check", &url, "--api-key-file", &secret.display().to_string()])?;
    ensure!(output.status.success(), "{}", printed(&output));
    Ok(())
}

#[test]
fn no_log_line_of_any_level_holds_a_key() -> Result<()> {
    let dir = TempDir::new()?;
    let file = dir.path().join("tenants.yaml");
    let (key, line) = new_key("k", "both")?;
    fs::write(&file, format!("tenants:\n- name: a\n  keys:\n  {line}\n"))?;
    let fixture = Fixture::with(|launch| {
        launch.flag("--tenants", &file.display().to_string()).flag("--log-level", "trace")
    })?;
    let mut client = fixture.server.client();
    assert_eq!(send(&mut client, &key)?, 202);
    let bearer = format!("Bearer {key}");
    let ask = Request::get("/v1/pulses?service=s").header("authorization", &bearer);
    assert_eq!(client.send(&ask)?.status, 200);
    assert_eq!(send(&mut client, &key[..50])?, 401);
    fs::write(&file, format!("tenants:\n- name: {key}\n"))?;
    wait_for(SOON, "the file is read again", || Ok(reloads(&fixture.server, "failed")? == 1.0))?;
    let log = fixture.server.log();
    ensure!(log.contains("can't be used"), "it logs that: {log}");
    ensure!(!log.contains(&key[4..40]), "a key is told");
    Ok(())
}

#[test]
fn what_a_tenant_adds_is_in_the_row_as_it_was_when_the_pulse_was_accepted() -> Result<()> {
    let dir = TempDir::new()?;
    let file = dir.path().join("tenants.yaml");
    let (key, line) = new_key("k", "both")?;
    let tenants = |team: &str| {
        format!(
            "tenants:\n- name: a\n  keys:\n  {line}\n  metadata: {{team: {team}, region: eu}}\n"
        )
    };
    fs::write(&file, tenants("one"))?;
    // Nothing is stored before the process is killed.
    let start = |interval| {
        launch(dir.path())
            .flag("--tenants", &file.display().to_string())
            .flag(flags::FLUSH_INTERVAL, interval)
            .start()
    };
    let mut server = start("60s")?;
    server.wait_ready(SOON)?;
    let mut client = server.client();
    let body = r#"{"service":"s","event_id":"e","region":"us"}"#;
    let request = Request::json("/pulse", body).header("x-api-key", &key);
    assert_eq!(client.send(&request)?.status, 202);
    server.kill()?;
    fs::write(&file, tenants("two"))?;
    server = start("20ms")?;
    server.wait_ready(SOON)?;
    let mut client = server.client();
    let again = client.send(&request)?.json()?;
    assert_eq!(again["duplicate"], Value::Bool(true), "the same bytes are a repeat: {again}");
    drained(&server, SOON)?;
    let row = client.send(&Request::get("/v1/pulses/e").header("x-api-key", &key))?.json()?;
    let metadata = row["metadata"].as_object().context("metadata")?;
    assert_eq!((&metadata["team"], &metadata["region"]), (&"one".into(), &"us".into()), "{row}");
    Ok(())
}

#[test]
fn a_tenant_of_another_retention_class_is_kept_by_it_and_has_what_it_had_before() -> Result<()> {
    let dir = TempDir::new()?;
    let file = dir.path().join("tenants.yaml");
    let (key, line) = new_key("k", "both")?;
    let of_class = |class: &str| {
        let limits = "limits: {requests_per_minute: 0}";
        let text = format!("  {limits}\n  retention: {class}\n  keys:\n  {line}\n");
        fs::write(&file, format!("tenants:\n- name: a\n{text}"))
    };
    of_class("short")?;
    let classes = "short=1h,audit=365d";
    let data = dir.path().join("data");
    let start = || -> Result<Server> {
        let flags = launch(&data).flag("--tenants", &file.display().to_string());
        let server = flags.flag("--retention-classes", classes).start()?;
        server.wait_ready(SOON)?;
        Ok(server)
    };
    let mut server = start()?;
    let now_ms = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis();
    let send = |server: &Server, hours: u128| -> Result<u16> {
        let time = now_ms - hours * 3_600_000;
        let body = format!("{{\"service\":\"s\",\"event_time\":{time}}}");
        let request = Request::json("/pulse", body).header("x-api-key", &key);
        Ok(server.client().send(&request)?.status)
    };
    let rows = |server: &Server| -> Result<usize> {
        let query = Request::get("/v1/pulses?service=s&from=0").header("x-api-key", &key);
        let answer: Value = serde_json::from_slice(&server.client().send(&query)?.body)?;
        Ok(answer["pulses"].as_array().context("pulses")?.len())
    };
    assert_eq!((send(&server, 0)?, send(&server, 2)?), (202, 400), "of an hour");
    of_class("year")?;
    wait_for(SOON, "a class that is not there", || Ok(reloads(&server, "failed")? == 1.0))?;
    let told = "there is no retention class `year`; write default, short or audit";
    ensure!(server.log().contains(told), "{}", server.log());
    of_class("audit")?;
    wait_for(SOON, "the longer class", || Ok(reloads(&server, "ok")? == 1.0))?;
    assert_eq!((send(&server, 300 * 24)?, send(&server, 366 * 24)?), (202, 400));
    of_class("default")?;
    wait_for(SOON, "the default class", || Ok(reloads(&server, "ok")? == 2.0))?;
    assert_eq!((send(&server, 300 * 24)?, send(&server, 6 * 24)?), (400, 202));
    wait_for(SOON, "rows of three classes", || Ok(rows(&server)? == 3))?;
    server.kill()?;
    assert_eq!(rows(&start()?)?, 3, "after a kill");
    Ok(())
}
