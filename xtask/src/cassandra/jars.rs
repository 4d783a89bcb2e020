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
    fetch_into(&crate::cache::folder(CACHE), tell)
}

fn fetch_into(cache: &Path, tell: &dyn Fn(&str)) -> Result<PathBuf> {
    let version = version(POM).context("the pom names no version")?;
    let jars = cache.join(format!("cassandra-{version}"));
    if jars.is_dir() {
        return Ok(jars);
    }
    std::fs::create_dir_all(cache).with_context(|| format!("make {}", cache.display()))?;
    let lock = File::create(cache.join("fetch.lock")).context("make the lock of the cache")?;
    lock.lock().context("lock the cache")?;
    if !jars.is_dir() {
        tell(&format!("fetching Cassandra {version} (70 MB, once) into {}", jars.display()));
        copy(cache, &jars)?;
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
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn the_pom_names_a_version_of_cassandra_5() {
        assert!(version(POM).is_some_and(|version| version.starts_with("5.0.")));
        assert_eq!(version("<version>1</version>"), None);
    }

    #[test]
    #[ignore = "runs Maven: cargo xtask test cassandra"]
    fn of_two_that_ask_at_once_one_fetches() {
        let cache = tempfile::tempdir().expect("a folder");
        let told = AtomicUsize::new(0);
        let tell = |_: &str| {
            told.fetch_add(1, Ordering::Relaxed);
        };
        let ask = || fetch_into(cache.path(), &tell).expect("fetched");
        let (first, second) = std::thread::scope(|scope| {
            let other = scope.spawn(ask);
            (ask(), other.join().expect("it ends"))
        });
        assert_eq!(first, second);
        assert_eq!(told.into_inner(), 1);
        assert!(first.join(format!("cassandra-all-{}.jar", version(POM).expect("one"))).is_file());
        let left = std::fs::read_dir(cache.path()).expect("a folder").count();
        assert_eq!(left, 2, "the jars and the lock");
    }

    #[test]
    fn the_version_of_java_is_read_from_what_it_prints() {
        assert_eq!(major("openjdk version \"17.0.15\" 2025-04-15\nOpenJDK"), Some(17));
        assert_eq!(major("openjdk version \"21\" 2023-09-19"), Some(21));
        assert_eq!(major("no java"), None);
    }
}
