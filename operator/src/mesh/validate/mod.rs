//! The spec becomes a plan: defaults that depend on other fields, texts that are parsed, and
//! what the rules of the definition can't say. Pure.

mod access;
mod capacity;
mod ingest;
mod known;
mod managed;
mod pod;
mod problems;
mod promise;
mod settings;
mod store;
#[cfg(test)]
mod tests;

use std::fmt;

use pulsemesh_crds::PulseMesh;

pub(super) use self::ingest::DATA_DIR;
use self::problems::Problems;
use self::settings::Settings;
use super::plan::{Identity, Plan, StorePlan};

/// The volume of the files for TLS to a store of somebody else.
pub(super) const TLS_VOLUME: &str = "store-tls";

/// The volume of the login to a store.
pub(super) const LOGIN_VOLUME: &str = "store-login";

/// What the operator itself sets for all meshes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defaults {
    /// The image of ingest pods that name none.
    pub ingest_image: String,
    /// The domain of the cluster, such as `cluster.local`.
    pub cluster_domain: String,
    /// The namespace that the operator runs in; `None` outside a cluster.
    pub operator_namespace: Option<String>,
}

/// Something in the spec that can't be made; the mesh is Stalled until it is changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where, such as `spec.ingest.settings.listen`.
    pub path: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// Reads a mesh.
///
/// # Errors
/// Everything that is wrong with it, at once.
pub fn validate(mesh: &PulseMesh, defaults: &Defaults) -> Result<Plan, Vec<Problem>> {
    let (spec, mut problems) = (&mesh.spec, Problems::default());
    let (identity, mut settings) = (identity(mesh), Settings::default());
    let store = store::read(spec, &identity, defaults, &mut settings, &mut problems);
    if let StorePlan::Managed(managed) = &store.plan {
        let path = if spec.store.scylla.is_some() { "scylla" } else { "cassandra" };
        pod::check(&managed.pod, &format!("spec.store.{path}.pod"), &mut problems);
    }
    let access = access::read(&spec.ingest, &identity, &mut settings, &mut problems);
    let ingest = ingest::plan(spec, (&store, access), defaults, settings, &mut problems);
    let problems = problems.into_all();
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(Plan {
        mesh: identity,
        ingest,
        store: store.plan,
        monitoring: spec.monitoring.clone(),
        deletion: spec.deletion_policy,
        paused: spec.paused,
        operator_namespace: defaults.operator_namespace.clone(),
    })
}

fn identity(mesh: &PulseMesh) -> Identity {
    let meta = &mesh.metadata;
    Identity {
        name: meta.name.clone().unwrap_or_default(),
        namespace: meta.namespace.clone().unwrap_or_default(),
        uid: meta.uid.clone().unwrap_or_default(),
        generation: meta.generation.unwrap_or_default(),
    }
}
