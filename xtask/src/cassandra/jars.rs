//! Cassandra's jars: fetched once by Maven into the user's cache folder. Says what to install
//! where Java or Maven is missing.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

const POM: &str = include_str!("../../../testbed/cassandra/pom.xml");
/// What the testbed's folder is called in the user's cache folder.
const CACHE: &str = "pulsemesh-testbed";
const INSTALL: &str = "apt-get install -y openjdk-17-jdk-headless maven";

/// The folder of the jars; fetches them if they are not there. Of processes that ask at the same
/// time one fetches.
pub(super) fn fetch(tell: &dyn Fn(&str)) -> Result<PathBuf> {
    check_java()?;
    let cache = crate::cache::folder(CACHE);
    let version = version(POM).context("the pom names no version")?;
    let jars = cache.join(format!("cassandra-{version}"));
    if jars.is_dir() {
        return Ok(jars);
    }
    std::fs::create_dir_all(&cache).with_context(|| format!("make {}", cache.display()))?;
    let lock = File::create(cache.join("fetch.lock")).context("make the lock of the cache")?;
    tell(&format!("fetching Cassandra {version} (70 MB, once) into {}", jars.display()));
    lock.lock().context("lock the cache")?;
    if !jars.is_dir() {
        copy(&cache, &jars)?;
    }
    Ok(jars)
}

/// The whole folder appears at once, or not at all.
fn copy(cache: &Path, jars: &Path) -> Result<()> {
    let folder = tempfile::tempdir_in(cache).context("make a temporary folder")?;
    let pom = folder.path().join("pom.xml");
    std::fs::write(&pom, POM).context("write the pom")?;
    let out = folder.path().join("jars");
    let output = Command::new("mvn")
        .args(["--batch-mode", "--quiet", "--no-transfer-progress", "--file"])
        .arg(&pom)
        .args(["dependency:copy-dependencies", "-DincludeScope=runtime"])
        .arg(format!("-DoutputDirectory={}", out.display()))
        .output();
    let output = match output {
        Ok(output) => output,
        Err(error) => bail!("run mvn: {error}; Maven is needed: {INSTALL}"),
    };
    let told = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "fetch Cassandra with Maven: {told}");
    std::fs::rename(&out, jars).with_context(|| format!("make {}", jars.display()))
}

/// Java 17 is what Cassandra 5 is made for; a newer one lacks what it relies on.
fn check_java() -> Result<()> {
    let output = match Command::new("java").arg("-version").output() {
        Ok(output) => output,
        Err(error) => bail!("run java: {error}; a JDK 17 is needed: {INSTALL}"),
    };
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(major(&told) == Some(17), "Cassandra 5 needs Java 17 ({INSTALL}), here is {told}");
    Ok(())
}

/// The first number of a version such as `openjdk version "17.0.15" 2025-04-15`.
fn major(told: &str) -> Option<u32> {
    let version = told.split('"').nth(1)?;
    version.split('.').next()?.parse().ok()
}

/// The version of Cassandra that a pom depends on.
fn version(pom: &str) -> Option<&str> {
    let (_, rest) = pom.split_once("<artifactId>cassandra-all</artifactId>")?;
    let (_, rest) = rest.split_once("<version>")?;
    Some(rest.split_once("</version>")?.0.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pom_names_a_version_of_cassandra_5() {
        assert!(version(POM).is_some_and(|version| version.starts_with("5.0.")));
        assert_eq!(version("<version>1</version>"), None);
    }

    #[test]
    fn the_version_of_java_is_read_from_what_it_prints() {
        assert_eq!(major("openjdk version \"17.0.15\" 2025-04-15\nOpenJDK"), Some(17));
        assert_eq!(major("openjdk version \"21\" 2023-09-19"), Some(21));
        assert_eq!(major("no java"), None);
    }
}
