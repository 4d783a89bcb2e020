//! The tenants of a mesh: from `PulseTenant` resources to Secrets with keys, the file that ingest
//! pods mount, and what is told of each. Apart from the looks at meshes, so that neither many
//! tenants nor a definition that is missing holds up a mesh. Never reads a key: the Secret of each
//! carries its hash.

mod file;
mod keys;
mod look;
pub(crate) mod preview;
pub(crate) mod queue;
mod schemas;
mod status;
#[cfg(test)]
mod tests;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use pulsemesh_crds::PulseMesh;
use pulsemesh_crds::tenant::PulseTenant;
use pulsemesh_runtime::retention::RetentionClasses;

pub(crate) use look::TenantWorker;

/// The label that finds the Secrets of tenants.
const COMPONENT: &str = "app.kubernetes.io/component";
/// What it says.
const TENANTS: &str = "tenants";

/// What there is of a mesh that matters to its tenants.
#[derive(Debug, Clone, PartialEq, Eq)]
enum MeshSeen {
    /// There is none of this name.
    Missing,
    /// It goes.
    Deleting,
    /// Its spec can't be read.
    Unreadable,
    /// Nobody needs a key.
    Open,
    /// Every request needs one.
    Closed(Closed),
}

/// A mesh that needs keys.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Closed {
    uid: String,
    /// Where pulses are posted.
    url: String,
    /// Nothing of the mesh is changed.
    paused: bool,
    /// Into how many parts the limits are divided.
    pods: i64,
    /// Its retention classes; `None`: its settings can't be read, and its pods have others.
    classes: Option<RetentionClasses>,
}

/// The retention classes of a mesh's pods.
fn classes_of(mesh: &PulseMesh) -> Option<RetentionClasses> {
    let text = mesh.spec.ingest.settings.get("retention-classes").map_or("", String::as_str);
    RetentionClasses::parse(text).ok()
}

/// All that there is, read in one go.
#[derive(Debug)]
struct Seen {
    mesh: MeshSeen,
    /// Those that name the mesh, in the order in which they were made; `None` where the cluster
    /// does not know the kind.
    tenants: Option<Vec<PulseTenant>>,
    /// The Secrets of keys in the namespace.
    keys: Vec<keys::KeySecret>,
    /// The Secret of the file.
    file: Option<Secret>,
    now: Timestamp,
}

/// Oldest first, so that one that is new never pushes another out of the file.
fn sort(tenants: &mut [PulseTenant]) {
    tenants.sort_by_cached_key(|tenant| {
        (tenant.creation_timestamp().map(|time| time.0), tenant.name_any())
    });
}
