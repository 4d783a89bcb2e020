//! What is made for Prometheus, where its operator's kinds are known and where they are not.

use std::time::Duration;

use anyhow::{Result, ensure};
use pulsemesh_operator::mesh::names;
use pulsemesh_operator::mesh::object::Kind;

use crate::support::Bed;
use crate::support::mesh::{MESH, READY_MAX};

/// How long after a kind has come or gone the operator may notice.
const NOTICED_MAX: Duration = Duration::from_secs(120);

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn monitors_come_with_their_kinds_and_a_mesh_is_ready_without_them() -> Result<()> {
    let bed = Bed::shared().await?;
    let definitions = bed.cluster.components().join("definitions").display().to_string();
    bed.kubectl(&["apply", "--server-side", "-f", &definitions])?;
    for kind in [Kind::ServiceMonitor, Kind::PrometheusRule] {
        bed.wait(&format!("{kind:?}"), NOTICED_MAX, async || {
            bed.object(kind, &names::ingest(MESH)).await
        })
        .await?;
    }
    bed.kubectl(&["delete", "-f", &definitions])?;
    let mesh = bed.wait_ready(READY_MAX).await?;
    ensure!(mesh.metadata.deletion_timestamp.is_none());
    // Still looked after: a kind that is gone holds nothing up.
    bed.kubectl(&["delete", "service", &names::ingest(MESH)])?;
    bed.wait("the Service to be back", NOTICED_MAX, async || {
        bed.api::<k8s_openapi::api::core::v1::Service>()
            .get_opt(&names::ingest(MESH))
            .await
            .map_err(Into::into)
    })
    .await
    .map(drop)
}
