//! `PulseTenant`: one of those who share a mesh, with the keys that the operator makes for it.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::ingest::Ack;

/// Highest limit of a minute, as the file of tenants has it.
const RATE_MAX: i64 = 1_000_000_000_000;

/// One of those who share a mesh: what it may do there, and the names of its keys.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "pulsemesh.io",
    version = "v1alpha1",
    kind = "PulseTenant",
    plural = "pulsetenants",
    shortname = "pt",
    category = "all",
    namespaced,
    derive = "PartialEq",
    status = "TenantStatus",
    doc = "One of those who share a mesh: isolated from the others, with its own keys and limits",
    printcolumn(name = "Mesh", type_ = "string", json_path = ".spec.mesh"),
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
    printcolumn(name = "Secrets", type_ = "string", json_path = ".status.secrets", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    cel,
    // A label of its Secrets holds it: 63 characters are all it has.
    validation = Rule::new("size(self.metadata.name) <= 63")
        .message("the name of a tenant has at most 63 characters: its Secrets are labelled with it")
)]
#[x_kube(validation = Rule::new("self.mesh == oldSelf.mesh")
    .message("mesh can't be changed: what the tenant has stored lies in that mesh; make another \
              PulseTenant"))]
pub struct PulseTenantSpec {
    /// The PulseMesh of the same namespace.
    #[schemars(regex(pattern = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"), length(max = 30))]
    pub mesh: String,
    /// Its keys: for each the operator makes the Secret `TENANT-KEY` with `api-key` and `url`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub keys: Vec<Key>,
    /// What it may send.
    #[serde(default)]
    pub limits: Limits,
    /// The highest level of acknowledgement that it may ask for.
    #[serde(default = "stored")]
    pub ack_max: Ack,
    /// How long its pulses are kept: one of the mesh's `retention-classes`, which
    /// `spec.ingest.settings` of the PulseMesh has; as all others unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[a-z][a-z0-9]*$"), length(max = 16))]
    pub retention: Option<String>,
    /// Added to each of its pulses: values of at most 255 bytes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub metadata: BTreeMap<String, String>,
    /// What its pulses of a kind must look like.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["kind".into()]))]
    pub schemas: Vec<KindSchema>,
}

fn stored() -> Ack {
    Ack::Stored
}

/// A key of a tenant.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Key {
    /// Its name, the second part of its Secret's.
    #[schemars(regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"), length(max = 63))]
    pub name: String,
    /// What it allows.
    pub kind: KeyKind,
}

/// What a key allows, within its own tenant.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyKind {
    /// To send pulses.
    Write,
    /// To ask for pulses and counts.
    Read,
    /// Both.
    Both,
    /// Both, and to operate on what the tenant has.
    Admin,
}

impl KeyKind {
    /// As the file of tenants has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Read => "read",
            Self::Both => "both",
            Self::Admin => "admin",
        }
    }
}

/// What a tenant may send; 0 is no limit.
#[derive(KubeSchema, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Requests in any minute, over all pods.
    #[serde(default = "three_hundred")]
    #[schemars(range(min = 0, max = RATE_MAX))]
    pub requests_per_minute: i64,
    /// Pulses in any minute, over all pods.
    #[serde(default)]
    #[schemars(range(min = 0, max = RATE_MAX))]
    pub pulses_per_minute: i64,
    /// Requests at once after a pause; 0: a hundredth of the limit, at least 10.
    #[serde(default)]
    #[schemars(range(min = 0, max = RATE_MAX))]
    pub burst: i64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { requests_per_minute: three_hundred(), pulses_per_minute: 0, burst: 0 }
    }
}

fn three_hundred() -> i64 {
    300
}

/// What pulses of one kind must look like.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.required) || has(self.schema)")
    .message("a schema needs required, schema or both: without them it asks for nothing"))]
pub struct KindSchema {
    /// The kind of the pulses.
    #[schemars(length(min = 1, max = 128))]
    pub kind: String,
    /// Paths of fields that must be there, such as `payload.order_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 255)))]
    pub required: Option<Vec<String>>,
    /// A JSON Schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_object")]
    pub schema: Option<Map<String, Value>>,
    /// What happens to a pulse that fails.
    #[serde(default)]
    pub on_failure: OnFailure,
}

/// An object of any depth. Beside `additionalProperties`, which a map would have, API servers keep
/// unknown fields of the first level alone.
fn any_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "nullable": true,
        "x-kubernetes-preserve-unknown-fields": true,
    })
}

/// What happens to a pulse that fails its schema.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnFailure {
    /// It is refused at the door.
    #[default]
    Reject,
    /// It is accepted, and becomes a dead letter with path and reason.
    DeadLetter,
}

/// What the operator tells of a tenant. Never a key.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TenantStatus {
    /// The generation of the spec that all of this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`: the mesh's pods have its keys, or will within two minutes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// The Secrets of its keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
}
