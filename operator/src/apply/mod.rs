//! Writes what differs, by server-side apply, in the order of kinds, and takes away what is no
//! longer wanted. Decides nothing: `changes` has.

mod changes;
mod differs;
mod quantity;

use kube::api::{
    Api, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions, PropagationPolicy,
};
use kube::core::Status;
use kube::{Client, Error};
use serde_json::json;
use thiserror::Error;
use tracing::{info, warn};

use crate::client::namespace_ends;
use crate::mesh::names::{self, MANAGER};
use crate::mesh::object::{Kind, Object};
use crate::mesh::observed::Observed;
use crate::mesh::plan::Identity;

pub use changes::{Change, changes};
pub use differs::differs;

/// The manager that keeps the replicas of a workload while they pass to an autoscaler.
const HAND_OVER: &str = "pulsemesh-operator-hand-over";

/// What was written.
#[derive(Debug, Default)]
pub struct Applied {
    /// Each write, in order.
    pub done: Vec<Done>,
    /// What the API server will never take as it is, for a person; all else was written.
    pub refused: Vec<String>,
    /// Writes that failed, may succeed later, and hold nothing else up.
    pub failed: Vec<ApplyError>,
}

/// One write that was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// Of which kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// What was done.
    pub what: What,
}

/// What was done to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// It is new.
    Created,
    /// It was changed.
    Updated,
    /// It was changed, its replicas too.
    Scaled {
        /// Before.
        from: i64,
        /// Now.
        to: i64,
    },
    /// It was taken away.
    Deleted,
}

/// Why something was not written.
#[derive(Debug, Error)]
pub enum ApplyError {
    /// An object that can't be written as JSON.
    #[error("write an object as JSON")]
    Json(#[from] serde_json::Error),
    /// Nothing is made any more where this would be; no write after it was tried.
    #[error("{verb} {kind:?} {name} in a namespace that is being deleted")]
    NamespaceEnds {
        /// What was asked.
        verb: &'static str,
        /// Of which kind.
        kind: Kind,
        /// Its name.
        name: String,
    },
    /// The API server did not do it, and may later.
    #[error("{verb} {kind:?} {name}")]
    Request {
        /// What was asked.
        verb: &'static str,
        /// Of which kind.
        kind: Kind,
        /// Its name.
        name: String,
        /// As it came.
        source: Error,
    },
}

/// Makes the cluster have what is wanted. What is refused for good is told in the answer and
/// holds nothing else up.
///
/// # Errors
/// When a request fails that may succeed later, of an object that others need, or when the
/// namespace takes nothing more; what was written before stays written.
pub async fn apply(
    client: &Client,
    mesh: &Identity,
    wanted: Vec<Object>,
    observed: &Observed,
) -> Result<Applied, ApplyError> {
    write_all(client, mesh, changes(wanted, observed, &mesh.uid)?, observed).await
}

/// Does these writes, in their order.
///
/// # Errors
/// As [`apply`].
pub async fn write_all(
    client: &Client,
    mesh: &Identity,
    changes: Vec<Change>,
    observed: &Observed,
) -> Result<Applied, ApplyError> {
    let mut applied = Applied::default();
    for change in changes {
        let (verb, object) = match &change {
            Change::Create(object) => ("create", object),
            Change::Update { object, .. } => ("update", object),
            Change::Delete { object } => ("delete", object),
        };
        let (kind, name) = (object.kind, object.name().to_owned());
        let api = api(client, kind, &mesh.namespace);
        match write(&api, mesh, &change, observed).await {
            Ok(Ok(what)) => {
                info!(mesh = mesh.name, namespace = mesh.namespace, ?kind, name, ?what, "wrote");
                applied.done.push(Done { kind, name, what });
            }
            Ok(Err(refusal)) => applied.refused.push(refusal),
            Err(source) if namespace_ends(&source) => {
                return Err(ApplyError::NamespaceEnds { verb, kind, name });
            }
            Err(source) => match refusal(&source, kind, &name) {
                Some(refusal) => applied.refused.push(refusal),
                None => {
                    let is_relied_on = is_relied_on(object, mesh);
                    let error = ApplyError::Request { verb, kind, name, source };
                    if is_relied_on {
                        return Err(error);
                    }
                    applied.failed.push(error);
                }
            },
        }
    }
    for refusal in &applied.refused {
        warn!(mesh = mesh.name, namespace = mesh.namespace, "refused: {refusal}");
    }
    Ok(applied)
}

/// Whether pods need it to run as wanted. Others often have a webhook of somebody else in front,
/// and one that is down must not keep a mesh from being made.
fn is_relied_on(object: &Object, mesh: &Identity) -> bool {
    match object.kind {
        Kind::ConfigMap => object.name() != names::dashboards(&mesh.name),
        Kind::ServiceAccount | Kind::Service | Kind::StatefulSet | Kind::Deployment | Kind::Job => {
            true
        }
        Kind::NetworkPolicy
        | Kind::PodDisruptionBudget
        | Kind::HorizontalPodAutoscaler
        | Kind::ServiceMonitor
        | Kind::PrometheusRule => false,
    }
}

/// The objects of a kind in a namespace.
pub fn api(client: &Client, kind: Kind, namespace: &str) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), namespace, &kind.resource())
}

