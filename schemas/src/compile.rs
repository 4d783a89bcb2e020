//! From JSON Schema to something that judges in time that grows with the pulse alone: patterns
//! without backtracking, references within the schema. Fetches nothing and opens no file.

use jsonschema::{PatternOptions, Validator};
use serde_json::{Map, Value};

/// Deepest nesting of a schema, through what it refers to: compiling and walking it recurse, and
/// one that refers to itself has no end.
const DEPTH_MAX: usize = 56;
/// Most parts of a schema, with what it refers to counted as often as it does: so much is done at
/// most for each part of a pulse.
const PARTS_MAX: usize = 10_000;
/// Memory of one pattern, in bytes, and of what it remembers while it matches.
const PATTERN_BYTES_MAX: usize = 1024 * 1024;
/// The same of all patterns of a schema, which have equal parts of it: a text of 32 KiB has room
/// for thousands that take a mebibyte each.
const PATTERNS_BYTES_MAX: usize = 8 * PATTERN_BYTES_MAX;
/// Longest reason that is told: it may quote the schema.
const WHY_BYTES_MAX: usize = 512;

/// Compiles a schema.
///
/// # Errors
/// Why it is none that is taken, for a person.
pub fn compile(schema: &Value) -> Result<Validator, String> {
    if !matches!(schema, Value::Object(_) | Value::Bool(_)) {
        return Err("is neither an object nor true or false".to_owned());
    }
    let old = schema.get("$schema").and_then(Value::as_str);
    let id = if old.is_some_and(|draft| draft.contains("draft-04")) { "id" } else { "$id" };
    let mut walk = Walk { whole: schema, id, parts: 0, patterns: 0 };
    walk.value(schema, 0)?;
    let bytes_max = (PATTERNS_BYTES_MAX / walk.patterns.max(1)).min(PATTERN_BYTES_MAX);
    let patterns = PatternOptions::regex().size_limit(bytes_max).dfa_size_limit(bytes_max);
    let built = jsonschema::options().offline().with_pattern_options(patterns).build(schema);
    built.map_err(|error| {
        let mut why = match error.instance_path().as_str() {
            "" => error.to_string(),
            place => format!("at {place}: {error}"),
        };
        why.truncate(why.floor_char_boundary(WHY_BYTES_MAX));
        why
    })
}

/// Looks for what is not taken in a schema that may otherwise be sound.
struct Walk<'s> {
    whole: &'s Value,
    /// What names a schema within another.
    id: &'static str,
    parts: usize,
    /// Patterns, counted as parts are.
    patterns: usize,
}

impl<'s> Walk<'s> {
    fn value(&mut self, value: &'s Value, depth: usize) -> Result<(), String> {
        self.parts += 1;
        if depth > DEPTH_MAX {
            return Err(format!("is nested deeper than {DEPTH_MAX} levels, or refers to itself"));
        }
        if self.parts > PARTS_MAX {
            return Err(format!("has, with what it refers to, more than {PARTS_MAX} parts"));
        }
        match value {
            Value::Array(items) => items.iter().try_for_each(|item| self.value(item, depth + 1)),
            Value::Object(members) => {
                members.iter().try_for_each(|(name, member)| self.member((name, member), depth + 1))
            }
            _ => Ok(()),
        }
    }

    fn member(&mut self, (name, member): (&str, &'s Value), depth: usize) -> Result<(), String> {
        match (name, member.as_str()) {
            ("$ref", Some(to)) => self.value(self.target(to)?, depth),
            ("pattern", Some(_)) => {
                self.patterns += 1;
                self.value(member, depth)
            }
            ("patternProperties", None) => {
                self.patterns += member.as_object().map_or(0, Map::len);
                self.value(member, depth)
            }
            ("$dynamicRef" | "$recursiveRef", Some(_)) => {
                Err(format!("has `{name}`; only `$ref` is taken"))
            }
            // It would change what a reference means.
            (name, Some(_)) if name == self.id && depth > 1 => {
                Err(format!("has a schema within it that has an `{name}`; take that away"))
            }
            _ => self.value(member, depth),
        }
    }

    fn target(&self, to: &str) -> Result<&'s Value, String> {
        let Some(place) = to.strip_prefix('#') else {
            return Err(format!(
                "refers to `{to}`, and nothing is fetched or opened: put that schema below \
                 `$defs` and refer to it as `#/$defs/…`"
            ));
        };
        let found = self.whole.pointer(place).filter(|_| !place.contains('%'));
        found.ok_or_else(|| format!("refers to `{to}`, which is not there; write `#/$defs/…`"))
    }
}
