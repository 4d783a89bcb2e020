//! The Kubernetes API of PulseMesh: the types of `pulsemesh.io/v1alpha1`, their defaults and their
//! rules. Whatever a cluster would refuse is refused by these rules, so no webhook is needed.
//! Knows no client and does nothing.

#![allow(unreachable_pub, reason = "the derive writes a second struct for each that it reads")]

pub mod ingest;
pub mod mesh;
pub mod monitoring;
pub mod quantity;
pub mod status;
pub mod store;
pub mod tenant;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

pub use mesh::{DeletionPolicy, PulseMesh, PulseMeshSpec};
pub use tenant::{PulseTenant, PulseTenantSpec};

/// The API group of all kinds.
pub const GROUP: &str = "pulsemesh.io";

/// Every custom resource definition, by the file name under which it is kept.
///
/// # Errors
/// When a definition can't be written as YAML, which a test rules out.
pub fn definitions() -> Result<Vec<(&'static str, String)>, serde_saphyr::ser::Error> {
    Ok(vec![
        ("pulsemesh.io_pulsemeshes.yaml", text(&PulseMesh::crd())?),
        ("pulsemesh.io_pulsetenants.yaml", text(&PulseTenant::crd())?),
    ])
}

/// Through a JSON value, whose maps are sorted: the same definition is always the same text.
fn text(definition: &CustomResourceDefinition) -> Result<String, serde_saphyr::ser::Error> {
    let value = serde_json::to_value(definition).map_err(|error| {
        <serde_saphyr::ser::Error as serde::ser::Error>::custom(error.to_string())
    })?;
    serde_saphyr::to_string(&value)
}

#[cfg(test)]
mod tests;
