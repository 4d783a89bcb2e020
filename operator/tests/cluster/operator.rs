//! The operator itself: killed at any time, two of them, without its API server, at rest.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams};
use pulsemesh_operator::mesh::names;
use serde_json::Value;

use crate::support::mesh::{MESH, READY_MAX, SOON};
use crate::support::{Bed, SYSTEM};

/// How long a steady mesh is watched, after it has come to rest.
const STEADY: Duration = Duration::from_secs(90);
/// The same with `--long`.
const STEADY_LONG: Duration = Duration::from_secs(600);
/// Memory of an operator at rest, in bytes, as `container_memory_rss` tells it: without the clean
/// pages of its program, which the kernel takes back at no cost.
const MEMORY_MAX: u64 = 20 << 20;
/// Operators that are killed at growing times after a change.
const KILLS: u64 = 8;
const KILL_STEP: Duration = Duration::from_millis(150);

/// Processes of operators, as the machine sees them.
fn processes() -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir("/proc").context("list processes")?;
    let is_operator = |path: &PathBuf| {
        let arguments = fs::read(path.join("cmdline")).unwrap_or_default();
        arguments.split(|byte| *byte == 0).next() == Some(b"/pulsemesh-operator")
    };
    Ok(entries.flatten().map(|entry| entry.path()).filter(is_operator).collect())
}

