//! The namespaces that a cluster lives in: made, entered, and ended with everything in them. The
//! machine around them sees no mount, no network and no packet filter of the cluster.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::Place;
use super::components::last_lines;
use crate::server::wait_for;

const KEEPER: &str = include_str!("../../../testbed/kubernetes/namespaces");
const FIRST: &str = include_str!("../../../testbed/kubernetes/first");
/// Making them takes milliseconds; a loaded machine is slow.
const MADE_MAX: Duration = Duration::from_secs(30);
/// A thousand processes and their memory are given back within seconds.
const GONE_MAX: Duration = Duration::from_secs(60);

/// Makes the namespaces. The child that is returned ends when all of the cluster is removed.
pub(super) fn make(place: &Place) -> Result<Child> {
    let log = place.log("namespaces");
    let mut keeper = Command::new("setsid")
        .args(["sh", "-c", KEEPER, "namespaces"])
        .args([&place.lock(), &place.dir])
        .args([&place.cgroup(), FIRST])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(&log).context("make a log")?)
        .spawn()
        .context("run setsid")?;
    wait_for(MADE_MAX, "the namespaces", || {
        ensure!(keeper.try_wait()?.is_none(), "they ended at once");
        Ok(first(place).is_some())
    })
    .with_context(|| last_lines(&fs::read_to_string(&log).unwrap_or_default(), 5))?;
    make_cgroups(&place.cgroup())?;
    Ok(keeper)
}

/// A command that runs in the cluster with the machine's own files and processes: only its
/// network is the cluster's.
pub(super) fn in_network(place: &Place) -> Result<Command> {
    enter(place, &["--net"])
}

/// A command that is a part of the cluster and ends with it.
pub(super) fn inside(place: &Place) -> Result<Command> {
    enter(place, &["--net", "--mount", "--pid", "--ipc"])
}

fn enter(place: &Place, namespaces: &[&str]) -> Result<Command> {
    let first = first(place).context("the cluster does not run")?;
    let mut command = Command::new("nsenter");
    command.args(["--target", &first.as_raw_nonzero().to_string()]).args(namespaces);
    // Its own folder, too: nsenter goes to the target's root with a mount namespace.
    command.arg("--");
    Ok(command)
}

/// The first process of the namespaces, if it runs.
fn first(place: &Place) -> Option<Pid> {
    let text = fs::read_to_string(place.dir.join("first.pid")).ok()?;
    let pid = Pid::from_raw(text.trim().parse().ok()?)?;
    // The number may have been given again: only ours has the folder among its arguments.
    let arguments = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).ok()?;
    let own = place.dir.display().to_string();
    arguments.split(|byte| *byte == 0).any(|part| part == own.as_bytes()).then_some(pid)
}

/// Ends everything in the namespaces, and waits until nothing of the cluster is left. Needs the
/// owner's lock.
pub(super) fn end(place: &Place, keeper: Option<&mut Child>) -> Result<()> {
    if let Some(pid) = first(place) {
        // It may have ended since.
        let _ = kill_process(pid, Signal::KILL);
    }
    if let Some(keeper) = keeper {
        wait_for(GONE_MAX, "the cluster's end", || Ok(keeper.try_wait()?.is_some()))?;
    } else {
        wait_for(GONE_MAX, "the cluster's end", || Ok(first(place).is_none()))?;
    }
    // Whoever kept the namespaces may have been killed, too.
    let status = Command::new("sh")
        .args(["-c", KEEPER, "namespaces"])
        .args([&place.lock(), &place.dir])
        .arg(place.cgroup())
        .current_dir("/")
        .status()
        .context("run sh")?;
    ensure!(status.success() && !place.dir.exists(), "remove {}", place.dir.display());
    Ok(())
}

/// Each hierarchy of version 1 has a group of its own; version 2 has one for all.
fn make_cgroups(name: &str) -> Result<()> {
    let root = Path::new("/sys/fs/cgroup");
    if root.join("cgroup.controllers").exists() {
        // Those that are there already can't be turned on twice.
        let _ = fs::write(root.join("cgroup.subtree_control"), "+cpuset +cpu +memory +pids");
        return fs::create_dir_all(root.join(name)).context("make a cgroup");
    }
    let Ok(hierarchies) = fs::read_dir(root) else { bail!("there are no cgroups here") };
    for hierarchy in hierarchies.flatten().filter(|entry| !entry.path().is_symlink()) {
        if hierarchy.path().join("cgroup.procs").exists() {
            fs::create_dir_all(hierarchy.path().join(name)).context("make a cgroup")?;
        }
    }
    Ok(())
}
