//! What is told of a tenant: whether its keys are good, and what to do where they are not. Pure; a
//! time changes only with the status of its condition.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::ResourceExt;
use pulsemesh_crds::tenant::{PulseTenant, TenantStatus};

use super::MeshSeen;
use super::file::{FILE_BYTES_MAX, LeftOut};
use crate::mesh::names;

/// How it went with a tenant of a mesh that needs keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Its keys are in the file; what a person should know all the same.
    InFile(Option<String>),
    /// The same, with the schemas that pods had before: what is wrong with its own.
    FormerSchemas(String),
    /// It is not.
    LeftOut(LeftOut),
    /// The Secret of a key was made for another.
    Taken(String),
    /// Some keys are still to be made.
    Waiting,
    /// The mesh is paused, and its file says something else.
    Paused,
    /// The Secret of the file was made for another.
    FileTaken,
}

/// The status; equal to the former one when nothing is to be told.
pub(super) fn status(
    tenant: &PulseTenant,
    mesh: &MeshSeen,
    outcome: &Outcome,
    now: Timestamp,
) -> TenantStatus {
    let (is_ready, reason, message) = told(tenant, mesh, outcome);
    let former = tenant.status.clone().unwrap_or_default();
    let status = if is_ready { "True" } else { "False" };
    let same = former.conditions.iter().find(|it| it.type_ == "Ready" && it.status == status);
    let condition = Condition {
        type_: "Ready".to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message,
        last_transition_time: same
            .map_or_else(|| Time(whole_second(now)), |it| it.last_transition_time.clone()),
        observed_generation: tenant.metadata.generation,
    };
    let name = tenant.name_any();
    let secrets = tenant.spec.keys.iter().map(|key| names::tenant_key(&name, &key.name));
    let is_in_file = matches!(outcome, Outcome::InFile(_) | Outcome::FormerSchemas(_));
    let has_secrets = is_in_file && is_closed(mesh);
    TenantStatus {
        observed_generation: tenant.metadata.generation,
        conditions: vec![condition],
        secrets: if has_secrets { secrets.collect() } else { former.secrets },
    }
}

fn is_closed(mesh: &MeshSeen) -> bool {
    matches!(mesh, MeshSeen::Closed(_))
}

type Told = (bool, &'static str, String);

fn told(tenant: &PulseTenant, mesh: &MeshSeen, outcome: &Outcome) -> Told {
    let name = &tenant.spec.mesh;
    match no_keys(name, mesh) {
        Some((reason, message)) => (false, reason, message),
        None => told_with_keys(tenant, outcome),
    }
}

/// Why nobody has a key in this mesh.
fn no_keys(name: &str, mesh: &MeshSeen) -> Option<(&'static str, String)> {
    Some(match mesh {
        MeshSeen::Missing => {
            let message = format!(
                "there is no PulseMesh {name} in this namespace: make it, or make a PulseTenant \
                 with another spec.mesh"
            );
            ("MeshMissing", message)
        }
        MeshSeen::Deleting => ("MeshDeleting", format!("PulseMesh {name} is being deleted")),
        MeshSeen::Unreadable => {
            ("MeshInvalid", format!("the spec of PulseMesh {name} can't be read: mend it"))
        }
        MeshSeen::Open => {
            let message = format!(
                "PulseMesh {name} is open to everybody, without keys: set \
                 spec.ingest.tenants.required of it to true"
            );
            ("MeshOpen", message)
        }
        MeshSeen::Closed(_) => return None,
    })
}

fn told_with_keys(tenant: &PulseTenant, outcome: &Outcome) -> Told {
    let name = &tenant.spec.mesh;
    let no = |reason, message: String| (false, reason, message);
    match outcome {
        Outcome::LeftOut(LeftOut::Invalid(problem)) => no("Invalid", problem.clone()),
        Outcome::LeftOut(LeftOut::Schemas(problem)) => {
            let message = format!(
                "spec.schemas: {problem}; until it is mended nobody may send for the tenant"
            );
            no("SchemasInvalid", message)
        }
        Outcome::FormerSchemas(problem) => {
            let message = format!(
                "spec.schemas: {problem}; until it is mended pods go on with the schemas that the \
                 tenant had before"
            );
            no("SchemasInvalid", message)
        }
        Outcome::LeftOut(LeftOut::Full) => {
            let message = format!(
                "the tenants of mesh {name} fill its file of {FILE_BYTES_MAX} bytes: delete some, \
                 or give this one another mesh"
            );
            no("MeshFull", message)
        }
        Outcome::Taken(secret) => {
            let message = format!(
                "Secret {secret} exists and was not made for this tenant: delete it, or give the \
                 key another name"
            );
            no("SecretTaken", message)
        }
        Outcome::FileTaken => {
            let message = format!(
                "Secret {} exists and was not made for mesh {name}: delete it",
                names::tenants(name)
            );
            no("SecretTaken", message)
        }
        Outcome::Waiting => no("MakingKeys", "keys are being made".to_owned()),
        Outcome::Paused => {
            let message = format!(
                "PulseMesh {name} is paused, and so are its tenants: they are as they were"
            );
            no("MeshPaused", message)
        }
        Outcome::InFile(_) if tenant.spec.keys.is_empty() => no(
            "NoKeys",
            "the tenant has no key, so nobody may send for it: add spec.keys".to_owned(),
        ),
        Outcome::InFile(hint) => {
            let message = format!("pods of mesh {name} know its keys, new ones within two minutes");
            let hint = hint.iter().map(|hint| format!("; {hint}"));
            (true, "Known", [message].into_iter().chain(hint).collect())
        }
    }
}

/// As an API server keeps times.
fn whole_second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}
