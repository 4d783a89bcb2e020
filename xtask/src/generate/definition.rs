//! A custom resource definition in other forms: as a template of a chart, and the schema of its
//! fields as JSON Schema.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use xtask::openapi::strict;

/// What a template can't hold as it is.
const OPEN: &str = "{{";

/// The definition as a template: installed where `crds.enabled` says so, and kept by Helm when
/// the chart is upgraded to one without it or uninstalled.
pub(super) fn template(definition: &str) -> Result<String> {
    ensure!(!definition.contains(OPEN), "the definition holds {OPEN}, which is a template's");
    let (before, rest) = definition.split_once("metadata:\n  name: ").context("no metadata")?;
    let (name, after) = rest.split_once('\n').context("no line after the name")?;
    Ok(format!(
        "{{{{- /* Made from crds/definitions by `cargo xtask generate`. */ -}}}}\n\
         {{{{- if .Values.crds.enabled }}}}\n\
         {before}metadata:\n  \
         {{{{- $keep := dict \"helm.sh/resource-policy\" \"keep\" }}}}\n  \
         {{{{- include \"operator.metadata\" (dict \"root\" . \"name\" \"{name}\" \
         \"namespace\" \"\" \"annotations\" $keep) | nindent 2 }}}}\n\
         {after}{{{{- end }}}}\n"
    ))
}

/// The JSON Schema of a field of the first version, by its path with dots.
pub(super) fn schema(definition: &Value, path: &str) -> Result<Value> {
    let root = definition.pointer("/spec/versions/0/schema/openAPIV3Schema");
    let node = path
        .split('.')
        .try_fold(root.context("no schema")?, |node, name| node.pointer("/properties")?.get(name));
    Ok(strict(node.with_context(|| format!("the definition has no {path}"))?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_template_has_the_definition_with_other_metadata() {
        let text = template("kind: X\nmetadata:\n  name: a.b\nspec: {}\n").expect("a template");
        assert!(text.contains("kind: X\nmetadata:\n  {{- $keep"), "{text}");
        assert!(text.contains("\"name\" \"a.b\"") && text.contains("\nspec: {}\n"), "{text}");
        assert!(template("metadata:\n  name: {{ x }}\n").is_err());
    }

    #[test]
    fn a_schema_is_found_by_path_and_refuses_what_it_does_not_know() {
        let field = json!({"type": "object", "properties": {
            "format": {"type": "integer", "format": "int32", "nullable": true},
            "amount": {"x-kubernetes-int-or-string": true},
            "free": {"type": "object", "additionalProperties": {"type": "string"}},
        }});
        let schema_of = json!({"properties": {"spec": {"properties": {"a": field}}}});
        let definition =
            json!({"spec": {"versions": [{"schema": {"openAPIV3Schema": schema_of}}]}});
        let expected = json!({"type": "object", "additionalProperties": false, "properties": {
            "format": {"type": ["integer", "null"]},
            "amount": {"type": ["integer", "string"]},
            "free": {"type": "object", "additionalProperties": {"type": "string"}},
        }});
        assert_eq!(schema(&definition, "spec.a").expect("found"), expected);
        assert!(schema(&definition, "spec.b").is_err());
    }
}
