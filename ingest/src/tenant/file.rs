//! The file of tenants: YAML to a table, with everything that is wrong, each with its line. Never
//! quotes what may be a key.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use pulsemesh_runtime::units;
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_saphyr::{Options, Spanned};
use thiserror::Error;

use crate::fs::{OsFs, read_file};
use crate::pulse::METADATA_KEY_BYTES_MAX;
use crate::retention::{DEFAULT_CLASS, RetentionClasses, is_class_name};
use crate::schema::{Bounds, SchemaText, Schemas};
use crate::submission::Ack;

use super::key::{PREFIX, is_key, redact};
use super::{KeyHash, Limits, Permission, Permissions, Table, Tenant};

/// Largest file: four times what the most tenants with four keys each need.
pub const FILE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Most tenants: what memory and reload are measured with.
pub const TENANTS_MAX: usize = 10_000;
/// Most keys of one tenant: many services, each in the middle of a rotation.
pub const KEYS_MAX: usize = 64;
/// Longest name of a tenant or key, in bytes.
const NAME_BYTES_MAX: usize = 128;
/// Highest limit of a minute: beyond what one process does in it.
const RATE_MAX: u64 = 1_000_000_000_000;
/// Most processes that share limits, as `--limits-divide-by` has it.
const PARTS_MAX: u64 = 10_000;
/// Most entries of metadata that a tenant adds to its pulses, and the longest value: each of its
/// pulses carries them.
const METADATA_MAX: usize = 16;
const VALUE_BYTES_MAX: usize = 255;
/// The kinds of keys, as the file has them.
pub const KEY_KINDS: &[&str] = &["write", "read", "both", "admin"];
/// Problems that are told; who has more mends these first.
const PROBLEMS_MAX: usize = 20;
/// Parts of the document: ten thousand tenants with sixty-four keys each.
const NODES_MAX: usize = 12_000_000;

/// Deepest nesting of the document: reading it recurses, and schemas need some of it.
const DEPTH_MAX: usize = 64;

/// What is wrong with a file of tenants.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct FileError {
    /// The file as it was named.
    pub path: String,
    /// At least one; the first of them, in the order of the file.
    pub problems: Vec<Problem>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where, from 1; `None`: with the file as a whole.
    pub line: Option<u64>,
    /// What, and what would be right.
    pub message: String,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("read tenants")?;
        for Problem { line, message } in &self.problems {
            write!(f, "\n  {}", self.path)?;
            if let Some(line) = line {
                write!(f, ":{line}")?;
            }
            write!(f, ": {message}")?;
        }
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    divide_by: Option<Parts>,
    tenants: Reading,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TenantText {
    name: Spanned<String>,
    #[serde(default)]
    keys: Vec<KeyText>,
    #[serde(default)]
    limits: LimitsText,
    #[serde(default)]
    ack_max: AckText,
    #[serde(default)]
    retention: Option<Spanned<String>>,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
    #[serde(default)]
    schemas: Vec<SchemaText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyText {
    name: Spanned<String>,
    kind: KindText,
    sha256: Spanned<String>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum KindText {
    Write,
    Read,
    Both,
    Admin,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsText {
    requests_per_minute: Option<Rate>,
    pulses_per_minute: Option<Rate>,
    burst: Option<Rate>,
}

#[derive(Clone, Copy)]
struct Rate(u64);

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let rate = units::count(&text).filter(|rate| *rate <= RATE_MAX);
        let wrong = || format!("`{text}` is no limit; write 0 for none, or 1 to {RATE_MAX}");
        rate.map(Self).ok_or_else(|| D::Error::custom(wrong()))
    }
}

/// Into how many equal parts the limits are divided.
struct Parts(u64);

impl<'de> Deserialize<'de> for Parts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let parts = units::count(&text).filter(|parts| (1..=PARTS_MAX).contains(parts));
        let wrong = || format!("`{text}` is no number of processes; write 1 to {PARTS_MAX}");
        parts.map(Self).ok_or_else(|| D::Error::custom(wrong()))
    }
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum AckText {
    Memory,
    Durable,
    #[default]
    Stored,
}

/// Reads a file for a process that has these retention classes. Blocking.
///
/// # Errors
/// What is wrong with it, each with its line.
pub fn read(path: &Path, classes: &RetentionClasses) -> Result<Table, FileError> {
    let name = path.display().to_string();
    match read_file(&OsFs, path, FILE_BYTES_MAX) {
        Ok(bytes) => parse_for(&name, &bytes, classes),
        Err(error) => Err(whole(&name, error.to_string())),
    }
}

