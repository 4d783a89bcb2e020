//! The settings in effect, as a file that would set them, with where each came from.

use std::fmt::Write;

use super::definition::{Definition, Fallback, Kind};
use super::table::Values;
use super::value::{Source, Value};
use pulsemesh_runtime::units;

/// TOML that sets every setting to the value in effect; a comment names each source.
pub fn effective_toml(values: &Values) -> String {
    let all = values.all();
    let lines: Vec<(String, String)> =
        all.iter().map(|value| (assignment(value), source(value))).collect();
    let width = lines.iter().map(|(assignment, _)| assignment.len()).max().unwrap_or(0);
    let mut text = String::new();
    let mut section = "";
    for (value, (assignment, source)) in all.iter().zip(&lines) {
        if value.definition.section != section {
            let gap = if section.is_empty() { "" } else { "\n" };
            section = value.definition.section;
            // Writing to a String can't fail, here and below.
            let _ = writeln!(text, "{gap}# {section}");
        }
        let _ = writeln!(text, "{assignment:width$}  # {source}");
    }
    text
}

fn assignment(value: &Value) -> String {
    let Definition { name, kind, .. } = value.definition;
    match kind {
        _ if value.text.is_empty() => format!("{name} = \"\""),
        // As a number of TOML's, which has fewer spellings than ours.
        Kind::Count { .. } => {
            let number = units::count(&value.text).map(|number| number.to_string());
            format!("{name} = {}", number.as_deref().unwrap_or(&value.text))
        }
        Kind::Switch => format!("{name} = {}", value.text),
        _ => format!("{name} = {}", toml::Value::String(value.text.clone())),
    }
}

fn source(value: &Value) -> String {
    match (&value.source, value.definition.default) {
        (Source::File { path, line }, _) => format!("{path}:{line}"),
        (Source::Default, Fallback::Value(_)) => "default".to_owned(),
        (Source::Default, other) => format!("default: {}", other.text()),
        (Source::Flag | Source::Environment, _) => value.to_string(),
    }
}
