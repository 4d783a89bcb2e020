//! What the programs of a cluster read: certificates, kubeconfigs and their files of settings,
//! written to the cluster's folder.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::Place;

/// The node's address in the cluster's own network; other machines' networks are never seen there.
pub(super) const ADDRESS: &str = "10.250.0.1";
/// Whose kubeconfigs are written; `admin` may do everything.
const USERS: [&str; 5] = ["admin", "controllers", "scheduler", "kubelet", "proxy"];
const CERTIFICATES: &str = include_str!("../../../testbed/kubernetes/certificates");
const KUBECONFIG: &str = include_str!("../../../testbed/kubernetes/kubeconfig.yaml");
/// Where each file of settings is written, with `{dir}`, `{address}` and `{cgroup}` to fill in.
const FILES: [(&str, &str); 6] = [
    ("audit.yaml", include_str!("../../../testbed/kubernetes/audit.yaml")),
    ("containerd.toml", include_str!("../../../testbed/kubernetes/containerd.toml")),
    ("kubelet.yaml", include_str!("../../../testbed/kubernetes/kubelet.yaml")),
    ("network/testbed.conflist", include_str!("../../../testbed/kubernetes/network.conflist")),
    ("Corefile", include_str!("../../../testbed/kubernetes/Corefile")),
    ("storage-class.yaml", include_str!("../../../testbed/kubernetes/storage-class.yaml")),
];

/// Writes everything.
pub(super) fn write(place: &Place) -> Result<()> {
    for folder in ["network", "logs", "pids", "volumes", "pod-logs"] {
        let path = place.dir.join(folder);
        fs::create_dir_all(&path).with_context(|| format!("make {}", path.display()))?;
    }
    make_certificates(place)?;
    for user in USERS {
        let text = KUBECONFIG.replace("{user}", user);
        write_file(place, &format!("pki/{user}.conf"), &text)?;
    }
    FILES.iter().try_for_each(|(name, text)| write_file(place, name, text))
}

fn make_certificates(place: &Place) -> Result<()> {
    let output = Command::new("sh")
        .args(["-c", CERTIFICATES, "certificates"])
        .arg(place.dir.join("pki"))
        .arg(ADDRESS)
        .output()
        .context("run sh")?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "make certificates with openssl: {told}");
    Ok(())
}

fn write_file(place: &Place, name: &str, template: &str) -> Result<()> {
    let path = place.dir.join(name);
    let text = fill(template, &place.dir, &place.cgroup());
    fs::write(&path, text).with_context(|| format!("write {}", path.display()))
}

fn fill(template: &str, dir: &Path, cgroup: &str) -> String {
    template
        .replace("{dir}", &dir.display().to_string())
        .replace("{address}", ADDRESS)
        .replace("{cgroup}", cgroup)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_to_fill_in() {
        let kubeconfig = KUBECONFIG.replace("{user}", "admin");
        let texts = FILES.iter().map(|(_, text)| *text).chain([kubeconfig.as_str()]);
        for text in texts {
            let filled = fill(text, Path::new("/d"), "group");
            for left in ["{dir}", "{address}", "{cgroup}", "{user}"] {
                assert!(!filled.contains(left), "{filled}");
            }
        }
    }
}
