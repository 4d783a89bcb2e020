//! Reads all that there is of a mesh, in one place: a number of requests that depends neither on
//! how many objects nor on how many meshes there are. Fresh, never from a cache; decides nothing.
//! What nodes say is asked for apart, because they may take long.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::ListParams;
use kube::core::{DeserializeGuard, DynamicObject, TypeMeta};
use kube::{Api, Client, Error, ResourceExt};
use pulsemesh_crds::PulseMesh;
use tokio::time::timeout;

use super::names;
use super::object::{Kind, Object};
use super::observed::Observed;
use super::plan::{Identity, Plan, StorePlan};
use crate::apply;
use crate::nodes::{NodeRef, Nodes, View};

/// Requests of one mesh at once: enough to hide their latency, few beside other meshes'.
const READS_AT_ONCE: usize = 6;
/// Nodes of one store that are asked at once: each is a connection for a moment.
const NODES_AT_ONCE: usize = 32;
/// For the answer of one node; one that needs longer says nothing. Longer than its own bound,
/// within which it listens for the heartbeats of the others.
const VIEW_TIMEOUT: Duration = Duration::from_secs(26);

/// Reads the mesh itself: `None` where there is none, an error in the guard where its spec can't
/// be read.
///
/// # Errors
/// When the request fails.
pub async fn mesh(
    client: &Client,
    namespace: &str,
    name: &str,
) -> kube::Result<Option<DeserializeGuard<PulseMesh>>> {
    Api::namespaced(client.clone(), namespace).get_opt(name).await
}

/// Reads all else but views; `plan` says which Secrets matter.
///
/// # Errors
/// When a request to the API server fails.
pub async fn observe(
    client: &Client,
    mesh: &Identity,
    plan: Option<&Plan>,
    optional_kinds: BTreeSet<Kind>,
) -> kube::Result<Observed> {
    let managed = plan.and_then(|plan| match &plan.store {
        StorePlan::Managed(managed) => Some(managed),
        _ => None,
    });
    let parameters = ListParams::default().labels(&names::all_of(&mesh.name));
    let pods: Api<Pod> = Api::namespaced(client.clone(), &mesh.namespace);
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &mesh.namespace);
    let (objects, pods, claims, secrets, tenants, growable_classes) = tokio::try_join!(
        objects(client, mesh, &parameters, &optional_kinds),
        pods.list(&parameters),
        claims.list(&parameters),
        secrets(client, mesh, plan),
        tenants(client, mesh, plan),
        async {
            let has_claims = plan.is_some_and(|plan| plan.ingest.claim.is_some());
            if managed.is_none() && !has_claims {
                return Ok(None);
            }
            growable_classes(client).await
        },
    )?;
    Ok(Observed {
        objects,
        pods: pods.items,
        claims: claims.items,
        secrets,
        tenants,
        optional_kinds,
        growable_classes,
        views: BTreeMap::new(),
    })
}

async fn objects(
    client: &Client,
    mesh: &Identity,
    parameters: &ListParams,
    optional_kinds: &BTreeSet<Kind>,
) -> kube::Result<Vec<Object>> {
    let known = |kind: &Kind| !kind.is_optional() || optional_kinds.contains(kind);
    let lists = Kind::ALL.into_iter().filter(known).map(|kind| async move {
        let listed = apply::api(client, kind, &mesh.namespace).list(parameters).await;
        let items = match listed {
            Ok(list) => list.items,
            // Its definition was taken away a moment ago.
            Err(Error::Api(status)) if kind.is_optional() && status.code == 404 => Vec::new(),
            Err(error) => return Err(error),
        };
        Ok(items.into_iter().map(|value| Object { kind, value: typed(kind, value) }).collect())
    });
    let lists: Vec<Vec<Object>> = stream::iter(lists).buffered(READS_AT_ONCE).try_collect().await?;
    Ok(lists.into_iter().flatten().collect())
}

/// Items of a list don't say what they are.
fn typed(kind: Kind, mut value: DynamicObject) -> DynamicObject {
    let resource = kind.resource();
    let types = TypeMeta { api_version: resource.api_version, kind: resource.kind };
    value.types.get_or_insert(types);
    value
}

