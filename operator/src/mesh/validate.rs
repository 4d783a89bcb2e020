//! The spec becomes a plan: defaults that depend on other fields, texts that are parsed, and
//! what the rules of the definition can't say. Pure.

use pulsemesh_crds::PulseMesh;

use super::plan::Plan;

/// What the operator itself sets for all meshes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defaults {
    /// The image of ingest pods that name none.
    pub ingest_image: String,
    /// The domain of the cluster, such as `cluster.local`.
    pub cluster_domain: String,
}

/// Something in the spec that can't be made; the mesh is Stalled until it is changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where, such as `spec.ingest.settings.listen`.
    pub path: String,
    /// What is wrong and what to do.
    pub message: String,
}

/// Reads a mesh.
///
/// # Errors
/// Everything that is wrong with it, at once.
pub fn validate(_mesh: &PulseMesh, _defaults: &Defaults) -> Result<Plan, Vec<Problem>> {
    Err(Vec::new())
}
