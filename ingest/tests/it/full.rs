//! Full: the store stands still, the disk has no room. What was promised is kept, the rest is
//! refused with a time to come back, and there is nothing for a person to mend afterwards.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;
use xtask::client::{Request, Response};
use xtask::disk::SmallDisk;
use xtask::flags;
use xtask::ledger::drained;
use xtask::server::{Launch, Server, wait_for};

use crate::support::{SOON, example, launch, rows, say};

/// Sends pulses one by one until one is refused; gives the refusal and how many were accepted.
fn fill(server: &Server, round: &str, at_most: usize) -> Result<(Response, usize)> {
    let mut client = server.client();
    let padding = "x".repeat(16 * 1024);
    for number in 0..at_most {
        let body = format!(
            r#"{{"service_name":"full","event_id":"{round}-{number}","payload":"{padding}"}}"#
        );
        let response = client.send(&Request::json("/pulse", body))?;
        if response.status != 202 {
            return Ok((response, number));
        }
    }
    bail!("{at_most} pulses were accepted and none refused")
}

fn check_refusal(response: &Response, code: &str) -> Result<()> {
    assert_eq!(response.status, 503, "{}", response.text());
    assert_eq!(response.json()?["code"], code);
    let seconds = response.header("retry-after").context("a Retry-After")?;
    assert!((1..=600).contains(&seconds.parse::<u32>()?), "{seconds}");
    Ok(())
}

#[test]
fn a_stuck_store_blocks_nothing_until_the_log_is_full_and_loses_nothing() -> Result<()> {
    let dir = TempDir::new()?;
    let server = Launch::new(example("throttled")?, dir.path())
        .flag(flags::ROWS_PER_SECOND, "0")
        .flag(flags::LOG_BUDGET, "16MiB")
        .flag(flags::BODY_BYTES_MAX, "1MiB")
        .flag(flags::DECOMPRESSED_BYTES_MAX, "1MiB")
        .start()?;
    let (refusal, accepted) = fill(&server, "a", 4096)?;
    check_refusal(&refusal, "log_full")?;
    let budget = 16 * 1024 / 16;
    assert!((budget / 2..=budget + 1).contains(&accepted), "{accepted} accepted");
    let asked = Instant::now();
    assert_eq!(server.client().get("/health")?.status, 200);
    assert!(asked.elapsed() < Duration::from_secs(1));
    drop(server);

    let server = launch(dir.path()).start()?;
    server.wait_ready(SOON)?;
    drained(&server, SOON)?;
    assert_eq!(rows(&server, "full")?.len(), accepted);
    Ok(())
}

#[test]
fn a_full_disk_refuses_and_recovers_by_itself() -> Result<()> {
    let Some(disk) = SmallDisk::mount(256)? else {
        say("NOT CHECKED: a full disk (this user may not mount a small file system)");
        return Ok(());
    };
    let data = disk.path().join("data");
    fs::create_dir(&data)?;
    let launch = launch(&data).flag(flags::LOG_SEGMENT, "1MiB").flag(flags::DISK_FREE_MIN, "4MiB");
    let mut server = launch.start()?;
    server.wait_ready(SOON)?;
    let (mut accepted, mut client) = (0, server.client());
    for round in 0..3 {
        let ballast = disk.fill(8 * 1024 * 1024)?;
        let (refusal, count) = fill(&server, &format!("round-{round}"), 8192)?;
        check_refusal(&refusal, "disk_full")?;
        accepted += count;
        fs::remove_file(ballast)?;
        wait_for(SOON, "acceptance once there is room", || {
            let body = format!(r#"{{"service_name":"room","event_id":"room-{round}"}}"#);
            Ok(client.send(&Request::json("/pulse", body))?.status == 202)
        })?;
    }
    // The disk is below the reserve when the process dies: it must start on what there is.
    let ballast = disk.fill(1024 * 1024)?;
    server.kill()?;
    let server = launch.start()?;
    fs::remove_file(ballast)?;
    server.wait_ready(SOON)?;
    drained(&server, SOON)?;
    assert_eq!(rows(&server, "full")?.len(), accepted);
    assert_eq!(rows(&server, "room")?.len(), 3);
    Ok(())
}

#[test]
fn a_full_memory_buffer_refuses_or_drops_as_it_is_told() -> Result<()> {
    for overflow in ["refuse", "drop"] {
        let dir = TempDir::new()?;
        let server = Launch::new(example("throttled")?, dir.path())
            .flag(flags::ROWS_PER_SECOND, "0")
            .flag(flags::ACK, "memory")
            .flag(flags::BUFFER_SIZE, "100")
            .flag(flags::OVERFLOW, overflow)
            .start()?;
        let mut client = server.client();
        let mut statuses = Vec::new();
        for _ in 0..5 {
            let body = vec![r#"{"service_name":"m"}"#; 50].join("\n");
            let response = client.send(&Request::lines("/pulse", body))?;
            if response.status == 503 {
                check_refusal(&response, "buffer_full")?;
            }
            statuses.push(response.status);
        }
        let dropped = server.samples()?.sum("pulsemesh_pulses_dropped_total", &[]);
        if overflow == "drop" {
            assert_eq!(statuses, [202; 5]);
            assert!(dropped >= 100.0, "{dropped} dropped");
        } else {
            assert!(statuses.contains(&202) && statuses.contains(&503), "{statuses:?}");
            assert_eq!(dropped, 0.0);
        }
    }
    Ok(())
}
