//! What is told of a mesh: conditions, endpoints, counts. Pure; a time changes only with the
//! status of its condition, so that telling the same twice is no difference.

mod conditions;
mod pods;
mod ready;
mod stalled;
#[cfg(test)]
mod tests;
mod work;

use jiff::Timestamp;
use pulsemesh_crds::PulseMesh;
use pulsemesh_crds::status::{Endpoints, MeshStatus, Replicas, Versions};

use self::conditions::{Told, ToldAt};
use self::pods::Counted;
use super::names::{self, CQL_PORT, Component};
use super::observed::Observed;
use super::plan::{Plan, StorePlan};
use super::topology::StoreStep;
use super::validate::{Defaults, LOGIN_VOLUME, Problem};

/// All that a status is made from.
#[derive(Debug)]
pub struct Facts<'a> {
    /// As it was read, with its former status.
    pub mesh: &'a PulseMesh,
    /// What it shall be, or what is wrong with it.
    pub plan: Result<&'a Plan, &'a [Problem]>,
    /// What there was, before anything was applied.
    pub observed: &'a Observed,
    /// The store's step.
    pub step: &'a StoreStep,
    /// What this reconcile could not do, with its reason in words for a person.
    pub failure: Option<&'a str>,
    /// How many objects this reconcile changed.
    pub changed: usize,
    /// What the operator sets for all.
    pub defaults: &'a Defaults,
    /// Now.
    pub now: Timestamp,
}

impl Facts<'_> {
    fn name(&self) -> &str {
        self.mesh.metadata.name.as_deref().unwrap_or_default()
    }

    fn namespace(&self) -> &str {
        self.mesh.metadata.namespace.as_deref().unwrap_or_default()
    }

    fn is_deleted(&self) -> bool {
        self.mesh.metadata.deletion_timestamp.is_some()
    }
}

/// The status; equal to the former one when nothing is to be told.
pub fn status(facts: &Facts<'_>) -> MeshStatus {
    let former = facts.mesh.status.clone().unwrap_or_default();
    let counted = pods::count(facts, &former);
    let told = [
        Told { kind: "Ready", ..ready::told(facts, &counted) },
        Told { kind: "Reconciling", ..work::told(facts, &counted) },
        Told { kind: "Stalled", ..stalled::told(facts) },
    ];
    let told_at = ToldAt { generation: facts.mesh.metadata.generation, now: facts.now };
    let conditions = told.map(|told| conditions::condition(&told_at, &former, told));
    // What a spec that can't be read would say is not known: what runs stays as it was told.
    let plan = facts.plan.ok();
    MeshStatus {
        observed_generation: facts.mesh.metadata.generation,
        conditions: conditions.into(),
        promise: plan.map(|plan| plan.ingest.promise.clone()).or(former.promise),
        endpoints: plan.map(|plan| endpoints(facts, plan)).or(former.endpoints),
        versions: plan.map(versions).or(former.versions),
        ingest: Some(Replicas {
            selector: Some(selector(facts.name())),
            ..replicas(&counted.ingest)
        }),
        store: counted.store.as_ref().map(replicas),
        tenants: match plan {
            Some(plan) if plan.ingest.access.by_tenants => facts.observed.tenants,
            Some(_) => None,
            None => former.tenants,
        },
    }
}

/// The status of a mesh whose spec can't be read: nothing is known of what it shall be, and all
/// else stays as it was told.
pub fn unreadable(
    former: MeshStatus,
    generation: Option<i64>,
    problem: &str,
    now: Timestamp,
) -> MeshStatus {
    const REASON: &str = "InvalidSpec";
    let message = format!("the spec can't be read, and nothing is changed until it can: {problem}");
    let unknown = "whether pulses are stored is not looked at while the spec can't be read";
    let told = [
        Told { kind: "Ready", ..Told::no(REASON, unknown) },
        Told { kind: "Reconciling", ..Told::no(REASON, "nothing is changed") },
        Told { kind: "Stalled", ..Told::yes(REASON, message) },
    ];
    let told_at = ToldAt { generation, now };
    let conditions = told.map(|told| conditions::condition(&told_at, &former, told));
    MeshStatus { observed_generation: generation, conditions: conditions.into(), ..former }
}

fn endpoints(facts: &Facts<'_>, plan: &Plan) -> Endpoints {
    let host = |service: String| {
        format!("{service}.{}.svc.{}", facts.namespace(), facts.defaults.cluster_domain)
    };
    let login = plan.ingest.mounts.iter().find(|mount| mount.volume == LOGIN_VOLUME);
    let is_managed = matches!(plan.store, StorePlan::Managed(_));
    Endpoints {
        ingest: Some(url(facts.mesh, facts.defaults)),
        cql: is_managed.then(|| format!("{}:{CQL_PORT}", host(names::store(facts.name())))),
        credentials_secret: login.map(|mount| mount.secret.clone()),
    }
}

/// Where pulses of a mesh are posted.
pub fn url(mesh: &PulseMesh, defaults: &Defaults) -> String {
    let name = names::ingest(mesh.metadata.name.as_deref().unwrap_or_default());
    let namespace = mesh.metadata.namespace.as_deref().unwrap_or_default();
    let ingest = &mesh.spec.ingest;
    let (scheme, usual) = if ingest.tls.is_some() { ("https", 443) } else { ("http", 80) };
    let host = format!("{scheme}://{name}.{namespace}.svc.{}", defaults.cluster_domain);
    let port = ingest.service.port;
    if port == usual { host } else { format!("{host}:{port}") }
}

fn versions(plan: &Plan) -> Versions {
    Versions {
        operator: Some(env!("CARGO_PKG_VERSION").to_owned()),
        ingest: Some(plan.ingest.image.clone()),
        store: match &plan.store {
            StorePlan::Managed(managed) => Some(managed.image.clone()),
            StorePlan::Embedded | StorePlan::External => None,
        },
    }
}

fn replicas(counted: &Counted) -> Replicas {
    Replicas {
        replicas: counted.there,
        ready_replicas: counted.ready,
        desired_replicas: counted.desired,
        selector: None,
        summary: Some(format!("{}/{}", counted.ready, counted.desired)),
    }
}

/// The selector of ingest pods as text, for an autoscaler of the mesh.
fn selector(mesh: &str) -> String {
    let pairs = names::selector(mesh, Component::Ingest);
    pairs.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}
