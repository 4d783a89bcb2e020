//! The operators that run, which of them leads, and what the machine sees of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Resource, ResourceExt};

use serde_json::Value;

use super::mesh::SOON;
use super::{Bed, OPERATOR, SYSTEM};

/// Without a write: looks at what is not at rest are seconds apart.
const REST: Duration = Duration::from_secs(5);

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

    /// What operators have written since there were so many writes in all: beside their Lease, and
    /// but for namespaces that other tests have left, whose meshes are on their way out.
    pub(crate) fn writes_of_operators(&self, from: usize) -> Result<Vec<Value>> {
        let user = format!("system:serviceaccount:{SYSTEM}:");
        let own = [self.namespace.as_str(), SYSTEM];
        let mut writes = self.cluster.writes()?.split_off(from);
        writes.retain(|write| {
            let name = write["user"]["username"].as_str().unwrap_or_default();
            let object = &write["objectRef"];
            let is_own = object["namespace"].as_str().is_none_or(|it| own.contains(&it));
            name.starts_with(&user) && object["resource"] != "leases" && is_own
        });
        Ok(writes)
    }

    /// Waits until operators have written nothing for a while; how many writes there were in all.
    pub(crate) async fn wait_no_writes(&self, at_most: Duration) -> Result<usize> {
        let mut from = self.cluster.writes()?.len();
        self.wait("the operator to rest", at_most, async || {
            tokio::time::sleep(REST).await;
            let now = self.cluster.writes()?.len();
            let is_quiet = self.writes_of_operators(from)?.is_empty();
            from = now;
            Ok(is_quiet.then_some(now))
        })
        .await
    }

    /// Ends all operators by the kernel, without a pod's orderly end; others come in their place.
    pub(crate) async fn kill_operators(&self) -> Result<()> {
        for process in processes()? {
            let pid = process.file_name().context("a process without a number")?;
            // It may have ended since.
            let _ = Command::new("kill").arg("-KILL").arg(pid).status().context("run kill")?;
        }
        // A pod that is deleted is made anew at once; a container waits longer each time.
        let all = ListParams::default().labels("app.kubernetes.io/name=pulsemesh-operator");
        let at_once = DeleteParams::default().grace_period(0);
        self.system::<Pod>().delete_collection(&at_once, &all).await.context("delete operators")?;
        Ok(())
    }
}

/// Memory of the largest operator, in bytes: its own, and with the clean pages of its program.
pub(crate) fn memory_of_operators() -> Result<(u64, u64)> {
    let mut largest = (0, 0);
    for process in processes()? {
        largest = largest.max((memory(&process, "RssAnon:")?, memory(&process, "VmRSS:")?));
    }
    ensure!(largest.0 > 0, "no operator runs");
    Ok(largest)
}

/// Processes of operators, as the machine sees them.
fn processes() -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir("/proc").context("list processes")?;
    let is_operator = |path: &PathBuf| {
        let arguments = fs::read(path.join("cmdline")).unwrap_or_default();
        arguments.split(|byte| *byte == 0).next() == Some(b"/pulsemesh-operator")
    };
    Ok(entries.flatten().map(|entry| entry.path()).filter(is_operator).collect())
}

/// Bytes of a process by this line of its status.
fn memory(process: &Path, name: &str) -> Result<u64> {
    let status = fs::read_to_string(process.join("status")).context("read a status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(kib.with_context(|| format!("the status has no {name}"))?.trim().parse::<u64>()? * 1024)
}
