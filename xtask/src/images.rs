//! Images as archives, without Docker: buildah assembles what was built before. The same
//! Dockerfiles build from source where there is Docker. Pulls nothing, needs no daemon.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::kube::requirements::check_program;

/// How to have buildah.
const INSTALL: &str = "apt-get install -y --no-install-recommends buildah";

/// The image of ingest under a tag that is not the operator's own, for tests of changes.
pub const NEXT_INGEST: &str = "ghcr.io/pulsemesh/pulsemesh-ingest:next";
/// The image of a client that posts from a pod, for tests: `xtask post`.
pub const CLIENT: &str = "localhost/pulsemesh-client:1";

/// How one image is made.
#[derive(Debug)]
pub struct Image<'a> {
    /// Its whole name with its tag.
    pub name: &'a str,
    /// Its Dockerfile.
    pub dockerfile: &'a Path,
    /// What `COPY` copies from.
    pub context: &'a Path,
    /// Folders that take the place of stages: their name, and what the stage would have at `/`.
    pub stages: &'a [(&'a str, &'a Path)],
    /// Values of `ARG`.
    pub arguments: &'a [(&'a str, &'a str)],
}

/// Makes an image and writes it as a `docker-archive`, which replaces what is there. Keeps
/// nothing else.
///
/// # Errors
///
/// When buildah is missing or can't make it: what it said.
pub fn assemble(image: &Image<'_>, archive: &Path) -> Result<()> {
    check_program("buildah", INSTALL)?;
    let folder = archive.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    // Beside the archive, which is about as large.
    let storage = tempfile::tempdir_in(folder).context("make a folder for layers")?;
    let new = storage.path().join("image.tar");
    run(build(storage.path(), image))?;
    let mut push = buildah(storage.path());
    push.args(["push", "--quiet", image.name]).arg(format!(
        "docker-archive:{}:{}",
        new.display(),
        image.name
    ));
    run(push)?;
    fs::rename(&new, archive).with_context(|| format!("write {}", archive.display()))
}

fn build(storage: &Path, image: &Image<'_>) -> Command {
    let mut command = buildah(storage);
    command
        .args(["bud", "--quiet", "--isolation", "chroot", "--tag", image.name, "--file"])
        .arg(image.dockerfile);
    for (stage, folder) in image.stages {
        command.arg("--build-context").arg(format!("{stage}={}", folder.display()));
    }
    for (name, value) in image.arguments {
        command.arg("--build-arg").arg(format!("{name}={value}"));
    }
    command.arg(image.context);
    command
}

/// With layers in a folder of its own, so that no other build is seen and none is left.
fn buildah(storage: &Path) -> Command {
    let mut command = Command::new("buildah");
    command
        .args(["--storage-driver", "vfs", "--root"])
        .arg(storage.join("root"))
        .arg("--runroot")
        .arg(storage.join("run"));
    command
}

fn run(mut command: Command) -> Result<()> {
    let output = command.output().context("run buildah")?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "make an image with buildah: {told}");
    Ok(())
}

/// A program of this project, and the image that holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// Accepts pulses.
    Ingest,
    /// Looks after meshes.
    Operator,
}

impl Program {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Ingest, Self::Operator];

    /// What it, its image and its archive are called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ingest => "pulsemesh-ingest",
            Self::Operator => "pulsemesh-operator",
        }
    }

    /// Where its Dockerfile lies in the repository.
    fn dockerfile(self) -> &'static str {
        match self {
            Self::Ingest => "ingest/Dockerfile",
            Self::Operator => "operator/Dockerfile",
        }
    }

    /// Its image's whole name with its tag, as charts and the operator name it.
    pub fn image(self) -> String {
        format!("ghcr.io/pulsemesh/{}:{}", self.name(), env!("CARGO_PKG_VERSION"))
    }

    /// Makes its image of the program in the folder `built`; returns the archive in `out`.
    ///
    /// # Errors
    ///
    /// When the program is not there, or not static, or buildah fails.
    pub fn assemble(self, root: &Path, built: &Path, out: &Path) -> Result<PathBuf> {
        self.assemble_as(&self.image(), root, built, out)
    }

    /// The same under another name.
    ///
    /// # Errors
    ///
    /// As for `assemble`.
    pub fn assemble_as(self, name: &str, root: &Path, built: &Path, out: &Path) -> Result<PathBuf> {
        let stage = tempfile::tempdir().context("make a folder")?;
        let files = stage.path().join("out");
        fs::create_dir_all(files.join("data")).context("make a folder")?;
        let program = built.join(self.name());
        check_static(&program)?;
        strip(&program, &files.join(self.name()))?;
        let revision = revision(root);
        let archive = out.join(format!("{}.tar", self.name()));
        let image = Image {
            name,
            dockerfile: &root.join(self.dockerfile()),
            context: &files,
            stages: &[("build", stage.path())],
            arguments: &[("VERSION", env!("CARGO_PKG_VERSION")), ("REVISION", &revision)],
        };
        assemble(&image, &archive)?;
        Ok(archive)
    }
}

/// One that needs the machine's own libraries would not start in an empty image.
fn check_static(program: &Path) -> Result<()> {
    let bytes = fs::read(program).with_context(|| format!("read {}", program.display()))?;
    // The loader's path stands in a program that needs one.
    let dynamic = bytes.windows(11).take(4096).any(|window| window == b"/ld-linux-x")
        || bytes.windows(12).take(4096).any(|window| window == b"/ld-linux-aa");
    ensure!(!dynamic, "{} is not static: --config .cargo/static.toml", program.display());
    Ok(())
}

/// Copies a program without what a debugger needs: line tables make it three times as large;
/// stack traces keep the names of functions.
///
/// # Errors
///
/// When it is not there or can't be written.
pub fn strip(from: &Path, to: &Path) -> Result<()> {
    let status = Command::new("strip").args(["--strip-debug", "-o"]).arg(to).arg(from).status();
    // Without binutils it is larger and just as good.
    if !status.is_ok_and(|status| status.success()) {
        fs::copy(from, to).with_context(|| format!("copy {}", from.display()))?;
    }
    Ok(())
}

/// The commit that images are of, where the source is a repository.
fn revision(root: &Path) -> String {
    let output = Command::new("git").args(["rev-parse", "HEAD"]).current_dir(root).output();
    let text = output.ok().filter(|output| output.status.success());
    let text = text.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.unwrap_or_else(|| "unknown".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_needs_a_loader_is_refused() {
        let error = check_static(Path::new("/bin/sh")).expect_err("it is dynamic");
        assert!(error.to_string().contains("is not static"), "{error}");
    }

    #[test]
    fn every_argument_reaches_buildah() {
        let image = Image {
            name: "a/b:1",
            dockerfile: Path::new("Dockerfile"),
            context: Path::new("context"),
            stages: &[("build", Path::new("stage"))],
            arguments: &[("VERSION", "1")],
        };
        let command = build(Path::new("storage"), &image);
        let arguments: Vec<&str> = command.get_args().filter_map(|text| text.to_str()).collect();
        let text = arguments.join(" ");
        for part in ["--build-context build=stage", "--build-arg VERSION=1", "--tag a/b:1"] {
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(arguments.last(), Some(&"context"));
    }
}
