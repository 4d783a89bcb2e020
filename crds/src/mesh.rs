//! `PulseMesh`: what a user writes to have pulses accepted and stored.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ingest::Ingest;
use crate::monitoring::Monitoring;
use crate::status::MeshStatus;
use crate::store::Store;

/// Where pulses are accepted, where they are stored, and how both are watched.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "pulsemesh.io",
    version = "v1alpha1",
    kind = "PulseMesh",
    plural = "pulsemeshes",
    shortname = "pm",
    category = "all",
    namespaced,
    derive = "PartialEq",
    status = "MeshStatus",
    doc = "One event pipeline: pods that accept pulses over HTTP, and the store that keeps them",
    scale(
        spec_replicas_path = ".spec.ingest.replicas",
        status_replicas_path = ".status.ingest.replicas",
        label_selector_path = ".status.ingest.selector"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].reason"
    ),
    printcolumn(name = "Ingest", type_ = "string", json_path = ".status.ingest.summary"),
    printcolumn(name = "Store", type_ = "string", json_path = ".status.store.summary"),
    printcolumn(
        name = "Endpoint",
        type_ = "string",
        json_path = ".status.endpoints.ingest",
        priority = 1
    ),
    printcolumn(
        name = "Version",
        type_ = "string",
        json_path = ".status.versions.ingest",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    cel,
    // A StatefulSet is named `MESH-store-RACK`, and a label of its pods holds that name and a hash:
    // 52 characters are all it has.
    validation = Rule::new("size(self.metadata.name) <= 30")
        .message("the name of a mesh has at most 30 characters: the names of its pods are longer"),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("the name of a mesh begins with a letter and has only a-z, 0-9 and -: a Service \
                  is named after it")
)]
#[x_kube(
    validation = Rule::new(
        "!has(self.store.embedded) || !has(self.ingest) || \
         ((!has(self.ingest.replicas) || self.ingest.replicas <= 1) && \
         !has(self.ingest.autoscaling))"
    )
    .message("the embedded store lies in one pod: set ingest.replicas to 1 and leave \
              ingest.autoscaling out, or choose another store"),
    validation = Rule::new(
        "!has(self.store.embedded) || !has(self.ingest) || !has(self.ingest.log) || \
         !has(self.ingest.log.storage)"
    )
    .message("with the embedded store the log lies in store.embedded.storage: leave \
              ingest.log.storage out"),
    validation = Rule::new(
        "has(self.store.embedded) == has(oldSelf.store.embedded) && \
         has(self.store.cassandra) == has(oldSelf.store.cassandra) && \
         has(self.store.scylla) == has(oldSelf.store.scylla) && \
         has(self.store.external) == has(oldSelf.store.external)"
    )
    .message("the kind of store can't be changed: what is in the log belongs to the store that it \
              was accepted for; make another mesh and move the senders")
)]
pub struct PulseMeshSpec {
    /// The pods that accept pulses.
    #[serde(default)]
    pub ingest: Ingest,
    /// Where pulses are stored: exactly one of its fields.
    pub store: Store,
    /// What is made for Prometheus and Grafana.
    #[serde(default)]
    pub monitoring: Monitoring,
    /// What happens to claims and credentials when the mesh is deleted.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// Nothing is changed while this is true; status is still told.
    #[serde(default)]
    pub paused: bool,
}

/// What happens to claims and credentials when a mesh is deleted.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeletionPolicy {
    /// They stay, and a mesh of the same name finds its rows again.
    #[default]
    Retain,
    /// They are deleted last, once ingest has drained and the store has stopped.
    Delete,
}
