//! `values.yaml` as a list: each key with its path, its default, and what the comment above it
//! says. A line `@schema {…}` in the comment says what the default can't; such a key has no keys
//! of its own.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// A key of `values.yaml`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    /// The keys that lead to it, itself last.
    pub(super) path: Vec<String>,
    /// The comment above it, as one line.
    pub(super) about: String,
    /// What stands after `@schema`.
    pub(super) hint: Option<Value>,
    pub(super) default: Value,
    /// Whether its keys are entries too.
    pub(super) is_section: bool,
}

/// The comment that is being read.
#[derive(Default)]
struct Comment {
    words: Vec<String>,
    hint: Option<Value>,
}

/// Reads `values.yaml` in block style: a key a line, two spaces for each level.
pub(super) fn read(text: &str) -> Result<Vec<Entry>> {
    let values: Value = serde_saphyr::from_str(text).context("parse")?;
    let mut entries: Vec<Entry> = Vec::new();
    let mut comment = Comment::default();
    let mut path: Vec<String> = Vec::new();
    // Below this depth lies a default, not keys.
    let mut leaf_depth = usize::MAX;
    for line in text.lines() {
        let trimmed = line.trim_start();
        let depth = (line.len() - trimmed.len()) / 2;
        match trimmed.strip_prefix('#') {
            Some(words) => comment.add(words.trim())?,
            // A comment with an empty line below it is about the file.
            None if trimmed.is_empty() => comment = Comment::default(),
            None if depth > leaf_depth => {}
            None => {
                let (key, rest) = trimmed.split_once(':').context(line.to_owned())?;
                path.truncate(depth);
                path.push(key.to_owned());
                let entry = std::mem::take(&mut comment).into_entry(&path, &values, rest)?;
                leaf_depth = if entry.is_section { usize::MAX } else { depth };
                entries.push(entry);
            }
        }
    }
    Ok(entries)
}

impl Comment {
    fn add(&mut self, words: &str) -> Result<()> {
        match words.strip_prefix("@schema ") {
            Some(hint) => self.hint = Some(serde_json::from_str(hint).context(hint.to_owned())?),
            None => self.words.push(words.to_owned()),
        }
        Ok(())
    }

    fn into_entry(self, path: &[String], values: &Value, rest: &str) -> Result<Entry> {
        let name = path.join(".");
        ensure!(!self.words.is_empty(), "{name} has no comment");
        let default = path.iter().try_fold(values, |value, key| value.get(key));
        Ok(Entry {
            path: path.to_vec(),
            about: self.words.join(" "),
            is_section: self.hint.is_none() && rest.trim().is_empty(),
            hint: self.hint,
            default: default.with_context(|| format!("{name} has no value"))?.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keys_come_with_paths_comments_hints_and_defaults() {
        let text = "# About the file.\n\n# All\n# of it.\na:\n  # Deep.\n  b: 1\n  \
                    # Whole.\n  # @schema {\"use\": \"strings\"}\n  c:\n    d: x\n# Last.\ne: []\n";
        let entries = read(text).expect("values");
        let seen: Vec<_> = entries
            .iter()
            .map(|entry| (entry.path.join("."), entry.about.as_str(), entry.is_section))
            .collect();
        let expected = [
            ("a".to_owned(), "All of it.", true),
            ("a.b".to_owned(), "Deep.", false),
            ("a.c".to_owned(), "Whole.", false),
            ("e".to_owned(), "Last.", false),
        ];
        assert_eq!(seen, expected);
        assert_eq!(entries[2].default, json!({"d": "x"}));
        assert_eq!(entries[2].hint, Some(json!({"use": "strings"})));
    }

    #[test]
    fn a_key_without_a_comment_is_an_error() {
        let error = read("# About.\n\na: 1\n").expect_err("no comment");
        assert!(error.to_string().contains("a has no comment"), "{error:#}");
    }
}
