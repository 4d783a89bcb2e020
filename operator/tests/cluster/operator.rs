//! The operator itself: killed at any time, two of them, without its API server, at rest.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::ResourceExt;
use kube::api::DeleteParams;
use pulsemesh_operator::mesh::names;
use serde_json::Value;

use crate::support::mesh::{MESH, READY_MAX, SOON};
use crate::support::operators::memory_of_operators;
use crate::support::{Bed, is_long};

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

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn killed_at_any_time_it_goes_on_where_it_was() -> Result<()> {
    let bed = Bed::shared().await?;
    for number in 0..KILLS {
        let replicas = if number % 2 == 0 { 3 } else { 2 };
        bed.kubectl(&["scale", "pulsemesh", MESH, &format!("--replicas={replicas}")])?;
        tokio::time::sleep(KILL_STEP * u32::try_from(number)?).await;
        bed.kill_operators().await?;
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
    let writers = writers(&bed.writes_of_operators(from)?);
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

/// The pods that wrote.
fn writers(writes: &[Value]) -> BTreeSet<String> {
    let pod = |write: &Value| {
        let names = &write["user"]["extra"]["authentication.kubernetes.io/pod-name"];
        names[0].as_str().map(str::to_owned)
    };
    writes.iter().filter_map(pod).collect()
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
    let from = bed.wait_no_writes(READY_MAX).await?;
    // What is measured is that nothing happens: there is no condition to wait for.
    tokio::time::sleep(if is_long() { STEADY_LONG } else { STEADY }).await;
    let written = bed.writes_of_operators(from)?;
    ensure!(written.is_empty(), "{} writes, the first: {:#}", written.len(), written[0]);
    println!("\n| writes for a steady mesh | 0 | 0 |");
    let (own, all) = memory_of_operators()?;
    let mib = |bytes: u64| bytes as f64 / 1_048_576.0;
    println!("\n| memory of an idle operator | {:.1} MiB | 20 MiB |", mib(own));
    println!("\n| with pages of its program | {:.1} MiB | |", mib(all));
    ensure!(own <= MEMORY_MAX, "an idle operator has {own} bytes");
    Ok(())
}
