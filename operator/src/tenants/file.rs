//! The file of tenants, as ingest pods read it: one line a tenant, hashes and never a key. Pure.

use jiff::Timestamp;
use kube::ResourceExt;
use pulsemesh_crds::ingest::Ack;
use pulsemesh_crds::tenant::{KindSchema, Limits, OnFailure, PulseTenant};
use pulsemesh_runtime::retention::{DEFAULT_CLASS, RetentionClasses};
use serde_json::{Map, Value, json};

use super::keys::KeySecret;
use super::schemas::{Former, Judge};
use crate::mesh::names;

/// Largest file: a Secret holds 1 MiB. Some 6,000 tenants with a key each.
pub(super) const FILE_BYTES_MAX: usize = 1_000_000;
/// Largest line of one tenant, so that none takes the room of all others.
pub(super) const TENANT_BYTES_MAX: usize = 64 * 1024;
/// Of metadata that is added, in bytes, as the ingest bounds it.
const NAME_BYTES_MAX: usize = 128;
const VALUE_BYTES_MAX: usize = 255;
/// In a file without tenants, which the ingest would refuse: no resource can have such a name,
/// and it has no key.
const NOBODY: &str = "{\"name\":\"No-PulseTenant-yet\"}";

/// A file in the making.
#[derive(Debug, Default)]
pub(super) struct File {
    lines: String,
    /// What the mesh's pods have; `None` where that is not known.
    classes: Option<RetentionClasses>,
    pub(super) tenants: i32,
    judge: Judge,
    former: Former,
}

/// Why a tenant is not in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LeftOut {
    /// Its spec; what is wrong and what to do.
    Invalid(String),
    /// Its schemas, and pods have none of it that they could go on with.
    Schemas(String),
    /// There is no room.
    Full,
}

impl File {
    /// One for pods that have these retention classes, that goes on with what the former file has
    /// where schemas can't be taken.
    pub(super) fn new(judge: Judge, former: Former, classes: Option<RetentionClasses>) -> Self {
        Self { judge, former, classes, ..Self::default() }
    }

    /// Adds a tenant. Pods take a file as a whole or not at all, so what they would refuse of one
    /// must not get into it. Where that is the tenant's schemas, it keeps those that pods have,
    /// and what is wrong is given back: who could send yesterday still can.
    pub(super) fn add(
        &mut self,
        tenant: &PulseTenant,
        keys: &[KeySecret],
        now: Timestamp,
    ) -> Result<Option<String>, LeftOut> {
        check(tenant)?;
        self.check_class(tenant.spec.retention.as_deref())?;
        let fields = fields(tenant, keys, now);
        let own = tenant.spec.schemas.iter().map(schema).collect();
        let Err(left_out) = self.add_with(fields.clone(), own) else { return Ok(None) };
        let LeftOut::Schemas(why) = left_out else { return Err(left_out) };
        let Some(former) = self.former.schemas(&tenant.name_any()).cloned() else {
            return Err(LeftOut::Schemas(why));
        };
        match self.add_with(fields, former) {
            Ok(()) => Ok(Some(why)),
            Err(_) => Err(LeftOut::Schemas(why)),
        }
    }

    fn add_with(
        &mut self,
        mut fields: Map<String, Value>,
        schemas: Vec<Value>,
    ) -> Result<(), LeftOut> {
        let has_schemas = !schemas.is_empty();
        let schemas = Value::Array(schemas);
        let entries = schemas.to_string();
        if has_schemas {
            fields.insert("schemas".to_owned(), schemas);
        }
        let line = format!("- {}\n", Value::Object(fields));
        if line.len() > TENANT_BYTES_MAX {
            return Err(too_large(line.len(), has_schemas));
        }
        if self.lines.len() + line.len() > FILE_BYTES_MAX {
            return Err(LeftOut::Full);
        }
        if has_schemas {
            self.judge.take(&entries).map_err(LeftOut::Schemas)?;
        }
        self.lines.push_str(&line);
        self.tenants += 1;
        Ok(())
    }

    /// A class that the pods do not have would have them refuse the file of all tenants.
    fn check_class(&self, class: Option<&str>) -> Result<(), LeftOut> {
        let (Some(class), Some(classes)) = (class, &self.classes) else { return Ok(()) };
        if class == DEFAULT_CLASS || classes.find(class).is_some() {
            return Ok(());
        }
        Err(LeftOut::Invalid(format!(
            "spec.retention: the mesh has no retention class `{class}`: write {classes}, or add it \
             to retention-classes in spec.ingest.settings of the PulseMesh"
        )))
    }

