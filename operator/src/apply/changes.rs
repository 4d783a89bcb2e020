//! What has to be written so that the cluster has what is wanted: in which order, and what is
//! taken away. Pure.

use std::collections::BTreeSet;

use kube::core::DynamicObject;
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64;

use super::differs::differs;
use crate::mesh::names::{APPLIED, Component, MANAGER};
use crate::mesh::object::{Kind, Object};
use crate::mesh::observed::Observed;

/// One write.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// An object that was not seen.
    Create(Object),
    /// An object that differs.
    Update {
        /// As it shall be.
        object: Object,
        /// Replicas that are no longer ours to choose, and stay as they are.
        hand_over: Option<i64>,
        /// Where it differs.
        at: String,
    },
    /// An object that is no longer wanted.
    Delete {
        /// As it was seen.
        object: Object,
    },
}

/// What differs, in the order in which it is written.
///
/// # Errors
/// When an object can't be written as JSON, which its type rules out.
pub fn changes(
    wanted: Vec<Object>,
    observed: &Observed,
    mesh_uid: &str,
) -> serde_json::Result<Vec<Change>> {
    let mut changes = Vec::new();
    let names: BTreeSet<(Kind, String)> =
        wanted.iter().map(|object| (object.kind, object.name().to_owned())).collect();
    let mut wanted = wanted;
    wanted.sort_by_key(|object| object.kind);
    for object in wanted {
        let is_known = |kind: Kind| !kind.is_optional() || observed.optional_kinds.contains(&kind);
        if is_known(object.kind) {
            changes.extend(change(object, observed)?);
        }
    }
    let is_left = |object: &&Object| {
        !names.contains(&(object.kind, object.name().to_owned()))
            && is_controlled_by(&object.value, mesh_uid)
            && may_be_pruned(object)
    };
    let mut left: Vec<Object> = observed.objects.iter().filter(is_left).cloned().collect();
    left.sort_by_key(|object| std::cmp::Reverse(object.kind));
    changes.extend(left.into_iter().map(|object| Change::Delete { object }));
    Ok(changes)
}

fn change(mut object: Object, observed: &Observed) -> serde_json::Result<Option<Change>> {
    let hash = format!("{:016x}", xxh3_64(serde_json::to_string(&object.value)?.as_bytes()));
    let annotations = object.value.metadata.annotations.get_or_insert_default();
    annotations.insert(APPLIED.to_owned(), hash);
    let Some(live) = observed.object(object.kind, object.name()) else {
        return Ok(Some(Change::Create(object)));
    };
    if live.value.metadata.deletion_timestamp.is_some() {
        // It is made anew once it is gone, which triggers.
        return Ok(None);
    }
    let at = differs(&serde_json::to_value(&object.value)?, &serde_json::to_value(&live.value)?);
    Ok(at.map(|at| {
        let hand_over = replicas(&object.value).is_none().then(|| owned_replicas(&live.value));
        Change::Update { object, hand_over: hand_over.flatten(), at }
    }))
}

/// The replicas of a workload.
pub(super) fn replicas(object: &DynamicObject) -> Option<i64> {
    object.data.pointer("/spec/replicas")?.as_i64()
}

/// The replicas of a workload if it was us who chose them: leaving them out would make the API
/// server choose its default, one, until an autoscaler has its say.
fn owned_replicas(live: &DynamicObject) -> Option<i64> {
    let is_ours = |fields: &Value| fields.pointer("/f:spec/f:replicas").is_some();
    let entries = live.metadata.managed_fields.as_deref().unwrap_or_default();
    let mut ours = entries.iter().filter(|entry| entry.manager.as_deref() == Some(MANAGER));
    let owned = ours.any(|entry| entry.fields_v1.as_ref().is_some_and(|fields| is_ours(&fields.0)));
    owned.then(|| replicas(live)).flatten()
}

/// Whether it was made for the mesh of this uid.
pub(super) fn is_controlled_by(object: &DynamicObject, uid: &str) -> bool {
    let owners = object.metadata.owner_references.as_deref().unwrap_or_default();
    owners.iter().any(|owner| owner.controller == Some(true) && owner.uid == uid)
}

