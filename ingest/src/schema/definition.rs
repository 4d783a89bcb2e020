//! Demands as the file of tenants has them, and what they mean. All of a file together is
//! bounded; schemas that are the same are compiled once.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value;
use serde_saphyr::Spanned;
use xxhash_rust::xxh3::xxh3_128;

use crate::pulse::{JSON_DEPTH_MAX, NAME_BYTES_MAX};

use super::{OnFailure, Path, Rule, Schema, Schemas, compile};

/// Kinds of one tenant that something is demanded of: far more than a person maintains.
const KINDS_MAX: usize = 64;
/// Members that can be demanded of a kind without a schema.
const REQUIRED_MAX: usize = 64;
/// Largest schema, as JSON without spaces.
const SCHEMA_BYTES_MAX: usize = 32 * 1024;
/// Schemas of a file that differ, and their bytes together: they are compiled at each reading,
/// some 100 µs each, and take about twenty times their text.
const SCHEMAS_MAX: usize = 1_000;
const BYTES_MAX: usize = 2 * 1024 * 1024;

/// One entry of `schemas`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SchemaText {
    kind: Spanned<String>,
    #[serde(default)]
    required: Vec<String>,
    #[serde(default)]
    schema: Option<Value>,
    #[serde(default)]
    on_failure: OnFailureText,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum OnFailureText {
    #[default]
    Reject,
    DeadLetter,
}

/// What a file has of schemas so far.
#[derive(Default)]
pub(crate) struct Bounds {
    compiled: HashMap<u128, Schema>,
    bytes: usize,
}

/// What is wrong, with its line.
type Wrong = (u64, String);

impl Bounds {
    /// What a tenant's entries mean; what is wrong with them goes to `wrong`.
    pub(crate) fn take(&mut self, texts: Vec<SchemaText>, wrong: &mut Vec<Wrong>) -> Schemas {
        let mut schemas = Schemas::default();
        if let Some(beyond) = texts.get(KINDS_MAX) {
            let why = format!("has {} schemas; at most {KINDS_MAX} fit", texts.len());
            wrong.push((beyond.line(), why));
            return schemas;
        }
        for text in texts {
            let (line, kind) = (text.line(), text.kind.value.clone());
            let added = self.rule(text).and_then(|rule| {
                schemas.add(&kind, rule).map_err(|_| "is given before; give it once".to_owned())
            });
            if let Err(why) = added {
                wrong.push((line, format!("schema of kind `{}` {why}", shown(&kind))));
            }
        }
        schemas
    }

    fn rule(&mut self, text: SchemaText) -> Result<Rule, String> {
        if text.kind.value.is_empty() || text.kind.value.len() > NAME_BYTES_MAX {
            return Err(format!("names no kind; write 1 to {NAME_BYTES_MAX} bytes"));
        }
        if text.required.is_empty() && text.schema.is_none() {
            return Err("demands nothing; write `required`, `schema` or both".to_owned());
        }
        if text.required.len() > REQUIRED_MAX {
            return Err(format!("requires more than {REQUIRED_MAX} members; use `schema`"));
        }
        let required = text.required.iter().map(|text| path(text)).collect::<Result<_, _>>()?;
        let schema = text.schema.as_ref().map(|schema| self.schema(schema)).transpose()?;
        let on_failure = match text.on_failure {
            OnFailureText::Reject => OnFailure::Reject,
            OnFailureText::DeadLetter => OnFailure::DeadLetter,
        };
        Ok(Rule { required, schema, on_failure })
    }

    fn schema(&mut self, schema: &Value) -> Result<Schema, String> {
        let text = schema.to_string();
        if text.len() > SCHEMA_BYTES_MAX {
            return Err(format!("has {} bytes; at most {SCHEMA_BYTES_MAX} fit", text.len()));
        }
        let digest = xxh3_128(text.as_bytes());
        if let Some(known) = self.compiled.get(&digest) {
            return Ok(known.clone());
        }
        if self.compiled.len() == SCHEMAS_MAX || self.bytes + text.len() > BYTES_MAX {
            return Err(format!(
                "is too much: a file has at most {SCHEMAS_MAX} different schemas of {BYTES_MAX} \
                 bytes together"
            ));
        }
        let validator = compile::compile(schema)?.into();
        self.bytes += text.len();
        let schema = Schema { validator, digest };
        self.compiled.insert(digest, schema.clone());
        Ok(schema)
    }
}

impl SchemaText {
    fn line(&self) -> u64 {
        self.kind.referenced.line()
    }
}

/// Reads `payload.order.id`.
fn path(text: &str) -> Result<Path, String> {
    let names: Box<[Box<str>]> = text.split('.').map(Box::from).collect();
    let sound = names.len() <= JSON_DEPTH_MAX
        && text.len() <= NAME_BYTES_MAX
        && names.iter().all(|name| !name.is_empty());
    let wrong =
        || format!("requires `{}`, which is no path; write `payload.order.id`", shown(text));
    sound.then_some(Path(names)).ok_or_else(wrong)
}

/// Enough of a text to find it by.
fn shown(text: &str) -> &str {
    &text[..text.floor_char_boundary(64)]
}
