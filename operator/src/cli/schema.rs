//! What the API server checks of an object by its schema alone: types, bounds, patterns, words,
//! and fields that must or must not be there. Its words are the API server's. Pure.

use kube::CustomResourceExt;
use regex::Regex;
use serde_json::{Map, Value};

/// Fields of every object that the API server checks itself.
const OF_EVERY_OBJECT: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// The schema of a kind.
pub(super) fn of<K: CustomResourceExt>() -> Value {
    let definition = serde_json::to_value(K::crd()).unwrap_or_default();
    let schema = definition.pointer("/spec/versions/0/schema/openAPIV3Schema");
    schema.cloned().unwrap_or_default()
}

/// Everything that is wrong with an object of a kind, each with its path.
pub(super) fn problems(schema: &Value, kind: &str, object: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let Value::Object(fields) = object else {
        return vec!["it is no object".to_owned()];
    };
    for (field, wanted) in [("apiVersion", "pulsemesh.io/v1alpha1"), ("kind", kind)] {
        if fields.get(field).and_then(Value::as_str) != Some(wanted) {
            found.push(format!("{field}: Unsupported value: supported values: \"{wanted}\""));
        }
    }
    let mut own = fields.clone();
    own.retain(|field, _| !OF_EVERY_OBJECT.contains(&field.as_str()));
    in_object(schema, &own, "", &mut found);
    found
}

fn in_value(schema: &Value, value: &Value, path: &str, found: &mut Vec<String>) {
    if value.is_null() && schema.get("nullable") == Some(&Value::Bool(true)) {
        return;
    }
    let expected = schema.get("type").and_then(Value::as_str).unwrap_or_default();
    if !is_of(schema, expected, value) {
        let actual = type_of(value);
        found.push(format!(
            "{path}: Invalid value: \"{actual}\": {} in body must be of type {expected}: \
             \"{actual}\"",
            path
        ));
        return;
    }
    in_words(schema, value, path, found);
    match value {
        Value::Object(fields) => in_object(schema, fields, path, found),
        Value::Array(items) => in_list(schema, items, path, found),
        Value::String(text) => in_text(schema, text, path, found),
        Value::Number(number) => in_number(schema, number.as_f64(), path, found),
        Value::Null | Value::Bool(_) => {}
    }
}

fn is_of(schema: &Value, expected: &str, value: &Value) -> bool {
    if schema.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) {
        return value.is_i64() || value.is_string();
    }
    match expected {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        _ => true,
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn in_object(schema: &Value, fields: &Map<String, Value>, path: &str, found: &mut Vec<String>) {
    let join = |field: &str| match path {
        "" => field.to_owned(),
        path => format!("{path}.{field}"),
    };
    for field in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
        if let Some(field) = field.as_str().filter(|field| !fields.contains_key(*field)) {
            found.push(format!("{}: Required value", join(field)));
        }
    }
    if let Some(most) = bound(schema, "maxProperties")
        && fields.len() as u64 > most
    {
        found.push(format!("{path}: Too many: {}: must have at most {most} items", fields.len()));
    }
    let properties = schema.get("properties");
    let others = schema.get("additionalProperties").filter(|others| others.is_object());
    let keeps = schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
    for (field, value) in fields {
        match properties.and_then(|known| known.get(field)).or(others) {
            Some(schema) => in_value(schema, value, &join(field), found),
            None if keeps => {}
            None => found.push(format!("unknown field \"{}\"", join(field))),
        }
    }
}

fn in_list(schema: &Value, items: &[Value], path: &str, found: &mut Vec<String>) {
    let count = items.len() as u64;
    if let Some(least) = bound(schema, "minItems").filter(|least| count < *least) {
        found.push(format!(
            "{path}: Invalid value: {count}: {path} in body should have at least {least} items"
        ));
    }
    if let Some(most) = bound(schema, "maxItems").filter(|most| count > *most) {
        found.push(format!("{path}: Too many: {count}: must have at most {most} items"));
    }
    if let Some(schema) = schema.get("items") {
        for (index, item) in items.iter().enumerate() {
            in_value(schema, item, &format!("{path}[{index}]"), found);
        }
    }
}

