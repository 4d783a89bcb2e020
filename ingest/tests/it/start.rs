//! From nothing to a first pulse, and what a start says when it can't.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;
use xtask::flags;
use xtask::ledger::drained;

use crate::support::{Fixture, SOON, launch, printed, rows, tool};

const PULSE: &str = r#"{"service_name":"checkout","latency_ms":12.5,"status":"ok",
    "metadata":{"zone":"eu"},"payload":{"a":[1,null]}}"#;

#[test]
fn a_first_pulse_is_read_back_by_id_by_service_and_in_counts() -> Result<()> {
    let fixture = Fixture::start()?;
    let answer = fixture.post("/pulse", PULSE, 202)?;
    assert_eq!(answer["ack"], "durable");
    let id = answer["id"].as_str().context("an id")?;
    drained(&fixture.server, SOON)?;

    let row = fixture.get(&format!("/v1/pulses/{id}"))?;
    assert_eq!(row["id"], id);
    assert_eq!((&row["tenant"], &row["service"]), (&"default".into(), &"checkout".into()));
    assert_eq!((&row["latency_ms"], &row["status"]), (&12.5.into(), &"ok".into()));
    assert_eq!(row["metadata"]["zone"], "eu");
    assert_eq!(row["payload"]["a"][0], 1);
    assert_eq!(rows(&fixture.server, "checkout")?, [row]);
    let counts = fixture.get("/v1/counts?window=5m&by=kind")?;
    assert!(counts.to_string().contains("\"pulse\""), "{counts}");
    Ok(())
}

#[test]
fn a_restart_keeps_rows() -> Result<()> {
    let mut fixture = Fixture::start()?;
    for number in 0..10 {
        fixture.post("/pulse", &format!(r#"{{"service_name":"s","latency_ms":{number}}}"#), 202)?;
    }
    drained(&fixture.server, SOON)?;
    let before = rows(&fixture.server, "s")?;
    assert_eq!(before.len(), 10);
    fixture.server.stop(SOON)?;
    let server = launch(fixture.dir.path()).start()?;
    server.wait_ready(SOON)?;
    assert_eq!(rows(&server, "s")?, before);
    drained(&server, SOON)?;
    Ok(())
}

#[test]
fn a_second_process_on_the_same_directory_is_refused() -> Result<()> {
    let fixture = Fixture::start()?;
    let mut second = launch(fixture.dir.path()).spawn()?;
    let status = second.wait(SOON)?;
    assert!(!status.success());
    assert!(second.log().contains(&fixture.dir.path().display().to_string()), "{}", second.log());
    fixture.post("/pulse", PULSE, 202)?;
    Ok(())
}

#[test]
fn settings_are_checked_without_a_start() -> Result<()> {
    let dir = TempDir::new()?;
    let config = dir.path().join("pulsemesh.toml");
    let path = config.display().to_string();
    for (text, success, says) in [
        ("", true, ""),
        ("buffer-size = 1000\n", true, ""),
        ("bufer-size = 1000\n", false, "buffer-size"),
        ("buffer-size = \"many\"\n", false, "buffer-size"),
        ("= 1\n", false, "pulsemesh.toml"),
    ] {
        fs::write(&config, text)?;
        let output = tool(&[flags::CONFIG, &path, flags::CHECK_CONFIG])?;
        assert_eq!(output.status.success(), success, "{text}: {}", printed(&output));
        assert!(printed(&output).contains(says), "{text}: {}", printed(&output));
    }
    let output = tool(&[flags::ACK, "perhaps", flags::CHECK_CONFIG])?;
    assert!(!output.status.success());
    assert!(printed(&output).contains("durable"), "{}", printed(&output));
    Ok(())
}

#[test]
fn help_and_version_are_printed() -> Result<()> {
    let help = tool(&["--help"])?;
    assert!(help.status.success());
    for word in ["--listen", "--data-dir", "--ack", "--retention", "Examples", "curl"] {
        assert!(printed(&help).contains(word), "--help lacks {word}");
    }
    let version = tool(&["--version"])?;
    assert!(version.status.success());
    assert!(printed(&version).contains(env!("CARGO_PKG_VERSION")), "{}", printed(&version));
    Ok(())
}

#[test]
fn check_posts_a_pulse_and_reads_it_back_or_says_what_is_wrong() -> Result<()> {
    let mut fixture = Fixture::start()?;
    let url = format!("http://{}", fixture.server.listen());
    let output = tool(&["check", &url])?;
    assert!(output.status.success(), "{}", printed(&output));
    fixture.server.kill()?;
    let output = tool(&["check", &url])?;
    assert!(!output.status.success());
    assert!(printed(&output).to_lowercase().contains("connect"), "{}", printed(&output));
    Ok(())
}

#[test]
fn a_start_does_not_wait_for_anything() -> Result<()> {
    let dir = TempDir::new()?;
    let server = launch(dir.path()).start()?;
    let waited = server.wait_ready(SOON)?;
    assert!(waited < Duration::from_secs(1), "ready after {waited:?}");
    Ok(())
}
