//! What a mesh shall be: its spec with every default resolved and every text parsed. Objects are
//! made from this alone and from what was observed.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::ResourceRequirements;
use pulsemesh_crds::ingest::{Autoscaling, Pod, Service, Storage};
use pulsemesh_crds::monitoring::Monitoring;
use pulsemesh_crds::{DeletionPolicy, quantity::Size};

/// What a mesh shall be.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Which mesh.
    pub mesh: Identity,
    /// The pods that accept pulses.
    pub ingest: IngestPlan,
    /// Where pulses are stored.
    pub store: StorePlan,
    /// What is made for Prometheus and Grafana.
    pub monitoring: Monitoring,
    /// What happens to claims and credentials when the mesh is deleted.
    pub deletion: DeletionPolicy,
    /// Nothing is changed, only status is told.
    pub paused: bool,
    /// Whose pods may speak CQL beside the mesh's own; `None` where it is not known.
    pub operator_namespace: Option<String>,
}

/// Which mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its uid; owner references name it.
    pub uid: String,
    /// The generation of the spec that was read.
    pub generation: i64,
}

/// The pods that accept pulses.
#[derive(Debug, Clone, PartialEq)]
pub struct IngestPlan {
    /// Their image.
    pub image: String,
    /// How many, or who chooses.
    pub replicas: Replicas,
    /// A claim for each pod (a StatefulSet); without, the log lies in the pod (a Deployment).
    pub claim: Option<Storage>,
    /// Without a claim: the most bytes that log and dead letters may take on the node, with the
    /// room that keeps the kubelet from deleting what was acknowledged.
    pub scratch_bytes: u64,
    /// The whole settings file, by the names of its keys, values as they stand in it. Secrets are
    /// not in it: only paths of files.
    pub settings: BTreeMap<String, toml::Value>,
    /// Secrets that are mounted.
    pub mounts: Vec<SecretMount>,
    /// Who may use them, and how.
    pub access: Access,
    /// How long a pod that is told to stop may drain.
    pub grace: Duration,
    /// How much of the grace passes before the process is told, for endpoints to go.
    pub pre_stop: Duration,
    /// What each pod may use.
    pub resources: ResourceRequirements,
    /// How clients reach the pods.
    pub service: Service,
    /// Where they run.
    pub pod: Pod,
    /// What a 202 promises, in words.
    pub promise: String,
}

/// Who may use the pods, and how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Access {
    /// Only who has the key of a tenant.
    pub by_tenants: bool,
    /// With TLS alone.
    pub encrypted: bool,
}

impl Access {
    /// What URLs begin with.
    pub fn scheme(self) -> &'static str {
        if self.encrypted { "https" } else { "http" }
    }
}

/// How many pods, or who chooses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replicas {
    /// As the spec says.
    Fixed(i32),
    /// As a HorizontalPodAutoscaler does.
    Autoscaled(Autoscaling),
}

/// A Secret whose keys are files in a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretMount {
    /// The volume's name.
    pub volume: String,
    /// The Secret's name.
    pub secret: String,
    /// The directory in the pod.
    pub path: String,
    /// Keys that it must have.
    pub keys: Vec<String>,
}

/// Where pulses are stored.
#[derive(Debug, Clone, PartialEq)]
pub enum StorePlan {
    /// In the ingest pod, on its claim.
    Embedded,
    /// Nodes that the operator runs.
    Managed(Box<ManagedPlan>),
    /// A database that somebody else runs.
    External,
}

/// Nodes that the operator runs.
#[derive(Debug, Clone, PartialEq)]
pub struct ManagedPlan {
    /// Which program, with the memory that it takes.
    pub engine: Engine,
    /// Its image.
    pub image: String,
    /// The datacenter's name.
    pub datacenter: String,
    /// Racks in the order of the spec, each with its share of the nodes.
    pub racks: Vec<RackPlan>,
    /// The claim of each node.
    pub storage: Storage,
    /// What each pod may use.
    pub resources: ResourceRequirements,
    /// Copies of each row.
    pub replication_factor: i32,
    /// Where the pods run.
    pub pod: Pod,
}

impl ManagedPlan {
    /// All nodes of all racks.
    pub fn nodes(&self) -> i32 {
        self.racks.iter().map(|rack| rack.nodes).sum()
    }
}

/// Which program the nodes run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Engine {
    /// Apache Cassandra.
    Cassandra {
        /// Its Java heap.
        heap: Size,
    },
    /// ScyllaDB.
    Scylla {
        /// All memory.
        memory: Size,
        /// Cores, each a shard.
        cores: i32,
    },
}

/// A rack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RackPlan {
    /// Its name.
    pub name: String,
    /// How many nodes it shall have.
    pub nodes: i32,
}
