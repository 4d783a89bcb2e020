//! Rules of modules: each file says what it is, is part of a crate, and has a telling name.

use std::collections::BTreeSet;

use super::Finding;
use super::source::{File, words};

/// Names that say nothing of what is inside.
const EMPTY_NAMES: [&str; 8] =
    ["common", "util", "utils", "helper", "helpers", "manager", "misc", "v2"];

/// Every Rust file begins with what it does and what it must not do.
pub(super) fn headers(files: &[File]) -> Vec<Finding> {
    let bare = files.iter().filter(|file| file.is_rust() && !file.text.starts_with("//! "));
    bare.map(|file| Finding::new(&file.path, 1, "file does not begin with a `//!` line")).collect()
}

/// No module is called by a name that says nothing.
pub(super) fn names(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        let parts = file.path.trim_end_matches(".rs").split('/');
        for name in parts.filter(|part| EMPTY_NAMES.contains(part)) {
            findings.push(Finding::new(&file.path, 1, format!("a module called {name}")));
        }
    }
    findings
}

/// Every Rust file of a crate is reached by `mod` lines from one of its roots: what is not
/// reached is not compiled, and a test in it never runs.
pub(super) fn orphans(files: &[File]) -> Vec<Finding> {
    let mut reached = BTreeSet::new();
    let mut left: Vec<&File> = files.iter().filter(|file| is_root(&file.path)).collect();
    while let Some(file) = left.pop() {
        if !reached.insert(file.path.as_str()) {
            continue;
        }
        for name in declared(&file.code) {
            let folder = children(&file.path);
            let paths = [format!("{folder}/{name}.rs"), format!("{folder}/{name}/mod.rs")];
            left.extend(files.iter().filter(|child| paths.contains(&child.path)));
        }
    }
    let dead = files.iter().filter(|file| file.is_rust() && !reached.contains(file.path.as_str()));
    dead.map(|file| Finding::new(&file.path, 1, "no `mod` line leads here: it is not compiled"))
        .collect()
}

/// Whether cargo finds the file by itself.
fn is_root(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    match parts.as_slice() {
        [.., "src", "lib.rs" | "main.rs"] | [.., "build.rs"] => true,
        [.., "src", "bin", _] | [.., "src", "bin", _, "main.rs"] => true,
        [.., "tests" | "examples" | "benches" | "fuzz_targets", name] => name.ends_with(".rs"),
        [.., "tests" | "examples" | "benches", _, "main.rs"] => true,
        _ => false,
    }
}

/// Where the files of a file's modules are.
fn children(path: &str) -> String {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let own_folder = matches!(name, "lib.rs" | "main.rs" | "mod.rs") || is_root(path);
    if own_folder { folder.to_owned() } else { path.trim_end_matches(".rs").to_owned() }
}

/// The names of `mod name;` lines.
fn declared(code: &str) -> Vec<&str> {
    let tokens: Vec<(usize, &str)> = words(code).collect();
    let is_declared = |pair: &&[(usize, &str)]| {
        let (at, name) = pair[1];
        pair[0].1 == "mod" && code[at + name.len()..].trim_start().starts_with(';')
    };
    tokens.windows(2).filter(is_declared).map(|pair| pair[1].1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(findings: &[Finding]) -> Vec<&str> {
        findings.iter().map(|finding| finding.path.as_str()).collect()
    }

    #[test]
    fn a_file_without_a_header_is_found() {
        let files = [
            File::new("a/src/lib.rs", "//! Does a.\n"),
            File::new("a/src/b.rs", "// Does b.\n"),
            File::new("README.md", "# a\n"),
        ];
        assert_eq!(paths(&headers(&files)), ["a/src/b.rs"]);
    }

    #[test]
    fn a_name_that_says_nothing_is_found_in_files_and_folders() {
        let path = |path: &str| names(&[File::new(path, "")]).len();
        for bad in ["a/src/util.rs", "a/src/common/mod.rs", "a/tests/it/v2.rs"] {
            assert_eq!(path(bad), 1, "{bad}");
        }
        assert_eq!(path("a/src/utilisation.rs"), 0);
    }

    #[test]
    fn a_file_that_no_mod_line_leads_to_is_found() {
        let files = [
            File::new("a/src/lib.rs", "mod b;\npub mod c;\n// mod dead;\n#[cfg(test)]\nmod t {}"),
            File::new("a/src/b.rs", "pub(crate) mod d;"),
            File::new("a/src/b/d.rs", ""),
            File::new("a/src/c/mod.rs", "mod e ;"),
            File::new("a/src/c/e.rs", ""),
            File::new("a/src/dead.rs", ""),
            File::new("a/src/t.rs", ""),
            File::new("a/tests/it/main.rs", "mod f;"),
            File::new("a/tests/it/f.rs", ""),
            File::new("a/tests/it/g.rs", ""),
            File::new("a/examples/h.rs", ""),
        ];
        assert_eq!(paths(&orphans(&files)), ["a/src/dead.rs", "a/src/t.rs", "a/tests/it/g.rs"]);
    }
}
