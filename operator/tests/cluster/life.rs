//! A mesh from its first line to its end: what it takes until the first row, what stays when it
//! is deleted, and what comes back with it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{Namespace, PersistentVolumeClaim, Pod, Secret};
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use pulsemesh_operator::mesh::names::{self, Component};

use crate::support::Bed;
use crate::support::mesh::{MESH, READY_MAX, SMALL, SOON};

/// From `kubectl apply` to the first row, images present.
const FIRST_ROW_MAX: Duration = Duration::from_secs(60);
/// An ordered end: ingest drains, then the store stops.
const GONE_MAX: Duration = Duration::from_secs(180);

/// The end of a trial whose namespace is deleted: half of its grace period, and some looks of
/// Kubernetes that are five seconds apart.
const NAMESPACE_MAX: Duration = Duration::from_secs(60);
/// Writes to a namespace that takes nothing more.
const REFUSED_MAX: usize = 10;

/// Claims and credentials that are there of the mesh.
async fn kept(bed: &Bed) -> Result<(usize, usize)> {
    let labels = format!("app.kubernetes.io/instance={MESH}");
    let list = ListParams::default().labels(&labels);
    let claims = bed.api::<PersistentVolumeClaim>().list(&list).await?.items.len();
    let secret = bed.api::<Secret>().get_opt(&names::credentials(MESH)).await?;
    Ok((claims, usize::from(secret.is_some())))
}

async fn delete_mesh(bed: &Bed) -> Result<()> {
    bed.kubectl(&["delete", "pulsemesh", MESH, "--wait=false"])?;
    bed.wait("the mesh's end", GONE_MAX, async || {
        let left = bed.api::<pulsemesh_crds::PulseMesh>().get_opt(MESH).await?;
        Ok(left.is_none().then_some(()))
    })
    .await
}

/// Kills the store and posts; returns how many pulses were accepted meanwhile, which only ingest's
/// logs have. A pod of ingest that is to go waits for its store to be back.
async fn post_while_the_store_is_down(bed: &Bed) -> Result<u64> {
    let at_once = DeleteParams::default().grace_period(0);
    for name in bed.pods(Component::Store).await?.keys() {
        bed.api::<Pod>().delete(name, &at_once).await.context("kill a node")?;
    }
    let posted = bed.post("late", 50).await?.stop().await?;
    ensure!(posted.accepted > 0, "nothing was posted");
    Ok(posted.accepted)
}

/// One test: each part needs what the one before has left.
#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn the_first_row_is_there_within_a_minute_and_outlives_its_mesh() -> Result<()> {
    let bed = Bed::with_operator("life").await?;
    let applied = Instant::now();
    bed.apply_mesh(SMALL)?;
    bed.wait("the first pulse to be accepted", READY_MAX, async || {
        bed.post_one("first").await.map(Some)
    })
    .await?;
    bed.wait_rows("first", 1).await?;
    let took = applied.elapsed();
    ensure!(took <= FIRST_ROW_MAX, "the first row took {took:?}");
    println!("\n| from kubectl apply to the first row | {:.1} s | 60 s |", took.as_secs_f64());
    bed.wait_ready(READY_MAX).await?;
    let posted = bed.post("before", 50).await?.stop().await?;
    bed.wait_rows("before", posted.accepted).await?;
    ensure!(!bed.read("before").await?.is_empty(), "the API tells no pulse");

    let late = post_while_the_store_is_down(&bed).await?;
    delete_mesh(&bed).await?;
    ensure!(kept(&bed).await? == (1, 1), "Retain keeps {:?}", kept(&bed).await?);
    bed.apply_mesh(SMALL)?;
    bed.wait_ready(READY_MAX).await?;
    bed.wait_rows("before", posted.accepted).await?;
    bed.wait_rows("late", late).await?;

    bed.apply_mesh(&format!("{SMALL}  deletionPolicy: Delete\n"))?;
    bed.wait_ready(READY_MAX).await?;
    delete_mesh(&bed).await?;
    bed.wait("claims and credentials to go", SOON, async || {
        Ok((kept(&bed).await? == (0, 0)).then_some(()))
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn a_trial_with_the_embedded_store_accepts_and_tells() -> Result<()> {
    let bed = Bed::with_operator("trial").await?;
    bed.apply_mesh("  store: {embedded: {}}\n")?;
    bed.wait_ready(READY_MAX).await?;
    // The node learns of the pod's address a moment after the operator does.
    bed.wait("the pulse to be accepted", SOON, async || bed.post_one("trial").await.map(Some))
        .await?;
    bed.wait("the pulse to be told", SOON, async || {
        Ok((bed.read("trial").await?.len() == 1).then_some(()))
    })
    .await?;
    let took = goes_with_its_namespace(&bed).await?;
    println!("\n| a trial gone with its namespace | {:.1} s | 60 s |", took.as_secs_f64());
    Ok(())
}

/// Nobody deletes the mesh: Kubernetes does, and the operator must not hold it up. How long it
/// takes.
async fn goes_with_its_namespace(bed: &Bed) -> Result<Duration> {
    let from = bed.cluster.writes()?.len();
    bed.kubectl(&["delete", "namespace", &bed.namespace, "--wait=false"])?;
    let deleted = Instant::now();
    let namespaces: Api<Namespace> = Api::all(bed.client.clone());
    bed.wait("the namespace's end", NAMESPACE_MAX, async || {
        Ok(namespaces.get_opt(&bed.namespace).await?.is_none().then_some(()))
    })
    .await?;
    let took = deleted.elapsed();
    let writes = bed.cluster.writes()?.split_off(from);
    let refused = writes.iter().filter(|write| {
        write["objectRef"]["namespace"] == *bed.namespace && write["responseStatus"]["code"] == 403
    });
    let refused: Vec<String> = refused.map(|write| write["objectRef"].to_string()).collect();
    // One for each of its objects that goes before it does.
    ensure!(refused.len() <= REFUSED_MAX, "{} writes were refused: {refused:#?}", refused.len());
    Ok(took)
}
