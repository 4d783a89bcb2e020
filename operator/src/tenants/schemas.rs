//! Whether pods take a tenant's schemas: asked of the very code that reads their file. Compiling
//! takes long, so what was found is remembered; blocks while it compiles. Writes nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::Secret;
use pulsemesh_schemas::{Bounds, compile, read};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::mesh::names::TENANTS_FILE;

/// Schemas of which it is remembered what was found: those of four full files. Then all are
/// forgotten, and compiled again.
const VERDICTS_MAX: usize = 4_096;

/// What was found of schemas, by what tells them apart.
#[derive(Debug, Default)]
pub(crate) struct Verdicts(Mutex<HashMap<u128, Result<(), String>>>);

impl Verdicts {
    fn of(&self, digest: u128, schema: &Value) -> Result<(), String> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(verdict) = known.get(&digest) {
            return verdict.clone();
        }
        if known.len() == VERDICTS_MAX {
            known.clear();
        }
        let verdict = compile(schema).map(drop);
        known.insert(digest, verdict.clone());
        verdict
    }
}

/// What judges the schemas of one file.
#[derive(Debug, Default)]
pub(super) struct Judge {
    verdicts: Arc<Verdicts>,
    bounds: Bounds<()>,
}

impl Judge {
    pub(super) fn new(verdicts: Arc<Verdicts>) -> Self {
        Self { verdicts, bounds: Bounds::default() }
    }

    /// Takes the entries of a tenant, as they stand in the file.
    ///
    /// # Errors
    /// What is wrong with the first that is; then nothing of them counts.
    pub(super) fn take(&mut self, entries: &str) -> Result<(), String> {
        let verdicts = &self.verdicts;
        let taken = self.bounds.take(read(entries)?, |digest, schema| verdicts.of(digest, schema));
        let first = |wrong: Vec<(u64, String)>| wrong.into_iter().next().unwrap_or_default().1;
        taken.map(drop).map_err(first)
    }
}

/// The file that pods have: what they took of each tenant.
#[derive(Debug, Default)]
pub(super) struct Former {
    text: String,
    /// Made when it is first asked for: hardly ever.
    schemas: Option<HashMap<String, Vec<Value>>>,
}

#[derive(Deserialize)]
struct Line<'l> {
    name: String,
    #[serde(borrow, default)]
    schemas: Option<&'l RawValue>,
}

impl Former {
    pub(super) fn of(file: Option<&Secret>) -> Self {
        let bytes = file.and_then(|secret| secret.data.as_ref()?.get(TENANTS_FILE));
        let text = bytes.and_then(|bytes| String::from_utf8(bytes.0.clone()).ok());
        Self { text: text.unwrap_or_default(), schemas: None }
    }

    /// The schemas that pods have of this tenant; `None`: the file does not name it.
    pub(super) fn schemas(&mut self, tenant: &str) -> Option<&Vec<Value>> {
        let text = &self.text;
        let lines = || text.lines().filter_map(|line| line.strip_prefix("- ")).filter_map(named);
        self.schemas.get_or_insert_with(|| lines().collect()).get(tenant)
    }
}

fn named(line: &str) -> Option<(String, Vec<Value>)> {
    let Line { name, schemas } = serde_json::from_str(line).ok()?;
    let schemas = schemas.map_or_else(|| Ok(Vec::new()), |raw| serde_json::from_str(raw.get()));
    Some((name, schemas.ok()?))
}
