//! Ingest under load while it changes: more pods, fewer pods, another image. No request fails and
//! each accepted pulse becomes one row.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use pulsemesh_operator::mesh::names::{self, Component};
use xtask::images::NEXT_INGEST;

use crate::support::Bed;
use crate::support::mesh::{MESH, READY_MAX, SMALL};

/// Requests a second, beside a database on the same two cores.
const RATE: u32 = 100;

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn kubectl_scale_adds_and_takes_pods_and_loses_nothing() -> Result<()> {
    let bed = Bed::shared().await?;
    let posting = bed.post("scaled", RATE).await?;
    for replicas in [3, 1] {
        bed.kubectl(&["scale", "pulsemesh", MESH, &format!("--replicas={replicas}")])?;
        bed.wait_ingest(replicas, READY_MAX).await?;
    }
    let posted = posting.stop().await?;
    bed.wait_rows("scaled", posted.accepted).await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn another_image_is_rolled_out_without_a_failed_request() -> Result<()> {
    let bed = Bed::shared().await?;
    let posting = bed.post("rolled", RATE).await?;
    let before = bed.pods(Component::Ingest).await?;
    bed.apply_mesh(&SMALL.replace("replicas: 2", &format!("replicas: 2, image: '{NEXT_INGEST}'")))?;
    bed.wait("all pods to have the other image", READY_MAX, async || {
        let pods = bed.pods(Component::Ingest).await?;
        let new = pods.keys().all(|name| !before.contains_key(name));
        Ok((new && pods.len() == 2).then_some(()))
    })
    .await?;
    let mesh = bed.wait_ready(READY_MAX).await?;
    let versions = mesh.status.and_then(|status| status.versions).context("no versions")?;
    ensure!(versions.ingest.as_deref() == Some(NEXT_INGEST), "{versions:?}");
    let posted = posting.stop().await?;
    println!("\n| requests failed while ingest rolled | {} | 0 |", posted.failed);
    bed.wait_rows("rolled", posted.accepted).await
}

/// There is no metrics server: the autoscaler holds its minimum, and what it does when there is
/// load is done by hand.
#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn an_autoscaler_takes_over_and_gives_back_without_a_step() -> Result<()> {
    let bed = Bed::shared().await?;
    let autoscaled = "autoscaling: {minReplicas: 3, maxReplicas: 4}, replicas: 2";
    bed.apply_mesh(&SMALL.replace("replicas: 2", autoscaled))?;
    bed.wait("the autoscaler", READY_MAX, async || {
        bed.api::<HorizontalPodAutoscaler>().get_opt(&names::ingest(MESH)).await.map_err(Into::into)
    })
    .await?;
    bed.wait_ingest(3, READY_MAX).await?;
    bed.kubectl(&["scale", "deployment", &names::ingest(MESH), "--replicas=4"])?;
    bed.wait_ingest(4, READY_MAX).await?;
    let deployment = bed.api::<Deployment>().get(&names::ingest(MESH)).await?;
    let owner = deployment.metadata.managed_fields.unwrap_or_default().into_iter().find(|entry| {
        let fields = entry.fields_v1.as_ref().map(|fields| fields.0.to_string());
        entry.subresource.is_none() && fields.is_some_and(|text| text.contains("f:replicas"))
    });
    let manager = owner.and_then(|entry| entry.manager);
    ensure!(manager.as_deref() != Some(names::MANAGER), "the operator still owns replicas");
    bed.apply_mesh(SMALL)?;
    bed.wait_ingest(2, READY_MAX).await
}
