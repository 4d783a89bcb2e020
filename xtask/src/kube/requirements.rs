//! What the cluster needs of the machine and the user. All that is missing is told at once,
//! with the command that installs it. Installs nothing.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

/// Programs and files, each with the Debian package that brings it.
const NEEDED: [(&str, &str); 13] = [
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("/usr/lib/cni/bridge", "containernetworking-plugins"),
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("iptables", "iptables"),
    ("conntrack", "conntrack"),
    ("socat", "socat"),
    ("buildah", "buildah"),
    ("openssl", "openssl"),
    ("nsenter", "util-linux"),
    ("flock", "util-linux"),
];

/// Refuses a machine or a user that can't run a cluster.
///
/// # Errors
///
/// When something is missing: what, and how to have it.
pub fn check() -> Result<()> {
    let mut missing = missing_packages(&paths());
    let mut lines = Vec::new();
    if !rustix::process::geteuid().is_root() {
        lines.push("be root: it makes namespaces, mounts and cgroups".to_owned());
    }
    if !missing.is_empty() {
        missing.insert(0, "apt-get install -y --no-install-recommends");
        lines.push(missing.join(" "));
    }
    ensure!(lines.is_empty(), "a cluster can't run here yet:\n  {}", lines.join("\n  "));
    Ok(())
}

/// Refuses where `program` is not to be found.
///
/// # Errors
///
/// When it is missing: how to have it.
pub fn check_program(program: &str, how: &str) -> Result<()> {
    ensure!(is_there(program, &paths()), "{program} is needed: {how}");
    Ok(())
}

fn missing_packages(paths: &[PathBuf]) -> Vec<&'static str> {
    let mut packages: Vec<&str> = NEEDED
        .iter()
        .filter(|(file, _)| !is_there(file, paths))
        .map(|(_, package)| *package)
        .collect();
    packages.dedup();
    packages
}

/// A name is looked for in all `paths`; one that begins with a slash is a file.
fn is_there(file: &str, paths: &[PathBuf]) -> bool {
    // Joining an absolute path replaces.
    paths.iter().any(|path| path.join(file).is_file())
        || Path::new(file).is_absolute() && Path::new(file).is_file()
}

#[allow(clippy::disallowed_methods, reason = "where programs are found has no flag")]
fn paths() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let own = std::env::split_paths(&path);
    // A user's path may lack where administration lies.
    let more = ["/usr/sbin", "/sbin"].map(OsStr::new).map(PathBuf::from);
    own.chain(more).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_once() {
        let nowhere = [PathBuf::from("/no/such/folder")];
        let packages = missing_packages(&nowhere);
        assert!(packages.contains(&"containerd") && packages.contains(&"buildah"), "{packages:?}");
        assert_eq!(packages.iter().filter(|name| **name == "containerd").count(), 1);
    }

    #[test]
    fn a_program_is_found_by_its_name_and_a_file_by_its_path() {
        let paths = [PathBuf::from("/bin"), PathBuf::from("/usr/bin")];
        assert!(is_there("sh", &paths) && is_there("/bin/sh", &paths));
        assert!(!is_there("no-such-program", &paths) && !is_there("/no/such/file", &[]));
    }
}
