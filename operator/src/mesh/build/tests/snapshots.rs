//! All objects of each documented example, as YAML.

use std::collections::BTreeSet;

use crate::mesh::fixtures::{examples, objects, planned};
use crate::mesh::names;
use crate::mesh::object::{Kind, Object};
use crate::mesh::observed::Observed;

/// A cluster that knows every optional kind.
pub(super) fn with_monitoring() -> Observed {
    let optional_kinds: BTreeSet<_> =
        Kind::ALL.into_iter().filter(|kind| kind.is_optional()).collect();
    Observed { optional_kinds, ..Observed::default() }
}

fn is_of_store(object: &Object) -> bool {
    let labels = object.value.metadata.labels.as_ref();
    object.kind != Kind::NetworkPolicy
        && labels.is_some_and(|labels| labels["app.kubernetes.io/component"] == "store")
}

fn yaml(objects: &[Object]) -> String {
    let documents = objects.iter().map(|object| {
        // Through a JSON value, whose maps are sorted.
        let value = serde_json::to_value(&object.value).expect("JSON");
        serde_saphyr::to_string(&value).expect("YAML")
    });
    documents.collect::<Vec<_>>().join("---\n")
}

#[test]
fn the_objects_of_every_example_are_these() {
    for (name, mesh) in examples() {
        let objects = objects(&planned(&mesh), &with_monitoring());
        // Dashboards and alerts have tests of their own; their text would bury the rest. The
        // store's objects have snapshots of their own too.
        let others: Vec<_> = objects
            .into_iter()
            .filter(|object| {
                object.kind != Kind::PrometheusRule
                    && object.name() != names::dashboards(&name)
                    && !is_of_store(object)
            })
            .collect();
        insta::assert_snapshot!(name, yaml(&others));
    }
}

#[test]
fn every_object_has_the_labels_the_owner_and_the_namespace_of_its_mesh() {
    for (name, mesh) in examples() {
        let plan = planned(&mesh);
        let objects = objects(&plan, &with_monitoring());
        assert!(objects.is_sorted_by_key(|object| object.kind), "{name}");
        let mut seen = BTreeSet::new();
        for object in &objects {
            let (kind, meta) = (object.kind, &object.value.metadata);
            let place = format!("{kind:?} {} of {name}", object.name());
            assert!(seen.insert((kind, object.name())), "{place} twice");
            let types = object.value.types.as_ref().expect("a type");
            assert_eq!(types.kind, kind.resource().kind, "{place}");
            assert_eq!(types.api_version, kind.resource().api_version, "{place}");
            assert_eq!(meta.namespace.as_deref(), Some("shop"), "{place}");
            let labels = meta.labels.as_ref().expect("labels");
            assert_eq!(labels["app.kubernetes.io/instance"], plan.mesh.name, "{place}");
            assert_eq!(labels["app.kubernetes.io/managed-by"], names::MANAGER, "{place}");
            let owner = meta.owner_references.as_ref().and_then(|owners| owners.first());
            let owner = owner.expect("an owner");
            assert_eq!((owner.kind.as_str(), owner.controller), ("PulseMesh", Some(true)));
            assert_eq!(owner.uid, plan.mesh.uid, "{place}");
            assert!(object.name().len() <= 63, "{place}");
            assert!(object.value.data.get("status").is_none(), "{place}");
        }
    }
}
