//! What a cluster is started with, and how it is kept beside its data so that another process
//! can control the same nodes. Starts nothing.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::certificates::TlsFiles;

/// Most nodes: a replica each with the usual replication of three, and what two cores carry.
const NODES_MAX: usize = 3;
/// Where the settings lie in the cluster's folder.
const FILE: &str = "cluster.json";

/// How a cluster is started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterSettings {
    /// How many nodes, 1 to 3.
    pub nodes: usize,
    /// Each node's heap as Java writes it, such as `512M`. A node is about 400 MiB larger.
    pub heap: String,
    /// Where configuration, data and logs are; started again with the same, it has its data.
    pub dir: PathBuf,
    /// The first node's address; each next node has the next. All of 127.0.0.0/8 is this machine.
    pub first: Ipv4Addr,
    /// The port that clients connect to.
    pub port: u16,
    /// Whether a name and a password are asked for, at first `cassandra` and `cassandra`.
    pub authentication: bool,
    /// Whether TLS is answered too, on the same port; plain connections stay possible.
    pub tls: bool,
    /// Whether a client that speaks TLS must show a certificate.
    pub client_certificates: bool,
    /// Further keys of `cassandra.yaml` with their values, as YAML on one line.
    pub yaml: Vec<(String, String)>,
    /// Further options of the Java machine.
    pub java: Vec<String>,
}

impl ClusterSettings {
    /// One node on 127.0.0.1 with 512 MiB, which anyone may ask.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            nodes: 1,
            heap: "512M".to_owned(),
            dir: dir.into(),
            first: Ipv4Addr::LOCALHOST,
            port: 9042,
            authentication: false,
            tls: false,
            client_certificates: false,
            yaml: Vec::new(),
            java: vec!["-XX:+UseSerialGC".to_owned()],
        }
    }

    /// The superuser's name and password, where they are asked for.
    pub fn login(&self) -> Option<(&'static str, &'static str)> {
        self.authentication.then_some(("cassandra", "cassandra"))
    }

    /// The address of the node `index`, from 0, and the port that clients connect to.
    pub fn address(&self, index: usize) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.address_of(index)), self.port)
    }

    pub(super) fn addresses(&self) -> Vec<Ipv4Addr> {
        (0..self.nodes).map(|index| self.address_of(index)).collect()
    }

    pub(super) fn node_dir(&self, index: usize) -> PathBuf {
        self.dir.join(format!("node{}", index + 1))
    }

    pub(super) fn tls_files(&self) -> Option<TlsFiles> {
        self.tls.then(|| TlsFiles::of(&self.dir.join("tls")))
    }

    /// Refuses what can't be started.
    pub(super) fn check(&self) -> Result<()> {
        let nodes = self.nodes;
        ensure!((1..=NODES_MAX).contains(&nodes), "{nodes} nodes; there can be 1 to {NODES_MAX}");
        ensure!(self.first.is_loopback(), "{} is not an address of this machine", self.first);
        let last = u32::from(self.first).saturating_add(NODES_MAX as u32);
        ensure!(Ipv4Addr::from(last).is_loopback(), "there is no room after {}", self.first);
        ensure!(self.tls || !self.client_certificates, "certificates of clients need TLS");
        Ok(())
    }

    fn address_of(&self, index: usize) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.first) + index as u32)
    }
}

/// All that is needed to control the nodes of a cluster.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) settings: ClusterSettings,
    pub(super) jars: PathBuf,
}

impl Place {
    /// What another process wrote to the cluster's folder.
    pub(super) fn read(dir: &Path) -> Result<Self> {
        let path = dir.join(FILE);
        let text = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("read {}", path.display()))
    }

    pub(super) fn write(&self) -> Result<()> {
        let path = self.settings.dir.join(FILE);
        let text = serde_json::to_vec_pretty(self).context("write the settings")?;
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))
    }

    /// The file whose lock the cluster's owner holds.
    pub(super) fn lock(dir: &Path) -> PathBuf {
        dir.join("owner.lock")
    }

    /// Refuses a folder whose data were spread over other nodes.
    pub(super) fn check_same(&self, before: &Self) -> Result<()> {
        let nodes = |place: &Self| (place.settings.nodes, place.settings.first);
        let dir = self.settings.dir.display();
        ensure!(nodes(self) == nodes(before), "{dir} holds data of other nodes; remove it first");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(change: impl FnOnce(&mut ClusterSettings)) -> ClusterSettings {
        let mut settings = ClusterSettings::new("d");
        change(&mut settings);
        settings
    }

    #[test]
    fn nodes_have_neighbouring_addresses() {
        let three = settings(|settings| {
            settings.nodes = 3;
            settings.first = Ipv4Addr::new(127, 0, 9, 255);
        });
        assert_eq!(three.address(1).to_string(), "127.0.10.0:9042");
        assert_eq!(three.addresses().len(), 3);
    }

    #[test]
    fn what_can_not_be_started_is_refused() {
        let refused = |change: fn(&mut ClusterSettings)| settings(change).check().is_err();
        assert!(!refused(|settings| settings.nodes = 3));
        assert!(refused(|settings| settings.nodes = 0));
        assert!(refused(|settings| settings.nodes = 4));
        assert!(refused(|settings| settings.first = Ipv4Addr::new(10, 0, 0, 1)));
        assert!(refused(|settings| settings.first = Ipv4Addr::new(127, 255, 255, 254)));
        assert!(refused(|settings| settings.client_certificates = true));
    }

    #[test]
    fn another_process_reads_the_same_settings() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut settings = ClusterSettings::new(dir.path());
        settings.yaml.push(("a".to_owned(), "b".to_owned()));
        let place = Place { settings, jars: "jars".into() };
        place.write().expect("written");
        let read = Place::read(dir.path()).expect("read");
        assert_eq!(read.settings, place.settings);
        let mut other = read.clone();
        other.settings.nodes = 2;
        assert!(other.check_same(&read).is_err());
    }
}
