//! The pods that accept pulses.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Affinity, ResourceRequirements, Toleration, TopologySpreadConstraint,
};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::quantity::Size;
use crate::store::SecretName;

/// The pods that accept pulses.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ingest {
    /// How many pods; not used while `autoscaling` is set.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 500))]
    pub replicas: i32,
    /// Lets a HorizontalPodAutoscaler choose how many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscaling: Option<Autoscaling>,
    /// The image; the operator's own version unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,
    /// What each pod may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// What a `202` means unless a request asks otherwise.
    #[serde(default)]
    pub ack: Ack,
    /// Pulses that only memory holds (`ack: Memory`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub buffer: Option<Buffer>,
    /// How pulses are written to the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<Batch>,
    /// Where pulses lie until they are stored.
    #[serde(default)]
    pub log: Log,
    /// How clients reach the pods.
    #[serde(default)]
    pub service: Service,
    /// Who may use the mesh.
    #[serde(default)]
    pub tenants: Tenants,
    /// Encrypts what clients send; without it they speak HTTP in the clear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ServerTls>,
    /// Counts the limits of tenants over all pods; without it each pod gives its share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redis: Option<Redis>,
    /// Where the pods run.
    #[serde(default)]
    pub pod: Pod,
    /// More settings of `pulsemesh-ingest`, by the names of its settings file; one that the
    /// operator sets itself is refused.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub settings: BTreeMap<String, String>,
}

impl Default for Ingest {
    fn default() -> Self {
        Self {
            replicas: one(),
            autoscaling: None,
            image: None,
            resources: None,
            ack: Ack::default(),
            buffer: None,
            batch: None,
            log: Log::default(),
            service: Service::default(),
            tenants: Tenants::default(),
            tls: None,
            redis: None,
            pod: Pod::default(),
            settings: BTreeMap::new(),
        }
    }
}

fn one() -> i32 {
    1
}

/// Between how many pods a HorizontalPodAutoscaler chooses, and by what.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.minReplicas <= self.maxReplicas")
    .message("minReplicas is above maxReplicas"))]
pub struct Autoscaling {
    /// The fewest pods.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 500))]
    pub min_replicas: i32,
    /// The most pods.
    #[schemars(range(min = 1, max = 500))]
    pub max_replicas: i32,
    /// Share of the requested processor time, in percent, that is aimed at.
    #[serde(default = "seventy")]
    #[schemars(range(min = 1, max = 1000))]
    pub target_cpu_percent: i32,
}

fn seventy() -> i32 {
    70
}

/// What an answer means.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ack {
    /// Queued in memory: lost with the container.
    Memory,
    /// In the log, synced.
    #[default]
    Durable,
    /// Written by the store.
    Stored,
}

/// Pulses that only memory holds.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Buffer {
    /// Most pulses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000_000))]
    pub pulses: Option<i64>,
    /// Most bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
    /// What happens beyond.
    #[serde(default)]
    pub overflow: Overflow,
}

/// What happens to a pulse that the buffer has no room for.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Overflow {
    /// It is refused with 503.
    #[default]
    Refuse,
    /// It is answered 202, dropped and counted.
    Drop,
}

/// How pulses are written to the store.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Batch {
    /// Most pulses at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub size: Option<i32>,
    /// Longest wait for a batch to fill, such as `100ms`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[1-9][0-9]*(ms|s)$"))]
    pub interval: Option<String>,
    /// Batches written at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 256))]
    pub workers: Option<i32>,
}

/// Where pulses lie until they are stored.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(
        "!has(self.storage) || \
         quantity(self.storage.size).compareTo(quantity(self.budget).add(quantity(self.budget))) \
         >= 0"
    )
    .message("log.storage.size is below twice log.budget: the log, dead letters and the room that \
              is kept free lie in it"),
    validation = Rule::new("has(self.storage) == has(oldSelf.storage)")
        .message("log.storage can't be added or taken away: the pods would lose their logs; make \
                  another mesh")
)]
pub struct Log {
    /// Most bytes that the store has not taken yet; beyond, 503.
    #[serde(default = "gibibyte")]
    pub budget: Size,
    /// A claim for each pod, so that the log survives the loss of a node. Without it the log
    /// survives a crash of the container, not the loss of its node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<Storage>,
}