/// What a file of tenants means to a process that has these retention classes; `name` is what
/// errors call it.
///
/// # Errors
/// What is wrong with it, each with its line.
pub fn parse_for(name: &str, bytes: &[u8], classes: &RetentionClasses) -> Result<Table, FileError> {
    meant(name, bytes, |class| classes.find(class).is_some(), classes)
}

/// The same for who does not know the classes of the process: any name that a class may have
/// will do.
///
/// # Errors
/// What is wrong with it, each with its line.
pub fn parse(name: &str, bytes: &[u8]) -> Result<Table, FileError> {
    meant(name, bytes, is_class_name, &RetentionClasses::default())
}

fn meant(
    name: &str,
    bytes: &[u8],
    has_class: impl Fn(&str) -> bool,
    classes: &RetentionClasses,
) -> Result<Table, FileError> {
    let text = std::str::from_utf8(bytes).map_err(|_| whole(name, "is not UTF-8 text"))?;
    let document: Document =
        serde_saphyr::from_str_with_options(text, options()).map_err(|error| {
            let line = error.location().map(|location| location.line());
            // Without a picture of the file, and without the place, which comes first here.
            let message = redact(&error.without_snippet().to_string());
            let message = message.lines().next().unwrap_or_default();
            let message = message.split(" at line ").next().unwrap_or_default().to_owned();
            FileError { path: name.to_owned(), problems: vec![Problem { line, message }] }
        })?;
    let Reading { table, mut problems, count, schemas: _, classes: named } = document.tenants;
    if count == 0 {
        let how = "names no tenant: nobody could do anything; without --tenants there is one \
                   open tenant";
        return Err(whole(name, how));
    }
    if count > TENANTS_MAX {
        return Err(whole(name, format!("names {count} tenants; at most {TENANTS_MAX} fit")));
    }
    let unknown = named.into_iter().filter(|(_, class)| !has_class(class));
    problems.extend(unknown.map(|(line, class)| Problem {
        line: Some(line),
        message: format!("there is no retention class `{}`; write {classes}", redact(&class)),
    }));
    if problems.is_empty() {
        return Ok(table.divided_by(document.divide_by.map(|Parts(parts)| parts)));
    }
    problems.sort_by_key(|problem| problem.line);
    problems.truncate(PROBLEMS_MAX);
    Err(FileError { path: name.to_owned(), problems })
}

fn whole(name: &str, message: impl Into<String>) -> FileError {
    let problem = Problem { line: None, message: message.into() };
    FileError { path: name.to_owned(), problems: vec![problem] }
}

fn options() -> Options {
    let mut options = Options::default();
    // The file is bounded, and its aliases may not make more of it.
    options.budget = serde_saphyr::budget! {
        max_events: NODES_MAX,
        max_nodes: NODES_MAX,
        max_total_scalar_bytes: FILE_BYTES_MAX,
        max_depth: DEPTH_MAX,
    };
    options.with_snippet = false;
    options.emit_comments = false;
    options
}

/// A table in the making, and what was wrong on the way.
#[derive(Default)]
struct Reading {
    table: Table,
    problems: Vec<Problem>,
    count: usize,
    schemas: Bounds,
    /// The retention classes beside the default one that tenants have, each with its line.
    classes: Vec<(u64, String)>,
}

impl<'de> Deserialize<'de> for Reading {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Tenants)
    }
}

/// Takes tenants as they come: all their text at once would be several times the table.
struct Tenants;

impl<'de> Visitor<'de> for Tenants {
    type Value = Reading;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of tenants")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Reading, A::Error> {
        let mut reading = Reading::default();
        while let Some(tenant) = list.next_element()? {
            reading.count += 1;
            // More than fit are counted, and refused as a whole.
            if reading.count <= TENANTS_MAX {
                reading.take(tenant);
            }
        }
        Ok(reading)
    }
}

impl Reading {
    fn take(&mut self, text: TenantText) {
        let line = text.name.referenced.line();
        let name = text.name.value;
        if !is_name(&name) {
            return self.wrong(line, name_rule("tenant", &name));
        }
        let retention_class = self.take_class(text.retention);
        self.check_metadata(line, &name, &text.metadata);
        let schemas = self.take_schemas(&name, text.schemas);
        let tenant = Arc::new(Tenant {
            limits: text.limits.meant(),
            ack_highest: text.ack_max.meant(),
            metadata: text.metadata.into_iter().collect(),
            schemas,
            retention_class,
            ..Tenant::unlimited(name)
        });
        if self.table.add(&tenant).is_err() {
            let message = format!("tenant `{}` is named before; name it once", tenant.name);
            self.wrong(line, message);
        }
        if text.keys.len() > KEYS_MAX {
            let (name, count) = (&tenant.name, text.keys.len());
            self.wrong(line, format!("tenant `{name}` has {count} keys; at most {KEYS_MAX} fit"));
        }
        let mut names = BTreeSet::new();
        for key in text.keys {
            if !names.insert(key.name.value.clone()) {
                let line = key.name.referenced.line();
                let name = redact(&key.name.value);
                self.wrong(line, format!("key `{name}` is named before; name it once"));
            }
            self.take_key(&tenant, &key);
        }
    }

