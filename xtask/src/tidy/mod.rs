//! The house rules as plain checks over the files that git knows. A rule sees texts and says
//! what is wrong where; it mends nothing.

mod edges;
mod imports;
mod metrics;
mod modules;
mod sizes;
mod source;
mod words;

use std::fmt;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use source::File;

/// One breach of a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    path: String,
    line: usize,
    message: String,
}

impl Finding {
    fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

/// Checks the repository at `root` and prints every breach; says whether there was none.
pub(crate) fn run(root: &Path) -> Result<bool> {
    let findings = check(root)?;
    for finding in &findings {
        writeln!(std::io::stdout(), "{finding}")?;
    }
    Ok(findings.is_empty())
}

/// Checks the repository at `root` against every rule.
fn check(root: &Path) -> Result<Vec<Finding>> {
    let files = read_files(root)?;
    let mut findings = Vec::new();
    for rule in [
        modules::headers,
        modules::orphans,
        modules::names,
        sizes::lines,
        sizes::files,
        sizes::functions,
        words::endings,
        words::banned,
        imports::forbidden,
        metrics::documented,
    ] {
        findings.extend(rule(&files));
    }
    findings.extend(edges::check(&edges::read(root)?));
    findings.sort();
    Ok(findings)
}

/// The text files that are committed or about to be.
fn read_files(root: &Path) -> Result<Vec<File>> {
    let listing = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .context("run git ls-files")?;
    ensure!(listing.status.success(), "{}", String::from_utf8_lossy(&listing.stderr));
    let names = String::from_utf8(listing.stdout).context("read file names")?;
    // A name that is gone was deleted and not committed yet; what is not text has no rules.
    let read = |name: &str| Some(File::new(name, std::fs::read_to_string(root.join(name)).ok()?));
    Ok(names.split('\0').filter(|name| !name.is_empty()).filter_map(read).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_keeps_its_own_rules() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let findings = check(&root).expect("git and cargo are there");
        let text: String = findings.iter().map(|finding| format!("{finding}\n")).collect();
        assert!(findings.is_empty(), "\n{text}");
    }
}