    /// All of it.
    pub(super) fn text(&self, mesh: &str, pods: i64) -> String {
        let first = format!("# Written by pulsemesh-operator for PulseMesh {mesh}.\n");
        let divided = if pods > 1 { format!("divide_by: {pods}\n") } else { String::new() };
        let lines =
            if self.lines.is_empty() { format!("- {NOBODY}\n") } else { self.lines.clone() };
        format!("{first}{divided}tenants:\n{lines}")
    }
}

/// What the rules of the definition can't say.
fn check(tenant: &PulseTenant) -> Result<(), LeftOut> {
    let invalid = |text: String| Err(LeftOut::Invalid(text));
    for (name, value) in &tenant.spec.metadata {
        if name.is_empty() || name.len() > NAME_BYTES_MAX || value.len() > VALUE_BYTES_MAX {
            return invalid(format!(
                "spec.metadata: names have 1 to {NAME_BYTES_MAX} bytes, values at most \
                 {VALUE_BYTES_MAX}: shorten one"
            ));
        }
    }
    let mut keys = tenant.spec.keys.iter();
    let tenant = tenant.name_any();
    if let Some(key) =
        keys.find(|key| super::keys::is_reserved(&names::tenant_key(&tenant, &key.name)))
    {
        return invalid(format!(
            "spec.keys: the Secret {tenant}-{} could be one of a mesh's own: give the key another \
             name",
            key.name
        ));
    }
    Ok(())
}

fn too_large(bytes: usize, has_schemas: bool) -> LeftOut {
    let why = format!(
        "the tenant takes {bytes} bytes of its mesh's file, at most {TENANT_BYTES_MAX} fit: make \
         its schemas smaller"
    );
    if has_schemas { LeftOut::Schemas(why) } else { LeftOut::Invalid(why) }
}

/// What the file says of a tenant, without its schemas.
fn fields(tenant: &PulseTenant, secrets: &[KeySecret], now: Timestamp) -> Map<String, Value> {
    let (name, spec) = (tenant.name_any(), &tenant.spec);
    let mut keys = Vec::new();
    for key in &spec.keys {
        let secret = names::tenant_key(&name, &key.name);
        let uid = tenant.metadata.uid.as_deref();
        let mut known = secrets.iter();
        let found = known.find(|it| it.name == secret && it.owner.as_deref() == uid);
        for (end, hash) in found.filter(|it| !it.is_going).into_iter().flat_map(|it| it.hashes(now))
        {
            let key_name = format!("{}{end}", key.name);
            keys.push(json!({"name": key_name, "kind": key.kind.as_str(), "sha256": hash}));
        }
    }
    let mut fields = Map::new();
    fields.insert("name".to_owned(), name.into());
    fields.insert("keys".to_owned(), keys.into());
    if spec.limits != Limits::default() {
        let Limits { requests_per_minute, pulses_per_minute, burst } = spec.limits;
        let limits = json!({"requests_per_minute": requests_per_minute,
                            "pulses_per_minute": pulses_per_minute, "burst": burst});
        fields.insert("limits".to_owned(), limits);
    }
    let most = match spec.ack_max {
        Ack::Memory => Some("memory"),
        Ack::Durable => Some("durable"),
        Ack::Stored => None,
    };
    if let Some(most) = most {
        fields.insert("ack_max".to_owned(), most.into());
    }
    if let Some(class) = &spec.retention {
        fields.insert("retention".to_owned(), class.clone().into());
    }
    if !spec.metadata.is_empty() {
        fields.insert("metadata".to_owned(), json!(spec.metadata));
    }
    fields
}

fn schema(of: &KindSchema) -> Value {
    let on_failure = match of.on_failure {
        OnFailure::Reject => "reject",
        OnFailure::DeadLetter => "dead_letter",
    };
    let mut fields = Map::new();
    fields.insert("kind".to_owned(), of.kind.clone().into());
    fields.extend(of.required.clone().map(|paths| ("required".to_owned(), json!(paths))));
    fields.extend(of.schema.clone().map(|schema| ("schema".to_owned(), Value::Object(schema))));
    fields.insert("on_failure".to_owned(), on_failure.into());
    Value::Object(fields)
}
