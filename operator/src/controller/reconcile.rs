//! One look at one mesh: everything is read, the spec becomes a plan, the store's nodes are asked,
//! the plan becomes objects, what differs is applied, orders are given to nodes, and the status is
//! told last. What needs no node waits for none: see `put_back`. Nothing is remembered from one
//! look to the next.

use std::time::Duration;

use jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::core::{DeserializeGuard, ObjectMeta};
use kube::{Api, Resource, ResourceExt};
use pulsemesh_crds::status::MeshStatus;
use pulsemesh_crds::{DeletionPolicy, PulseMesh};
use serde_json::json;
use tracing::debug;

use super::news;
use super::put_back::LookTurn;
use super::under_way::Look;
use super::worker::{Next, ReconcileError, Worker, chain};
use crate::apply::{self, Applied, ApplyError};
use crate::events::News;
use crate::mesh::names::{FINALIZER, MANAGER};
use crate::mesh::observed::Observed;
use crate::mesh::plan::{Identity, Plan, StorePlan};
use crate::mesh::status::{Facts, status};
use crate::mesh::topology::{self, StoreStep};
use crate::mesh::validate::{Problem, validate};
use crate::mesh::{build, claims, dereference, perform};
use crate::nodes::Nodes;

/// Between looks while nodes of a store come, leave or are away: they tell no watch.
const SETTLING: Duration = Duration::from_secs(2);
/// Between looks at a store whose nodes are all well: one that its peers lose must not serve.
const SETTLED: Duration = Duration::from_secs(30);

/// Between looks at a mesh whose namespace is being deleted. All that a look could do is refused;
/// the deletion of the mesh itself, which comes with that of the namespace, triggers at once.
const NAMESPACE_ENDS: Duration = Duration::from_secs(30);

/// What one look saw.
pub(super) struct Seen {
    pub(super) mesh: PulseMesh,
    pub(super) identity: Identity,
    pub(super) plan: Result<Plan, Vec<Problem>>,
    pub(super) observed: Observed,
}

/// What one look did.
#[derive(Debug, Default)]
struct Work {
    step: StoreStep,
    applied: Applied,
    /// Orders that were given to nodes, in words.
    orders: Vec<String>,
    /// Objects that were changed by them.
    changed: usize,
    /// What was not done, for a person.
    undone: Vec<String>,
    /// Why it was cut short.
    error: Option<ReconcileError>,
}

impl<N: Nodes> Worker<N> {
    /// One look.
    pub(super) async fn look(&self, namespace: &str, name: &str) -> Result<Next, ReconcileError> {
        let look = self.under_way.begin(namespace, name);
        let turn = self.turns.looks.acquire().await.ok();
        let read = self.in_turn(Box::pin(async {
            let read = dereference::mesh(&self.client, namespace, name).await;
            read.map_err(ReconcileError::Read)
        }));
        match read.await? {
            None => Ok(Next::Gone),
            Some(DeserializeGuard(Ok(mesh))) => {
                match Box::pin(self.look_at(mesh, turn, &look)).await {
                    Err(error @ ReconcileError::NamespaceEnds) => {
                        debug!(namespace, name, %error, "leave a mesh as it is");
                        Ok(Next::In(NAMESPACE_ENDS))
                    }
                    looked => looked,
                }
            }
            Some(DeserializeGuard(Err(invalid))) => {
                self.in_turn(Box::pin(self.invalid(&invalid.metadata, &invalid.error))).await
            }
        }
    }

