//! An own authority, a server's and a client's certificate for a cluster, as PEM files. Made by
//! `openssl`, which the JDK's package brings along; nothing here is fit for production.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::settings::ClusterSettings;

const SCRIPT: &str = include_str!("../../../testbed/cassandra/certificates");

/// What a client that speaks TLS needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The authority's certificate.
    pub ca: PathBuf,
    /// A client's certificate.
    pub client: PathBuf,
    /// The client's key (PKCS 8).
    pub client_key: PathBuf,
    pub(super) server_keystore: PathBuf,
}

impl TlsFiles {
    pub(super) fn of(folder: &Path) -> Self {
        Self {
            ca: folder.join("ca.pem"),
            client: folder.join("client.pem"),
            client_key: folder.join("client-key.pem"),
            server_keystore: folder.join("server-keystore.pem"),
        }
    }
}

/// Makes the files, unless TLS is off or an earlier start has made them.
pub(super) fn make(settings: &ClusterSettings) -> Result<()> {
    let Some(files) = settings.tls_files() else { return Ok(()) };
    // It is the last that is written.
    if files.server_keystore.exists() {
        return Ok(());
    }
    let names: Vec<String> = settings.addresses().iter().map(|ip| format!("IP:{ip}")).collect();
    let output = Command::new("sh")
        .args(["-c", SCRIPT, "certificates"])
        .arg(settings.dir.join("tls"))
        .arg(names.join(","))
        .output()
        .context("run sh")?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "make certificates (apt-get install -y openssl?): {told}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_made_once_and_the_authority_vouches_for_both() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut settings = ClusterSettings::new(dir.path());
        make(&settings).expect("nothing to make");
        assert!(!dir.path().join("tls").exists());
        settings.tls = true;
        make(&settings).expect("made");
        let files = settings.tls_files().expect("TLS is on");
        let key = std::fs::read_to_string(&files.client_key).expect("a key");
        assert!(key.starts_with("-----BEGIN PRIVATE KEY-----"), "not PKCS 8");
        for certificate in [&files.client, &files.ca.with_file_name("server.pem")] {
            let mut verify = Command::new("openssl");
            verify.args(["verify", "-CAfile"]).arg(&files.ca).arg(certificate);
            assert!(verify.output().expect("openssl is there").status.success());
        }
        make(&settings).expect("they are there");
        assert_eq!(std::fs::read_to_string(&files.client_key).expect("a key"), key);
    }
}
