//! Helm and `kubeconform`, found and run. Builds and fetches nothing.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::kube::components;

/// Finds `helm` or `kubeconform`: on the path, else where the cluster's programs are built.
///
/// # Errors
/// When it is in neither place; the text says how to get it.
pub fn program(name: &str) -> Result<PathBuf> {
    let built = components::folder().join(name);
    for program in [PathBuf::from(name), built] {
        // `kubeconform` has no word for its version, and both take this flag.
        if Command::new(&program).arg("-h").output().is_ok_and(|output| output.status.success()) {
            return Ok(program);
        }
    }
    bail!("{name} is neither on the path nor in the cache: run `cargo xtask cluster build`")
}

/// Helm without the plugins, repositories, settings and cluster of whoever runs it.
#[derive(Debug)]
pub struct Helm {
    program: PathBuf,
    home: TempDir,
}

impl Helm {
    /// Finds it.
    ///
    /// # Errors
    /// As [`program`] has them, or when no folder can be made.
    pub fn new() -> Result<Self> {
        Ok(Self { program: program("helm")?, home: tempfile::tempdir().context("make a folder")? })
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn run<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Result<Output> {
        let home = |name: &str| self.home.path().join(name);
        Command::new(&self.program)
            .args(arguments)
            .env("HELM_CACHE_HOME", home("cache"))
            .env("HELM_CONFIG_HOME", home("config"))
            .env("HELM_DATA_HOME", home("data"))
            .env("KUBECONFIG", home("none"))
            .output()
            .context("run helm")
    }

    /// What it prints.
    ///
    /// # Errors
    /// When it can't be started, or fails: with what it says of that.
    pub fn text<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Result<String> {
        let output = self.run(arguments)?;
        if !output.status.success() {
            bail!("helm failed: {}", String::from_utf8_lossy(&output.stderr));
        }
        String::from_utf8(output.stdout).context("read what helm prints")
    }
}

/// The folder of a chart in this repository.
pub fn chart(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts").join(name)
}