    fn take_key(&mut self, tenant: &Arc<Tenant>, text: &KeyText) {
        if !is_name(&text.name.value) {
            self.wrong(text.name.referenced.line(), name_rule("key", &text.name.value));
        }
        let name = redact(&text.name.value);
        let line = text.sha256.referenced.line();
        let message = match KeyHash::from_hex(&text.sha256.value) {
            Some(hash) => match self.table.add_key(hash, tenant, &name, text.kind.meant()) {
                Ok(()) => return,
                Err(_) => format!("the hash of key `{name}` is given before; make another key"),
            },
            None if is_key(&text.sha256.value) => format!(
                "key `{name}` is here itself, where its hash belongs: whoever reads this file \
                 has it; make another with `pulsemesh-ingest tenant key`"
            ),
            None => format!(
                "the hash of key `{name}` is not 64 hexadecimal digits; write the line that \
                 `pulsemesh-ingest tenant key` prints"
            ),
        };
        self.wrong(line, message);
    }

    fn take_schemas(&mut self, tenant: &str, texts: Vec<SchemaText>) -> Option<Arc<Schemas>> {
        match Schemas::of_texts(texts, &mut self.schemas) {
            Ok(schemas) => (!schemas.is_empty()).then(|| Arc::new(schemas)),
            Err(wrong) => {
                for (line, why) in wrong {
                    self.wrong(line, redact(&format!("tenant `{tenant}`: {why}")));
                }
                None
            }
        }
    }

    /// Which of these there are is looked at when all are known.
    fn take_class(&mut self, text: Option<Spanned<String>>) -> Arc<str> {
        let Some(class) = text.filter(|class| class.value != DEFAULT_CLASS) else {
            return DEFAULT_CLASS.into();
        };
        self.classes.push((class.referenced.line(), class.value.clone()));
        class.value.into()
    }

    fn check_metadata(&mut self, line: u64, tenant: &str, metadata: &BTreeMap<String, String>) {
        let is_wrong = |(key, value): (&String, &String)| {
            key.is_empty() || key.len() > METADATA_KEY_BYTES_MAX || value.len() > VALUE_BYTES_MAX
        };
        if metadata.len() > METADATA_MAX || metadata.iter().any(is_wrong) {
            let why = format!(
                "tenant `{tenant}` has metadata that can't be added: at most {METADATA_MAX} \
                 entries, names of 1 to {METADATA_KEY_BYTES_MAX} bytes, values of at most \
                 {VALUE_BYTES_MAX}"
            );
            self.wrong(line, why);
        }
    }

    fn wrong(&mut self, line: u64, message: String) {
        self.problems.push(Problem { line: Some(line), message });
    }
}

impl LimitsText {
    fn meant(&self) -> Limits {
        let default = Limits::default();
        let of = |rate: Option<Rate>, default| rate.map_or(default, |Rate(rate)| rate);
        Limits {
            requests_per_minute: of(self.requests_per_minute, default.requests_per_minute),
            pulses_per_minute: of(self.pulses_per_minute, default.pulses_per_minute),
            burst: of(self.burst, default.burst),
        }
    }
}

impl AckText {
    const fn meant(self) -> Ack {
        match self {
            Self::Memory => Ack::Memory,
            Self::Durable => Ack::Durable,
            Self::Stored => Ack::Stored,
        }
    }
}

impl KindText {
    const fn meant(self) -> Permissions {
        use Permission::{Admin, Read, Write};
        match self {
            Self::Write => Permissions::of(&[Write]),
            Self::Read => Permissions::of(&[Read]),
            Self::Both => Permissions::of(&[Write, Read]),
            Self::Admin => Permissions::of(&[Write, Read, Admin]),
        }
    }
}

/// Names are parts of keys of stores, of labels and of paths: plain, and never a key itself.
pub fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let begins = text.starts_with(|first: char| first.is_ascii_alphanumeric());
    begins && text.len() <= NAME_BYTES_MAX && text.bytes().all(plain) && !text.contains(PREFIX)
}

fn name_rule(what: &str, text: &str) -> String {
    let text = redact(&text[..text.floor_char_boundary(NAME_BYTES_MAX)]);
    format!(
        "`{text}` is no name of a {what}; write 1 to {NAME_BYTES_MAX} letters, digits, -, _ and ., \
         a letter or digit first"
    )
}
