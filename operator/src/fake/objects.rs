//! The objects of the fake: what each request makes of them.

use std::collections::BTreeMap;

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::{Target, status};

/// Plural, namespace and name.
pub(crate) type Key = (String, String, String);

/// An answer.
pub(super) struct Answer {
    pub(super) code: StatusCode,
    pub(super) body: Value,
}

impl Answer {
    pub(super) fn new(code: u16, body: Value) -> Self {
        Self { code: StatusCode::from_u16(code).expect("a code"), body }
    }

    fn refusal(code: u16, reason: &str) -> Self {
        Self::new(code, status(code, reason, reason))
    }
}

/// A change as a watch tells it.
#[derive(Debug, Clone)]
struct Change {
    version: u64,
    word: &'static str,
    key: Key,
    object: Value,
}

/// All objects.
#[derive(Debug, Clone, Default)]
pub(super) struct Objects {
    objects: BTreeMap<Key, Value>,
    /// What each manager last applied.
    applied: BTreeMap<(Key, String), Value>,
    changes: Vec<Change>,
    version: u64,
}

impl Objects {
    pub(super) fn put(&mut self, plural: &str, object: Value) {
        let text = |path| object.pointer(path).and_then(Value::as_str).unwrap_or_default();
        let key = (
            plural.to_owned(),
            text("/metadata/namespace").to_owned(),
            text("/metadata/name").to_owned(),
        );
        self.store(key, object);
    }

    pub(super) fn remove(&mut self, plural: &str, name: &str) {
        let is_it = |key: &Key| key.0 == plural && key.2 == name;
        let keys: Vec<Key> = self.objects.keys().filter(|key| is_it(key)).cloned().collect();
        for key in keys {
            self.drop_object(&key);
        }
    }

    pub(super) fn find(&self, plural: &str, namespace: &str, name: &str) -> Option<&Value> {
        self.objects.get(&(plural.to_owned(), namespace.to_owned(), name.to_owned()))
    }

    /// All of a plural.
    pub(super) fn of(&self, plural: &str) -> Vec<Value> {
        let objects = self.objects.iter().filter(|(key, _)| key.0 == plural);
        objects.map(|(_, object)| object.clone()).collect()
    }