    async fn look_at<'a>(
        &'a self,
        mesh: PulseMesh,
        turn: LookTurn<'a>,
        look: &Look<'_>,
    ) -> Result<Next, ReconcileError> {
        self.hear_of_tenants(&mesh);
        let is_going = mesh.metadata.deletion_timestamp.is_some();
        let seen = self.in_turn(Box::pin(self.see(mesh))).await?;
        if is_going {
            return self.in_turn(Box::pin(self.see_off(&seen))).await;
        }
        let Some((seen, _turn, _nodes)) = Box::pin(self.with_views(seen, turn, look)).await? else {
            return Ok(Next::In(Duration::ZERO));
        };
        let work = match &seen.plan {
            Ok(plan) => self.work(plan, &seen, look).await,
            Err(_) => Work::default(),
        };
        if matches!(work.error, Some(ReconcileError::NamespaceEnds)) {
            return Err(ReconcileError::NamespaceEnds);
        }
        self.in_turn(Box::pin(self.tell(&seen, &work))).await?;
        if let Some(error) = work.error {
            return Err(error);
        }
        if !work.undone.is_empty() {
            return Err(ReconcileError::Incomplete(work.undone.join("; ")));
        }
        Ok(Next::In(self.next_look(&seen, &work)))
    }

    /// Has the tenants of the mesh looked at, which is not waited for.
    fn hear_of_tenants(&self, mesh: &PulseMesh) {
        let (namespace, name) = (mesh.namespace().unwrap_or_default(), mesh.name_any());
        if mesh.spec.ingest.tenants.required {
            self.tenants.mark(&namespace, &name);
        } else {
            self.tenants.mark_if_named(&namespace, &name);
        }
    }

    /// Reads all of a mesh but what nodes say.
    pub(super) async fn see(&self, mesh: PulseMesh) -> Result<Seen, ReconcileError> {
        let identity = identity(&mesh.metadata);
        let plan = validate(&mesh, &self.defaults);
        let observed = self.observe(&identity, plan.as_ref().ok()).await?;
        Ok(Seen { mesh, identity, plan, observed })
    }

    /// Goes on with the deletion of a mesh.
    async fn see_off(&self, seen: &Seen) -> Result<Next, ReconcileError> {
        let Seen { mesh, plan, observed, .. } = seen;
        let policy = mesh.spec.deletion_policy;
        let left = self.delete(&mesh.metadata, policy, plan.as_ref().ok(), observed).await?;
        let Some(waiting) = left else { return Ok(Next::Gone) };
        let step = StoreStep { waiting: Some(waiting), ..StoreStep::default() };
        self.tell(seen, &Work { step, ..Work::default() }).await?;
        Ok(Next::In(SETTLING))
    }

    async fn observe(
        &self,
        mesh: &Identity,
        plan: Option<&Plan>,
    ) -> Result<Observed, ReconcileError> {
        let kinds = self.kinds.get(&self.client).await;
        let observed = dereference::observe(&self.client, mesh, plan, kinds).await;
        observed.map_err(ReconcileError::Read)
    }

    /// Does what is to be done for a valid mesh; nothing while it is paused.
    async fn work(&self, plan: &Plan, seen: &Seen, look: &Look<'_>) -> Work {
        let observed = &seen.observed;
        let mut step = topology::next(plan, observed);
        step.actions.extend(claims::behind(plan, observed).actions);
        let mut work = Work { step, ..Work::default() };
        if !plan.paused
            && let Err(error) = self.make(plan, seen, look, &mut work).await
        {
            work.error = Some(error);
        }
        work
    }

    async fn make(
        &self,
        plan: &Plan,
        seen: &Seen,
        look: &Look<'_>,
        work: &mut Work,
    ) -> Result<(), ReconcileError> {
        let observed = &seen.observed;
        let applied = self.in_turn(Box::pin(async {
            // Before anything that it shall guard is made.
            self.hold(&seen.mesh.metadata).await?;
            let objects = build::objects(plan, observed, &work.step)?;
            Ok(apply::apply(&self.client, &plan.mesh, objects, observed).await)
        }));
        let applied = match applied.await? {
            Err(ApplyError::NamespaceEnds { .. }) => return Err(ReconcileError::NamespaceEnds),
            applied => applied,
        };
        // Also after a failure: orders were decided from what was seen, not from what was written.
        let orders = perform::perform(&self.client, &self.nodes, plan, observed, &work.step);
        let performed = self.beside(look, orders).await;
        if performed.namespace_ends() {
            return Err(ReconcileError::NamespaceEnds);
        }
        work.undone.extend(performed.failure.map(|failure| chain(&failure)));
        work.step.stalled = work.step.stalled.take().or(performed.stalled);
        work.orders = performed.done;
        work.changed = performed.changed;
        work.applied = applied?;
        work.undone.extend(work.applied.refused.iter().cloned());
        work.undone.extend(work.applied.failed.iter().map(|failure| chain(failure)));
        Ok(())
    }

    fn next_look(&self, seen: &Seen, work: &Work) -> Duration {
        let Work { step, orders, changed, .. } = work;
        let plan = seen.plan.as_ref().ok();
        let manages = plan.is_some_and(|plan| matches!(plan.store, StorePlan::Managed(_)));
        let waits = step.waiting.is_some()
            || !step.actions.is_empty()
            || step.joined.values().any(Result::is_err);
        // Where no node runs, the watch of pods tells first what is waited for.
        let asks_nodes = !seen.observed.views.is_empty();
        match manages {
            true if waits && asks_nodes || !orders.is_empty() || *changed > 0 => SETTLING,
            true => SETTLED.min(self.resync),
            false => self.resync,
        }
    }

    /// Puts our finalizer on the mesh if it has none.
    async fn hold(&self, metadata: &ObjectMeta) -> Result<(), ReconcileError> {
        let finalizers = metadata.finalizers.as_deref().unwrap_or_default();
        if finalizers.iter().any(|one| one == FINALIZER) {
            return Ok(());
        }
        let mut finalizers = finalizers.to_vec();
        finalizers.push(FINALIZER.to_owned());
        self.set_finalizers(metadata, &finalizers).await
    }

    /// Writes the finalizers, if the mesh is still as it was read.
    pub(super) async fn set_finalizers(
        &self,
        metadata: &ObjectMeta,
        finalizers: &[String],
    ) -> Result<(), ReconcileError> {
        let patch = json!({"metadata": {
            "uid": metadata.uid,
            "resourceVersion": metadata.resource_version,
            "finalizers": finalizers,
        }});
        let parameters =
            PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let name = metadata.name.as_deref().unwrap_or_default();
        let patched = self.api(metadata).patch(name, &parameters, &Patch::Merge(patch)).await;
        patched.map(drop).map_err(|error| ReconcileError::Mesh("finalizer", error))
    }

    /// Tells how the mesh is, if that is not what it tells already.
    async fn tell(&self, seen: &Seen, work: &Work) -> Result<(), ReconcileError> {
        let Seen { mesh, identity, plan, observed } = seen;
        let failure = match &work.error {
            Some(error) => Some(chain(error)),
            None => (!work.undone.is_empty()).then(|| work.undone.join("; ")),
        };
        let told = status(&Facts {
            mesh,
            plan: plan.as_ref().map_err(Vec::as_slice),
            observed,
            step: &work.step,
            failure: failure.as_deref(),
            changed: work.applied.done.len() + work.changed,
            defaults: &self.defaults,
            now: Timestamp::now(),
        });
        let (namespace, name) = (&identity.namespace, &identity.name);
        self.metrics.count_mesh(namespace, name, &told.conditions);
        let before = mesh.status.clone().unwrap_or_default();
        if told != before {
            self.write_status(&mesh.metadata, &told).await?;
        }
        let orders = work.orders.iter().map(|order| News::normal("Ordered", order.as_str()));
        let news = news::news(&before, &told, &work.applied.done, &observed.objects);
        for news in orders.chain(news) {
            self.events.tell(identity, news).await;
        }
        Ok(())
    }

    pub(super) async fn write_status(
        &self,
        metadata: &ObjectMeta,
        status: &MeshStatus,
    ) -> Result<(), ReconcileError> {
        let name = metadata.name.as_deref().unwrap_or_default();
        let patch = json!({
            "apiVersion": PulseMesh::api_version(&()),
            "kind": PulseMesh::kind(&()),
            // Of another mesh of this name nothing is told.
            "metadata": {"name": name, "uid": metadata.uid},
            "status": status,
        });
        let parameters = PatchParams::apply(MANAGER).force();
        let patched =
            self.api(metadata).patch_status(name, &parameters, &Patch::Apply(patch)).await;
        patched.map(drop).map_err(|error| ReconcileError::Mesh("status", error))
    }

    /// A mesh whose spec can't be read: made by an older definition, or without one.
    async fn invalid(&self, metadata: &ObjectMeta, problem: &str) -> Result<Next, ReconcileError> {
        let identity = identity(metadata);
        if metadata.deletion_timestamp.is_some() {
            let observed = self.observe(&identity, None).await?;
            let left = self.delete(metadata, DeletionPolicy::Retain, None, &observed).await?;
            return Ok(left.map_or(Next::Gone, |_| Next::In(SETTLING)));
        }
        tracing::warn!(namespace = identity.namespace, name = identity.name, "read: {problem}");
        let note = format!("the spec can't be read and nothing is changed: {problem}");
        self.events.tell(&identity, News::warning("Invalid", note)).await;
        self.tell_unreadable(metadata, problem).await?;
        Ok(Next::Invalid)
    }

    /// The meshes of this one's namespace; answers are not read as their type, so that an
    /// invalid one can be written too.
    fn api(&self, metadata: &ObjectMeta) -> Api<DeserializeGuard<PulseMesh>> {
        let namespace = metadata.namespace.as_deref().unwrap_or_default();
        Api::namespaced(self.client.clone(), namespace)
    }
}

/// Which mesh.
pub(super) fn identity(metadata: &ObjectMeta) -> Identity {
    Identity {
        name: metadata.name.clone().unwrap_or_default(),
        namespace: metadata.namespace.clone().unwrap_or_default(),
        uid: metadata.uid.clone().unwrap_or_default(),
        generation: metadata.generation.unwrap_or_default(),
    }
}
