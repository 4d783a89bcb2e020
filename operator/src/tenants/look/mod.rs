//! One look at the tenants of one mesh: everything is read, keys that are missing are made, then
//! the file is written, then each tenant is told. Nothing is remembered; whatever fails is done by
//! the next look.

pub(super) mod secrets;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ListParams, Patch, PatchParams};
use kube::core::{DeserializeGuard, DynamicObject};
use kube::{Api, Client, Error, Resource, ResourceExt};
use pulsemesh_crds::PulseMesh;
use pulsemesh_crds::tenant::PulseTenant;
use pulsemesh_runtime::api_key::NoRandomness;
use serde_json::json;
use thiserror::Error;
use tokio::task::{JoinError, spawn_blocking};
use tracing::warn;

use super::file::{File, LeftOut};
use super::keys::{self, KeySecret, Wanted};
use super::schemas::{Former, Judge, Verdicts};
use super::status::{Outcome, status};
use super::{COMPONENT, Closed, MeshSeen, Seen, TENANTS, classes_of, sort};
use crate::apply;
use crate::client::namespace_ends;
use crate::mesh::names::{self, MANAGER};
use crate::mesh::object::Kind;
use crate::mesh::status::url;
use crate::mesh::validate::Defaults;

/// Of tenants or Secrets that one request reads: some megabytes at most.
const PAGE: u32 = 500;
/// Writes of one kind in a look; what is left comes with the next, which follows at once. A look
/// that has them all would write no file until ten thousand keys are made.
const WRITES_MAX: usize = 200;