/// Whether it may be taken away just because nobody wants it: what holds pods of the store never,
/// while it has any. They leave by decommission, and a deletion has its own order.
fn may_be_pruned(object: &Object) -> bool {
    let labels = object.value.metadata.labels.as_ref();
    let component = labels.and_then(|labels| labels.get("app.kubernetes.io/component"));
    let is_store = component.map(String::as_str) == Some(Component::Store.as_str());
    let is_empty = replicas(&object.value) == Some(0)
        && object.value.data.pointer("/status/replicas").and_then(Value::as_i64).unwrap_or(0) == 0;
    object.value.metadata.deletion_timestamp.is_none()
        && (object.kind != Kind::StatefulSet || !is_store || is_empty)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const UID: &str = "mesh-uid";

    fn object(kind: Kind, name: &str, more: Value) -> Object {
        let resource = kind.resource();
        let mut value = json!({
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": {
                "name": name,
                "labels": {"app.kubernetes.io/component": "store"},
                "ownerReferences": [{
                    "apiVersion": "pulsemesh.io/v1alpha1", "kind": "PulseMesh", "name": "demo",
                    "uid": UID, "controller": true,
                }],
            },
        });
        if let (Value::Object(value), Value::Object(more)) = (&mut value, more) {
            value.extend(more);
        }
        Object { kind, value: serde_json::from_value(value).expect("an object") }
    }

    fn seen(objects: Vec<Object>) -> Observed {
        Observed { objects, ..Observed::default() }
    }

    /// As the cluster has it after it was applied.
    fn applied(object: &Object) -> Object {
        match change(object.clone(), &Observed::default()).expect("JSON") {
            Some(Change::Create(object)) => object,
            other => unreachable!("{other:?}"),
        }
    }

    fn told(wanted: Vec<Object>, observed: &Observed) -> Vec<String> {
        let changes = changes(wanted, observed, UID).expect("JSON");
        changes
            .iter()
            .map(|change| match change {
                Change::Create(object) => format!("create {:?} {}", object.kind, object.name()),
                Change::Update { object, hand_over, at } => {
                    format!("update {:?} {} {at} {hand_over:?}", object.kind, object.name())
                }
                Change::Delete { object } => format!("delete {:?} {}", object.kind, object.name()),
            })
            .collect()
    }

    #[test]
    fn what_is_there_already_is_not_written() {
        let service = object(Kind::Service, "a", json!({"spec": {"clusterIP": "None"}}));
        let observed = seen(vec![applied(&service)]);
        assert_eq!(told(vec![service], &observed), [""; 0]);
    }

    #[test]
    fn a_field_that_is_no_longer_wanted_shows_by_the_hash() {
        let old = object(Kind::Service, "a", json!({"spec": {"a": 1, "b": 2}}));
        let new = object(Kind::Service, "a", json!({"spec": {"a": 1}}));
        let observed = seen(vec![applied(&old)]);
        let at = ".metadata.annotations.pulsemesh.io/applied";
        assert_eq!(told(vec![new], &observed), [format!("update Service a {at} None")]);
    }

    #[test]
    fn objects_are_applied_in_order_and_taken_away_in_the_opposite_one() {
        let of = |kind, name| object(kind, name, json!({"spec": {}}));
        let wanted = vec![of(Kind::Deployment, "new"), of(Kind::ConfigMap, "new")];
        let observed = seen(vec![of(Kind::ConfigMap, "old"), of(Kind::Job, "old")]);
        assert_eq!(
            told(wanted, &observed),
            [
                "create ConfigMap new",
                "create Deployment new",
                "delete Job old",
                "delete ConfigMap old"
            ]
        );
    }

    #[test]
    fn what_is_not_of_this_mesh_or_holds_nodes_of_the_store_is_never_taken_away() {
        let mut others = object(Kind::Service, "others", json!({}));
        others.value.metadata.owner_references.as_mut().expect("owners")[0].uid = "other".into();
        let mut nobodys = object(Kind::Service, "nobodys", json!({}));
        nobodys.value.metadata.owner_references = None;
        let rack = |name: &str, replicas: i32| {
            let spec = json!({"spec": {"replicas": replicas}, "status": {"replicas": replicas}});
            object(Kind::StatefulSet, name, spec)
        };
        let observed = seen(vec![others, nobodys, rack("used", 1), rack("empty", 0)]);
        assert_eq!(told(vec![], &observed), ["delete StatefulSet empty"]);
    }

    #[test]
    fn kinds_that_the_cluster_does_not_know_are_left_out() {
        let monitor = || object(Kind::ServiceMonitor, "a", json!({}));
        assert_eq!(told(vec![monitor()], &Observed::default()), [""; 0]);
        let optional_kinds = [Kind::ServiceMonitor].into();
        let observed = Observed { optional_kinds, ..Observed::default() };
        assert_eq!(told(vec![monitor()], &observed), ["create ServiceMonitor a"]);
    }

    #[test]
    fn replicas_that_we_chose_are_handed_over_as_they_are() {
        let fixed = object(Kind::Deployment, "a", json!({"spec": {"replicas": 3}}));
        let free = object(Kind::Deployment, "a", json!({"spec": {}}));
        let mut live = applied(&fixed);
        let entry = |manager: &str| {
            json!([{"manager": manager, "operation": "Apply",
                    "fieldsV1": {"f:spec": {"f:replicas": {}}}}])
        };
        let mut check = |manager: &str, hand_over: &str| {
            live.value.metadata.managed_fields =
                serde_json::from_value(entry(manager)).expect("entries");
            let told = told(vec![free.clone()], &seen(vec![live.clone()]));
            assert!(told[0].ends_with(hand_over), "{told:?}");
        };
        check(MANAGER, "Some(3)");
        check("kube-controller-manager", "None");
    }

    #[test]
    fn what_is_being_deleted_is_waited_for() {
        let service = object(Kind::Service, "a", json!({}));
        let mut live = service.clone();
        live.value.metadata.deletion_timestamp =
            serde_json::from_value(json!("2026-01-01T00:00:00Z")).expect("a time");
        assert_eq!(told(vec![service], &seen(vec![live.clone()])), [""; 0]);
        assert_eq!(told(vec![], &seen(vec![live])), [""; 0]);
    }
}
