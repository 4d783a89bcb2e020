//! Schemas that stand in several places of a larger one are written once, as `definitions`.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value, json};

/// Shorter ones are read more easily where they stand.
const SHARED_BYTES_MIN: usize = 400;

/// The schema with `definitions` for what stands in it more than once.
pub(super) fn share(schema: &Value) -> Value {
    let mut counts = HashMap::new();
    count(schema, &mut counts);
    counts.retain(|text, count| *count > 1 && text.len() >= SHARED_BYTES_MIN);
    let mut sharing = Sharing { counts, names: HashMap::new(), definitions: BTreeMap::new() };
    let mut whole = sharing.inside(schema, "root");
    if let (Value::Object(whole), false) = (&mut whole, sharing.definitions.is_empty()) {
        let definitions: Map<String, Value> = sharing.definitions.into_iter().collect();
        whole.insert("definitions".to_owned(), Value::Object(definitions));
    }
    whole
}

fn count(node: &Value, counts: &mut HashMap<String, usize>) {
    *counts.entry(node.to_string()).or_default() += 1;
    children(node, "", |_, child| {
        count(child, counts);
        child.clone()
    });
}

/// The node with every schema in it replaced; `replace` gets its name and itself.
fn children(node: &Value, own: &str, mut replace: impl FnMut(&str, &Value) -> Value) -> Value {
    let Value::Object(fields) = node else { return node.clone() };
    let mut replace_field = |key: &String, value: &Value| match (key.as_str(), value) {
        ("properties", Value::Object(properties)) => {
            properties.iter().map(|(name, child)| (name.clone(), replace(name, child))).collect()
        }
        ("items", Value::Object(_)) => replace(&format!("{own}Item"), value),
        ("additionalProperties", Value::Object(_)) => replace(&format!("{own}Value"), value),
        _ => value.clone(),
    };
    fields.iter().map(|(key, value)| (key.clone(), replace_field(key, value))).collect()
}

struct Sharing {
    /// How often each schema that is worth it stands somewhere, by its text.
    counts: HashMap<String, usize>,
    /// The names of those that were met.
    names: HashMap<String, String>,
    definitions: BTreeMap<String, Value>,
}

impl Sharing {
    fn inside(&mut self, node: &Value, own: &str) -> Value {
        children(node, own, |name, child| self.one(child, name))
    }

    fn one(&mut self, node: &Value, name: &str) -> Value {
        let text = node.to_string();
        if !self.counts.contains_key(&text) {
            return self.inside(node, name);
        }
        let name = match self.names.get(&text) {
            Some(name) => name.clone(),
            None => self.define(node, text, name),
        };
        json!({"$ref": format!("#/definitions/{name}")})
    }

    fn define(&mut self, node: &Value, text: String, name: &str) -> String {
        let taken = |name: &String| self.names.values().any(|other| other == name);
        let numbered = (2..).map(|number| format!("{name}{number}"));
        let free = std::iter::once(name.to_owned()).chain(numbered).find(|name| !taken(name));
        let free = free.unwrap_or_else(|| name.to_owned());
        self.names.insert(text, free.clone());
        let body = self.inside(node, name);
        self.definitions.insert(free.clone(), body);
        free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_twice_is_written_once_and_what_is_short_or_single_stays() {
        let long = json!({"type": "string", "description": "x".repeat(SHARED_BYTES_MIN)});
        let nested = json!({"type": "object", "properties": {"long": long}});
        let other = json!({"type": "array", "items": nested});
        let schema = json!({"properties": {"a": nested, "b": other, "c": {"type": "string"}}});
        let expected = json!({
            "properties": {
                "a": {"$ref": "#/definitions/a"},
                "b": {"type": "array", "items": {"$ref": "#/definitions/a"}},
                "c": {"type": "string"},
            },
            "definitions": {
                "a": {"type": "object", "properties": {"long": {"$ref": "#/definitions/long"}}},
                "long": long,
            },
        });
        assert_eq!(share(&schema), expected);
    }
}
