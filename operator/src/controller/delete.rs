//! Does the steps of a deletion that `deletion` decides, one in a look. Deletes only the very
//! objects that were seen.

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Secret};
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use kube::core::ObjectMeta;
use kube::{Error, ResourceExt};
use pulsemesh_crds::DeletionPolicy;
use serde_json::json;
use tracing::info;

use super::deletion::{self, Step};
use super::reconcile::identity;
use super::worker::{ReconcileError, Worker};
use crate::apply::{self, ApplyError, Change};
use crate::events::News;
use crate::mesh::build;
use crate::mesh::names::{self, FINALIZER, MANAGER};
use crate::mesh::object::{Kind, Object};
use crate::mesh::observed::Observed;
use crate::mesh::plan::{Plan, Replicas, StorePlan};
use crate::mesh::topology::{StoreStep, Waiting};
use crate::nodes::Nodes;

/// The reason that the conditions of a mesh have while it goes.
const REASON: &str = "Deleting";

impl<N: Nodes> Worker<N> {
    /// Does the next step; what is waited for then, `None` when the mesh has gone as far as it is
    /// ours to say.
    pub(super) async fn delete(
        &self,
        metadata: &ObjectMeta,
        policy: DeletionPolicy,
        plan: Option<&Plan>,
        observed: &Observed,
    ) -> Result<Option<Waiting>, ReconcileError> {
        if !metadata.finalizers.iter().flatten().any(|one| one == FINALIZER) {
            return Ok(None);
        }
        let name = metadata.name.as_deref().unwrap_or_default();
        let drains = drains(policy, plan, observed)?;
        let mut step = deletion::next(name, policy, drains.as_deref(), observed);
        if let Step::Drain(jobs) = &step
            && !self.drain(metadata, jobs, observed).await?
        {
            step = deletion::next(name, policy, Some(&[]), observed);
        }
        let message = self.do_step(metadata, step).await?;
        Ok(message.map(|message| Waiting { reason: REASON, message }))
    }

    async fn do_step(
        &self,
        metadata: &ObjectMeta,
        step: Step,
    ) -> Result<Option<String>, ReconcileError> {
        let namespace = metadata.namespace.as_deref().unwrap_or_default();
        Ok(Some(match step {
            Step::Wait(message) => message,
            Step::Drain(_) => "logs that are left are written to the store".to_owned(),
            Step::StopIngest { delete, scale } => {
                self.delete_objects(namespace, &delete).await?;
                for object in &scale {
                    self.scale_to_zero(namespace, object).await?;
                }
                "ingest stops".to_owned()
            }
            Step::StopStore(sets) => {
                self.delete_objects(namespace, &sets).await?;
                "the store stops".to_owned()
            }
            Step::DeleteClaims(claims) => {
                self.delete_claims(namespace, &claims).await?;
                format!("{} claims are being deleted", claims.len())
            }
            Step::DeleteJobs(jobs) => {
                self.delete_objects(namespace, &jobs).await?;
                "Jobs that hold claims are being deleted".to_owned()
            }
            Step::Finish { credentials } => {
                if credentials {
                    self.delete_credentials(metadata).await?;
                }
                self.let_go(metadata, credentials).await?;
                return Ok(None);
            }
        }))
    }

    /// Makes the Jobs; `false` where the namespace goes too and takes no Job any more.
    async fn drain(
        &self,
        metadata: &ObjectMeta,
        jobs: &[Object],
        observed: &Observed,
    ) -> Result<bool, ReconcileError> {
        let mesh = identity(metadata);
        let mut changes = apply::changes(jobs.to_vec(), observed, &mesh.uid)?;
        changes.retain(|change| !matches!(change, Change::Delete { .. }));
        match apply::write_all(&self.client, &mesh, changes, observed).await {
            Err(ApplyError::NamespaceEnds { .. }) => Ok(false),
            Err(error) => Err(error.into()),
            Ok(applied) if applied.refused.is_empty() => Ok(true),
            Ok(applied) => Err(ReconcileError::Incomplete(applied.refused.join("; "))),
        }
    }

    async fn delete_objects(
        &self,
        namespace: &str,
        objects: &[Object],
    ) -> Result<(), ReconcileError> {
        for object in objects {
            let api = apply::api(&self.client, object.kind, namespace);
            let deleted = apply::delete(&api, &object.value).await;
            let what = || format!("{:?} {}", object.kind, object.name());
            deleted.map_err(|error| ReconcileError::Delete(what(), error))?;
        }
        Ok(())
    }

