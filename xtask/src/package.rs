//! `cargo xtask images`: builds the programs as they are shipped and writes their images as
//! archives for `docker load`, `kind load image-archive` and `cargo xtask cluster load`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args;

use xtask::built::{self, STATIC};
use xtask::images::{CLIENT, Image, NEXT_INGEST, Program, assemble, strip};

/// What `cargo xtask images` is asked.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Where the archives are written: `pulsemesh-ingest.tar` and `pulsemesh-operator.tar`.
    #[arg(long)]
    out: PathBuf,
    /// The cargo profile of the programs.
    #[arg(long, default_value = "release")]
    profile: String,
    /// Writes also what tests in a cluster need: ingest under another tag, a client that posts,
    /// and Cassandra.
    #[arg(long)]
    for_tests: bool,
}

/// Builds and writes; says whether all went well.
pub(crate) fn run(root: &Path, options: &Options) -> Result<bool> {
    say(&format!("building the programs with the profile {}", options.profile));
    let status = Command::new(env!("CARGO"))
        .arg("build")
        .args(STATIC)
        // All of the workspace, as tests are built: the same features, nothing built twice.
        .args(["--workspace", "--bins", "--quiet", "--profile", &options.profile])
        .current_dir(root)
        .status()
        .context("run cargo build")?;
    ensure!(status.success(), "the build failed");
    let own = std::env::current_exe().context("find this program")?;
    let target = own.parent().and_then(Path::parent).context("find the target folder")?;
    let built = built::folder(target, &options.profile);
    for program in Program::ALL {
        let archive = program.assemble(root, &built, &options.out)?;
        let mib = archive.metadata().context("look at the archive")?.len() >> 20;
        say(&format!("{}  {} ({mib} MiB)", program.image(), archive.display()));
    }
    if options.for_tests {
        for_tests(root, &built, &options.out)?;
    }
    Ok(true)
}

fn for_tests(root: &Path, built: &Path, out: &Path) -> Result<()> {
    Program::Ingest.assemble_as(NEXT_INGEST, root, built, &out.join("next"))?;
    std::fs::rename(out.join("next/pulsemesh-ingest.tar"), out.join("pulsemesh-ingest-next.tar"))
        .context("move an archive")?;
    let context = tempfile::tempdir().context("make a folder")?;
    strip(&built.join("xtask"), &context.path().join("xtask"))?;
    let image = Image {
        name: CLIENT,
        dockerfile: &root.join("testbed/kubernetes/client/Dockerfile"),
        context: context.path(),
        stages: &[],
        arguments: &[],
    };
    assemble(&image, &out.join("client.tar"))?;
    let script = root.join("testbed/cassandra/image/build");
    let output = Command::new(&script).arg(out.join("cassandra.tar")).output();
    let output = output.with_context(|| format!("run {}", script.display()))?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "make the image of Cassandra: {told}");
    Ok(())
}

fn say(line: &str) {
    // With nobody to read, the archives are still written.
    let _ = writeln!(io::stdout().lock(), "{line}");
}