impl Default for Log {
    fn default() -> Self {
        Self { budget: gibibyte(), storage: None }
    }
}

fn gibibyte() -> Size {
    Size::from("1Gi")
}

/// A claim.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("quantity(self.size).compareTo(quantity(oldSelf.size)) >= 0")
        .message("a claim can grow and never shrink"),
    validation = Rule::new(
        "has(self.storageClassName) == has(oldSelf.storageClassName) && \
         (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)"
    )
    .message("the storage class of claims that exist can't be changed")
)]
pub struct Storage {
    /// How much each pod gets.
    pub size: Size,
    /// From which class; the cluster's default unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,
}

/// How clients reach the pods.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Service {
    /// Of which type it is.
    #[serde(default, rename = "type")]
    pub kind: ServiceType,
    /// The port that clients use.
    #[serde(default = "http_port")]
    #[schemars(range(min = 1, max = 65_535))]
    pub port: i32,
    /// Annotations, such as a cloud's load balancer wants.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Default for Service {
    fn default() -> Self {
        Self { kind: ServiceType::default(), port: http_port(), annotations: BTreeMap::new() }
    }
}

fn http_port() -> i32 {
    80
}

/// The type of a Service.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServiceType {
    /// Reached from within the cluster.
    #[default]
    ClusterIP,
    /// Reached at a port of each node.
    NodePort,
    /// Reached through a load balancer.
    LoadBalancer,
}

/// Who may use the mesh.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tenants {
    /// Whether every request needs the key of a PulseTenant that names this mesh. Otherwise
    /// everybody who reaches the mesh may do everything, as the tenant `default`.
    #[serde(default)]
    pub required: bool,
}

/// How what clients send is encrypted.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerTls {
    /// A Secret of the type `kubernetes.io/tls`: `tls.crt` and `tls.key`. When it changes, pods
    /// take the new certificate without a restart.
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: String,
}

/// The Redis that counts the limits of tenants.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.caSecret) || self.url.startsWith('rediss://')")
        .message("redis.caSecret is for TLS: write redis.url with rediss://, or leave it out"),
    validation = Rule::new("!self.url.contains('@') || !self.url.split('@')[0].matches('//.*:.')")
        .message("redis.url holds a password: put it into a Secret and name that in \
                  redis.passwordSecret")
)]
pub struct Redis {
    /// Such as `redis://redis:6379/0`, or `rediss://user@redis:6380` for TLS; never a password.
    #[schemars(regex(pattern = r"^rediss?://[^\s]+$"), length(max = 512))]
    pub url: String,
    /// A Secret with the key `password`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_secret: Option<SecretName>,
    /// A Secret with `ca.crt`, which signs the certificate of Redis; the public ones unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret: Option<SecretName>,
    /// What happens to requests of tenants with limits while Redis is away.
    #[serde(default)]
    pub while_away: WhileAway,
}

/// What happens while Redis is away.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum WhileAway {
    /// Each pod counts alone and gives its share.
    #[default]
    Local,
    /// They get 503.
    Refuse,
}

/// Where pods run and what is written on them.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pod {
    /// Labels beside the operator's own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Labels that a node must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints that are tolerated.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub tolerations: Vec<Toleration>,
    /// Instead of the operator's own preference for nodes apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// How pods spread over zones and nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
    /// Names of Secrets to pull the image with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub image_pull_secrets: Vec<String>,
    /// The pods' priority class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority_class_name: Option<String>,
    /// How long a pod that is told to stop may take to drain, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 86_400))]
    pub termination_grace_period_seconds: Option<i64>,
}
