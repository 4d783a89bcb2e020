//! The names and labels of all that is made for a mesh. Other programs and people rely on them:
//! they never change.

use std::collections::BTreeMap;

/// The field manager of everything that is applied.
pub const MANAGER: &str = "pulsemesh-operator";
/// On a mesh: ingest has to drain and the store to stop before it is gone.
pub const FINALIZER: &str = "pulsemesh.io/ordered-deletion";
/// On every object: a hash of what was applied. A field that is no longer wanted shows by it.
pub const APPLIED: &str = "pulsemesh.io/applied";
/// On a pod template of the store: a hash of the part of the spec that it was made from. An
/// operator of a newer version restarts no node while it is the same.
pub const MADE_FROM: &str = "pulsemesh.io/made-from";
/// On a pod template of the store: a hash of the whole of it. Another one for the same
/// `MADE_FROM` means that an operator of another version made it.
pub const RENDERED: &str = "pulsemesh.io/rendered";
/// On a pod of the store and its StatefulSet: the rack.
pub const RACK: &str = "pulsemesh.io/rack";
/// On a claim of the store: the host id of the node whose data it holds.
pub const HOST_ID: &str = "pulsemesh.io/host-id";
/// On a claim of the store: the host id of the node that was told to hand its data over. A leave
/// that was begun is finished, whatever is wished by then.
pub const LEAVING: &str = "pulsemesh.io/leaving";
/// On a claim of the store: the host id and the uid of the pod whose node has left the ring, as
/// another node has said. Its data is no longer of the ring.
pub const LEFT: &str = "pulsemesh.io/left";
/// On a claim of the store: for how many copies of each row its data is complete.
pub const COMPLETE_FOR: &str = "pulsemesh.io/complete-for-copies";
/// Condition of a store's pod: its peers see it up, so it may serve. A readiness gate.
pub const JOINED: &str = "pulsemesh.io/joined";

/// On a pod template of ingest: a hash of the settings file, so that other settings are other
/// pods.
pub const SETTINGS: &str = "pulsemesh.io/settings";
/// On a Job that drains a log: the uid of the claim that the log is in.
pub const CLAIM: &str = "pulsemesh.io/claim";
/// The name of the claim template of a store's StatefulSet.
pub const STORE_CLAIM: &str = "data";

/// The file of tenants in its Secret.
pub const TENANTS_FILE: &str = "tenants.yaml";
/// On the Secret with the file of tenants: how many are in it.
pub const TENANT_COUNT: &str = "pulsemesh.io/tenants";
/// Label of the Secret of a key: whose it is.
pub const TENANT: &str = "pulsemesh.io/tenant";
/// Label of the Secret of a key: the key's name.
pub const TENANT_KEY: &str = "pulsemesh.io/key";
/// On the Secret of a key: its hash, so that nobody has to read the key itself.
pub const KEY_HASH: &str = "pulsemesh.io/sha256";
/// On the Secret of a key: the URL in it.
pub const KEY_URL: &str = "pulsemesh.io/url";
/// On the Secret of a key, set by a person: replace the key, and let the former one be good for
/// this time, such as `1h`.
pub const ROTATE: &str = "pulsemesh.io/rotate";
/// On the Secret of a key: the hash of the former key, and until when it is good.
pub const FORMER_KEY: &str = "pulsemesh.io/former-key";

/// The port of clients and the port of the platform, in every ingest pod.
pub const HTTP_PORT: i32 = 8080;
/// Metrics and probes of every ingest pod.
pub const ADMIN_PORT: i32 = 8081;
/// Where a node of the store speaks CQL.
pub const CQL_PORT: i32 = 9042;

/// The volume of an ingest pod that its claim is named after.
pub const CLAIM_TEMPLATE: &str = "data";

/// Which part of a mesh an object belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Component {
    /// The pods that accept pulses.
    Ingest,
    /// The nodes of the store.
    Store,
}

impl Component {
    /// As the label `app.kubernetes.io/component` says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Store => "store",
        }
    }
}

/// The name of everything of ingest: workload, Service, ConfigMap, ServiceAccount, …
pub fn ingest(mesh: &str) -> String {
    format!("{mesh}-ingest")
}

/// The headless Service of ingest, which gives the pods of a StatefulSet their names and leads
/// to metrics; no client is meant to use it.
pub fn ingest_admin(mesh: &str) -> String {
    format!("{mesh}-ingest-admin")
}

/// The claim of an ingest pod.
pub fn ingest_claim(mesh: &str, ordinal: i32) -> String {
    format!("{CLAIM_TEMPLATE}-{}-{ordinal}", ingest(mesh))
}

/// The Job that drains what the claim of an ingest pod still holds; `made_from` tells those of
/// different settings apart, since a Job can't be changed.
pub fn drain(mesh: &str, ordinal: i32, made_from: u32) -> String {
    format!("{mesh}-ingest-drain-{ordinal}-{made_from:08x}")
}

/// The ConfigMap of Grafana's dashboards.
pub fn dashboards(mesh: &str) -> String {
    format!("{mesh}-dashboards")
}

/// The name of what all racks of the store share: headless Service, ConfigMap, ServiceAccount, …
pub fn store(mesh: &str) -> String {
    format!("{mesh}-store")
}

/// The StatefulSet of a rack.
pub fn rack(mesh: &str, rack: &str) -> String {
    format!("{mesh}-store-{rack}")
}

/// The pod of a rack with this ordinal.
pub fn store_pod(mesh: &str, rack: &str, ordinal: i32) -> String {
    format!("{}-{ordinal}", self::rack(mesh, rack))
}

/// The claim of a pod of the store; as its StatefulSet makes it.
pub fn store_claim(pod: &str) -> String {
    format!("{STORE_CLAIM}-{pod}")
}

/// The Secret of the login to a store that the operator runs: `username` and `password`.
pub fn credentials(mesh: &str) -> String {
    format!("{mesh}-store-credentials")
}

/// The Secret with the file of tenants, which the pods of a mesh mount.
pub fn tenants(mesh: &str) -> String {
    format!("{mesh}-tenants")
}

/// The Secret of a tenant's key: `api-key` and `url`.
pub fn tenant_key(tenant: &str, key: &str) -> String {
    format!("{tenant}-{key}")
}

/// What selects the pods of a component; part of `labels`, and immutable in a workload.
pub fn selector(mesh: &str, component: Component) -> BTreeMap<String, String> {
    [
        ("app.kubernetes.io/name", "pulsemesh"),
        ("app.kubernetes.io/instance", mesh),
        ("app.kubernetes.io/component", component.as_str()),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

/// What every object of a component carries.
pub fn labels(mesh: &str, component: Component) -> BTreeMap<String, String> {
    let mut labels = selector(mesh, component);
    labels.insert("app.kubernetes.io/managed-by".to_owned(), MANAGER.to_owned());
    labels.insert("app.kubernetes.io/part-of".to_owned(), "pulsemesh".to_owned());
    labels
}

/// What the pods of drain Jobs carry: found with all others of the mesh, and selected by no Service
/// of ingest.
pub fn drain_labels(mesh: &str) -> BTreeMap<String, String> {
    let mut labels = labels(mesh, Component::Ingest);
    labels.insert("app.kubernetes.io/name".to_owned(), "pulsemesh-drain".to_owned());
    labels
}

/// What finds all objects of a mesh, whatever their component, as a label selector.
pub fn all_of(mesh: &str) -> String {
    format!("app.kubernetes.io/instance={mesh},app.kubernetes.io/managed-by={MANAGER}")
}
