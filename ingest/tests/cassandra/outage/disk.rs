//! The disk of the log fills up while the database is away.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use xtask::disk::SmallDisk;
use xtask::flags;
use xtask::server::{Server, wait_for};

use crate::flow::Flow;
use crate::session::UP_MAX;
use crate::support::{Bed, SOON, connected, lasts};

/// Bytes of each pulse: at 2,000 a second the disk is full within seconds.
const PADDING: usize = 4096;

#[test]
#[ignore = "needs the database of cargo xtask test cassandra"]
fn a_disk_that_fills_up_meanwhile_refuses_until_the_database_is_back() -> Result<()> {
    let bed = Bed::new("full")?;
    let disk = SmallDisk::mount(96)?;
    let disk = disk.context("this user may not mount a small file system")?;
    let data = disk.path().join("data");
    std::fs::create_dir(&data)?;
    let server = bed
        .launch(&data)
        .flag(flags::LOG_SEGMENT, "1MiB")
        .flag(flags::DISK_FREE_MIN, "8MiB")
        .start()?;
    connected(&server)?;
    let flow = Flow::start(server.listen(), "durable", PADDING)?;
    bed.settled(&server)?;
    bed.kill_all()?;
    wait_for(SOON, "a full disk", || Ok(requests(&server, "503")? > 0.0))?;
    lasts(Duration::from_secs(2), || Ok(()))?;
    bed.cluster.mend(UP_MAX)?;
    let accepted = requests(&server, "202")?;
    wait_for(SOON, "room for more", || Ok(requests(&server, "202")? > accepted))?;
    bed.settled(&server)?;
    let sent = flow.stop()?;
    ensure!(sent.refused.iter().all(|(status, _)| *status == 503), "{:?}", sent.refused);
    bed.check(&server, &[&sent])
}

/// Requests for pulses that were answered with this status.
fn requests(server: &Server, code: &str) -> Result<f64> {
    let labels = [("endpoint", "/pulse"), ("code", code)];
    Ok(server.samples()?.sum("pulsemesh_requests_total", &labels))
}