/// Why a look failed; it is tried again.
#[derive(Debug, Error)]
pub(crate) enum LookError {
    /// Reading what there is.
    #[error("read the tenants")]
    Read(#[source] Error),
    /// Writing.
    #[error("write {0}")]
    Write(String, #[source] Error),
    /// Making a key.
    #[error("make a key")]
    Key(#[from] NoRandomness),
    /// Making the text of the file.
    #[error("make the file of tenants")]
    File(#[source] JoinError),
}

/// What looks at tenants.
pub(crate) struct TenantWorker {
    pub(crate) client: Client,
    pub(crate) defaults: Defaults,
    pub(crate) verdicts: Arc<Verdicts>,
}

/// What became of a tenant in the file.
type Added = Result<Option<String>, LeftOut>;

/// When to look again without a trigger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing is waited for.
    Changes,
    /// At the latest after this time.
    In(Duration),
}

impl TenantWorker {
    /// One look.
    pub(crate) async fn look(&self, namespace: &str, mesh: &str) -> Result<Next, LookError> {
        match Box::pin(self.look_at(namespace, mesh)).await {
            // Nothing can be made there any more, and all of it goes.
            Err(LookError::Write(_, error)) if namespace_ends(&error) => Ok(Next::Changes),
            looked => looked,
        }
    }

    async fn look_at(&self, namespace: &str, mesh: &str) -> Result<Next, LookError> {
        let mut seen = Box::pin(self.read(namespace, mesh)).await.map_err(LookError::Read)?;
        let Some(tenants) = seen.tenants.take() else {
            return self.without_the_kind(namespace, mesh, &seen).await;
        };
        let tenants: Arc<[PulseTenant]> = tenants.into();
        let (outcomes, is_whole) = match &seen.mesh {
            MeshSeen::Closed(closed) => {
                let closed = closed.clone();
                self.serve((namespace, mesh), &closed, &tenants, &mut seen).await?
            }
            MeshSeen::Open => {
                self.take_file_away(namespace, mesh, &seen).await?;
                (vec![Outcome::Waiting; tenants.len()], true)
            }
            _ => (vec![Outcome::Waiting; tenants.len()], true),
        };
        let told = self.tell(namespace, &tenants, &seen, &outcomes).await?;
        if !is_whole || !told {
            return Ok(Next::In(Duration::ZERO));
        }
        let ends = seen.keys.iter().filter_map(|secret| Some(secret.former.as_ref()?.1));
        let next = ends.filter(|end| *end > seen.now).min();
        Ok(next.map_or(Next::Changes, |end| {
            Next::In(Duration::try_from(end.duration_since(seen.now)).unwrap_or_default())
        }))
    }

    /// Makes keys and the file; how it went with each tenant, and whether all keys are made.
    async fn serve(
        &self,
        (namespace, mesh): (&str, &str),
        closed: &Closed,
        tenants: &Arc<[PulseTenant]>,
        seen: &mut Seen,
    ) -> Result<(Vec<Outcome>, bool), LookError> {
        let mut outcomes = vec![Outcome::InFile(None); tenants.len()];
        let mut writes = 0;
        if !closed.paused {
            for (tenant, outcome) in tenants.iter().zip(&mut outcomes) {
                *outcome = self.keys_of(tenant, closed, &mut seen.keys, &mut writes).await?;
            }
        }
        let (file, added) = self.file_of(closed, tenants, seen).await?;
        for (outcome, added) in outcomes.iter_mut().zip(added) {
            match added {
                Ok(None) => {}
                Ok(Some(why)) if matches!(outcome, Outcome::InFile(_)) => {
                    *outcome = Outcome::FormerSchemas(why);
                }
                Ok(Some(_)) => {}
                Err(left_out) => *outcome = Outcome::LeftOut(left_out),
            }
        }
        let text = file.text(mesh, closed.pods);
        let wanted = secrets::file(namespace, mesh, &closed.uid, (text, file.tenants));
        if !secrets::is_of(seen.file.as_ref(), &closed.uid) {
            outcomes.fill(Outcome::FileTaken);
        } else if secrets::differs(seen.file.as_ref(), &wanted) {
            if closed.paused {
                outcomes.fill(Outcome::Paused);
            } else {
                self.apply(namespace, &wanted).await?;
            }
        }
        Ok((outcomes, writes < WRITES_MAX))
    }

    /// The file, and what became of each tenant. Compiling schemas would hold up a thread.
    async fn file_of(
        &self,
        closed: &Closed,
        tenants: &Arc<[PulseTenant]>,
        seen: &mut Seen,
    ) -> Result<(File, Vec<Added>), LookError> {
        let ours = seen.file.as_ref().filter(|_| secrets::is_of(seen.file.as_ref(), &closed.uid));
        let judge = Judge::new(Arc::clone(&self.verdicts));
        let mut file = File::new(judge, Former::of(ours), closed.classes.clone());
        let (tenants, now) = (Arc::clone(tenants), seen.now);
        let keys = std::mem::take(&mut seen.keys);
        let make = move || {
            let added = tenants.iter().map(|tenant| file.add(tenant, &keys, now)).collect();
            (file, added, keys)
        };
        let (file, added, keys) = spawn_blocking(make).await.map_err(LookError::File)?;
        seen.keys = keys;
        Ok((file, added))
    }

    /// Makes, replaces and takes away the keys of one tenant.
    async fn keys_of(
        &self,
        tenant: &PulseTenant,
        closed: &Closed,
        known: &mut Vec<KeySecret>,
        writes: &mut usize,
    ) -> Result<Outcome, LookError> {
        let uid = tenant.uid().unwrap_or_default();
        let (mut outcome, mut made) = (Outcome::InFile(None), Vec::new());
        for key in &tenant.spec.keys {
            let name = names::tenant_key(&tenant.name_any(), &key.name);
            if keys::is_reserved(&name) {
                continue;
            }
            match keys::wanted(&uid, &name, &closed.url, known) {
                Wanted::There(secret) => {
                    if let Some(Err(hint)) = secret.grace() {
                        outcome = Outcome::InFile(Some(hint));
                    }
                }
                Wanted::Taken => outcome = Outcome::Taken(name),
                Wanted::Going => outcome = Outcome::Waiting,
                _ if *writes >= WRITES_MAX => outcome = Outcome::Waiting,
                Wanted::Missing => {
                    *writes += 1;
                    match self.make(tenant, key, &closed.url).await? {
                        Some(secret) => made.push(secret),
                        None => outcome = Outcome::Taken(name),
                    }
                }
                Wanted::Rotate(secret, grace) => {
                    *writes += 1;
                    made.push(self.rotate(tenant, secret, grace).await?);
                }
                Wanted::Moved(secret) => {
                    *writes += 1;
                    self.move_to(tenant, secret, &closed.url).await?;
                }
            }
        }
        for secret in keys::left(tenant, known) {
            self.take_key_away(tenant, secret).await?;
        }
        known.retain(|secret| made.iter().all(|new: &KeySecret| new.name != secret.name));
        known.extend(made);
        Ok(outcome)
    }

    /// Where the cluster does not know the kind, nobody has a key. A file that there is stays.
    async fn without_the_kind(
        &self,
        namespace: &str,
        mesh: &str,
        seen: &Seen,
    ) -> Result<Next, LookError> {
        const AGAIN: Duration = Duration::from_secs(60);
        if let (MeshSeen::Closed(closed), None) = (&seen.mesh, &seen.file) {
            warn!(namespace, mesh, "the definition of PulseTenant is missing: nobody has a key");
            let text = File::default().text(mesh, closed.pods);
            self.apply(namespace, &secrets::file(namespace, mesh, &closed.uid, (text, 0))).await?;
        }
        Ok(Next::In(AGAIN))
    }

    /// Tells each tenant whose status differs; whether all were.
    async fn tell(
        &self,
        namespace: &str,
        tenants: &[PulseTenant],
        seen: &Seen,
        outcomes: &[Outcome],
    ) -> Result<bool, LookError> {
        let api: Api<PulseTenant> = Api::namespaced(self.client.clone(), namespace);
        let mut writes = 0;
        for (tenant, outcome) in tenants.iter().zip(outcomes) {
            let told = status(tenant, &seen.mesh, outcome, seen.now);
            if tenant.status.as_ref() == Some(&told) {
                continue;
            }
            if writes == WRITES_MAX {
                return Ok(false);
            }
            writes += 1;
            let name = tenant.name_any();
            let patch = json!({
                "apiVersion": PulseTenant::api_version(&()),
                "kind": PulseTenant::kind(&()),
                // Of another tenant of this name nothing is told.
                "metadata": {"name": name, "uid": tenant.metadata.uid},
                "status": told,
            });
            let parameters = PatchParams::apply(MANAGER).force();
            match api.patch_status(&name, &parameters, &Patch::Apply(patch)).await {
                Ok(_) => {}
                // It has gone, or is another one by now.
                Err(Error::Api(status)) if status.is_not_found() || status.is_conflict() => {}
                Err(error) => {
                    return Err(LookError::Write(format!("the status of tenant {name}"), error));
                }
            }
        }
        Ok(true)
    }

    async fn read(&self, namespace: &str, mesh: &str) -> kube::Result<Seen> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let file_name = names::tenants(mesh);
        let (mesh, tenants, keys, file) = tokio::try_join!(
            self.read_mesh(namespace, mesh),
            self.read_tenants(namespace, mesh),
            read_keys(&secrets),
            secrets.get_opt(&file_name),
        )?;
        Ok(Seen { mesh, tenants, keys, file, now: Timestamp::now() })
    }

    async fn read_mesh(&self, namespace: &str, name: &str) -> kube::Result<MeshSeen> {
        let api: Api<DeserializeGuard<PulseMesh>> = Api::namespaced(self.client.clone(), namespace);
        let Some(DeserializeGuard(read)) = api.get_opt(name).await? else {
            return Ok(MeshSeen::Missing);
        };
        let Ok(mesh) = read else { return Ok(MeshSeen::Unreadable) };
        if mesh.metadata.deletion_timestamp.is_some() {
            return Ok(MeshSeen::Deleting);
        }
        if !mesh.spec.ingest.tenants.required {
            return Ok(MeshSeen::Open);
        }
        Ok(MeshSeen::Closed(Closed {
            uid: mesh.uid().unwrap_or_default(),
            url: url(&mesh, &self.defaults),
            paused: mesh.spec.paused,
            pods: self.read_pods(namespace, &mesh).await?,
            classes: classes_of(&mesh),
        }))
    }

    /// How many pods share the limits.
    async fn read_pods(&self, namespace: &str, mesh: &PulseMesh) -> kube::Result<i64> {
        let has_claims =
            mesh.spec.store.embedded.is_some() || mesh.spec.ingest.log.storage.is_some();
        let kind = if has_claims { Kind::StatefulSet } else { Kind::Deployment };
        let api = apply::api(&self.client, kind, namespace);
        let workload = api.get_opt(&names::ingest(&mesh.name_any())).await?;
        Ok(workload.as_ref().map_or(1, sharing))
    }

    /// `None` where the cluster does not know the kind.
    async fn read_tenants(
        &self,
        namespace: &str,
        mesh: &str,
    ) -> kube::Result<Option<Vec<PulseTenant>>> {
        let api: Api<DeserializeGuard<PulseTenant>> =
            Api::namespaced(self.client.clone(), namespace);
        let mut parameters = ListParams::default().limit(PAGE);
        let mut tenants = Vec::new();
        loop {
            let page = match api.list(&parameters).await {
                Ok(page) => page,
                Err(Error::Api(status)) if status.code == 404 => return Ok(None),
                Err(error) => return Err(error),
            };
            for DeserializeGuard(read) in page.items {
                match read {
                    Ok(tenant) if is_here(&tenant, mesh) => tenants.push(tenant),
                    Ok(_) => {}
                    // Made by another definition; who it is for is not known.
                    Err(invalid) => {
                        let name = invalid.metadata.name.unwrap_or_default();
                        warn!(namespace, tenant = name, "read a tenant: {}", invalid.error);
                    }
                }
            }
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => parameters = parameters.continue_token(&token),
                None => break,
            }
        }
        sort(&mut tenants);
        Ok(Some(tenants))
    }

    async fn apply(&self, namespace: &str, wanted: &Secret) -> Result<(), LookError> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let name = wanted.name_any();
        let parameters = PatchParams::apply(MANAGER).force();
        let patched = api.patch(&name, &parameters, &Patch::Apply(wanted)).await;
        patched.map(drop).map_err(|error| LookError::Write(format!("Secret {name}"), error))
    }
}

