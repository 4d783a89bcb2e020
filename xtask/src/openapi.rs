//! OpenAPI as Kubernetes writes it becomes JSON Schema: that of a definition for the values of a
//! chart, and those of all kinds for `kubeconform`, which would fetch them otherwise.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

/// In front of the name of a schema that another one names.
const REFERENCE: &str = "#/definitions/";
/// Written as text, and read as a number too.
const QUANTITY: &str = "io.k8s.apimachinery.pkg.api.resource.Quantity";

/// The schema of a kind, with all that it names, from the API server's `swagger.json`; `None`
/// where it has no such kind.
pub fn of_kind(swagger: &Value, api_version: &str, kind: &str) -> Option<Value> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let wanted = json!({"group": group, "kind": kind, "version": version});
    let schemas = swagger.get("definitions")?.as_object()?;
    let is_wanted = |schema: &Value| {
        let kinds = schema.get("x-kubernetes-group-version-kind").and_then(Value::as_array);
        kinds.is_some_and(|kinds| kinds.contains(&wanted))
    };
    let (name, _) = schemas.iter().find(|(_, schema)| is_wanted(schema))?;
    let mut names = BTreeSet::new();
    named_by(schemas, name, &mut names);
    let definitions: Map<String, Value> =
        names.into_iter().map(|name| (name.clone(), definition(schemas, &name))).collect();
    Some(json!({"$ref": format!("{REFERENCE}{name}"), "definitions": definitions}))
}

/// Adds a schema's name and those of all that it names.
fn named_by(schemas: &Map<String, Value>, name: &str, names: &mut BTreeSet<String>) {
    if !names.insert(name.to_owned()) {
        return;
    }
    let mut open = vec![&schemas[name]];
    while let Some(node) = open.pop() {
        match node {
            Value::Object(fields) => open.extend(fields.values()),
            Value::Array(items) => open.extend(items),
            Value::String(text) => {
                let other = text.strip_prefix(REFERENCE).filter(|name| schemas.contains_key(*name));
                other.into_iter().for_each(|other| named_by(schemas, other, names));
            }
            _ => {}
        }
    }
}

fn definition(schemas: &Map<String, Value>, name: &str) -> Value {
    if name == QUANTITY {
        return json!({"type": ["string", "number"]});
    }
    strict(&schemas[name])
}

/// OpenAPI as the API server reads it, written as JSON Schema: unknown fields are refused.
pub fn strict(node: &Value) -> Value {
    let Value::Object(fields) = node else { return node.clone() };
    let mut out = Map::new();
    for (key, value) in fields {
        match key.as_str() {
            "properties" => out.insert(key.clone(), each(value)),
            "items" | "additionalProperties" => out.insert(key.clone(), strict(value)),
            // Words of OpenAPI and Kubernetes that JSON Schema does not know.
            "nullable" | "format" | "example" => None,
            key if key.starts_with("x-kubernetes-") => None,
            _ => out.insert(key.clone(), value.clone()),
        };
    }
    let is_number_or_text = fields.get("x-kubernetes-int-or-string") == Some(&json!(true))
        || fields.get("format") == Some(&json!("int-or-string"));
    if is_number_or_text {
        out.insert("type".to_owned(), json!(["integer", "string"]));
    }
    let keeps_unknown = fields.contains_key("x-kubernetes-preserve-unknown-fields");
    if out.contains_key("properties") && !keeps_unknown {
        out.entry("additionalProperties").or_insert(json!(false));
    }
    if fields.get("nullable") == Some(&json!(true)) {
        allow_null(&mut out);
    }
    Value::Object(out)
}

fn each(properties: &Value) -> Value {
    let Value::Object(properties) = properties else { return properties.clone() };
    properties.iter().map(|(name, node)| (name.clone(), strict(node))).collect()
}

fn allow_null(node: &mut Map<String, Value>) {
    match node.get_mut("type") {
        Some(Value::Array(types)) => types.push(json!("null")),
        Some(one) => *one = json!([one.clone(), "null"]),
        None => {}
    }
    if let Some(Value::Array(values)) = node.get_mut("enum") {
        values.retain(|value| !value.is_null());
        values.push(Value::Null);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_comes_with_all_that_it_names_and_nothing_else() {
        let kind = json!([{"group": "apps", "kind": "A", "version": "v1"}]);
        let swagger = json!({"definitions": {
            "a": {"x-kubernetes-group-version-kind": kind, "properties": {
                "b": {"$ref": "#/definitions/b"},
                "size": {"$ref": REFERENCE.to_owned() + QUANTITY}}},
            "b": {"properties": {"again": {"items": {"$ref": "#/definitions/b"}},
                                 "port": {"type": "string", "format": "int-or-string"}}},
            "c": {},
            QUANTITY: {"type": "string"},
        }});
        let schema = of_kind(&swagger, "apps/v1", "A").expect("known");
        assert_eq!(schema["$ref"], "#/definitions/a");
        let names: Vec<_> = schema["definitions"].as_object().expect("a map").keys().collect();
        assert_eq!(names, ["a", "b", QUANTITY]);
        let port = &schema["definitions"]["b"]["properties"]["port"]["type"];
        assert_eq!(*port, json!(["integer", "string"]));
        assert_eq!(schema["definitions"]["a"]["additionalProperties"], json!(false));
        assert!(of_kind(&swagger, "v1", "A").is_none());
    }

    #[test]
    fn null_is_taken_where_it_may_stand_and_free_maps_stay_free() {
        let node = json!({"properties": {"a": {"type": "string", "enum": ["x"], "nullable": true},
            "b": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}});
        let schema = strict(&node);
        let a = json!({"type": ["string", "null"], "enum": ["x", null]});
        assert_eq!(schema["properties"]["a"], a);
        assert_eq!(schema["properties"]["b"], json!({"type": "object"}));
    }
}
