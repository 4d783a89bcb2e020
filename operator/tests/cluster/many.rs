//! Hundreds of meshes at once. Their pods never run, so that what is measured is the operator: how
//! long it takes, what memory, and how many requests a look costs.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, PostParams};
use pulsemesh_crds::PulseMesh;
use serde_json::json;
use xtask::client::Client;

use crate::support::Bed;
use crate::support::operators::memory_of_operators;

/// How many, and each which of them has a store of its own.
const MESHES: usize = 500;
const MANAGED_EACH: usize = 5;
/// Made at once by the test.
const CONCURRENCY: usize = 8;
/// Until all have what they need, on two cores that run the API server and all controllers, too.
const CONVERGED_MAX: Duration = Duration::from_secs(900);
/// How long the operator is watched after that: managed meshes are looked at each half minute.
const STEADY: Duration = Duration::from_secs(90);
/// The operator's own memory, in bytes.
const MEMORY_MAX: u64 = 64 << 20;
/// Requests in a look at a mesh of which nothing has to be written: lists of 13 kinds, pods,
/// claims and storage classes, the mesh and its credentials.
const STEADY_REQUESTS_MAX: f64 = 18.0;
/// In one that makes all of it: a read and a write for each of 14 objects more, what nodes are
/// asked for is read twice, and the status.
const REQUESTS_MAX: f64 = 64.0;

/// What the operator has counted.
#[derive(Debug, Clone, Copy)]
struct Counts {
    requests: f64,
    looks: f64,
}

impl Counts {
    /// Requests of a look since then.
    fn per_look(&self, since: &Self) -> f64 {
        (self.requests - since.requests) / (self.looks - since.looks).max(1.0)
    }
}

fn mesh(number: usize) -> Result<PulseMesh> {
    let nowhere = json!({"nodeSelector": {"pulsemesh.io/no-such-node": "true"}});
    let store = if number.is_multiple_of(MANAGED_EACH) {
        json!({"cassandra": {"storage": {"size": "1Gi"}, "pod": nowhere}})
    } else {
        json!({"external": {"cassandra": {"nodes": ["cassandra.example:9042"]}}})
    };
    let mesh = json!({
        "apiVersion": "pulsemesh.io/v1alpha1", "kind": "PulseMesh",
        "metadata": {"name": format!("mesh-{number}")},
        "spec": {"ingest": {"replicas": 1, "pod": nowhere}, "store": store},
    });
    serde_json::from_value(mesh).context("read a mesh")
}

/// What the operator tells of itself; all but its Lease and its watches.
async fn counts(bed: &Bed) -> Result<Counts> {
    let pods = bed.operators().await?;
    let running = pods.iter().find(|pod| pod.metadata.deletion_timestamp.is_none());
    let address = |pod: &Pod| pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok();
    let address = running.and_then(address).context("no operator has an address")?;
    let text = Client::new(SocketAddr::new(address, 8081)).get("/metrics")?.text();
    let sum = |name: &str, counts: &dyn Fn(&str) -> bool| -> f64 {
        let lines = text.lines().filter(|line| line.starts_with(name) && counts(line));
        lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
    };
    let is_of_looks = |line: &str| !line.contains("verb=\"watch\"") && !line.contains("\"leases\"");
    let looks = sum("pulsemesh_operator_reconciles_total", &|_| true);
    ensure!(looks > 0.0, "no looks are told:\n{text}");
    Ok(Counts { requests: sum("pulsemesh_operator_api_requests_total", &is_of_looks), looks })
}

/// How many meshes have all that can be made of them, and say so.
async fn converged(bed: &Bed) -> Result<usize> {
    let all = ListParams::default();
    let told = bed.api::<PulseMesh>().list(&all).await?.into_iter().filter(|mesh| {
        let status = mesh.status.as_ref();
        status.is_some_and(|status| status.observed_generation == mesh.metadata.generation)
    });
    let told = told.count();
    let deployments = bed.api::<Deployment>().list_metadata(&all).await?.items.len();
    let sets = bed.api::<StatefulSet>().list_metadata(&all).await?.items.len();
    Ok(told.min(deployments).min(sets * MANAGED_EACH))
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn five_hundred_meshes_converge_within_little_memory_and_few_requests() -> Result<()> {
    let bed = Bed::with_operator("many").await?;
    bed.wait_leader().await?;
    let before = counts(&bed).await.unwrap_or(Counts { requests: 0.0, looks: 0.0 });
    let begun = Instant::now();
    let api = bed.api::<PulseMesh>();
    let made =
        stream::iter(0..MESHES).map(|number| {
            let api = &api;
            async move {
                api.create(&PostParams::default(), &mesh(number)?).await.context("make a mesh")
            }
        });
    made.buffer_unordered(CONCURRENCY).try_collect::<Vec<_>>().await?;
    let applied = begun.elapsed();
    bed.wait("all meshes to have what they need", CONVERGED_MAX, async || {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok((converged(&bed).await? == MESHES).then_some(()))
    })
    .await?;
    let (took, made) = (begun.elapsed(), counts(&bed).await?);
    println!("\n| {MESHES} meshes converge | {:.0} s | |", took.as_secs_f64());
    println!("\n| of that until all were applied | {:.0} s | |", applied.as_secs_f64());
    let per_look = made.per_look(&before);
    println!("\n| requests a look while they are made | {per_look:.1} | {REQUESTS_MAX} |");

    let from = bed.wait_no_writes(CONVERGED_MAX).await?;
    let rest = counts(&bed).await?;
    // What is measured is what goes on without a cause: there is no condition to wait for.
    tokio::time::sleep(STEADY).await;
    let steady = counts(&bed).await?;
    let per_steady_look = steady.per_look(&rest);
    println!("\n| requests a steady look | {per_steady_look:.1} | {STEADY_REQUESTS_MAX} |");
    let per_second = (steady.looks - rest.looks) / STEADY.as_secs_f64();
    println!("\n| looks a second at {MESHES} steady meshes | {per_second:.1} | |");
    let (own, all) = memory_of_operators()?;
    let mib = |bytes: u64| bytes as f64 / 1_048_576.0;
    println!("\n| memory of the operator with {MESHES} meshes | {:.1} MiB | 64 MiB |", mib(own));
    println!("\n| with pages of its program | {:.1} MiB | |", mib(all));
    let writes = bed.writes_of_operators(from)?.len();
    println!("\n| writes for {MESHES} steady meshes | {writes} | 0 |");
    ensure!(own <= MEMORY_MAX, "the operator has {own} bytes");
    ensure!(per_look <= REQUESTS_MAX, "{per_look} requests a look");
    ensure!(per_steady_look <= STEADY_REQUESTS_MAX, "{per_steady_look} requests a steady look");
    ensure!(writes == 0, "{writes} writes");
    Ok(())
}
