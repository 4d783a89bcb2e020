//! The rule of crates: which of ours may depend on which. ARCHITECTURE.md draws the same list.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::Finding;

/// Every edge between our crates: from, to, and for tests only or not. A new edge is a decision:
/// it is written here, and in ARCHITECTURE.md, or it does not exist.
const ALLOWED: &[(&str, &str, Use)] = &[
    ("pulsemesh-ingest", "pulsemesh-runtime", Use::Build),
    // What of schemas is taken is decided by the same code where the file is read and written.
    ("pulsemesh-ingest", "pulsemesh-schemas", Use::Build),
    ("pulsemesh-operator", "pulsemesh-schemas", Use::Build),
    // The words of errors, and the keys and the file of tenants; nothing of the server.
    ("pulsemesh-cli", "pulsemesh-ingest", Use::Build),
    ("pulsemesh-cli", "pulsemesh-runtime", Use::Build),
    ("pulsemesh-operator", "pulsemesh-crds", Use::Build),
    ("pulsemesh-operator", "pulsemesh-runtime", Use::Build),
    // Rendered settings are read by the loader of the program that they are for.
    ("pulsemesh-operator", "pulsemesh-ingest", Use::Tests),
    ("pulsemesh-operator", "xtask", Use::Tests),
    // The black-box tests drive the binary with the load generator and the process guard.
    ("pulsemesh-ingest", "xtask", Use::Tests),
    ("pulsemesh-cli", "xtask", Use::Tests),
];

/// What a dependency is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    Build,
    Tests,
}

/// One edge between two of our crates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Edge {
    from: String,
    to: String,
    purpose: Use,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
    /// Only our own crates are depended on by path.
    path: Option<String>,
}

/// The edges that the manifests have.
pub(super) fn read(root: &Path) -> Result<Vec<Edge>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root)
        .output()
        .context("run cargo metadata")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    parse(&output.stdout)
}

fn parse(json: &[u8]) -> Result<Vec<Edge>> {
    let metadata: Metadata = serde_json::from_slice(json).context("read cargo metadata")?;
    let mut edges = Vec::new();
    for package in metadata.packages {
        for dependency in package.dependencies.into_iter().filter(|d| d.path.is_some()) {
            let tests = dependency.kind.as_deref() == Some("dev");
            let purpose = if tests { Use::Tests } else { Use::Build };
            edges.push(Edge { from: package.name.clone(), to: dependency.name, purpose });
        }
    }
    Ok(edges)
}

/// Compares the edges with the allowed ones, both ways.
pub(super) fn check(edges: &[Edge]) -> Vec<Finding> {
    let is = |edge: &Edge, allowed: &(&str, &str, Use)| {
        (edge.from.as_str(), edge.to.as_str(), edge.purpose) == *allowed
    };
    let mut findings = Vec::new();
    for edge in edges.iter().filter(|edge| !ALLOWED.iter().any(|allowed| is(edge, allowed))) {
        let message = format!("{} may not depend on {} ({:?})", edge.from, edge.to, edge.purpose);
        findings.push(Finding::new("Cargo.toml", 1, message));
    }
    for (from, to, purpose) in
        ALLOWED.iter().filter(|allowed| !edges.iter().any(|edge| is(edge, allowed)))
    {
        let message =
            format!("{from} no longer depends on {to} ({purpose:?}): take it off the list");
        findings.push(Finding::new("Cargo.toml", 1, message));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed() -> Vec<Edge> {
        let edge = |(from, to, purpose): &(&str, &str, Use)| Edge {
            from: (*from).to_owned(),
            to: (*to).to_owned(),
            purpose: *purpose,
        };
        ALLOWED.iter().map(edge).collect()
    }

    #[test]
    fn an_edge_too_many_and_one_too_few_are_found() {
        assert_eq!(check(&allowed()), []);
        let mut more = allowed();
        more.push(Edge { from: "crds".into(), to: "xtask".into(), purpose: Use::Build });
        assert_eq!(check(&more).len(), 1);
        assert_eq!(check(&allowed()[1..]).len(), 1);
        let mut other_use = allowed();
        other_use[0].purpose = Use::Tests;
        assert_eq!(check(&other_use).len(), 2);
    }

    #[test]
    fn only_our_own_crates_are_edges() {
        let json = br#"{"packages":[{"name":"a","dependencies":[
            {"name":"b","kind":null,"path":"/b"},{"name":"c","kind":"dev","path":"/c"},
            {"name":"serde","kind":null}]}]}"#;
        let edges = parse(json).expect("valid");
        let edge = |to: &str, purpose| Edge { from: "a".into(), to: to.into(), purpose };
        assert_eq!(edges, [edge("b", Use::Build), edge("c", Use::Tests)]);
    }
}
