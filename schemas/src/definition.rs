//! Demands as the file of tenants has them, and what they mean. All of a file together is
//! bounded; schemas that are the same are compiled once.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value;
use serde_saphyr::{Options, Spanned};
use xxhash_rust::xxh3::xxh3_128;

/// Longest name of a kind, and longest path, in bytes: as pulses have them.
pub const NAME_BYTES_MAX: usize = 255;
/// Most names of a path: payloads are nested no deeper.
pub const PATH_NAMES_MAX: usize = 32;
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
/// Deepest nesting of a text that is read alone: reading it recurses.
const DEPTH_MAX: usize = 64;

/// One entry of `schemas`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SchemaText {
    kind: Spanned<String>,
    #[serde(default)]
    required: Vec<String>,
    #[serde(default)]
    schema: Option<Value>,
    #[serde(default)]
    on_failure: OnFailure,
}

/// What happens to a pulse that is not as it must be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// It is refused.
    #[default]
    Reject,
    /// It is accepted, and kept as a dead letter.
    DeadLetter,
}

impl OnFailure {
    /// Its name in the file of tenants and in labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reject => "reject",
            Self::DeadLetter => "dead_letter",
        }
    }
}

/// What is demanded of pulses of one kind.
#[derive(Debug)]
pub struct Demand<C> {
    /// The kind.
    pub kind: String,
    /// Where something must be: names of members, from the outermost on.
    pub required: Vec<Box<[Box<str>]>>,
    /// The schema, with what tells it from others.
    pub schema: Option<(u128, C)>,
    /// What happens to a pulse that fails.
    pub on_failure: OnFailure,
}

/// What is wrong, with its line from 1.
pub type Wrong = (u64, String);

/// What a file has of schemas so far; each that is taken is kept as a `C`.
#[derive(Debug)]
pub struct Bounds<C> {
    taken: HashMap<u128, C>,
    bytes: usize,
}

impl<C> Default for Bounds<C> {
    fn default() -> Self {
        Self { taken: HashMap::new(), bytes: 0 }
    }
}

impl<C: Clone> Bounds<C> {
    /// What a tenant's entries mean. `compile` is asked for each schema that the file has not had
    /// yet, with what tells it from others.
    ///
    /// # Errors
    /// What is wrong with them, in their order; nothing of them counts then.
    pub fn take(
        &mut self,
        texts: Vec<SchemaText>,
        compile: impl FnMut(u128, &Value) -> Result<C, String>,
    ) -> Result<Vec<Demand<C>>, Vec<Wrong>> {
        if let Some(beyond) = texts.get(KINDS_MAX) {
            let why = format!("has {} schemas; at most {KINDS_MAX} fit", texts.len());
            return Err(vec![(beyond.line(), why)]);
        }
        let mut taking = Taking { bounds: self, compile, added: Vec::new() };
        let (mut demands, mut wrong) = (Vec::<Demand<C>>::with_capacity(texts.len()), Vec::new());
        for text in texts {
            let (line, kind) = (text.line(), text.kind.value.clone());
            let is_known = demands.iter().any(|demand| demand.kind == kind);
            match taking.demand(text) {
                Ok(_) if is_known => {
                    wrong.push((line, told(&kind, "is given before; give it once")))
                }
                Ok(demand) => demands.push(demand),
                Err(why) => wrong.push((line, told(&kind, &why))),
            }
        }
        if wrong.is_empty() {
            return Ok(demands);
        }
        taking.undo();
        Err(wrong)
    }
}

/// The entries of one tenant while they are taken.
struct Taking<'b, C, F> {
    bounds: &'b mut Bounds<C>,
    compile: F,
    /// What the tenant is the first to have, with its size.
    added: Vec<(u128, usize)>,
}

impl<C: Clone, F: FnMut(u128, &Value) -> Result<C, String>> Taking<'_, C, F> {
    fn demand(&mut self, text: SchemaText) -> Result<Demand<C>, String> {
        let SchemaText { kind, required, schema, on_failure } = text;
        if kind.value.is_empty() || kind.value.len() > NAME_BYTES_MAX {
            return Err(format!("names no kind; write 1 to {NAME_BYTES_MAX} bytes"));
        }
        if required.is_empty() && schema.is_none() {
            return Err("demands nothing; write `required`, `schema` or both".to_owned());
        }
        if required.len() > REQUIRED_MAX {
            return Err(format!("requires more than {REQUIRED_MAX} members; use `schema`"));
        }
        let required = required.iter().map(|text| path(text)).collect::<Result<_, _>>()?;
        let schema = schema.as_ref().map(|schema| self.schema(schema)).transpose()?;
        Ok(Demand { kind: kind.value, required, schema, on_failure })
    }

    fn schema(&mut self, schema: &Value) -> Result<(u128, C), String> {
        let text = schema.to_string();
        if text.len() > SCHEMA_BYTES_MAX {
            return Err(format!("has {} bytes; at most {SCHEMA_BYTES_MAX} fit", text.len()));
        }
        let digest = xxh3_128(text.as_bytes());
        if let Some(known) = self.bounds.taken.get(&digest) {
            return Ok((digest, known.clone()));
        }
        if self.bounds.taken.len() == SCHEMAS_MAX || self.bounds.bytes + text.len() > BYTES_MAX {
            return Err(format!(
                "is too much: a file has at most {SCHEMAS_MAX} different schemas of {BYTES_MAX} \
                 bytes together"
            ));
        }
        let compiled = (self.compile)(digest, schema)?;
        self.bounds.bytes += text.len();
        self.bounds.taken.insert(digest, compiled.clone());
        self.added.push((digest, text.len()));
        Ok((digest, compiled))
    }

    fn undo(self) {
        for (digest, bytes) in self.added {
            self.bounds.taken.remove(&digest);
            self.bounds.bytes -= bytes;
        }
    }
}

impl SchemaText {
    fn line(&self) -> u64 {
        self.kind.referenced.line()
    }
}

/// Reads the entries of one tenant as the file of tenants has them, YAML or JSON.
///
/// # Errors
/// Why it can't be read, for a person.
pub fn read(text: &str) -> Result<Vec<SchemaText>, String> {
    let mut options = Options::default();
    // Aliases may not make more of it.
    options.budget = serde_saphyr::budget! {
        max_total_scalar_bytes: text.len(),
        max_depth: DEPTH_MAX,
    };
    options.with_snippet = false;
    options.emit_comments = false;
    serde_saphyr::from_str_with_options(text, options)
        .map_err(|error| error.without_snippet().to_string())
}

/// Reads `payload.order.id`.
fn path(text: &str) -> Result<Box<[Box<str>]>, String> {
    let names: Box<[Box<str>]> = text.split('.').map(Box::from).collect();
    let sound = names.len() <= PATH_NAMES_MAX
        && text.len() <= NAME_BYTES_MAX
        && names.iter().all(|name| !name.is_empty());
    let wrong =
        || format!("requires `{}`, which is no path; write `payload.order.id`", shown(text));
    sound.then_some(names).ok_or_else(wrong)
}

fn told(kind: &str, why: &str) -> String {
    format!("schema of kind `{}` {why}", shown(kind))
}

/// Enough of a text to find it by.
fn shown(text: &str) -> &str {
    &text[..text.floor_char_boundary(64)]
}
