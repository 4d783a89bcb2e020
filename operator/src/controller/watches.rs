//! Tasks that watch and only trigger: each has its own back-off, so that one that fails for ever
//! delays none of the others and no reconcile. Metadata alone; nothing is decided from it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::Resource;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind, PartialObjectMeta};
use kube::runtime::reflector::{ObjectRef, Store, store::Writer};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt};
use pulsemesh_crds::{PulseMesh, PulseTenant};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::{debug, warn};

use crate::health::WatchHealth;
use crate::mesh::names::MANAGER;
use crate::mesh::object::Kind;
use crate::tenants::queue::Due;

/// After the first failure of a watch, and at most; doubled from one to the other.
const BACKOFF_MIN: Duration = Duration::from_millis(500);
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// Part of a pause that is left to chance, so that watches don't come back all at once.
const JITTER: f64 = 0.3;
/// The label that names the mesh of an object.
const INSTANCE: &str = "app.kubernetes.io/instance";

/// What is kept of a mesh: that it is there. Its spec is read anew for each reconcile.
pub(super) type Mesh = PartialObjectMeta<PulseMesh>;
/// Which mesh.
pub(super) type MeshRef = ObjectRef<Mesh>;

/// The meshes that there are. Clones share them.
#[derive(Clone)]
pub(super) struct Meshes {
    writer: Arc<Mutex<Writer<Mesh>>>,
    store: Store<Mesh>,
}

impl Meshes {
    /// None yet.
    pub(super) fn new() -> Self {
        let mut writer = Writer::<Mesh>::new(());
        let store = writer.as_reader();
        writer.apply_watcher_event(&Event::Init);
        writer.apply_watcher_event(&Event::InitDone);
        Self { writer: Arc::new(Mutex::new(writer)), store }
    }

    /// As the queue reads them.
    pub(super) fn store(&self) -> Store<Mesh> {
        self.store.clone()
    }

    /// Those of a namespace, or of all (`""`).
    pub(super) fn within(&self, namespace: &str) -> Vec<MeshRef> {
        let all = self.store.state();
        let within = |mesh: &&Arc<Mesh>| {
            namespace.is_empty() || mesh.namespace().as_deref() == Some(namespace)
        };
        all.iter().filter(within).map(|mesh| ObjectRef::from(mesh.as_ref())).collect()
    }

    fn set(&self, mut mesh: Mesh) {
        // Most of its bytes, and nobody asks for them here.
        mesh.metadata.managed_fields = None;
        mesh.metadata.annotations = None;
        self.write(&Event::Apply(mesh));
    }

    fn remove(&self, mesh: Mesh) {
        self.write(&Event::Delete(mesh));
    }

    fn write(&self, event: &Event<Mesh>) {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner).apply_watcher_event(event);
    }
}

/// What is watched beside the meshes: everything of a required kind, and what it makes.
pub(super) fn watched() -> Vec<ApiResource> {
    fn of<K: Resource>() -> ApiResource {
        let kind = GroupVersionKind::gvk(K::GROUP, K::VERSION, K::KIND);
        ApiResource::from_gvk_with_plural(&kind, K::URL_PATH_SEGMENT)
    }
    let kinds = Kind::ALL.into_iter().filter(|kind| !kind.is_optional());
    kinds
        .map(Kind::resource)
        .chain([of::<Pod>(), of::<PersistentVolumeClaim>(), of::<Secret>()])
        .collect()
}

/// One watch.
pub(super) struct Watch {
    pub(super) client: Client,
    /// The namespace; `""`: all.
    pub(super) namespace: String,
    pub(super) health: WatchHealth,
    pub(super) meshes: Meshes,
    /// The queue; a full one is waited for.
    pub(super) triggers: mpsc::Sender<MeshRef>,
}

impl Watch {
    /// Watches the meshes until the queue is gone.
    pub(super) async fn run_meshes(self) {
        let api: Api<Mesh> = match self.namespace.as_str() {
            "" => Api::all(self.client.clone()),
            namespace => Api::namespaced(self.client.clone(), namespace),
        };
        let mut listed = BTreeSet::new();
        let handle = |event: Event<Mesh>| match event {
            Event::Init => {
                listed.clear();
                Vec::new()
            }
            Event::InitApply(mesh) => {
                listed.insert((mesh.namespace(), mesh.name_any()));
                self.meshes.set(mesh);
                Vec::new()
            }
            Event::InitDone => {
                self.forget_all_but(&std::mem::take(&mut listed));
                self.meshes.within(&self.namespace)
            }
            Event::Apply(mesh) => {
                let reference = ObjectRef::from(&mesh);
                self.meshes.set(mesh);
                vec![reference]
            }
            Event::Delete(mesh) => {
                let reference = ObjectRef::from(&mesh);
                self.meshes.remove(mesh);
                vec![reference]
            }
        };
        self.follow(&api, watcher::Config::default().any_semantic(), handle).await;
    }

