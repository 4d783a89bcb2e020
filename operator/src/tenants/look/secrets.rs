//! The Secrets that a look writes: those of keys, and that of the file. A key is in memory only
//! while its Secret is made, and in nothing that is printed.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Error, Resource, ResourceExt};
use pulsemesh_crds::PulseMesh;
use pulsemesh_crds::tenant::{Key, PulseTenant};
use pulsemesh_runtime::api_key::ApiKey;
use serde_json::{Value, json};
use tracing::info;

use super::super::keys::KeySecret;
use super::super::{COMPONENT, Seen, TENANTS};
use super::{LookError, TenantWorker};
use crate::mesh::names::{
    self, FORMER_KEY, KEY_HASH, KEY_URL, MANAGER, ROTATE, TENANT, TENANT_COUNT, TENANT_KEY,
    TENANTS_FILE,
};

/// The label that names the mesh of an object.
const INSTANCE: &str = "app.kubernetes.io/instance";

impl TenantWorker {
    /// Makes a key with its Secret; `None` where there is one of the name that is not ours.
    pub(super) async fn make(
        &self,
        tenant: &PulseTenant,
        key: &Key,
        url: &str,
    ) -> Result<Option<KeySecret>, LookError> {
        let api = self.secrets(tenant);
        let name = names::tenant_key(&tenant.name_any(), &key.name);
        let failed = |error| LookError::Write(format!("Secret {name}"), error);
        // Not listed with ours: a write each time would be refused each time.
        if api.get_metadata_opt(&name).await.map_err(failed)?.is_some() {
            return Ok(None);
        }
        let api_key = ApiKey::generate()?;
        let secret = of_key(tenant, key, url, (api_key.reveal(), &api_key.sha256()));
        let parameters =
            PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        match api.create(&parameters, &secret).await {
            Ok(made) => {
                info!(tenant = tenant.name_any(), secret = name, "made a key");
                Ok(Some(KeySecret::of(&made.metadata)))
            }
            Err(Error::Api(status)) if status.is_already_exists() => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    /// Puts another key into a Secret, if it is still as it was read. One write: the former key's
    /// hash is in it, or the former key itself still is.
    pub(super) async fn rotate(
        &self,
        tenant: &PulseTenant,
        secret: &KeySecret,
        grace: Duration,
    ) -> Result<KeySecret, LookError> {
        let api_key = ApiKey::generate()?;
        let until = Timestamp::now().checked_add(grace).unwrap_or(Timestamp::MAX);
        let until = Timestamp::from_second(until.as_second()).unwrap_or(until);
        let former = secret.hash.as_ref().map(|hash| format!("{hash} {until}"));
        let patch = json!({
            "metadata": {
                "uid": secret.uid,
                "resourceVersion": secret.version,
                "annotations": {KEY_HASH: api_key.sha256(), FORMER_KEY: former, ROTATE: null},
            },
            "data": {"api-key": bytes(api_key.reveal())},
        });
        let made = self.merge(tenant, secret, patch).await?;
        info!(tenant = tenant.name_any(), secret = secret.name, "replaced a key");
        Ok(KeySecret::of(&made.metadata))
    }

    /// Tells another URL.
    pub(super) async fn move_to(
        &self,
        tenant: &PulseTenant,
        secret: &KeySecret,
        url: &str,
    ) -> Result<(), LookError> {
        let patch = json!({
            "metadata": {"uid": secret.uid, "annotations": {KEY_URL: url}},
            "data": {"url": bytes(url)},
        });
        self.merge(tenant, secret, patch).await.map(drop)
    }

    async fn merge(
        &self,
        tenant: &PulseTenant,
        secret: &KeySecret,
        patch: Value,
    ) -> Result<Secret, LookError> {
        let parameters =
            PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let (api, patch) = (self.secrets(tenant), Patch::Merge(patch));
        let patched = api.patch(&secret.name, &parameters, &patch).await;
        patched.map_err(|error| LookError::Write(format!("Secret {}", secret.name), error))
    }

    /// Takes the Secret of a key away that is no longer wanted.
    pub(super) async fn take_key_away(
        &self,
        tenant: &PulseTenant,
        secret: &KeySecret,
    ) -> Result<(), LookError> {
        info!(tenant = tenant.name_any(), secret = secret.name, "take a key away");
        delete(&self.secrets(tenant), &secret.name, Some(secret.uid.clone())).await
    }

    /// Takes the file of a mesh away that needs no keys any more: one that closes again must not
    /// begin with keys that are no longer good.
    pub(super) async fn take_file_away(
        &self,
        namespace: &str,
        mesh: &str,
        seen: &Seen,
    ) -> Result<(), LookError> {
        let is_ours = |secret: &&Secret| secret.annotations().contains_key(TENANT_COUNT);
        let Some(secret) = seen.file.as_ref().filter(is_ours) else { return Ok(()) };
        let api = Api::namespaced(self.client.clone(), namespace);
        delete(&api, &names::tenants(mesh), secret.uid()).await
    }

    fn secrets(&self, tenant: &PulseTenant) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &tenant.namespace().unwrap_or_default())
    }
}