fn is_here(tenant: &PulseTenant, mesh: &str) -> bool {
    tenant.spec.mesh == mesh && tenant.metadata.deletion_timestamp.is_none()
}

async fn read_keys(api: &Api<Secret>) -> kube::Result<Vec<KeySecret>> {
    let labels = format!("{COMPONENT}={TENANTS},app.kubernetes.io/managed-by={MANAGER}");
    let mut parameters = ListParams::default().labels(&labels).limit(PAGE);
    let mut keys = Vec::new();
    loop {
        let page = api.list_metadata(&parameters).await?;
        keys.extend(page.items.iter().map(|secret| KeySecret::of(&secret.metadata)));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => parameters = parameters.continue_token(&token),
            None => return Ok(keys),
        }
    }
}

/// Pods that share the limits: those that are ready; while pods are replaced, all that are wanted,
/// so that a rollout is no change.
fn sharing(workload: &DynamicObject) -> i64 {
    let number = |path: &str| workload.data.pointer(path).and_then(|number| number.as_i64());
    let wanted = number("/spec/replicas").unwrap_or(1);
    let ready = number("/status/readyReplicas").unwrap_or_default();
    let is_rolling = number("/status/observedGeneration") < workload.metadata.generation
        || number("/status/updatedReplicas").unwrap_or_default() < wanted.min(ready);
    let sharing = if is_rolling { wanted } else { ready.min(wanted) };
    sharing.max(1)
}