fn in_text(schema: &Value, text: &str, path: &str, found: &mut Vec<String>) {
    let count = text.chars().count() as u64;
    if let Some(least) = bound(schema, "minLength").filter(|least| count < *least) {
        found.push(format!(
            "{path}: Invalid value: \"{text}\": {path} in body should be at least {least} chars \
             long"
        ));
    }
    if let Some(most) = bound(schema, "maxLength").filter(|most| count > *most) {
        found.push(format!("{path}: Too long: may not be more than {most} bytes"));
    }
    let Some(pattern) = schema.get("pattern").and_then(Value::as_str) else { return };
    if Regex::new(pattern).is_ok_and(|regex| !regex.is_match(text)) {
        found.push(format!(
            "{path}: Invalid value: \"{text}\": {path} in body should match '{pattern}'"
        ));
    }
}

fn in_number(schema: &Value, number: Option<f64>, path: &str, found: &mut Vec<String>) {
    let bound = |name| schema.get(name).and_then(Value::as_f64);
    let Some(number) = number else { return };
    if let Some(least) = bound("minimum").filter(|least| number < *least) {
        found.push(format!(
            "{path}: Invalid value: {number}: {path} in body should be greater than or equal to \
             {least}"
        ));
    }
    if let Some(most) = bound("maximum").filter(|most| number > *most) {
        found.push(format!(
            "{path}: Invalid value: {number}: {path} in body should be less than or equal to {most}"
        ));
    }
}

fn in_words(schema: &Value, value: &Value, path: &str, found: &mut Vec<String>) {
    let Some(words) = schema.get("enum").and_then(Value::as_array) else { return };
    if !words.contains(value) {
        let known: Vec<String> = words.iter().map(ToString::to_string).collect();
        let known = known.join(", ");
        found.push(format!("{path}: Unsupported value: {value}: supported values: {known}"));
    }
}

fn bound(schema: &Value, name: &str) -> Option<u64> {
    // Written as 16.0 by the generator of schemas.
    let bound = schema.get(name)?;
    bound.as_u64().or_else(|| bound.as_f64().map(|bound| bound as u64))
}

#[cfg(test)]
mod tests {
    use pulsemesh_crds::PulseMesh;

    use super::*;

    #[track_caller]
    fn check(spec: &str, problem: &str) {
        let text = format!(
            "{{apiVersion: pulsemesh.io/v1alpha1, kind: PulseMesh, metadata: {{name: demo}}, \
             spec: {spec}}}"
        );
        let mesh: Value = serde_saphyr::from_str(&text).expect("YAML");
        let found = problems(&of::<PulseMesh>(), "PulseMesh", &mesh);
        if problem.is_empty() {
            assert_eq!(found, [""; 0], "{spec}");
        } else {
            assert!(found.len() == 1 && found[0].contains(problem), "{spec}: {found:?}");
        }
    }

    #[test]
    fn what_the_schema_forbids_is_told_in_the_words_of_the_api_server() {
        check("{store: {embedded: {}}}", "");
        check("{store: {embedded: {}}, more: 1}", "unknown field \"spec.more\"");
        check("{}", "spec.store: Required value");
        check("{store: []}", "must be of type object: \"array\"");
        check("{store: {embedded: {}}, paused: 1}", "spec.paused in body must be of type boolean");
        let replicas =
            |count: i32| format!("{{store: {{embedded: {{}}}}, ingest: {{replicas: {count}}}}}");
        check(&replicas(-1), "should be greater than or equal to 0");
        check(&replicas(501), "should be less than or equal to 500");
        let size = "{store: {embedded: {storage: {size: 1gi}}}}";
        check(size, "spec.store.embedded.storage.size in body should match");
        let ack = "{store: {embedded: {}}, ingest: {ack: Never}}";
        check(ack, "supported values: \"Memory\", \"Durable\", \"Stored\"");
        let nodes = "{store: {external: {cassandra: {nodes: []}}}}";
        check(nodes, "should have at least 1 items");
        let requests = |cpu: &str| {
            format!(
                "{{store: {{embedded: {{}}}}, ingest: {{resources: {{requests: {{cpu: {cpu}}}}}}}}}"
            )
        };
        check(&requests("2"), "");
        check(&requests("500m"), "");
        check(&requests("true"), "must be of type");
    }

    #[test]
    fn an_object_of_another_kind_is_refused() {
        let found =
            problems(&of::<PulseMesh>(), "PulseMesh", &serde_json::json!({"spec": {"store": {}}}));
        assert_eq!(found.len(), 2, "{found:?}");
    }
}
