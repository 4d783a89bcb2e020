//! A real Cassandra 5 of one to three nodes on this machine, for tests and benchmarks. The one
//! who starts a cluster owns it: its nodes end with the owner, however that ends. Others may
//! attach to it and control the same nodes.

mod certificates;
mod config;
mod cql;
mod jars;
mod java;
mod node;
mod patient;
mod process;
mod settings;

use std::fs::{self, File, TryLockError};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::server::wait_for;
use settings::Place;

pub use certificates::TlsFiles;
pub use node::Node;
pub use patient::patient;
pub use settings::ClusterSettings;

/// The environment variable that names the folder of a running cluster to tests.
pub const ENVIRONMENT: &str = "PULSEMESH_TESTBED_CASSANDRA";
/// Longest wait for all nodes to be up: seconds on an idle machine, minutes beside a build.
const START_MAX: Duration = Duration::from_secs(300);
/// Whoever waits to kill the nodes of an owner that is gone has the lock for a moment.
const LOCK_MAX: Duration = Duration::from_secs(1);
/// Where nodes talk to each other.
const STORAGE_PORT: u16 = 7000;

/// Some nodes of one cluster; killed when it goes, unless it was attached to.
#[derive(Debug)]
pub struct Cluster {
    place: Arc<Place>,
    nodes: Vec<Node>,
    /// Its lock is held by the owner alone.
    owner: Option<File>,
}

impl Cluster {
    /// Starts a cluster and waits until each node answers and sees all others.
    pub fn start(settings: ClusterSettings) -> Result<Self> {
        Self::start_telling(settings, &|_| ())
    }

    /// Starts a cluster; `tell` hears what takes long.
    pub fn start_telling(settings: ClusterSettings, tell: &dyn Fn(&str)) -> Result<Self> {
        settings.check()?;
        let jars = jars::fetch(tell)?;
        let cluster = Self::own(settings, jars)?;
        tell(&format!("starting {} of Cassandra", count(cluster.nodes.len())));
        for node in &cluster.nodes {
            node.start()?;
        }
        for (index, node) in cluster.nodes.iter().enumerate() {
            node.wait_sees(cluster.nodes.len(), START_MAX)?;
            tell(&format!("node {} of {} is up", index + 1, cluster.nodes.len()));
        }
        Ok(cluster)
    }

    /// The running cluster that [`ENVIRONMENT`] names; an error that says how to have one if it
    /// names none.
    #[allow(clippy::disallowed_methods, reason = "a test has no flags")]
    pub fn from_environment() -> Result<Self> {
        let dir = std::env::var_os(ENVIRONMENT);
        let dir = dir.with_context(|| {
            format!("{ENVIRONMENT} names no cluster: run cargo xtask test cassandra")
        })?;
        Self::attach(dir)
    }

    /// The running cluster of another process, whose folder is `dir`.
    pub fn attach(dir: impl AsRef<Path>) -> Result<Self> {
        let place = Arc::new(Place::read(dir.as_ref())?);
        let lock = File::open(Place::lock(dir.as_ref())).context("open the lock")?;
        match lock.try_lock_shared() {
            Ok(()) => bail!("the cluster in {} has no owner", dir.as_ref().display()),
            Err(TryLockError::WouldBlock) => Ok(Self::new(place, None)),
            Err(TryLockError::Error(error)) => Err(error).context("look at the lock"),
        }
    }

    /// All its nodes, running or not.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// What it was started with.
    pub fn settings(&self) -> &ClusterSettings {
        &self.place.settings
    }

    /// What a client needs to speak TLS, if the cluster does.
    pub fn tls_files(&self) -> Option<TlsFiles> {
        self.place.settings.tls_files()
    }

    /// Makes it whole again: lets paused nodes go on, starts those that are gone, and waits until
    /// each sees all others. One that runs with settings of its own keeps them.
    pub fn mend(&self, at_most: Duration) -> Result<()> {
        for node in &self.nodes {
            if node.is_running() {
                node.resume()?;
            } else {
                node.start()?;
            }
        }
        self.nodes.iter().try_for_each(|node| node.wait_sees(self.nodes.len(), at_most))
    }

    /// Asks all nodes that run to end, and waits until they have; they write out what they hold.
    pub fn stop(self) -> Result<()> {
        let running: Vec<&Node> = self.nodes.iter().filter(|node| node.is_running()).collect();
        running.iter().try_for_each(|node| node.terminate())?;
        running.iter().try_for_each(|node| node.wait_gone())
    }

    /// Takes the folder, ends what an owner before left there, and writes what nodes read.
    fn own(mut settings: ClusterSettings, jars: PathBuf) -> Result<Self> {
        fs::create_dir_all(&settings.dir).context("make the cluster's folder")?;
        settings.dir = settings.dir.canonicalize().context("find the cluster's folder")?;
        let lock = take(&settings.dir)?;
        let before = Place::read(&settings.dir).ok();
        let place = Place { settings, jars };
        if let Some(before) = before {
            place.check_same(&before)?;
            let left = Self::new(Arc::new(before), None);
            left.nodes.iter().try_for_each(Node::kill)?;
        }
        check_free(&place.settings)?;
        certificates::make(&place.settings)?;
        java::write_files(&place.settings.dir)?;
        place.write()?;
        Ok(Self::new(Arc::new(place), Some(lock)))
    }

    fn new(place: Arc<Place>, owner: Option<File>) -> Self {
        let node = |index| Node::new(index, Arc::clone(&place));
        let nodes = (0..place.settings.nodes).map(node).collect();
        Self { place, nodes, owner }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.owner.is_some() {
            for node in &self.nodes {
                // One that can't be killed here is killed once the lock is free.
                let _ = node.kill();
            }
        }
    }
}

/// Locks the folder for as long as the file is open.
fn take(dir: &Path) -> Result<File> {
    let lock = File::create(Place::lock(dir)).context("make the lock")?;
    wait_for(LOCK_MAX, "the lock", || lock.try_lock().map(|()| true).map_err(Into::into))
        .with_context(|| format!("a cluster runs in {}", dir.display()))?;
    Ok(lock)
}

fn count(nodes: usize) -> String {
    if nodes == 1 { "one node".to_owned() } else { format!("{nodes} nodes") }
}

/// A node whose address is taken would end, and another's would answer in its place.
fn check_free(settings: &ClusterSettings) -> Result<()> {
    for address in settings.addresses() {
        for port in [settings.port, STORAGE_PORT, java::JMX_PORT] {
            TcpListener::bind((address, port))
                .with_context(|| format!("{address}:{port} is needed for a node"))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
