//! Reads a settings file: TOML whose keys are the names of flags. Proves the keys; what the
//! values mean is not its matter.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{Problem, SettingsError, nearest};
use super::table::DEFINITIONS;

/// Largest settings file: a hundred times one that sets everything with comments.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// What a file sets.
#[derive(Debug, Clone, Default)]
pub(super) struct FileValues {
    /// The file as it was named.
    pub(super) path: String,
    /// For each key its value as text and its line, from 1.
    pub(super) values: BTreeMap<&'static str, (String, usize)>,
}

/// Reads the file at `path`.
pub(super) fn read(path: &Path) -> Result<FileValues, SettingsError> {
    let name = path.display().to_string();
    let wrong = |message: String| SettingsError::from(vec![Problem::new(&name, message)]);
    let mut text = String::new();
    fs::File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text))
        .map_err(|error| wrong(format!("can't be read: {error}")))?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(wrong(format!("is over {FILE_BYTES_MAX} bytes, which no settings file is")));
    }
    parse(&name, &text)
}

/// Reads `text` as the file called `path`.
pub(super) fn parse(path: &str, text: &str) -> Result<FileValues, SettingsError> {
    let table = DeTable::parse(text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_of(text, span.start));
        vec![Problem::new(format!("{path}:{line}"), format!("not TOML: {}", error.message()))]
    })?;
    let mut file = FileValues { path: path.to_owned(), values: BTreeMap::new() };
    let mut problems = Vec::new();
    for (key, value) in table.get_ref() {
        let line = line_of(text, key.span().start);
        match entry(key.get_ref(), value, text) {
            Ok((name, value)) => drop(file.values.insert(name, (value, line))),
            Err(message) => problems.push((line, message)),
        }
    }
    if problems.is_empty() {
        return Ok(file);
    }
    problems.sort();
    let problem = |(line, message)| Problem::new(format!("{path}:{line}"), message);
    Err(SettingsError::from(problems.into_iter().map(problem).collect::<Vec<_>>()))
}

fn entry(
    key: &str,
    value: &Spanned<DeValue<'_>>,
    text: &str,
) -> Result<(&'static str, String), String> {
    let names = || DEFINITIONS.iter().map(|definition| definition.name);
    let Some(name) = names().find(|name| *name == key) else {
        let hint = match nearest(&key.replace('_', "-"), names()) {
            Some(near) => format!("; did you mean `{near}`?"),
            None if value.get_ref().is_table() => {
                "; the file has no sections, its keys are the names of flags".to_owned()
            }
            None => "; its keys are the names of flags, see docs/settings.md".to_owned(),
        };
        return Err(format!("unknown key `{key}`{hint}"));
    };
    match value.get_ref() {
        DeValue::String(value) => Ok((name, value.to_string())),
        DeValue::Integer(_) | DeValue::Boolean(_) => {
            Ok((name, text.get(value.span()).unwrap_or_default().to_owned()))
        }
        other => {
            let kind = other.type_str();
            Err(format!("`{key}` is a TOML {kind}; write text, a whole number, true or false"))
        }
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}
