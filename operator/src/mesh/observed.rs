//! What there is of a mesh, as it was read in one go just now. Decisions are made from this and
//! the plan alone: nothing that was done or seen before is remembered.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use serde::de::DeserializeOwned;

use super::object::{Kind, Object};
use crate::nodes::View;

/// What there is of a mesh.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// Objects of all kinds with the mesh's labels.
    pub objects: Vec<Object>,
    /// Pods of ingest and store.
    pub pods: Vec<Pod>,
    /// Claims of ingest and store, also those that no pod uses.
    pub claims: Vec<PersistentVolumeClaim>,
    /// For each Secret that the plan names, and for the credentials of a store that the operator
    /// runs: its keys, or `None` where there is no such Secret. Never a value.
    pub secrets: BTreeMap<String, Option<BTreeSet<String>>>,
    /// How many tenants the file of tenants has; `None` where there is no file.
    pub tenants: Option<i32>,
    /// Which optional kinds the cluster knows.
    pub optional_kinds: BTreeSet<Kind>,
    /// Storage classes whose claims can grow; `None` where the operator may not read them, or there
    /// are no claims.
    pub growable_classes: Option<BTreeSet<String>>,
    /// What each node of the store says of all nodes, by its pod's name; an error is why it said
    /// nothing. Only pods that run are asked.
    pub views: BTreeMap<String, Result<View, String>>,
}

impl Observed {
    /// The object of this kind and name, in its type; `None` where there is none.
    pub fn typed<K: DeserializeOwned>(&self, kind: Kind, name: &str) -> Option<K> {
        self.object(kind, name)?.typed().ok()
    }

    /// Whether the class of a claim lets it grow. Where classes may not be read, or were not, it is
    /// tried: the API server has the last word.
    pub fn can_grow(&self, claim: &PersistentVolumeClaim) -> bool {
        let Some(growable) = &self.growable_classes else { return true };
        let class = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_ref());
        class.is_some_and(|class| growable.contains(class))
    }

    /// The object of this kind and name.
    pub fn object(&self, kind: Kind, name: &str) -> Option<&Object> {
        self.objects.iter().find(|object| object.kind == kind && object.name() == name)
    }
}
