//! Where pulses are stored.

use k8s_openapi::api::core::v1::ResourceRequirements;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::ingest::{Pod, Storage};
use crate::quantity::Size;

/// Where pulses are stored: exactly one of its fields.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(
    "[has(self.embedded), has(self.cassandra), has(self.scylla), has(self.external)]\
     .filter(set, set).size() == 1"
)
.message("exactly one of embedded, cassandra, scylla and external must be set"))]
pub struct Store {
    /// In the one ingest pod itself, for trials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedded: Option<Embedded>,
    /// Cassandra nodes that the operator runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cassandra: Option<Cassandra>,
    /// Scylla nodes that the operator runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scylla: Option<Scylla>,
    /// A database that somebody else runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<External>,
}

/// The store in the ingest pod.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Embedded {
    /// The claim of log and store.
    #[serde(default = "five_gibibytes")]
    pub storage: Storage,
    /// How long a pulse is kept, such as `7d`.
    #[serde(default = "week")]
    #[schemars(regex(pattern = r"^[1-9][0-9]*(h|d)$"))]
    pub retention: String,
}

impl Default for Embedded {
    fn default() -> Self {
        Self { storage: five_gibibytes(), retention: week() }
    }
}

fn five_gibibytes() -> Storage {
    Storage { size: Size::from("5Gi"), storage_class_name: None }
}

fn week() -> String {
    "7d".to_owned()
}

/// Cassandra nodes.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.racks) || size(self.racks) <= self.nodes")
        .message("there are more racks than nodes: a rack without a node can hold no replica"),
    validation = Rule::new("!has(self.replicationFactor) || self.replicationFactor <= self.nodes")
        .message("replicationFactor is above nodes: there are not enough nodes for its replicas"),
    validation = Rule::new(
        "!has(oldSelf.replicationFactor) || (has(self.replicationFactor) && \
         self.replicationFactor >= oldSelf.replicationFactor)"
    )
    .message("replicationFactor can't be lowered: replicas would be forgotten"),
    validation = Rule::new(
        "has(self.racks) == has(oldSelf.racks) && (!has(self.racks) || \
         oldSelf.racks.all(old, self.racks.exists(rack, rack == old)))"
    )
    .message("racks can be added and never removed or renamed: their nodes hold replicas by the \
              rack's name"),
    validation = Rule::new("self.datacenter == oldSelf.datacenter")
        .message("the name of the datacenter can't be changed: replicas are placed by it")
)]
pub struct Cassandra {
    /// How many nodes.
    #[serde(default = "three")]
    #[schemars(range(min = 1, max = 300))]
    pub nodes: i32,
    /// The image; one of the official `cassandra:5.0`, or one that behaves like it.
    #[serde(default = "cassandra_image")]
    #[schemars(length(min = 1, max = 512))]
    pub image: String,
    /// The datacenter's name.
    #[serde(default = "datacenter")]
    #[schemars(regex(pattern = r"^[a-zA-Z][a-zA-Z0-9_-]{0,31}$"))]
    pub datacenter: String,
    /// Racks; nodes are spread over them evenly. One of the name `rack1` unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 16),
        inner(length(max = 15), regex(pattern = r"^[a-z]([-a-z0-9]{0,13}[a-z0-9])?$"))
    )]
    pub racks: Option<Vec<String>>,
    /// The claim of each node.
    pub storage: Storage,
    /// The Java heap of each node.
    #[serde(default = "heap")]
    pub heap: Size,
    /// What each pod may use; made from `heap` unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// How long a pulse is kept, such as `7d`.
    #[serde(default = "week")]
    #[schemars(regex(pattern = r"^[1-9][0-9]*(h|d)$"))]
    pub retention: String,
    /// Replicas of each row; 3, or as many as there are nodes if these are fewer, unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10))]
    pub replication_factor: Option<i32>,
    /// Where the pods run.
    #[serde(default)]
    pub pod: Pod,
}

fn three() -> i32 {
    3
}

fn cassandra_image() -> String {
    "docker.io/library/cassandra:5.0".to_owned()
}

fn datacenter() -> String {
    "datacenter1".to_owned()
}

fn heap() -> Size {
    Size::from("1Gi")
}

