//! `values.schema.json`: strict, described, and as draft 7, which every Helm since 3 reads.

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

use super::definition;
use super::entries::Entry;
use super::share::share;

/// The schema of all entries, as text.
pub(super) fn render(entries: &[Entry], definition: &Value) -> Result<String> {
    let mut root = section(&[]);
    for entry in entries {
        let schema = of_entry(entry, definition)
            .with_context(|| format!("the value {}", entry.path.join(".")))?;
        insert(&mut root, &entry.path, schema).context("a key stands before its section")?;
    }
    // Helm hands these to every chart that is part of another.
    let global = json!({"type": "object", "description": "Values of all charts; not used."});
    insert(&mut root, &["global".to_owned()], global).context("no properties")?;
    let mut root = share(&root);
    root["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    Ok(format!("{root:#}\n"))
}

fn section(fields: &[(&str, Value)]) -> Value {
    let mut section = json!({"type": "object", "additionalProperties": false, "properties": {}});
    for (key, value) in fields {
        section[*key] = value.clone();
    }
    section
}

fn insert(root: &mut Value, path: &[String], schema: Value) -> Option<()> {
    let (last, before) = path.split_last()?;
    let parent =
        before.iter().try_fold(root, |node, key| node.pointer_mut("/properties")?.get_mut(key))?;
    parent.pointer_mut("/properties")?.as_object_mut()?.insert(last.clone(), schema);
    Some(())
}

fn of_entry(entry: &Entry, definition: &Value) -> Result<Value> {
    if entry.is_section {
        return Ok(section(&[("description", json!(entry.about))]));
    }
    let hint = entry.hint.clone().unwrap_or_else(|| json!({}));
    let mut schema = match (hint.get("crd"), hint.get("use")) {
        (Some(path), _) => from_definition(definition, path.as_str().context("crd is a path")?)?,
        (_, Some(_)) => json!({"type": "object", "additionalProperties": {"type": "string"}}),
        _ => with_hint(type_of(&entry.default, &hint)?, &hint),
    };
    schema["description"] = json!(entry.about);
    schema["default"] = entry.default.clone();
    Ok(schema)
}

fn with_hint(type_name: &str, hint: &Value) -> Value {
    let mut fields = hint.as_object().cloned().unwrap_or_else(Map::new);
    fields.entry("type").or_insert_with(|| json!(type_name));
    Value::Object(fields)
}

/// The type of a default; one that holds others must say more.
fn type_of(default: &Value, hint: &Value) -> Result<&'static str> {
    Ok(match default {
        Value::String(_) => "string",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::Array(_) if hint.get("items").is_some() => "array",
        _ => bail!("a list needs `@schema` with `items`, a map with `use` or `crd`"),
    })
}

/// A field of the definition, with what only a chart says about it.
fn from_definition(definition: &Value, path: &str) -> Result<Value> {
    let mut schema = definition::schema(definition, path)?;
    if let Some(types) = schema.get_mut("type").filter(|types| types.is_array()) {
        // Left out is empty here, never null.
        *types = types[0].clone();
    }
    if path == "spec" {
        // The chart has a store for trials; the definition's rule about one store is CEL.
        let spec = schema.as_object_mut().context("spec is no object")?;
        spec.remove("required");
        let store = schema.pointer_mut("/properties/store").context("spec has no store")?;
        store["maxProperties"] = json!(1);
    }
    Ok(schema)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::entries;

    fn made(values: &str) -> Result<Value> {
        let entries = entries::read(values).expect("values");
        Ok(serde_json::from_str(&render(&entries, &json!({}))?)?)
    }

    #[test]
    fn types_come_from_defaults_and_the_rest_from_hints() {
        let schema = made(
            "# A.\na:\n  # B.\n  # @schema {\"minimum\": 1}\n  b: 2\n\
             # C.\n# @schema {\"use\": \"strings\"}\nc: {}\n",
        )
        .expect("a schema");
        assert_eq!(schema["additionalProperties"], json!(false));
        let a = &schema["properties"]["a"];
        assert_eq!((&a["description"], &a["additionalProperties"]), (&json!("A."), &json!(false)));
        let b = json!({"type": "integer", "minimum": 1, "description": "B.", "default": 2});
        assert_eq!(a["properties"]["b"], b);
        assert_eq!(schema["properties"]["c"]["additionalProperties"]["type"], json!("string"));
    }

    #[test]
    fn a_list_or_map_that_says_nothing_of_its_content_is_an_error() {
        for values in ["# A.\na: []\n", "# A.\na: {}\n"] {
            let error = made(values).expect_err("too loose");
            assert!(format!("{error:#}").contains("needs `@schema`"), "{error:#}");
        }
    }
}
