//! Meshes under test: one small mesh that tests share, and what is asked of any.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::ResourceExt;
use kube::api::ListParams;
use pulsemesh_crds::PulseMesh;
use pulsemesh_operator::mesh::names::{self, Component};

use super::Bed;

/// The mesh of a namespace.
pub(crate) const MESH: &str = "demo";
/// The least that a user writes, and the pods' share of a machine with two cores.
pub(crate) const SMALL: &str =
    "  ingest: {replicas: 2, resources: {requests: {cpu: 10m, memory: 32Mi}}}
  store:
    cassandra:
      nodes: 1
      storage: {size: 1Gi}
      heap: 512Mi
      resources: {requests: {cpu: 100m, memory: 1Gi}}
";
/// Longest wait for a mesh to be ready, on a machine that does something else as well.
pub(crate) const READY_MAX: Duration = Duration::from_secs(240);
/// Longest wait for what takes a second on an idle machine.
pub(crate) const SOON: Duration = Duration::from_secs(60);

impl Bed {
    /// The namespace of the mesh that tests share, which is ready and as it was at first.
    pub(crate) async fn shared() -> Result<Self> {
        let bed = Self::attach("shared").await?;
        bed.install(&[])?;
        bed.wait_leader().await?;
        bed.apply_mesh(SMALL)?;
        bed.wait_ready(READY_MAX).await?;
        Ok(bed)
    }

    /// Applies the mesh of this namespace with a spec, each line indented by two spaces.
    pub(crate) fn apply_mesh(&self, spec: &str) -> Result<()> {
        let head = "apiVersion: pulsemesh.io/v1alpha1\nkind: PulseMesh\n";
        let namespace = &self.namespace;
        let metadata = format!("metadata: {{name: {MESH}, namespace: {namespace}}}\n");
        self.apply(&format!("{head}{metadata}spec:\n{spec}")).map(drop)
    }

    /// The mesh as it is.
    pub(crate) async fn mesh(&self) -> Result<PulseMesh> {
        self.api::<PulseMesh>().get(MESH).await.context("get the mesh")
    }

    /// Waits until the mesh is ready as it is written now.
    pub(crate) async fn wait_ready(&self, at_most: Duration) -> Result<PulseMesh> {
        self.wait("the mesh to be ready", at_most, async || {
            let mesh = self.mesh().await?;
            Ok((is(&mesh, "Ready") && !is(&mesh, "Reconciling")).then_some(mesh))
        })
        .await
    }

    /// Waits until the mesh tells this of its ingest pods: ready, and how many there are.
    pub(crate) async fn wait_ingest(&self, replicas: i32, at_most: Duration) -> Result<()> {
        self.wait(&format!("{replicas} pods of ingest"), at_most, async || {
            let told = self.mesh().await?.status.and_then(|status| status.ingest);
            let told = told.map(|told| (told.replicas, told.ready_replicas));
            Ok((told == Some((replicas, replicas))).then_some(()))
        })
        .await
    }

    /// Waits until the mesh tells this of its store's nodes.
    pub(crate) async fn wait_store(&self, nodes: i32, at_most: Duration) -> Result<()> {
        self.wait(&format!("{nodes} nodes of the store"), at_most, async || {
            let told = self.mesh().await?.status.and_then(|status| status.store);
            let told = told.map(|told| (told.replicas, told.ready_replicas));
            Ok((told == Some((nodes, nodes))).then_some(()))
        })
        .await
    }

    /// The pods of a component by their names.
    pub(crate) async fn pods(&self, component: Component) -> Result<BTreeMap<String, Pod>> {
        let selector = names::selector(MESH, component);
        let labels: Vec<String> =
            selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let list = ListParams::default().labels(&labels.join(","));
        let pods = self.api::<Pod>().list(&list).await.context("list pods")?;
        Ok(pods.into_iter().map(|pod| (pod.name_any(), pod)).collect())
    }

    /// The address of ingest's Service inside the cluster.
    pub(crate) async fn ingest_address(&self) -> Result<std::net::SocketAddr> {
        let service =
            self.api::<Service>().get(&names::ingest(MESH)).await.context("get a Service")?;
        let spec = service.spec.context("a Service without a spec")?;
        let address = spec.cluster_ip.context("a Service without an address")?;
        let port = spec.ports.unwrap_or_default().first().map_or(80, |port| port.port);
        format!("{address}:{port}").parse().with_context(|| format!("read {address}"))
    }
}

/// Whether a condition holds for the spec as it is now.
pub(crate) fn is(mesh: &PulseMesh, condition: &str) -> bool {
    let conditions = mesh.status.as_ref().map(|status| status.conditions.as_slice());
    conditions.unwrap_or_default().iter().any(|told| {
        told.type_ == condition
            && told.status == "True"
            && told.observed_generation == mesh.metadata.generation
    })
}
