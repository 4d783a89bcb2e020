//! `log verify`, `log dump` and `log drain` on directories that a server left behind.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use xtask::flags;
use xtask::ledger::drained;
use xtask::server::Launch;

use crate::support::{Fixture, SOON, example, launch, printed, rows, tool};

fn path(dir: &Path) -> String {
    dir.display().to_string()
}

/// A directory with pulses in its log that no store has seen.
fn with_backlog(pulses: usize) -> Result<tempfile::TempDir> {
    let dir = tempfile::TempDir::new()?;
    let mut server =
        Launch::new(example("throttled")?, dir.path()).flag(flags::ROWS_PER_SECOND, "0").start()?;
    let mut client = server.client();
    for number in 0..pulses {
        let body = format!(r#"{{"service_name":"left","event_id":"left-{number}"}}"#);
        let response = client.send(&xtask::client::Request::json("/pulse", body))?;
        assert_eq!(response.status, 202, "{}", response.text());
    }
    server.kill()?;
    Ok(dir)
}

/// The largest file below a directory whose name does not start with a dot.
fn segment(dir: &Path) -> Result<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![dir.to_owned()];
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(&dir)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                left.push(entry.path());
            } else if fs::read(entry.path())?.windows(6).any(|window| window == b"left-0") {
                found.push(entry.path());
            }
        }
    }
    found
        .into_iter()
        .find(|path| path.components().any(|part| part.as_os_str() == "log"))
        .context("no segment holds the first pulse")
}

#[test]
fn a_log_that_was_killed_is_sound_and_can_be_read() -> Result<()> {
    let dir = with_backlog(20)?;
    let verify = tool(&["log", "verify", &path(dir.path())])?;
    assert!(verify.status.success(), "{}", printed(&verify));
    assert!(printed(&verify).contains("20"), "{}", printed(&verify));
    let dump = tool(&["log", "dump", &path(dir.path())])?;
    assert!(dump.status.success(), "{}", printed(&dump));
    for number in 0..20 {
        assert!(printed(&dump).contains(&format!("left-{number}")), "{}", printed(&dump));
    }
    Ok(())
}

#[test]
fn a_log_left_behind_is_drained_into_the_store() -> Result<()> {
    let dir = with_backlog(20)?;
    let drain = tool(&["log", "drain", &path(dir.path())])?;
    assert!(drain.status.success(), "{}", printed(&drain));
    let server = launch(dir.path()).start()?;
    drained(&server, SOON)?;
    assert_eq!(rows(&server, "left")?.len(), 20);
    Ok(())
}

#[test]
fn damage_is_reported_and_the_server_starts_and_counts_it() -> Result<()> {
    let dir = with_backlog(20)?;
    let file = segment(dir.path())?;
    let mut bytes = fs::read(&file)?;
    let at = bytes.windows(7).position(|window| window == b"left-10").context("the 11th pulse")?;
    bytes[at] ^= 0x20;
    fs::write(&file, bytes)?;
    let verify = tool(&["log", "verify", &path(dir.path())])?;
    assert!(!verify.status.success(), "{}", printed(&verify));

    let server = launch(dir.path()).start()?;
    server.wait_ready(SOON)?;
    let samples = drained(&server, SOON)?;
    let damaged = xtask::ledger::in_place(&samples, "damaged");
    let found = rows(&server, "left")?.len();
    assert!(damaged >= 1.0, "the damage is counted");
    assert_eq!(found as f64 + damaged, 20.0, "every other pulse is stored");
    Ok(())
}

#[test]
fn a_directory_that_is_no_log_is_refused() -> Result<()> {
    let dir = tempfile::TempDir::new()?;
    for command in ["verify", "dump", "drain"] {
        let output = tool(&["log", command, &path(&dir.path().join("nowhere"))])?;
        assert!(!output.status.success(), "{command}: {}", printed(&output));
    }
    Ok(())
}

#[test]
fn a_log_in_use_is_not_drained_by_another() -> Result<()> {
    let fixture = Fixture::start()?;
    let output = tool(&["log", "drain", &path(fixture.dir.path())])?;
    assert!(!output.status.success(), "{}", printed(&output));
    Ok(())
}
