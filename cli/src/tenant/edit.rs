//! Edits the text of a file of tenants. Nothing else in it changes, comments included, and an
//! edit counts only when the whole, read again, says exactly what was meant.

use pulsemesh_ingest::tenant::file::FILE_BYTES_MAX;
use serde_json::{Map, Value, json};
use thiserror::Error;

use super::lines::{Entries, Flow, Member, entries, flow, member, members_indent};

/// Parts of the largest file that a server reads.
const NODES_MAX: usize = 12_000_000;

/// A key for the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NewKey {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) sha256: String,
}

/// Limits by name, those that were given.
pub(super) type Limits = [(&'static str, Option<u64>); 3];

/// Why the text is not edited.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum EditError {
    #[error("there is a tenant `{0}` already; `tenant rotate` adds a key to it")]
    TenantExists(String),
    #[error("there is no tenant `{0}`")]
    NoTenant(String),
    #[error("tenant `{0}` has a key `{1}` already; choose another name")]
    KeyExists(String, String),
    #[error("tenant `{0}` has no key `{1}`")]
    NoKey(String, String),
    #[error(
        "the file is written in a way that is not edited here: change it by hand, with a line of \
         `pulsemesh-ingest tenant key`"
    )]
    Unknown,
}

type Edited = Result<String, EditError>;

/// The tenants of a file, in order.
pub(super) fn tenants(text: &str) -> Option<Vec<Value>> {
    let document = parse(text)?;
    document["tenants"].as_array().cloned()
}

fn parse(text: &str) -> Option<Value> {
    let mut options = serde_saphyr::Options::default();
    options.budget = serde_saphyr::budget! {
        max_events: NODES_MAX,
        max_nodes: NODES_MAX,
        max_total_scalar_bytes: FILE_BYTES_MAX,
    };
    serde_saphyr::from_str_with_options(text, options).ok()
}

/// Adds a tenant at the end; an empty text becomes a file.
pub(super) fn create(text: &str, name: &str, keys: &[&NewKey], limits: Limits) -> Edited {
    let limits: Vec<(&str, u64)> =
        limits.into_iter().filter_map(|(name, limit)| Some((name, limit?))).collect();
    let mut document = if text.is_empty() { json!({"tenants": []}) } else { read(text)? };
    let all = document["tenants"].as_array_mut().ok_or(EditError::Unknown)?;
    if all.iter().any(|tenant| tenant["name"] == *name) {
        return Err(EditError::TenantExists(name.to_owned()));
    }
    all.push(tenant(name, keys, &limits));
    let mut lines = split(text);
    if text.is_empty() {
        lines.push("tenants:".to_owned());
    }
    let list = tenant_entries(&lines);
    let (indent, at) = match &list {
        Some(list) => (list.indent, list.ranges.last().map_or(0, |last| last.end)),
        None if text.is_empty() => (0, 1),
        None => return Err(EditError::Unknown),
    };
    let margin = " ".repeat(indent);
    let mut added = vec![format!("{margin}- name: {}", scalar(name)), format!("{margin}  keys:")];
    added.extend(keys.iter().map(|key| format!("{margin}  - {}", entry(key))));
    if !limits.is_empty() {
        let limits: Vec<String> =
            limits.iter().map(|(name, limit)| format!("{name}: {limit}")).collect();
        added.push(format!("{margin}  limits: {{{}}}", limits.join(", ")));
    }
    lines.splice(at..at, added);
    proven(&lines, &document)
}

fn tenant(name: &str, keys: &[&NewKey], limits: &[(&str, u64)]) -> Value {
    let keys: Vec<Value> = keys.iter().map(|key| value(key)).collect();
    let mut tenant = json!({"name": name, "keys": keys});
    if !limits.is_empty() {
        let limits = limits.iter().map(|(name, limit)| ((*name).to_owned(), (*limit).into()));
        tenant["limits"] = Value::Object(limits.collect::<Map<_, _>>());
    }
    tenant
}

/// Adds a key to a tenant, behind those that it has.
pub(super) fn add_key(text: &str, tenant: &str, key: &NewKey) -> Edited {
    let mut document = read(text)?;
    let place = place_of(&document, tenant)?;
    let is_new = mean(&mut document, place, |keys| {
        let is_new = !keys.iter().any(|old| old["name"] == *key.name);
        keys.push(value(key));
        is_new
    });
    if !is_new {
        return Err(EditError::KeyExists(tenant.to_owned(), key.name.clone()));
    }
    let mut lines = split(text);
    match find_keys(&lines, place)? {
        Keys::None { at, indent } => {
            let margin = " ".repeat(indent);
            let added = [format!("{margin}keys:"), format!("{margin}- {}", entry(key))];
            lines.splice(at..at, added);
        }
        Keys::Block { list, member } => {
            let at = list.ranges.last().map_or(member.line + 1, |last| last.end);
            lines.insert(at, format!("{}- {}", " ".repeat(list.indent), entry(key)));
        }
        Keys::Flow { list, member } => {
            let before = if list.entries.is_empty() { "" } else { ", " };
            let at = list.entries.last().map_or(list.open + 1, |last| last.end);
            lines[member.line].insert_str(at, &format!("{before}{}", entry(key)));
        }
    }
    proven(&lines, &document)
}

