//! `cargo xtask generate`: the files of the charts that follow from others: the definitions as
//! templates, the schemas of values, the lists of values in READMEs. A test tells when one is old.

mod definition;
mod entries;
mod readme;
mod schema;
mod share;

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

/// The charts, by their folders.
const CHARTS: [&str; 2] = ["charts/pulsemesh-operator", "charts/pulsemesh"];
/// The chart that installs the definitions.
const WITH_DEFINITIONS: &str = CHARTS[0];
/// As `pulsemesh-crds` writes it.
const DEFINITION: &str = "crds/definitions/pulsemesh.io_pulsemeshes.yaml";
/// All definitions, by what the templates of the charts call them.
const DEFINITIONS: [(&str, &str); 2] = [
    ("pulsemeshes", DEFINITION),
    ("pulsetenants", "crds/definitions/pulsemesh.io_pulsetenants.yaml"),
];

/// A file that is made.
struct File {
    /// From the repository's root.
    path: String,
    text: String,
}

/// Writes what is old and prints its path.
pub(crate) fn run(root: &Path) -> Result<bool> {
    for file in old(root)? {
        fs::write(root.join(&file.path), &file.text)
            .with_context(|| format!("write {}", file.path))?;
        writeln!(std::io::stdout(), "{}", file.path)?;
    }
    Ok(true)
}

/// The files whose text is not what it should be.
fn old(root: &Path) -> Result<Vec<File>> {
    let kept = |file: &File| fs::read_to_string(root.join(&file.path)).unwrap_or_default();
    Ok(all(root)?.into_iter().filter(|file| kept(file) != file.text).collect())
}

fn all(root: &Path) -> Result<Vec<File>> {
    let mut files = Vec::new();
    for (name, path) in DEFINITIONS {
        let text = definition::template(&read(root, path)?)?;
        files.push(File { path: format!("{WITH_DEFINITIONS}/templates/crd-{name}.yaml"), text });
    }
    let definition =
        serde_saphyr::from_str(&read(root, DEFINITION)?).context("read the definition")?;
    for chart in CHARTS {
        files.extend(of_chart(root, chart, &definition)?);
    }
    Ok(files)
}

fn of_chart(root: &Path, chart: &str, definition: &Value) -> Result<[File; 2]> {
    let path = |name: &str| format!("{chart}/{name}");
    let entries = entries::read(&read(root, &path("values.yaml"))?)
        .with_context(|| format!("read the values of {chart}"))?;
    let schema = schema::render(&entries, definition)
        .with_context(|| format!("make the schema of {chart}"))?;
    let readme = readme::render(&read(root, &path("README.md"))?, &entries)
        .with_context(|| format!("make the README of {chart}"))?;
    Ok([
        File { path: path("values.schema.json"), text: schema },
        File { path: path("README.md"), text: readme },
    ])
}

fn read(root: &Path, path: &str) -> Result<String> {
    fs::read_to_string(root.join(path)).with_context(|| format!("read {path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_that_is_made_is_as_it_would_be_made_now() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let old: Vec<_> = old(&root).expect("made").into_iter().map(|file| file.path).collect();
        assert!(old.is_empty(), "run `cargo xtask generate`, it makes {old:?} anew");
    }
}