    /// Not by server-side apply: that would need the whole object, and it goes anyway.
    async fn scale_to_zero(&self, namespace: &str, object: &Object) -> Result<(), ReconcileError> {
        let patch =
            json!({"metadata": {"uid": object.value.metadata.uid}, "spec": {"replicas": 0}});
        let parameters =
            PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let api = apply::api(&self.client, object.kind, namespace);
        match api.patch(object.name(), &parameters, &Patch::Merge(patch)).await {
            Err(Error::Api(status)) if status.is_not_found() => Ok(()),
            result => result.map(drop).map_err(|error| {
                ReconcileError::Delete(format!("the pods of {}", object.name()), error)
            }),
        }
    }

    async fn delete_claims(
        &self,
        namespace: &str,
        claims: &[PersistentVolumeClaim],
    ) -> Result<(), ReconcileError> {
        let api: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), namespace);
        for claim in claims {
            let name = claim.name_any();
            info!(namespace, claim = name, "delete the claim of a deleted mesh");
            let deleted = api.delete(&name, &this_very(&claim.metadata)).await;
            gone(deleted)
                .map_err(|error| ReconcileError::Delete(format!("claim {name}"), error))?;
        }
        Ok(())
    }

    async fn delete_credentials(&self, metadata: &ObjectMeta) -> Result<(), ReconcileError> {
        let mesh = metadata.name.as_deref().unwrap_or_default();
        let name = names::credentials(mesh);
        let namespace = metadata.namespace.as_deref().unwrap_or_default();
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let failed = |error| ReconcileError::Delete(format!("Secret {name}"), error);
        let Some(secret) = api.get_metadata_opt(&name).await.map_err(failed)? else {
            return Ok(());
        };
        // One that a person made, or that a person took over, is left.
        let labels = secret.labels();
        let label = |key: &str| labels.get(key).map(String::as_str);
        if label("app.kubernetes.io/instance") != Some(mesh)
            || label("app.kubernetes.io/managed-by") != Some(MANAGER)
        {
            return Ok(());
        }
        gone(api.delete(&name, &this_very(&secret.metadata)).await).map_err(failed)
    }

    /// Takes our finalizer off the mesh; Kubernetes deletes the rest by its owner.
    async fn let_go(
        &self,
        metadata: &ObjectMeta,
        deleted_data: bool,
    ) -> Result<(), ReconcileError> {
        let others = metadata.finalizers.iter().flatten().filter(|one| *one != FINALIZER);
        let others: Vec<String> = others.cloned().collect();
        let note = if deleted_data {
            "ingest and store have stopped; claims and credentials are deleted"
        } else {
            "ingest and store have stopped; claims and credentials are kept"
        };
        self.events.tell(&identity(metadata), News::normal("Deleted", note)).await;
        self.set_finalizers(metadata, &others).await
    }
}

/// The Jobs that drain what the logs of pods that are gone still hold. Where claims stay, so does
/// what they hold; where the store goes too, it would be written to be deleted. `None` where there
/// is no plan, so that nobody knows to which store.
fn drains(
    policy: DeletionPolicy,
    plan: Option<&Plan>,
    observed: &Observed,
) -> Result<Option<Vec<Object>>, ReconcileError> {
    if policy == DeletionPolicy::Retain {
        return Ok(Some(Vec::new()));
    }
    let Some(plan) = plan else { return Ok(None) };
    if plan.store != StorePlan::External {
        return Ok(Some(Vec::new()));
    }
    let mut plan = plan.clone();
    plan.ingest.replicas = Replicas::Fixed(0);
    let mut objects = build::objects(&plan, observed, &StoreStep::default())?;
    objects.retain(|object| object.kind == Kind::Job);
    Ok(Some(objects))
}

/// Deletes this very object, not another that has its name by now.
fn this_very(metadata: &ObjectMeta) -> DeleteParams {
    let preconditions = Preconditions { uid: metadata.uid.clone(), resource_version: None };
    DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() }
}

/// Gone already, or another of the same name, is as good.
fn gone<T>(deleted: kube::Result<T>) -> kube::Result<()> {
    match deleted {
        Err(Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
        result => result.map(drop),
    }
}
