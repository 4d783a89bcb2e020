//! Tests of the testbed itself against real nodes: those of the cluster that `cargo xtask test
//! cassandra` starts, and one node that is started and orphaned here.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use xtask::cassandra::Cluster;
use xtask::server::wait_for;

const UP_MAX: Duration = Duration::from_secs(120);

#[test]
#[ignore = "starts Cassandra: cargo xtask test cassandra"]
fn a_node_is_killed_stopped_and_paused_and_goes_on() -> Result<()> {
    let cluster = Cluster::from_environment()?;
    cluster.mend(UP_MAX)?;
    let [first, second, third] = cluster.nodes() else { anyhow::bail!("not three nodes") };
    third.kill()?;
    ensure!(!third.is_running());
    ensure!(third.start().is_ok() && third.start().is_err(), "it runs once");
    third.wait_sees(3, UP_MAX)?;
    third.stop()?;
    ensure!(third.log_tail().contains("Cassandra shutdown complete"), "{}", third.log_tail());
    third.start()?;
    second.pause()?;
    ensure!(second.is_running());
    ensure!(second.wait_up(Duration::ZERO).is_err(), "it can't answer");
    second.resume()?;
    first.wait_sees(3, UP_MAX)?;
    cluster.mend(UP_MAX)?;
    ensure!(first.resident_bytes()? > 256 << 20, "a node has a heap");
    ensure!(first.cpu_time()? > Duration::from_secs(1), "starting takes work");
    Ok(())
}

#[test]
#[ignore = "starts Cassandra: cargo xtask test cassandra"]
fn a_node_is_administered_and_started_with_other_settings_once() -> Result<()> {
    let cluster = Cluster::from_environment()?;
    cluster.mend(UP_MAX)?;
    let node = &cluster.nodes()[2];
    let status = node.nodetool(&["status"])?;
    ensure!(status.lines().filter(|line| line.starts_with("UN ")).count() == 3, "{status}");
    ensure!(node.nodetool(&["nonsense"]).is_err());
    node.stop()?;
    let key = "write_request_timeout".to_owned();
    node.start_with(&[(key, "1234ms".to_owned())])?;
    node.wait_up(UP_MAX)?;
    let timeout = node.nodetool(&["gettimeout", "write"])?;
    ensure!(timeout.contains("1234"), "{timeout}");
    node.kill()?;
    cluster.mend(UP_MAX)?;
    let timeout = node.nodetool(&["gettimeout", "write"])?;
    ensure!(timeout.contains("2000"), "{timeout}");
    Ok(())
}

#[test]
#[ignore = "starts Cassandra: cargo xtask test cassandra"]
fn nodes_end_with_an_owner_that_is_killed() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut owner = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["cassandra", "--address", "127.0.95.1", "--heap", "256M", "--dir"])
        .arg(dir.path())
        .stdout(Stdio::piped())
        .spawn()?;
    let lines = BufReader::new(owner.stdout.take().context("its output")?).lines();
    let is_ready = |line: std::io::Result<String>| line.is_ok_and(|line| line.contains("ready"));
    ensure!({ lines }.any(is_ready), "it ended");
    let cluster = Cluster::attach(dir.path())?;
    let node = &cluster.nodes()[0];
    // One that was started by another process than the owner ends with it too.
    node.kill()?;
    node.start()?;
    node.wait_up(UP_MAX)?;
    node.pause()?;
    owner.kill()?;
    owner.wait()?;
    wait_for(Duration::from_secs(10), "the end of the node", || Ok(!node.is_running()))?;
    ensure!(Cluster::attach(dir.path()).is_err(), "nobody owns it");
    Ok(())
}