/// By the kernel, without a pod's orderly end.
fn kill_all() -> Result<()> {
    for process in processes()? {
        let pid = process.file_name().context("a process without a number")?;
        // It may have ended since.
        let _ = Command::new("kill").arg("-KILL").arg(pid).status().context("run kill")?;
    }
    Ok(())
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn killed_at_any_time_it_goes_on_where_it_was() -> Result<()> {
    let bed = Bed::shared().await?;
    for number in 0..KILLS {
        let replicas = if number % 2 == 0 { 3 } else { 2 };
        bed.kubectl(&["scale", "pulsemesh", MESH, &format!("--replicas={replicas}")])?;
        tokio::time::sleep(KILL_STEP * u32::try_from(number)?).await;
        kill_all()?;
        // A pod that is deleted is made anew at once; a container waits longer each time.
        bed.system::<Pod>()
            .delete_collection(
                &DeleteParams::default().grace_period(0),
                &ListParams::default().labels("app.kubernetes.io/name=pulsemesh-operator"),
            )
            .await?;
        bed.wait_ingest(replicas, READY_MAX).await?;
    }
    bed.wait_ready(READY_MAX).await.map(drop)
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn of_two_operators_one_leads_and_the_other_takes_over() -> Result<()> {
    let bed = Bed::shared().await?;
    bed.install(&["replicas=2"])?;
    bed.wait("two operators", READY_MAX, async || {
        Ok((bed.operators().await?.len() == 2).then_some(()))
    })
    .await?;
    let first = bed.wait("a leader", SOON, async || bed.holder().await.map(Some)).await?;
    let from = bed.cluster.writes()?.len();
    bed.kubectl(&["delete", "service", &names::ingest(MESH)])?;
    wait_service(&bed).await?;
    let writers = writers(&bed.cluster.writes()?[from..]);
    ensure!(writers.len() == 1, "written by {writers:?}, led by {first}");
    let pod = bed.operators().await?.into_iter().map(|pod| pod.name_any());
    let leader = pod.into_iter().find(|name| writers.contains(name));
    let leader = leader.context("the writer is no operator that runs")?;
    bed.kubectl_system(&["delete", "pod", &leader, "--force", "--grace-period=0"])?;
    bed.wait("another leader", SOON, async || {
        let now = bed.holder().await?;
        Ok((now != first).then_some(()))
    })
    .await?;
    bed.kubectl(&["delete", "service", &names::ingest(MESH)])?;
    wait_service(&bed).await?;
    bed.install(&["replicas=1"])
}

async fn wait_service(bed: &Bed) -> Result<()> {
    bed.wait("the Service to be back", SOON, async || {
        bed.api::<Service>().get_opt(&names::ingest(MESH)).await.map_err(Into::into)
    })
    .await
    .map(drop)
}

/// Writes of operators, beside their Lease and what Events tell.
fn of_operators(events: &[Value]) -> impl Iterator<Item = &Value> {
    let user = format!("system:serviceaccount:{SYSTEM}:");
    events.iter().filter(move |event| {
        let name = event["user"]["username"].as_str().unwrap_or_default();
        name.starts_with(&user) && event["objectRef"]["resource"] != "leases"
    })
}

/// The pods that wrote.
fn writers(events: &[Value]) -> BTreeSet<String> {
    let pod = |event: &Value| {
        let names = &event["user"]["extra"]["authentication.kubernetes.io/pod-name"];
        names[0].as_str().map(str::to_owned)
    };
    of_operators(events).filter_map(pod).collect()
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn an_api_server_that_is_started_again_is_found_again() -> Result<()> {
    let bed = Bed::shared().await?;
    let restarts = |pods: Vec<Pod>| -> i32 {
        let statuses = pods.into_iter().filter_map(|pod| pod.status?.container_statuses);
        statuses.flatten().map(|container| container.restart_count).sum()
    };
    let before = restarts(bed.operators().await?);
    bed.cluster.kill("kube-apiserver")?;
    bed.cluster.wait_api(SOON)?;
    bed.wait("the Service to be deleted", SOON, async || {
        bed.api::<Service>().delete(&names::ingest(MESH), &DeleteParams::default()).await?;
        Ok(Some(()))
    })
    .await?;
    wait_service(&bed).await?;
    ensure!(restarts(bed.operators().await?) == before, "the operator was started again");
    bed.wait_ready(READY_MAX).await.map(drop)
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn a_steady_mesh_is_left_alone_and_the_operator_is_small() -> Result<()> {
    let bed = Bed::shared().await?;
    let mut from = bed.cluster.writes()?.len();
    bed.wait("the operator to rest", READY_MAX, async || {
        tokio::time::sleep(Duration::from_secs(5)).await;
        let seen = bed.cluster.writes()?;
        let quiet = of_operators(&seen[from..]).next().is_none();
        from = seen.len();
        Ok(quiet.then_some(()))
    })
    .await?;
    // What is measured is that nothing happens: there is no condition to wait for.
    tokio::time::sleep(if is_long() { STEADY_LONG } else { STEADY }).await;
    let seen = bed.cluster.writes()?;
    let written: Vec<&Value> = of_operators(&seen[from..]).collect();
    ensure!(written.is_empty(), "{} writes, the first: {:#}", written.len(), written[0]);
    println!("\n| writes for a steady mesh | 0 | 0 |");
    let mut largest = 0;
    for process in processes()? {
        let (own, all) = (memory(&process, "RssAnon:")?, memory(&process, "VmRSS:")?);
        let mib = |bytes: u64| bytes as f64 / 1_048_576.0;
        println!("\n| memory of an idle operator | {:.1} MiB | 20 MiB |", mib(own));
        println!("\n| with pages of its program | {:.1} MiB | |", mib(all));
        largest = largest.max(own);
    }
    ensure!(largest > 0, "no operator runs");
    ensure!(largest <= MEMORY_MAX, "an idle operator has {largest} bytes");
    Ok(())
}

#[allow(clippy::disallowed_methods, reason = "a test has no flags")]
fn is_long() -> bool {
    std::env::var_os("PULSEMESH_LONG").is_some()
}

/// Bytes of a process by this line of its status.
fn memory(process: &Path, name: &str) -> Result<u64> {
    let status = fs::read_to_string(process.join("status")).context("read a status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(kib.with_context(|| format!("the status has no {name}"))?.trim().parse::<u64>()? * 1024)
}