/// Scylla nodes.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.racks) || size(self.racks) <= self.nodes")
        .message("there are more racks than nodes: a rack without a node can hold no replica"),
    validation = Rule::new("!has(self.replicationFactor) || self.replicationFactor <= self.nodes")
        .message("replicationFactor is above nodes: there are not enough nodes for its replicas"),
    validation = Rule::new(
        "!has(oldSelf.replicationFactor) || (has(self.replicationFactor) && \
         self.replicationFactor >= oldSelf.replicationFactor)"
    )
    .message("replicationFactor can't be lowered: replicas would be forgotten"),
    validation = Rule::new(
        "has(self.racks) == has(oldSelf.racks) && (!has(self.racks) || \
         oldSelf.racks.all(old, self.racks.exists(rack, rack == old)))"
    )
    .message("racks can be added and never removed or renamed: their nodes hold replicas by the \
              rack's name"),
    validation = Rule::new("self.datacenter == oldSelf.datacenter")
        .message("the name of the datacenter can't be changed: replicas are placed by it")
)]
pub struct Scylla {
    /// How many nodes.
    #[serde(default = "three")]
    #[schemars(range(min = 1, max = 300))]
    pub nodes: i32,
    /// The image.
    #[serde(default = "scylla_image")]
    #[schemars(length(min = 1, max = 512))]
    pub image: String,
    /// The datacenter's name.
    #[serde(default = "datacenter")]
    #[schemars(regex(pattern = r"^[a-zA-Z][a-zA-Z0-9_-]{0,31}$"))]
    pub datacenter: String,
    /// Racks; nodes are spread over them evenly. One of the name `rack1` unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 16),
        inner(length(max = 15), regex(pattern = r"^[a-z]([-a-z0-9]{0,13}[a-z0-9])?$"))
    )]
    pub racks: Option<Vec<String>>,
    /// The claim of each node.
    pub storage: Storage,
    /// The memory that each node takes.
    #[serde(default = "scylla_memory")]
    pub memory: Size,
    /// Cores that each node takes.
    #[serde(default = "one_core")]
    #[schemars(range(min = 1, max = 256))]
    pub cores: i32,
    /// What each pod may use; made from `memory` and `cores` unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// How long a pulse is kept, such as `7d`.
    #[serde(default = "week")]
    #[schemars(regex(pattern = r"^[1-9][0-9]*(h|d)$"))]
    pub retention: String,
    /// Replicas of each row; 3, or as many as there are nodes if these are fewer, unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10))]
    pub replication_factor: Option<i32>,
    /// Where the pods run.
    #[serde(default)]
    pub pod: Pod,
}

fn scylla_image() -> String {
    "docker.io/scylladb/scylla:2026.1".to_owned()
}

fn scylla_memory() -> Size {
    Size::from("2Gi")
}

fn one_core() -> i32 {
    1
}

/// A database that somebody else runs.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.cassandra)")
    .message("external needs cassandra, which names the nodes of Cassandra or Scylla"))]
pub struct External {
    /// Cassandra, or Scylla, which speaks the same protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cassandra: Option<ExternalCassandra>,
}

/// How another's Cassandra or Scylla is reached.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExternalCassandra {
    /// `host:port` of some nodes; the others are learnt from them.
    #[schemars(length(min = 1, max = 32), inner(regex(pattern = r"^[^\s,]+:[0-9]{1,5}$")))]
    pub nodes: Vec<String>,
    /// The datacenter to write to; that of the first node unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub datacenter: Option<String>,
    /// The keyspace of all tables.
    #[serde(default = "keyspace")]
    #[schemars(regex(pattern = r"^[a-z][a-z0-9_]{0,47}$"))]
    pub keyspace: String,
    /// How long a pulse is kept, such as `7d`.
    #[serde(default = "week")]
    #[schemars(regex(pattern = r"^[1-9][0-9]*(h|d)$"))]
    pub retention: String,
    /// A Secret with the keys `username` and `password`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret: Option<SecretName>,
    /// How connections are encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
}

fn keyspace() -> String {
    "pulsemesh".to_owned()
}

/// A Secret of the mesh's namespace.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretName {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// How connections are encrypted.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// A Secret with `ca.crt`, and with `tls.crt` and `tls.key` where the nodes want a client's
    /// certificate.
    pub secret: SecretName,
    /// Whether a node's certificate must name the address that it was reached at.
    #[serde(default = "yes")]
    pub verify_name: bool,
}

fn yes() -> bool {
    true
}
