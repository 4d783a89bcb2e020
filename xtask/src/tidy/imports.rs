//! Rules of imports: which parts of a crate must not know of which others.

use super::Finding;
use super::source::{File, words};

/// What a part must not know.
struct Rule {
    /// Paths of the part: files, or folders with their `/`.
    parts: &'static [&'static str],
    /// Crates, or modules of the same crate.
    forbidden: &'static [&'static str],
    reason: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        parts: &["ingest/", "runtime/"],
        forbidden: &["kube", "k8s_openapi"],
        reason: "the ingest knows no Kubernetes",
    },
    Rule {
        parts: &[
            "ingest/src/pulse.rs",
            "ingest/src/pulse/",
            "ingest/src/admission.rs",
            "ingest/src/admission/",
            "ingest/src/routes.rs",
            "ingest/src/routes/",
        ],
        forbidden: &["hyper", "hyper_util", "sink"],
        reason: "what is decided about a pulse depends on neither the wire nor a store",
    },
    Rule {
        parts: &[
            "operator/src/mesh/validate/",
            "operator/src/mesh/build/",
            "operator/src/mesh/topology.rs",
            "operator/src/mesh/topology/",
            "operator/src/mesh/status/",
        ],
        forbidden: &["Api", "Client", "tokio"],
        reason: "what a mesh shall be follows from what was read, without a client",
    },
];

/// No part of a crate imports what it must not know.
pub(super) fn forbidden(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        let applies = |rule: &&Rule| {
            rule.parts.iter().any(|part| {
                if part.ends_with('/') { file.path.starts_with(part) } else { file.path == *part }
            })
        };
        for rule in RULES.iter().filter(applies) {
            for (at, name) in named_paths(&file.code) {
                if rule.forbidden.contains(&name) {
                    let message = format!("names {name}: {}", rule.reason);
                    findings.push(Finding::new(&file.path, file.line_of(at), message));
                }
            }
        }
    }
    findings
}

/// The words that are part of a path (`a::b`) or of a `use` list.
fn named_paths(code: &str) -> Vec<(usize, &str)> {
    let mut in_use = false;
    let mut named = Vec::new();
    let mut last_end = 0;
    for (at, word) in words(code) {
        if code[last_end..at].contains(';') {
            in_use = false;
        }
        let joined = code[..at].ends_with("::") || code[at + word.len()..].starts_with("::");
        if in_use || joined {
            named.push((at, word));
        }
        in_use |= word == "use";
        last_end = at + word.len();
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> usize {
        forbidden(&[File::new(path, text)]).len()
    }

    #[test]
    fn a_forbidden_import_is_found_however_it_is_written() {
        for text in [
            "use hyper::Request;",
            "use hyper_util as wire;",
            "use crate::sink::Batch;",
            "use crate::{code::Code, sink::{Batch}};",
            "use super::{\n    code,\n    sink,\n};",
            "fn f(x: hyper::Body) {}",
            "fn f(x: crate::sink::Batch) {}",
        ] {
            assert_eq!(found("ingest/src/pulse.rs", text), 1, "{text}");
            assert_eq!(found("ingest/src/routes/table.rs", text), 1, "{text}");
            assert_eq!(found("ingest/src/server/mod.rs", text), 0, "{text}");
        }
        assert_eq!(found("ingest/src/store/mod.rs", "use kube::Client;"), 1);
        assert_eq!(found("operator/src/mesh/build/mod.rs", "use kube::{Api, Client};"), 2);
        assert_eq!(found("operator/src/mesh/apply.rs", "use kube::{Api, Client};"), 0);
    }

    #[test]
    fn words_that_import_nothing_are_not_found() {
        for text in
            ["// hyper::x", "let sink = 1;", "use http::Method; let sink = 2;", "\"hyper::\""]
        {
            assert_eq!(found("ingest/src/pulse.rs", text), 0, "{text}");
        }
    }
}
