//! Charts as a user installs them: a mesh by its own chart with `helm test`, and an operator that
//! looks after the namespaces that it was told alone.

use anyhow::{Context, Result, ensure};
use pulsemesh_crds::PulseMesh;
use pulsemesh_operator::mesh::names;
use pulsemesh_operator::mesh::object::Kind;

use crate::support::mesh::{MESH, READY_MAX, SOON};
use crate::support::{Bed, OPERATOR, SYSTEM, root};

/// A mesh that is ready within seconds.
const TRIAL: &str = "  store: {embedded: {}}\n";
/// The service of the pulse that `helm test` posts.
const CHECKED: &str = "pulsemesh-check";

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn a_mesh_is_installed_by_its_chart_and_helm_test_posts_and_reads_back() -> Result<()> {
    let bed = Bed::with_operator("chart").await?;
    let chart = root().join("charts/pulsemesh").display().to_string();
    let trial = root().join("charts/pulsemesh/ci/embedded.yaml").display().to_string();
    bed.helm(&["install", MESH, &chart, "--values", &trial, "--wait", "--timeout", "2m"])?;
    // Not waited for: the test itself is tried again while the mesh starts.
    let told = bed.helm(&["test", MESH, "--logs", "--timeout", "5m"])?;
    ensure!(told.contains("Succeeded") && told.contains("read back"), "{told}");
    bed.wait_ready(SOON).await?;
    ensure!(!bed.read(CHECKED).await?.is_empty(), "the pulse of the test can't be read:\n{told}");

    bed.helm(&["uninstall", MESH, "--wait", "--timeout", "2m"])?;
    bed.wait("the mesh's end", SOON, async || {
        Ok(bed.api::<PulseMesh>().get_opt(MESH).await?.is_none().then_some(()))
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn an_operator_of_named_namespaces_leaves_all_others_alone() -> Result<()> {
    let (watched, other) = (Bed::new("watched").await?, Bed::new("other").await?);
    // The definition comes with the chart.
    watched.install(&[&format!("watchNamespaces={{{}}}", watched.namespace)])?;
    let account = format!("--as=system:serviceaccount:{SYSTEM}:{OPERATOR}");
    let may_list = |bed: &Bed| bed.kubectl(&["auth", "can-i", "list", "pulsemeshes", &account]);
    ensure!(may_list(&watched)?.trim() == "yes", "it has its rights");
    let refused = may_list(&other).err().context("it has rights elsewhere")?;
    ensure!(format!("{refused:#}").contains("no"), "{refused:#}");

    other.apply_mesh(TRIAL)?;
    watched.apply_mesh(TRIAL)?;
    watched.wait_ready(READY_MAX).await?;
    watched.kubectl(&["delete", "service", &names::ingest(MESH)])?;
    watched
        .wait("the Service to be back", SOON, async || {
            watched.object(Kind::Service, &names::ingest(MESH)).await
        })
        .await?;
    let untouched = other.mesh().await?;
    ensure!(untouched.status.is_none(), "it was told of: {:?}", untouched.status);
    ensure!(untouched.metadata.finalizers.is_none(), "it was held");
    let made = other.object(Kind::Service, &names::ingest(MESH)).await?;
    ensure!(made.is_none(), "something was made for it");

    // Told to look after all, the same operator does.
    other.install(&[])?;
    other.wait_ready(READY_MAX).await.map(drop)
}