/// The keys of each Secret that matters; values are dropped here.
async fn secrets(
    client: &Client,
    mesh: &Identity,
    plan: Option<&Plan>,
) -> kube::Result<BTreeMap<String, Option<BTreeSet<String>>>> {
    let Some(plan) = plan else { return Ok(BTreeMap::new()) };
    let mut wanted: BTreeSet<String> =
        plan.ingest.mounts.iter().map(|mount| mount.secret.clone()).collect();
    // It is large, and only how many it names is asked for.
    wanted.remove(&names::tenants(&mesh.name));
    if matches!(plan.store, StorePlan::Managed(_)) {
        wanted.insert(names::credentials(&mesh.name));
    }
    let api: Api<Secret> = Api::namespaced(client.clone(), &mesh.namespace);
    let reads = wanted.into_iter().map(|name| {
        let api = api.clone();
        async move {
            let secret = api.get_opt(&name).await?;
            let keys = secret.map(|secret| secret.data.unwrap_or_default().into_keys().collect());
            Ok((name, keys))
        }
    });
    stream::iter(reads).buffer_unordered(READS_AT_ONCE).try_collect().await
}

/// How many tenants the file that pods mount has.
async fn tenants(
    client: &Client,
    mesh: &Identity,
    plan: Option<&Plan>,
) -> kube::Result<Option<i32>> {
    if !plan.is_some_and(|plan| plan.ingest.access.by_tenants) {
        return Ok(None);
    }
    let api: Api<Secret> = Api::namespaced(client.clone(), &mesh.namespace);
    let secret = api.get_metadata_opt(&names::tenants(&mesh.name)).await?;
    Ok(secret.and_then(|secret| secret.annotations().get(names::TENANT_COUNT)?.parse().ok()))
}

/// Storage classes whose claims can grow; `None` where they may not be read.
async fn growable_classes(client: &Client) -> kube::Result<Option<BTreeSet<String>>> {
    let api: Api<StorageClass> = Api::all(client.clone());
    match api.list(&ListParams::default()).await {
        Ok(list) => {
            let growable = |class: &StorageClass| class.allow_volume_expansion == Some(true);
            let names = list.items.into_iter().filter(growable).filter_map(|c| c.metadata.name);
            Ok(Some(names.collect()))
        }
        Err(Error::Api(status)) if status.is_forbidden() => Ok(None),
        Err(error) => Err(error),
    }
}

/// The running nodes of the store, each with the uid of its pod; none of a store that the operator
/// does not run.
pub fn nodes(plan: &Plan, pods: &[Pod]) -> Vec<(Option<String>, NodeRef)> {
    if !matches!(plan.store, StorePlan::Managed(_)) {
        return Vec::new();
    }
    let node = |pod: &Pod| Some((pod.metadata.uid.clone(), node(&plan.mesh, pod)?));
    pods.iter().filter_map(node).collect()
}

/// What each of these nodes says, by its pod's name. One that does not answer is no error.
pub async fn views<N: Nodes>(
    nodes: &N,
    asked: Vec<NodeRef>,
) -> BTreeMap<String, Result<View, String>> {
    let views = asked.into_iter().map(|node| async move {
        let view = match timeout(VIEW_TIMEOUT, nodes.view(&node)).await {
            Ok(view) => view.map_err(|error| error.to_string()),
            Err(_) => Err(format!("no answer within {} s", VIEW_TIMEOUT.as_secs())),
        };
        (node.pod, view)
    });
    stream::iter(views).buffer_unordered(NODES_AT_ONCE).collect().await
}

/// The node in a pod of the store; `None` for other pods, and those that don't run.
fn node(mesh: &Identity, pod: &Pod) -> Option<NodeRef> {
    let component = pod.metadata.labels.as_ref()?.get("app.kubernetes.io/component")?;
    let status = pod.status.as_ref()?;
    let runs =
        component == names::Component::Store.as_str() && status.phase.as_deref() == Some("Running");
    let address = status.pod_ip.as_ref().filter(|_| runs)?.parse().ok()?;
    Some(NodeRef {
        namespace: mesh.namespace.clone(),
        pod: pod.metadata.name.clone()?,
        address,
        credentials: names::credentials(&mesh.name),
    })
}