async fn delete(api: &Api<Secret>, name: &str, uid: Option<String>) -> Result<(), LookError> {
    let preconditions = Some(Preconditions { uid, resource_version: None });
    let parameters = DeleteParams { preconditions, ..DeleteParams::default() };
    match api.delete(name, &parameters).await {
        Err(Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
        deleted => deleted
            .map(drop)
            .map_err(|error| LookError::Write(format!("the end of Secret {name}"), error)),
    }
}

fn bytes(text: &str) -> ByteString {
    ByteString(text.as_bytes().to_vec())
}

fn labels(mesh: &str) -> BTreeMap<String, String> {
    let pairs = [
        ("app.kubernetes.io/name", "pulsemesh"),
        ("app.kubernetes.io/part-of", "pulsemesh"),
        ("app.kubernetes.io/managed-by", MANAGER),
        (INSTANCE, mesh),
        (COMPONENT, TENANTS),
    ];
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

/// The Secret of a key that is new.
pub(in crate::tenants) fn of_key(
    tenant: &PulseTenant,
    key: &Key,
    url: &str,
    (api_key, hash): (&str, &str),
) -> Secret {
    let name = names::tenant_key(&tenant.name_any(), &key.name);
    let mut metadata = key_metadata(tenant, name, &key.name);
    let annotations = [(KEY_HASH, hash), (KEY_URL, url)];
    let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    metadata.annotations = Some(annotations.map(owned).into());
    let data = [("api-key", bytes(api_key)), ("url", bytes(url))];
    Secret {
        metadata,
        data: Some(data.map(|(key, value)| (key.to_owned(), value)).into()),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    }
}

fn key_metadata(tenant: &PulseTenant, name: String, key: &str) -> ObjectMeta {
    let mut labels = labels(&tenant.spec.mesh);
    labels.insert(TENANT.to_owned(), tenant.name_any());
    labels.insert(TENANT_KEY.to_owned(), key.to_owned());
    ObjectMeta {
        name: Some(name),
        namespace: tenant.namespace(),
        labels: Some(labels),
        owner_references: Some(vec![OwnerReference {
            api_version: PulseTenant::api_version(&()).into_owned(),
            kind: PulseTenant::kind(&()).into_owned(),
            name: tenant.name_any(),
            uid: tenant.uid().unwrap_or_default(),
            controller: Some(true),
            block_owner_deletion: None,
        }]),
        ..ObjectMeta::default()
    }
}

/// The Secret of the file, as it is applied.
pub(in crate::tenants) fn file(
    namespace: &str,
    mesh: &str,
    uid: &str,
    (text, tenants): (String, i32),
) -> Secret {
    Secret {
        metadata: ObjectMeta {
            name: Some(names::tenants(mesh)),
            namespace: Some(namespace.to_owned()),
            labels: Some(labels(mesh)),
            annotations: Some([(TENANT_COUNT.to_owned(), tenants.to_string())].into()),
            owner_references: Some(vec![OwnerReference {
                api_version: PulseMesh::api_version(&()).into_owned(),
                kind: PulseMesh::kind(&()).into_owned(),
                name: mesh.to_owned(),
                uid: uid.to_owned(),
                controller: Some(true),
                block_owner_deletion: None,
            }]),
            ..ObjectMeta::default()
        },
        data: Some([(TENANTS_FILE.to_owned(), ByteString(text.into_bytes()))].into()),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    }
}

/// Whether the Secret of the file is there for this mesh, or not at all.
pub(super) fn is_of(live: Option<&Secret>, uid: &str) -> bool {
    live.is_none_or(|live| live.owner_references().iter().any(|owner| owner.uid == uid))
}

/// Whether the Secret of the file is not as it should be.
pub(super) fn differs(live: Option<&Secret>, wanted: &Secret) -> bool {
    let Some(live) = live else { return true };
    let has = |live: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>| {
        wanted.iter().all(|(key, value)| live.get(key) == Some(value))
    };
    live.data != wanted.data
        || !has(live.labels(), wanted.labels())
        || !has(live.annotations(), wanted.annotations())
}