    /// Counts every change.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn content(&self) -> Vec<(Key, Value)> {
        let own = ["uid", "resourceVersion", "generation", "managedFields"];
        let strip = |object: &Value| {
            let mut object = object.clone();
            for field in own {
                fields(&mut object, "metadata").remove(field);
            }
            object
        };
        let kept = self.objects.iter().filter(|(key, _)| key.0 != "events");
        kept.map(|(key, object)| (key.clone(), strip(object))).collect()
    }

    pub(super) fn get(&self, target: &Target) -> Answer {
        match self.objects.get(&key(target)) {
            Some(object) => Answer::new(200, object.clone()),
            None => Answer::refusal(404, "NotFound"),
        }
    }

    pub(super) fn list(&self, target: &Target, selector: &str) -> Answer {
        let items = self.objects.iter();
        let items = items.filter(|(key, object)| matches(key, object, target, selector));
        let items: Vec<&Value> = items.map(|(_, object)| object).collect();
        let version = self.version.to_string();
        Answer::new(200, json!({"metadata": {"resourceVersion": version}, "items": items}))
    }

    pub(super) fn since(&self, target: &Target, selector: &str, version: u64) -> Vec<String> {
        let news = self.changes.iter().filter(|change| {
            change.version > version && matches(&change.key, &change.object, target, selector)
        });
        news.map(|change| format!("{}\n", json!({"type": change.word, "object": change.object})))
            .collect()
    }

    pub(super) fn create(&mut self, target: &Target, object: Value) -> Answer {
        let mut key = key(target);
        let name = object.pointer("/metadata/name").and_then(Value::as_str);
        key.2 = name.map_or_else(|| format!("generated-{}", self.version), str::to_owned);
        if self.objects.contains_key(&key) {
            return Answer::refusal(409, "AlreadyExists");
        }
        let mut object = object;
        fields(&mut object, "metadata").insert("namespace".to_owned(), key.1.clone().into());
        if let Some(texts) = object.as_object_mut().and_then(|all| all.remove("stringData")) {
            // Chosen by chance, and never looked at.
            let hidden = |(name, _): (&String, &Value)| (name.clone(), Value::from("eA=="));
            object["data"] = texts.as_object().into_iter().flatten().map(hidden).collect();
        }
        Answer::new(201, self.store(key, object))
    }

    pub(super) fn apply(&mut self, target: &Target, manager: &str, config: Value) -> Answer {
        let key = key(target);
        let live = self.objects.get(&key).cloned();
        if let Some(refusal) = stale(live.as_ref(), &config) {
            return refusal;
        }
        let slot = (key.clone(), format!("{manager}{}", target.sub));
        let others = self.applied.iter().filter(|(other, _)| other.0 == key && other.1 != slot.1);
        let others: Vec<Value> = others.map(|(_, config)| config.clone()).collect();
        let mut object = live.unwrap_or_else(|| json!({}));
        if let Some(before) = self.applied.get(&slot) {
            take_away(&mut object, before, &config, &others.iter().collect::<Vec<_>>());
        }
        overlay(&mut object, &config);
        let metadata = fields(&mut object, "metadata");
        metadata.insert("namespace".to_owned(), key.1.clone().into());
        if target.sub.is_empty() {
            let owns = config.pointer("/spec/replicas").is_some();
            let owned = if owns { json!({"f:spec": {"f:replicas": {}}}) } else { json!({}) };
            let entries = metadata.entry("managedFields").or_insert_with(|| json!([]));
            if let Value::Array(entries) = entries {
                entries.retain(|entry| entry["manager"] != manager);
                entries.push(json!({"manager": manager, "operation": "Apply", "fieldsV1": owned}));
            }
        }
        self.applied.insert(slot, config);
        Answer::new(200, self.store(key, object))
    }

    /// Merges a patch; a strategic one keeps conditions of other types.
    pub(super) fn merge(&mut self, target: &Target, mut patch: Value, strategic: bool) -> Answer {
        let key = key(target);
        let Some(mut object) = self.objects.get(&key).cloned() else {
            return Answer::refusal(404, "NotFound");
        };
        if let Some(refusal) = stale(Some(&object), &patch) {
            return refusal;
        }
        if strategic {
            keep_conditions(&object, &mut patch);
        }
        overlay(&mut object, &patch);
        let body = self.store(key.clone(), object);
        self.drop_if_let_go(&key);
        Answer::new(200, body)
    }

    pub(super) fn delete(&mut self, target: &Target, options: &Value) -> Answer {
        let key = key(target);
        let Some(mut object) = self.objects.get(&key).cloned() else {
            return Answer::refusal(404, "NotFound");
        };
        let wanted = options.pointer("/preconditions/uid");
        if wanted.is_some_and(|uid| Some(uid) != object.pointer("/metadata/uid")) {
            return Answer::refusal(409, "Conflict");
        }
        let metadata = fields(&mut object, "metadata");
        metadata.insert("deletionTimestamp".to_owned(), "2026-01-01T00:00:00Z".into());
        let body = self.store(key.clone(), object);
        self.drop_if_let_go(&key);
        Answer::new(200, body)
    }

    /// Removes what is being deleted and has no finalizer; a claim once no pod names it, be it
    /// one that has ended.
    fn drop_if_let_go(&mut self, key: &Key) {
        let Some(object) = self.objects.get(key) else { return };
        if key.0 == "persistentvolumeclaims" && self.is_named_by_a_pod(key) {
            return;
        }
        let held = object.pointer("/metadata/finalizers").and_then(Value::as_array);
        if object.pointer("/metadata/deletionTimestamp").is_some() && held.is_none_or(Vec::is_empty)
        {
            self.drop_object(key);
        }
    }

    /// Removes an object, and what it owns.
    fn drop_object(&mut self, key: &Key) {
        let Some(object) = self.objects.remove(key) else { return };
        self.applied.retain(|(other, _), _| other != key);
        self.version += 1;
        let uid = object.pointer("/metadata/uid").cloned();
        self.changes.push(Change {
            version: self.version,
            word: "DELETED",
            key: key.clone(),
            object,
        });
        let owned = |object: &Value| {
            let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
            owners.into_iter().flatten().any(|owner| owner.get("uid") == uid.as_ref())
        };
        let owned: Vec<Key> = self
            .objects
            .iter()
            .filter(|(_, object)| owned(object))
            .map(|(key, _)| key.clone())
            .collect();
        for key in owned {
            self.drop_object(&key);
        }
        if key.0 == "pods" {
            let claims = self.objects.keys().filter(|key| key.0 == "persistentvolumeclaims");
            for claim in claims.cloned().collect::<Vec<_>>() {
                self.drop_if_let_go(&claim);
            }
        }
    }

    fn is_named_by_a_pod(&self, claim: &Key) -> bool {
        let names = |pod: &Value| {
            let volumes = pod.pointer("/spec/volumes").and_then(Value::as_array);
            volumes.into_iter().flatten().any(|volume| {
                volume.pointer("/persistentVolumeClaim/claimName") == Some(&claim.2.clone().into())
            })
        };
        let mut pods = self.objects.iter().filter(|(key, _)| key.0 == "pods" && key.1 == claim.1);
        pods.any(|(_, pod)| names(pod))
    }

    /// Sets the replicas of a workload, as an autoscaler does: they are no longer of whoever
    /// applied them.
    pub(super) fn scale(&mut self, plural: &str, name: &str, replicas: i64) {
        let is_it = |key: &&Key| key.0 == plural && key.2 == name;
        let Some(key) = self.objects.keys().find(is_it).cloned() else { return };
        let forget = |(slot, config): (&(Key, String), &mut Value)| {
            if slot.0 == key {
                fields(config, "spec").remove("replicas");
            }
        };
        self.applied.iter_mut().for_each(forget);
        let Some(mut object) = self.objects.get(&key).cloned() else { return };
        object["spec"]["replicas"] = replicas.into();
        let managers = object.pointer_mut("/metadata/managedFields").and_then(Value::as_array_mut);
        for manager in managers.into_iter().flatten() {
            manager["fieldsV1"] = json!({});
        }
        self.store(key, object);
    }

    /// Keeps an object, with what the server sets itself; nothing happens if nothing changed.
    fn store(&mut self, key: Key, mut object: Value) -> Value {
        if matches!(key.0.as_str(), "deployments" | "statefulsets") {
            let spec = fields(&mut object, "spec");
            spec.entry("replicas").or_insert_with(|| json!(1));
            spec.entry("revisionHistoryLimit").or_insert_with(|| json!(10));
        }
        let before = self.objects.get(&key).cloned();
        if before.as_ref() == Some(&object) {
            return object;
        }
        self.version += 1;
        let version = self.version;
        let metadata = fields(&mut object, "metadata");
        metadata.insert("resourceVersion".to_owned(), version.to_string().into());
        metadata.entry("uid").or_insert_with(|| format!("uid-{version}").into());
        let spec_of =
            |object: Option<&Value>| object.and_then(|object| object.get("spec")).cloned();
        if spec_of(before.as_ref()) != spec_of(Some(&object)) || before.is_none() {
            fields(&mut object, "metadata").insert("generation".to_owned(), version.into());
        }
        let word = if before.is_some() { "MODIFIED" } else { "ADDED" };
        let change = Change { version, word, key: key.clone(), object: object.clone() };
        self.changes.push(change);
        self.objects.insert(key, object.clone());
        object
    }
}

