//! What tenants would be made of, without a cluster: the Secrets, with words where a key would be.
//! Pure.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use pulsemesh_crds::PulseMesh;
use pulsemesh_crds::tenant::PulseTenant;

use super::file::{File, LeftOut};
use super::keys::KeySecret;
use super::look::secrets;
use super::schemas::{Former, Judge};
use super::{classes_of, sort};
use crate::mesh::status::url;
use crate::mesh::validate::Defaults;

/// In place of a key, and of its hash.
const KEY: &str = "a key that is made once";
const HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The Secrets of the keys of a mesh's tenants, and of the mesh's file.
///
/// # Errors
/// What is wrong with a tenant, each with its name.
pub(crate) fn secrets(
    mesh: &PulseMesh,
    tenants: &mut [PulseTenant],
    defaults: &Defaults,
) -> Result<Vec<Secret>, Vec<String>> {
    let (mut made, mut problems) = (Vec::new(), Vec::new());
    let mut file = File::new(Judge::default(), Former::default(), classes_of(mesh));
    sort(tenants);
    for tenant in tenants.iter() {
        let keys = tenant.spec.keys.iter();
        let url = url(mesh, defaults);
        let keys: Vec<Secret> =
            keys.map(|key| secrets::of_key(tenant, key, &url, (KEY, HASH))).collect();
        let known: Vec<_> = keys.iter().map(|secret| KeySecret::of(&secret.metadata)).collect();
        match file.add(tenant, &known, Timestamp::UNIX_EPOCH) {
            Ok(_) => made.extend(keys),
            Err(LeftOut::Invalid(problem) | LeftOut::Schemas(problem)) => {
                problems.push(format!("{}: {problem}", tenant.name_any()));
            }
            Err(LeftOut::Full) => {
                problems.push(format!("{}: the mesh's file is full", tenant.name_any()));
            }
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let (name, namespace) = (mesh.name_any(), mesh.namespace().unwrap_or_default());
    let text = (file.text(&name, 1), file.tenants);
    made.push(secrets::file(&namespace, &name, &mesh.uid().unwrap_or_default(), text));
    Ok(made)
}