/// Takes a key out. A comment above it stays.
pub(super) fn remove_key(text: &str, tenant: &str, key: &str) -> Edited {
    let mut document = read(text)?;
    let place = place_of(&document, tenant)?;
    let at = mean(&mut document, place, |keys| {
        let at = keys.iter().position(|old| old["name"] == *key)?;
        keys.remove(at);
        Some(at)
    });
    let at = at.ok_or_else(|| EditError::NoKey(tenant.to_owned(), key.to_owned()))?;
    let mut lines = split(text);
    match find_keys(&lines, place)? {
        Keys::None { .. } => return Err(EditError::Unknown),
        Keys::Block { list, member } => {
            let range = list.ranges.get(at).cloned().ok_or(EditError::Unknown)?;
            if list.ranges.len() == 1 {
                lines[member.line].insert_str(member.value, " []");
            }
            lines.drain(range);
        }
        Keys::Flow { list, member } => {
            let end = |at: usize| list.entries.get(at).map(|range| range.end);
            let start = |at: usize| list.entries.get(at).map(|range| range.start);
            let range = match at.checked_sub(1).and_then(end) {
                // With the comma in front of it, else the one behind.
                Some(before) => Some(before..end(at).ok_or(EditError::Unknown)?),
                None => start(0).zip(start(1).or(end(0))).map(|(start, end)| start..end),
            };
            lines[member.line].replace_range(range.ok_or(EditError::Unknown)?, "");
        }
    }
    proven(&lines, &document)
}

fn read(text: &str) -> Result<Value, EditError> {
    parse(text).ok_or(EditError::Unknown)
}

/// Which of the tenants it is.
fn place_of(document: &Value, tenant: &str) -> Result<usize, EditError> {
    let all = document["tenants"].as_array().map_or(&[][..], Vec::as_slice);
    let place = all.iter().position(|one| one["name"] == *tenant);
    place.ok_or_else(|| EditError::NoTenant(tenant.to_owned()))
}

/// Changes what the keys of a tenant are meant to be.
fn mean<T>(document: &mut Value, place: usize, change: impl FnOnce(&mut Vec<Value>) -> T) -> T {
    let member = &mut document["tenants"][place]["keys"];
    let mut keys = match member.take() {
        Value::Array(keys) => keys,
        _ => Vec::new(),
    };
    let done = change(&mut keys);
    *member = Value::Array(keys);
    done
}

/// Where the keys of a tenant are written.
enum Keys {
    /// Nowhere: this is where they would be.
    None {
        at: usize,
        indent: usize,
    },
    Block {
        list: Entries,
        member: Member,
    },
    Flow {
        list: Flow,
        member: Member,
    },
}

fn find_keys(lines: &[String], place: usize) -> Result<Keys, EditError> {
    let tenants = tenant_entries(lines).ok_or(EditError::Unknown)?;
    let range = tenants.ranges.get(place).cloned().ok_or(EditError::Unknown)?;
    let indent = members_indent(lines, range.clone()).ok_or(EditError::Unknown)?;
    let Some(member) = member(lines, range.clone(), (indent, "keys")) else {
        return Ok(Keys::None { at: range.end, indent });
    };
    if member.is_block(lines) {
        let list = entries(lines, member.line + 1..range.end, indent);
        return Ok(Keys::Block { list: list.ok_or(EditError::Unknown)?, member });
    }
    let list = flow(&lines[member.line], member.value).ok_or(EditError::Unknown)?;
    Ok(Keys::Flow { list, member })
}

fn tenant_entries(lines: &[String]) -> Option<Entries> {
    let tenants = member(lines, 0..lines.len(), (0, "tenants"))?;
    if !tenants.is_block(lines) {
        return None;
    }
    entries(lines, tenants.line + 1..lines.len(), 0)
}

fn value(key: &NewKey) -> Value {
    json!({"name": key.name, "kind": key.kind, "sha256": key.sha256})
}

/// A key as an entry of a list.
fn entry(NewKey { name, kind, sha256 }: &NewKey) -> String {
    format!("{{name: {}, kind: {kind}, sha256: {}}}", scalar(name), scalar(sha256))
}

/// A name as YAML, in quotes where it would be read as something else than text.
fn scalar(name: &str) -> String {
    let plain = parse(name).is_some_and(|value| value == *name);
    if plain { name.to_owned() } else { format!("\"{name}\"") }
}

/// Lines as they are: a carriage return belongs to its line.
fn split(text: &str) -> Vec<String> {
    text.split_terminator('\n').map(str::to_owned).collect()
}

/// The text, if it says `meant`.
fn proven(lines: &[String], meant: &Value) -> Edited {
    let mut text = lines.join("\n");
    text.push('\n');
    if parse(&text).as_ref() == Some(meant) { Ok(text) } else { Err(EditError::Unknown) }
}