type Refusal = String;

async fn write(
    api: &Api<DynamicObject>,
    mesh: &Identity,
    change: &Change,
    observed: &Observed,
) -> Result<Result<What, Refusal>, Error> {
    match change {
        Change::Create(object) => {
            if let Some(other) = api.get_opt(object.name()).await?
                && !changes::is_controlled_by(&other, &mesh.uid)
            {
                return Ok(Err(taken(object)));
            }
            patch(api, object).await?;
            Ok(Ok(What::Created))
        }
        Change::Update { object, hand_over, .. } => {
            if let Some(replicas) = hand_over {
                hand_over_replicas(api, object, *replicas).await?;
            }
            patch(api, object).await?;
            Ok(Ok(scaled(object, observed)))
        }
        Change::Delete { object } => {
            delete(api, &object.value).await?;
            Ok(Ok(What::Deleted))
        }
    }
}

fn taken(object: &Object) -> Refusal {
    let (kind, name) = (object.kind, object.name());
    format!(
        "{kind:?} {name} exists and was not made for this mesh: rename or delete it, or give the \
         mesh another name"
    )
}

async fn patch(api: &Api<DynamicObject>, object: &Object) -> Result<(), Error> {
    let parameters = PatchParams::apply(MANAGER).force();
    api.patch(object.name(), &parameters, &Patch::Apply(&object.value)).await.map(drop)
}

/// Lets another manager have the replicas too, so that they stay when we leave them out.
async fn hand_over_replicas(
    api: &Api<DynamicObject>,
    object: &Object,
    replicas: i64,
) -> Result<(), Error> {
    let types = object.value.types.clone().unwrap_or_default();
    let patch = json!({
        "apiVersion": types.api_version,
        "kind": types.kind,
        "metadata": {"name": object.name()},
        "spec": {"replicas": replicas},
    });
    let parameters = PatchParams::apply(HAND_OVER).force();
    api.patch(object.name(), &parameters, &Patch::Apply(patch)).await.map(drop)
}

fn scaled(object: &Object, observed: &Observed) -> What {
    let live = observed.object(object.kind, object.name());
    let from = live.and_then(|live| changes::replicas(&live.value));
    match (from, changes::replicas(&object.value)) {
        (Some(from), Some(to)) if from != to => What::Scaled { from, to },
        _ => What::Updated,
    }
}

/// Deletes this very object, not another that has its name by now. Gone already is as good.
///
/// # Errors
/// When the request fails.
pub async fn delete(api: &Api<DynamicObject>, object: &DynamicObject) -> Result<(), Error> {
    let parameters = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Background),
        preconditions: Some(Preconditions {
            uid: object.metadata.uid.clone(),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    let name = object.metadata.name.as_deref().unwrap_or_default();
    match api.delete(name, &parameters).await {
        Err(Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
        result => result.map(drop),
    }
}

/// What a person has to know of an answer that will be the same for ever.
fn refusal(error: &Error, kind: Kind, name: &str) -> Option<Refusal> {
    let Error::Api(status) = error else { return None };
    let hint = if is_immutable(status) {
        "; this field can't be changed: set it back, or delete the object and have it made anew"
    } else {
        ""
    };
    (status.is_invalid() || status.code == 400)
        .then(|| format!("{kind:?} {name}: the API server refuses it: {}{hint}", status.message))
}

fn is_immutable(status: &Status) -> bool {
    let texts = ["field is immutable", "updates to statefulset spec for fields other than"];
    texts.iter().any(|text| status.message.contains(text))
}

#[cfg(test)]
mod tests;
