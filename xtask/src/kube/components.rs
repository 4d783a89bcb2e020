//! The programs of a cluster: built once from their Go modules into the user's cache folder, by
//! the modules' versions. Starts none of them.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::requirements::check_program;

/// All that decides what is built.
const MODULE: [(&str, &str); 9] = [
    ("build", include_str!("../../../testbed/kubernetes/build")),
    ("go.mod", include_str!("../../../testbed/kubernetes/go.mod")),
    ("go.sum", include_str!("../../../testbed/kubernetes/go.sum")),
    ("main.go", include_str!("../../../testbed/kubernetes/main.go")),
    ("tools.go", include_str!("../../../testbed/kubernetes/tools.go")),
    ("volumes.go", include_str!("../../../testbed/kubernetes/volumes.go")),
    ("pause/main.go", include_str!("../../../testbed/kubernetes/pause/main.go")),
    ("monitoring/go.mod", include_str!("../../../testbed/kubernetes/monitoring/go.mod")),
    ("monitoring/go.sum", include_str!("../../../testbed/kubernetes/monitoring/go.sum")),
];
/// What the testbed's folder is called in the user's cache folder.
const CACHE: &str = "pulsemesh-testbed";
const INSTALL_GO: &str = "Go 1.25 or later, https://go.dev/dl";

/// Where the programs are once they are built.
pub fn folder() -> PathBuf {
    crate::cache::folder(CACHE).join(name())
}

/// The folder of the programs: `kubectl`, `helm`, `kubeconform`, `etcd` and those of Kubernetes;
/// in it `definitions/` has those of `ServiceMonitor` and `PrometheusRule`. Builds them if they
/// are not there: six minutes of two cores, once. Of processes that ask at the same time one
/// builds.
///
/// # Errors
///
/// When they can't be built: what Go said, or what to install.
pub fn build(tell: &dyn Fn(&str)) -> Result<PathBuf> {
    let (cache, folder) = (crate::cache::folder(CACHE), folder());
    if folder.is_dir() {
        return Ok(folder);
    }
    check_program("go", INSTALL_GO)?;
    fs::create_dir_all(&cache).with_context(|| format!("make {}", cache.display()))?;
    let lock = File::create(cache.join("build.lock")).context("make the lock of the cache")?;
    lock.lock().context("lock the cache")?;
    if !folder.is_dir() {
        tell(&format!("building a cluster's programs (6 minutes, once) into {}", folder.display()));
        build_into(&cache, &folder, tell)?;
    }
    Ok(folder)
}

/// The whole folder appears at once, or not at all.
fn build_into(cache: &Path, folder: &Path, tell: &dyn Fn(&str)) -> Result<()> {
    let temporary = tempfile::tempdir_in(cache).context("make a temporary folder")?;
    let module = temporary.path().join("module");
    for (name, text) in MODULE {
        let path = module.join(name);
        fs::create_dir_all(path.parent().unwrap_or(&module)).context("make the module")?;
        fs::write(path, text).with_context(|| format!("write {name}"))?;
    }
    let out = temporary.path().join("out");
    fs::create_dir(&out).context("make a folder")?;
    let log = temporary.path().join("log");
    let mut child = Command::new("sh")
        .arg(module.join("build"))
        .args([&module, &out])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(File::create(&log).context("make a log")?)
        .spawn()
        .context("run sh")?;
    let told = child.stdout.take().context("the build has no output")?;
    BufReader::new(told).lines().map_while(Result::ok).for_each(|line| tell(&format!("  {line}")));
    let status = child.wait().context("wait for the build")?;
    let log = fs::read_to_string(&log).unwrap_or_default();
    ensure!(status.success(), "build a cluster's programs with Go:\n{}", last_lines(&log, 30));
    fs::rename(&out, folder).with_context(|| format!("make {}", folder.display()))
}

/// Changes with anything that is built or how.
fn name() -> String {
    let mut hasher = DefaultHasher::new();
    MODULE.hash(&mut hasher);
    let version = version().unwrap_or_default();
    format!("kubernetes-{version}-{:08x}", hasher.finish() >> 32)
}

/// The version of Kubernetes, such as `v1.35.4`.
pub fn version() -> Option<&'static str> {
    let (_, go_mod) = MODULE.iter().find(|(name, _)| *name == "go.mod")?;
    let line = go_mod.lines().map(str::trim).find(|line| line.starts_with("k8s.io/kubernetes "))?;
    line.split_whitespace().nth(1)
}

pub(super) fn last_lines(text: &str, most: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(most)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cached_folder_is_named_after_the_version() {
        assert!(version().is_some_and(|version| version.starts_with("v1.")), "{:?}", version());
        assert!(name().starts_with(&format!("kubernetes-{}-", version().unwrap_or("none"))));
    }

    #[test]
    fn the_end_of_a_log_is_kept() {
        assert_eq!(last_lines("a\nb\nc\n", 2), "b\nc");
        assert_eq!(last_lines("a", 2), "a");
    }
}