    /// Watches objects of meshes until the queue is gone.
    pub(super) async fn run_objects(self, resource: ApiResource) {
        let api: Api<PartialObjectMeta<DynamicObject>> = match self.namespace.as_str() {
            "" => Api::all_with(self.client.clone(), &resource),
            namespace => Api::namespaced_with(self.client.clone(), namespace, &resource),
        };
        let ours = format!("app.kubernetes.io/managed-by={MANAGER}");
        let config = watcher::Config::default().any_semantic().labels(&ours);
        let handle = |event: Event<PartialObjectMeta<DynamicObject>>| match event {
            Event::Init | Event::InitApply(_) => Vec::new(),
            // What has gone while nobody watched can't be known.
            Event::InitDone => self.meshes.within(&self.namespace),
            Event::Apply(object) | Event::Delete(object) => mesh_of(&object).into_iter().collect(),
        };
        self.follow(&api, config, handle).await;
    }

    /// Watches tenants until the queue is gone.
    pub(super) async fn run_tenants(self, due: Arc<Due>) {
        let resource = ApiResource::erase::<PulseTenant>(&());
        let api: Api<DynamicObject> = match self.namespace.as_str() {
            "" => Api::all_with(self.client.clone(), &resource),
            namespace => Api::namespaced_with(self.client.clone(), namespace, &resource),
        };
        let handle = |event: Event<DynamicObject>| match event {
            Event::Init => Vec::new(),
            // What has gone while nobody watched can't be known.
            Event::InitDone => self.meshes.within(&self.namespace),
            Event::InitApply(tenant) | Event::Apply(tenant) | Event::Delete(tenant) => {
                let mesh = tenant.data.pointer("/spec/mesh").and_then(|mesh| mesh.as_str());
                due.mark_named(&tenant.namespace().unwrap_or_default(), mesh.unwrap_or_default());
                Vec::new()
            }
        };
        self.follow(&api, watcher::Config::default().any_semantic(), handle).await;
    }

    /// Triggers what `handle` says. Begins the watch anew after each failure, so that what it
    /// lists proves that it is up.
    async fn follow<K>(
        &self,
        api: &Api<K>,
        config: watcher::Config,
        mut handle: impl FnMut(Event<K>) -> Vec<MeshRef>,
    ) where
        K: kube::Resource + Clone + std::fmt::Debug + Send + 'static,
        K: serde::de::DeserializeOwned,
    {
        let mut pause = BACKOFF_MIN;
        while !self.triggers.is_closed() {
            let mut events = std::pin::pin!(watcher(api.clone(), config.clone()));
            let failure = loop {
                match events.next().await {
                    Some(Ok(event)) => {
                        if matches!(event, Event::InitDone) {
                            self.health.up();
                            pause = BACKOFF_MIN;
                        }
                        for mesh in handle(event) {
                            debug!(%mesh, "triggered");
                            if self.triggers.send(mesh).await.is_err() {
                                return;
                            }
                        }
                    }
                    Some(Err(error)) => break error.to_string(),
                    None => break "it ended".to_owned(),
                }
            };
            self.health.down(&failure);
            warn!(
                resource = api.resource_url(),
                pause_ms = pause.as_millis() as u64,
                "watch: {failure}"
            );
            sleep(pause.mul_f64(1.0 + rand::random::<f64>() * JITTER)).await;
            pause = (pause * 2).min(BACKOFF_MAX);
        }
    }

    fn forget_all_but(&self, listed: &BTreeSet<(Option<String>, String)>) {
        for reference in self.meshes.within(&self.namespace) {
            if !listed.contains(&(reference.namespace.clone(), reference.name.clone()))
                && let Some(mesh) = self.meshes.store.get(&reference)
            {
                self.meshes.remove(mesh.as_ref().clone());
            }
        }
    }
}

/// The mesh that an object belongs to, by its labels.
fn mesh_of(object: &PartialObjectMeta<DynamicObject>) -> Option<MeshRef> {
    let name = object.labels().get(INSTANCE)?;
    Some(ObjectRef::new(name).within(&object.namespace()?))
}
