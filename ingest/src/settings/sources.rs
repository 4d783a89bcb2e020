//! Merges what was typed: flags over environment over file over defaults. Pure.

use std::collections::BTreeMap;

use super::definition::{Definition, Fallback};
use super::error::nearest;
use super::file::FileValues;
use super::table::{DEFINITIONS, Values};
use super::value::{Source, Value};
use pulsemesh_runtime::units;

/// Starts the name of every variable of ours.
const PREFIX: &str = "PULSEMESH_";
/// The variable that names the settings file.
pub const CONFIG_VARIABLE: &str = "PULSEMESH_CONFIG";

/// The value of every setting from the strongest source that sets it. An empty variable is not
/// set: manifests have no other way to leave one out.
pub(super) fn merge(
    flags: &BTreeMap<&'static str, String>,
    environment: &BTreeMap<String, String>,
    file: &FileValues,
) -> Values {
    let mut values = Values::gather(|definition| {
        if let Some(text) = flags.get(definition.name) {
            return value(definition, text, Source::Flag);
        }
        if let Some(text) = environment.get(definition.env).filter(|text| !text.is_empty()) {
            return value(definition, text, Source::Environment);
        }
        if let Some((text, line)) = file.values.get(definition.name) {
            let source = Source::File { path: file.path.clone(), line: *line };
            return value(definition, text, source);
        }
        match definition.default {
            Fallback::Value(text) => value(definition, text, Source::Default),
            Fallback::Computed(_) | Fallback::Nothing(_) => value(definition, "", Source::Default),
        }
    });
    compute(&mut values);
    values
}

fn value(definition: &'static Definition, text: &str, source: Source) -> Value {
    Value { definition, text: text.to_owned(), source }
}

/// Fills in the defaults that depend on the machine or on another setting.
fn compute(values: &mut Values) {
    if !values.listen.threads.is_set() {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        values.listen.threads.text = cores.to_string();
    }
    if !values.log.log_segment_size.is_set() {
        // A budget that is no size is a problem of its own; any segment does until it is solved.
        let budget = units::size(&values.log.log_budget.text).unwrap_or_default();
        values.log.log_segment_size.text = units::size_text(segment_bytes(budget));
    }
}

/// Sixteen segments fill the budget: few enough to open at once, and small enough that the
/// space of one that waits for its last pulse is no matter.
fn segment_bytes(budget: u64) -> u64 {
    const MIB: u64 = 1 << 20;
    (budget / 16).clamp(MIB, 64 * MIB) / MIB * MIB
}

/// Variables that look like ours, set nothing, and nearly have the name of one that does.
/// Others are left alone: Kubernetes gives every pod `PULSEMESH_SERVICE_HOST` and the like.
pub(super) fn misspelt(environment: &BTreeMap<String, String>) -> Vec<String> {
    let known = || DEFINITIONS.iter().map(|definition| definition.env).chain([CONFIG_VARIABLE]);
    let ours = environment.keys().filter(|name| name.starts_with(PREFIX));
    ours.filter(|name| known().all(|known| known != name.as_str()))
        .filter_map(|name| {
            let bare = name.strip_prefix(PREFIX)?;
            let near = by_rule(bare).or_else(|| nearest_variable(bare))?;
            Some(format!("{name} sets nothing; did you mean {near}?"))
        })
        .collect()
}

/// The variable of the setting that would be called `bare` if none were an exception.
fn by_rule(bare: &str) -> Option<String> {
    let name = bare.to_ascii_lowercase().replace('_', "-");
    let definition = DEFINITIONS.iter().find(|definition| definition.name == name)?;
    Some(definition.env.to_owned())
}

/// Compared without the prefix, which every name has and which hides differences.
fn nearest_variable(bare: &str) -> Option<String> {
    let known = DEFINITIONS.iter().map(|definition| definition.env).chain([CONFIG_VARIABLE]);
    let near = nearest(bare, known.filter_map(|name| name.strip_prefix(PREFIX)))?;
    Some(format!("{PREFIX}{near}"))
}
