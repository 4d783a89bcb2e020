//! The operators that run, and which of them leads.

use anyhow::{Context, Result};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Resource, ResourceExt};

use super::mesh::SOON;
use super::{Bed, OPERATOR, SYSTEM};

impl Bed {
    /// All objects of a kind in the operator's namespace.
    pub(crate) fn system<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), SYSTEM)
    }

    /// The operators' pods, also those that stop.
    pub(crate) async fn operators(&self) -> Result<Vec<Pod>> {
        let list = ListParams::default().labels("app.kubernetes.io/name=pulsemesh-operator");
        Ok(self.system::<Pod>().list(&list).await.context("list operators")?.items)
    }

    /// Who holds the Lease.
    pub(crate) async fn holder(&self) -> Result<String> {
        let lease = self.system::<Lease>().get(OPERATOR).await.context("get the Lease")?;
        let holder = lease.spec.and_then(|spec| spec.holder_identity);
        holder.filter(|holder| !holder.is_empty()).context("nobody holds the Lease")
    }

    /// Waits until the holder of the Lease is an operator that runs and goes on to: what a mesh
    /// tells may be of an operator that has stopped.
    pub(crate) async fn wait_leader(&self) -> Result<()> {
        self.wait("an operator that leads", SOON, async || {
            let holder = self.holder().await?;
            let leads = |pod: &Pod| {
                // The pod's name, and what is chance.
                let is_holder =
                    holder.rsplit_once('_').is_some_and(|(name, _)| name == pod.name_any());
                let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
                is_holder && phase == Some("Running") && pod.metadata.deletion_timestamp.is_none()
            };
            Ok(self.operators().await?.iter().any(leads).then_some(()))
        })
        .await
    }
}
