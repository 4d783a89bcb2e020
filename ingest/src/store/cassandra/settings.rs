//! How the database is reached and used, as types: what the settings of the process become.

use std::path::PathBuf;
use std::time::Duration;

use scylla::statement::Consistency;

use crate::clock::{Clock, system_clock};
use crate::retention::{RetentionClass, RetentionClasses};

/// How the database is reached and used.
#[derive(Clone)]
pub struct CassandraSettings {
    /// Where to begin; the driver learns of all other nodes. `host:port` each.
    pub nodes: Vec<String>,
    /// The keyspace of all tables; a plain lower-case name.
    pub keyspace: String,
    /// The datacenter whose nodes are asked; `None`: the one of the first node that answers.
    pub datacenter: Option<String>,
    /// Replicas of each row where the keyspace is made here; `None`: 3, or as many nodes as the
    /// datacenter has if these are fewer. An existing keyspace is never changed.
    pub replication_factor: Option<u32>,
    /// How many replicas must answer, for writes and reads alike.
    pub consistency: Consistency,
    /// Who logs in.
    pub credentials: Option<CredentialFiles>,
    /// How connections are encrypted; `None`: not at all.
    pub tls: Option<TlsFiles>,
    /// How long a row is kept after it was received.
    pub retention: Duration,
    /// The same for rows of other classes, which have tables of their own.
    pub classes: RetentionClasses,
    /// Whether each row's id is indexed, so that a pulse is found by it.
    pub id_index: bool,
    /// Whether requests and answers are compressed (LZ4).
    pub compression: bool,
    /// How long one request may take; the settings of a process allow 20 s, so that two after
    /// each other end before the drain gives the write up.
    pub request_timeout: Duration,
    /// Most requests at once, over all nodes; how many there are is found by measuring.
    pub requests_max: usize,
    /// Directory for what must survive a restart beside the log: the sums of counts.
    pub directory: PathBuf,
    /// What time it is.
    pub clock: Clock,
}

/// Files that are read anew for each login, so that a changed secret needs no restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialFiles {
    /// Holds the user's name.
    pub username: PathBuf,
    /// Holds the password.
    pub password: PathBuf,
}

/// Files for encrypted connections, all PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// Who signs the nodes' certificates.
    pub ca: PathBuf,
    /// Our certificate and its key, where nodes ask for one.
    pub client: Option<(PathBuf, PathBuf)>,
    /// Whether a node's certificate must name the address that it was reached at.
    pub verify_name: bool,
}

impl CassandraSettings {
    /// The defaults, for nodes and a directory.
    pub fn new(nodes: Vec<String>, directory: PathBuf) -> Self {
        Self {
            nodes,
            keyspace: "pulsemesh".to_owned(),
            datacenter: None,
            replication_factor: None,
            consistency: Consistency::LocalQuorum,
            credentials: None,
            tls: None,
            retention: Duration::from_secs(7 * 24 * 3600),
            classes: RetentionClasses::default(),
            id_index: true,
            compression: true,
            request_timeout: Duration::from_secs(3),
            requests_max: 256,
            directory,
            clock: system_clock(),
        }
    }
}

impl CassandraSettings {
    /// The same for the rows of one class, which has sums of its own.
    pub(crate) fn of_class(&self, class: &RetentionClass) -> Self {
        Self {
            retention: class.retention,
            classes: RetentionClasses::default(),
            directory: self.directory.join(format!("class-{}", class.name)),
            ..self.clone()
        }
    }
}

impl std::fmt::Debug for CassandraSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CassandraSettings")
            .field("nodes", &self.nodes)
            .field("keyspace", &self.keyspace)
            .field("retention", &self.retention)
            .field("classes", &self.classes)
            .finish_non_exhaustive()
    }
}