fn key(target: &Target) -> Key {
    (target.plural.clone(), target.namespace.clone(), target.name.clone())
}

/// The fields of a part of an object, which is made if it is not there.
fn fields<'a>(object: &'a mut Value, part: &str) -> &'a mut Map<String, Value> {
    if !object[part].is_object() {
        object[part] = json!({});
    }
    object[part].as_object_mut().expect("made just now")
}

fn matches(key: &Key, object: &Value, target: &Target, selector: &str) -> bool {
    let labels = object.pointer("/metadata/labels");
    let has = |wanted: &str| {
        let (label, value) = wanted.split_once('=').unwrap_or_default();
        labels.and_then(|labels| labels.get(label)).and_then(Value::as_str) == Some(value)
    };
    key.0 == target.plural
        && (target.namespace.is_empty() || key.1 == target.namespace)
        && selector.split(',').filter(|wanted| !wanted.is_empty()).all(has)
}

/// A refusal where the patch is for another object, or another version of it.
fn stale(live: Option<&Value>, patch: &Value) -> Option<Answer> {
    let differs = |field: &str| {
        let wanted = patch.pointer(field);
        wanted.is_some_and(|wanted| {
            !wanted.is_null() && live.and_then(|live| live.pointer(field)) != Some(wanted)
        })
    };
    ["/metadata/uid", "/metadata/resourceVersion"]
        .into_iter()
        .any(differs)
        .then(|| Answer::refusal(409, "Conflict"))
}

/// Adds the conditions that the patch says nothing of, as it would take the others away.
fn keep_conditions(object: &Value, patch: &mut Value) {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    let Some(Value::Array(told)) = patch.pointer_mut("/status/conditions") else { return };
    let kinds: Vec<Value> = told.iter().map(|condition| condition["type"].clone()).collect();
    let others = conditions.into_iter().flatten();
    told.extend(others.filter(|condition| !kinds.contains(&condition["type"])).cloned());
}

/// Takes away what was applied and is applied no longer, by anybody.
fn take_away(object: &mut Value, before: &Value, now: &Value, others: &[&Value]) {
    let (Value::Object(fields), Value::Object(before)) = (object, before) else { return };
    for (field, was) in before {
        let others: Vec<&Value> = others.iter().filter_map(|other| other.get(field)).collect();
        match now.get(field) {
            Some(now) => {
                if let Some(value) = fields.get_mut(field) {
                    take_away(value, was, now, &others);
                }
            }
            None if others.is_empty() => drop(fields.remove(field)),
            None => {}
        }
    }
}

fn overlay(object: &mut Value, patch: &Value) {
    match (object, patch) {
        (Value::Object(fields), Value::Object(patch)) => {
            for (field, value) in patch {
                if value.is_null() {
                    fields.remove(field);
                } else {
                    overlay(fields.entry(field.clone()).or_insert(Value::Null), value);
                }
            }
        }
        // Not as it is: a null in it takes away what is not there.
        (object, Value::Object(patch)) => {
            *object = json!({});
            overlay(object, &Value::Object(patch.clone()));
        }
        (object, patch) => *object = patch.clone(),
    }
}
