//! A store of three nodes: it rolls, loses a node, grows and shrinks, while pulses are posted. No
//! request fails, and every accepted pulse is a row at the end.

mod killed;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::DeleteParams;
use pulsemesh_operator::mesh::names::Component;

use crate::support::Bed;
use crate::support::mesh::{READY_MAX, SOON};

/// Requests a second, beside three or four nodes on the same two cores.
const RATE: u32 = 20;
/// Nodes come one after the other, each within a minute or two on two cores.
const NODES_MAX: Duration = Duration::from_secs(900);

/// What differs between meshes of these tests.
struct Spec<'a> {
    nodes: i32,
    copies: i32,
    /// A change of it rolls the store.
    cpu: &'a str,
    /// More fields of ingest.
    ingest: &'a str,
}

impl Spec<'_> {
    fn text(&self) -> String {
        let Self { nodes, copies, cpu, ingest } = self;
        format!(
            "  ingest: {{replicas: 2, resources: {{requests: {{cpu: 10m}}}}{ingest}}}
  store:
    cassandra:
      nodes: {nodes}
      replicationFactor: {copies}
      storage: {{size: 1Gi}}
      heap: 512Mi
      resources: {{requests: {{cpu: {cpu}, memory: 1Gi}}}}
"
        )
    }
}

/// With three copies of each row, so that one node may be away.
fn spec(nodes: i32, cpu: &str, ingest: &str) -> String {
    Spec { nodes, copies: 3, cpu, ingest }.text()
}

/// One test: a store of three nodes takes minutes to start.
#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn three_nodes_roll_lose_one_grow_and_shrink_without_a_lost_pulse() -> Result<()> {
    let bed = Bed::with_operator("store").await?;
    bed.apply_mesh(&spec(3, "50m", ""))?;
    bed.wait_store(3, NODES_MAX).await?;
    bed.wait_ready(READY_MAX).await?;

    let posting = bed.post("rolled", RATE).await?;
    let before = bed.pods(Component::Store).await?;
    bed.apply_mesh(&spec(3, "60m", ""))?;
    bed.wait("all nodes to be rolled", NODES_MAX, async || {
        let pods = bed.pods(Component::Store).await?;
        let new = pods.iter().filter(|(name, pod)| {
            before.get(*name).is_some_and(|old| old.uid() != pod.uid()) && is_ready(pod)
        });
        Ok((new.count() == 3).then_some(()))
    })
    .await?;
    bed.wait_ready(READY_MAX).await?;
    let posted = posting.stop().await?;
    println!("\n| requests failed while the store rolled at RF 3 | {} | 0 |", posted.failed);
    bed.wait_rows("rolled", posted.accepted).await?;

    let posting = bed.post("killed", RATE).await?;
    let victim = before.keys().next().context("no node")?;
    let at_once = DeleteParams::default().grace_period(0);
    bed.api::<Pod>().delete(victim, &at_once).await.context("kill a node")?;
    bed.wait("the node to be back", READY_MAX, async || {
        let pods = bed.pods(Component::Store).await?;
        Ok(pods.get(victim).filter(|pod| is_ready(pod)).map(drop))
    })
    .await?;
    bed.wait_store(3, READY_MAX).await?;
    let posted = posting.stop().await?;
    bed.wait_rows("killed", posted.accepted).await?;

    for nodes in [4, 3] {
        bed.apply_mesh(&spec(nodes, "60m", ""))?;
        bed.wait_store(nodes, NODES_MAX).await?;
        bed.wait_ready(READY_MAX).await?;
        bed.wait_rows("killed", posted.accepted).await?;
    }
    refuses_fewer_nodes_than_replicas(&bed).await?;
    Box::pin(keeps_what_was_accepted_while_the_store_was_down(&bed)).await
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref());
    conditions.unwrap_or_default().iter().any(|told| told.type_ == "Ready" && told.status == "True")
}

async fn refuses_fewer_nodes_than_replicas(bed: &Bed) -> Result<()> {
    let error = bed.apply_mesh(&spec(2, "60m", "")).err().context("accepted")?;
    ensure!(format!("{error:#}").contains("replicationFactor is above nodes"), "{error:#}");
    Ok(())
}

/// Ingest is rolled while no node is up: a pod waits for its log to be empty before it goes.
async fn keeps_what_was_accepted_while_the_store_was_down(bed: &Bed) -> Result<()> {
    let posting = bed.post("down", RATE).await?;
    let at_once = DeleteParams::default().grace_period(0);
    for name in bed.pods(Component::Store).await?.keys() {
        bed.api::<Pod>().delete(name, &at_once).await.context("kill a node")?;
    }
    bed.wait("no node to be ready", SOON, async || {
        let pods = bed.pods(Component::Store).await?;
        Ok((!pods.values().any(is_ready)).then_some(()))
    })
    .await?;
    bed.apply_mesh(&spec(3, "60m", ", batch: {size: 999}"))?;
    bed.wait_store(3, NODES_MAX).await?;
    bed.wait_ready(NODES_MAX).await?;
    let posted = posting.stop().await?;
    bed.wait_rows("down", posted.accepted).await
}
