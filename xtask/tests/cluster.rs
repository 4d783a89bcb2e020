//! Tests of the testbed itself: a cluster of their own that is killed, and the machine after it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use xtask::kube::{self, Cluster};
use xtask::server::wait_for;

/// A hundred processes are ended and their files removed within seconds.
const GONE_MAX: Duration = Duration::from_secs(60);

#[test]
#[ignore = "starts a cluster: cargo xtask test cluster"]
fn nothing_is_left_of_a_cluster_whose_owner_is_killed() -> Result<()> {
    let parent = tempfile::tempdir_in("/var/tmp").context("make a folder")?;
    let dir = parent.path().join(format!("killed-{}", std::process::id()));
    let mut owner = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["cluster", "own", "--dir"])
        .arg(&dir)
        .stdout(Stdio::piped())
        .spawn()
        .context("start an owner")?;
    let told = BufReader::new(owner.stdout.take().context("the owner has no output")?);
    let ready = told.lines().map_while(Result::ok).any(|line| line == "ready");
    ensure!(ready, "the cluster did not start");
    ensure!(Cluster::start(&dir, &|_| ()).is_err(), "two own one cluster");
    let cluster = Cluster::attach(&dir)?;
    let nodes = cluster.command("kubectl")?.args(["get", "nodes"]).output()?;
    ensure!(String::from_utf8_lossy(&nodes.stdout).contains("Ready"));
    cluster.kill("kube-apiserver")?;
    cluster.wait_api(GONE_MAX)?;

    owner.kill().context("kill the owner")?;
    owner.wait().context("wait for the killed owner")?;
    wait_for(GONE_MAX, "the end of all that it started", || {
        Ok(!dir.exists() && !dir.with_extension("lock").exists())
    })?;
    let mounts = fs::read_to_string("/proc/mounts").context("read the mounts")?;
    let path = dir.display().to_string();
    ensure!(!mounts.contains(&path), "{mounts}");
    ensure!(of_cluster(&path)?.is_empty(), "left: {:?}", of_cluster(&path)?);
    ensure!(cgroups(&dir).is_empty(), "left: {:?}", cgroups(&dir));
    ensure!(kube::stop(&dir).is_err() && Cluster::attach(&dir).is_err(), "it is gone");
    Ok(())
}

/// Command lines that name the folder.
fn of_cluster(path: &str) -> Result<Vec<String>> {
    let entries = fs::read_dir("/proc").context("list processes")?;
    let lines = entries.flatten().filter_map(|entry| {
        let bytes = fs::read(entry.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&bytes).replace('\0', " "))
    });
    Ok(lines.filter(|line| line.contains(path)).collect())
}

fn cgroups(dir: &Path) -> Vec<std::path::PathBuf> {
    let name = dir.file_name().unwrap_or_default();
    let hierarchies = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
    hierarchies.map(|entry| entry.path().join(name)).filter(|path| path.exists()).collect()
}
