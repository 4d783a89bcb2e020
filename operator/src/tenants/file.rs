//! The file of tenants, as ingest pods read it: one line a tenant, hashes and never a key. Pure.

use jiff::Timestamp;
use kube::ResourceExt;
use pulsemesh_crds::ingest::Ack;
use pulsemesh_crds::tenant::{KindSchema, Limits, OnFailure, PulseTenant};
use pulsemesh_runtime::retention::{DEFAULT_CLASS, RetentionClasses};
use serde_json::{Map, Value, json};

use super::keys::KeySecret;
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
}

/// Why a tenant is not in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LeftOut {
    /// Its spec; what is wrong and what to do.
    Invalid(String),
    /// There is no room.
    Full,
}

impl File {
    /// A file for pods that have these retention classes.
    pub(super) fn of(classes: Option<RetentionClasses>) -> Self {
        Self { classes, ..Self::default() }
    }

    /// Adds a tenant.
    pub(super) fn add(
        &mut self,
        tenant: &PulseTenant,
        keys: &[KeySecret],
        now: Timestamp,
    ) -> Result<(), LeftOut> {
        check(tenant)?;
        self.check_class(tenant.spec.retention.as_deref())?;
        let line = line(tenant, keys, now);
        if line.len() > TENANT_BYTES_MAX {
            return Err(LeftOut::Invalid(format!(
                "the tenant takes {} bytes of its mesh's file, at most {TENANT_BYTES_MAX} fit: \
                 make its schemas smaller",
                line.len()
            )));
        }
        if self.lines.len() + line.len() > FILE_BYTES_MAX {
            return Err(LeftOut::Full);
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

fn line(tenant: &PulseTenant, secrets: &[KeySecret], now: Timestamp) -> String {
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
    if !spec.schemas.is_empty() {
        fields.insert("schemas".to_owned(), spec.schemas.iter().map(schema).collect());
    }
    format!("- {}\n", Value::Object(fields))
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
