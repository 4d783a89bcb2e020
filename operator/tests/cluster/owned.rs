//! Whatever of a mesh is deleted or changed by hand comes back at once.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kube::ResourceExt;
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PropagationPolicy};
use pulsemesh_operator::mesh::names;
use pulsemesh_operator::mesh::object::Kind;
use serde_json::json;

use crate::support::Bed;
use crate::support::mesh::{MESH, READY_MAX, SOON};

/// One changed child: time until it is back.
const BACK_MAX: Duration = Duration::from_secs(1);

/// All that the mesh has, of every kind that the cluster knows.
async fn owned(bed: &Bed) -> Result<Vec<(Kind, DynamicObject)>> {
    let list = ListParams::default().labels(&names::all_of(MESH));
    let mut owned = Vec::new();
    for kind in Kind::ALL.into_iter().filter(|kind| !kind.is_optional()) {
        let found =
            bed.dynamic(kind).list(&list).await.with_context(|| format!("list {kind:?}"))?;
        owned.extend(found.into_iter().map(|object| (kind, object)));
    }
    Ok(owned)
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn each_deleted_object_is_back_within_a_second() -> Result<()> {
    let bed = Bed::shared().await?;
    let owned = owned(&bed).await?;
    ensure!(owned.len() >= 8, "only {} objects", owned.len());
    let mut slowest = Duration::ZERO;
    for (kind, object) in &owned {
        let (api, name) = (bed.dynamic(*kind), object.name_any());
        // Pods of a workload go with it, but it is gone at once.
        let background = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Background),
            ..DeleteParams::default()
        };
        api.delete(&name, &background).await.with_context(|| format!("delete {kind:?} {name}"))?;
        let deleted = Instant::now();
        bed.wait(&format!("{kind:?} {name} to be back"), SOON, async || {
            let found = api.get_opt(&name).await?;
            Ok(found.filter(|found| found.uid() != object.uid()))
        })
        .await?;
        let took = deleted.elapsed();
        ensure!(took <= BACK_MAX, "{kind:?} {name} took {took:?}");
        slowest = slowest.max(took);
    }
    println!("\n| deleted object back | {} ms | 1000 ms |", slowest.as_millis());
    bed.wait_ready(READY_MAX).await.map(drop)
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn a_changed_object_is_changed_back_within_a_second() -> Result<()> {
    let bed = Bed::shared().await?;
    let (api, name) = (bed.dynamic(Kind::Service), names::ingest(MESH));
    let patch = json!({"spec": {"selector": {"app.kubernetes.io/component": "nobody"}}});
    api.patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await?;
    let changed = Instant::now();
    bed.wait("the Service to be as it was", SOON, async || {
        let found = api.get(&name).await?;
        let component = &found.data["spec"]["selector"]["app.kubernetes.io/component"];
        Ok((component == "ingest").then_some(()))
    })
    .await?;
    ensure!(changed.elapsed() <= BACK_MAX, "it took {:?}", changed.elapsed());
    Ok(())
}
