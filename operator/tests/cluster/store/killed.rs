//! The operator is killed in the steps of a store: while a node joins, and while nodes roll. The
//! next one goes on with the step that was begun.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use pulsemesh_operator::mesh::names::Component;

use super::{NODES_MAX, RATE, Spec, is_ready};
use crate::support::Bed;
use crate::support::mesh::READY_MAX;

type Pods = BTreeMap<String, Pod>;

/// Kills the operator once the store's pods are like this.
async fn kill_when(bed: &Bed, what: &str, is_so: impl Fn(&Pods) -> bool) -> Result<()> {
    bed.wait(what, NODES_MAX, async || Ok(is_so(&bed.pods(Component::Store).await?).then_some(())))
        .await?;
    bed.kill_operators().await
}

fn runs(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    phase == Some("Running") && !is_ready(pod)
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn an_operator_killed_while_nodes_join_and_roll_goes_on_where_it_was() -> Result<()> {
    let bed = Bed::with_operator("killed").await?;
    let spec = |nodes, cpu| Spec { nodes, copies: 1, cpu, ingest: "" }.text();
    bed.apply_mesh(&spec(1, "50m"))?;
    bed.wait_store(1, NODES_MAX).await?;
    bed.wait_ready(READY_MAX).await?;
    let posted = bed.post("kept", RATE).await?.stop().await?;
    bed.wait_rows("kept", posted.accepted).await?;

    bed.apply_mesh(&spec(2, "50m"))?;
    kill_when(&bed, "a second node is made", |pods| pods.len() == 2).await?;
    kill_when(&bed, "the second node joins", |pods| pods.values().any(runs)).await?;
    bed.wait_store(2, NODES_MAX).await?;
    bed.wait_ready(READY_MAX).await?;
    bed.wait_rows("kept", posted.accepted).await?;

    let before = bed.pods(Component::Store).await?;
    bed.apply_mesh(&spec(2, "60m"))?;
    let rolled = |pods: &Pods| {
        let is_new = |(name, pod): &(&String, &Pod)| {
            before.get(*name).is_some_and(|old| old.uid() != pod.uid())
        };
        pods.iter().filter(is_new).map(|(name, _)| name.clone()).collect::<Vec<_>>()
    };
    kill_when(&bed, "the first node rolls", |pods| rolled(pods).len() == 1).await?;
    let first = bed.pods(Component::Store).await?;
    let mut away = 0;
    bed.wait("both nodes to be rolled", NODES_MAX, async || {
        let pods = bed.pods(Component::Store).await?;
        away = away.max(2 - pods.values().filter(|pod| is_ready(pod)).count());
        Ok((rolled(&pods).len() == 2 && pods.values().all(is_ready)).then_some(()))
    })
    .await?;
    ensure!(away == 1, "{away} nodes were away at once");
    let last = bed.pods(Component::Store).await?;
    for name in rolled(&first) {
        ensure!(first[&name].uid() == last[&name].uid(), "{name} was rolled twice");
    }
    bed.wait_ready(READY_MAX).await?;
    bed.wait_rows("kept", posted.accepted).await
}
