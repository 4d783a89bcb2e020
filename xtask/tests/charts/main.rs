//! The charts, as Helm renders them. Helm has to be there: these are run by the step `charts` of
//! `cargo xtask test`, never skipped in it.

mod conformity;
mod definitions;
mod refusals;
mod rendered;

use std::path::{Path, PathBuf};

use serde_json::Value;
use xtask::helm::{Helm, chart};

/// Both charts.
const CHARTS: [&str; 2] = ["pulsemesh-operator", "pulsemesh"];

/// The release that tests render.
const RELEASE: [&str; 2] = ["demo", "--namespace=pulses"];

/// The files of values that a chart is tested with.
fn values(name: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(chart(name).join("ci")).expect("a folder of values");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("a file").path()).collect();
    files.sort();
    assert!(files.len() >= 3, "{files:?}");
    files
}

/// The manifests that a chart makes of a file of values.
fn render(helm: &Helm, name: &str, values: &Path) -> String {
    let flag = format!("--values={}", values.display());
    let chart = chart(name).display().to_string();
    let arguments = [&["template"], &RELEASE[..], &[&chart, &flag]].concat();
    helm.text(&arguments).expect("rendered")
}

/// Each manifest as its own text.
fn manifests(text: &str) -> Vec<&str> {
    let all = text.split("\n---\n").map(|part| part.trim_start_matches("---\n"));
    all.filter(|part| part.contains("\nkind: ")).collect()
}

fn parse(manifest: &str) -> Value {
    serde_saphyr::from_str(manifest).expect("YAML")
}
