//! With a real Cassandra, reached as the store reaches it.

use std::fs;
use std::time::Duration;

use scylla::statement::Consistency;
use tempfile::TempDir;
use uuid::Uuid;
use xtask::cassandra::Cluster;

use crate::sharing::{OnFailure, Shared};
use crate::store::cassandra::CassandraStore;
use crate::store::cassandra::metrics::CassandraMetrics;
use crate::store::cassandra::settings::{CassandraSettings, CredentialFiles};

use super::rules;

/// Longest wait for nodes that another test has stopped.
const UP_MAX: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "needs the database of cargo xtask test cassandra"]
async fn the_rules_hold() {
    let cluster = Cluster::from_environment().expect("a cluster");
    // Others have stopped nodes, and an answer that is late is no answer here.
    cluster.mend(UP_MAX).expect("all nodes up");
    let directory = TempDir::new().expect("a directory");
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).expect("write a file");
        path
    };
    let (name, password) = cluster.settings().login().expect("a cluster with a login");
    let credentials =
        CredentialFiles { username: file("name", name), password: file("password", password) };
    let nodes = cluster.nodes().iter().map(|node| node.address().to_string()).collect();
    let unique = Uuid::new_v4().simple().to_string();
    let settings = CassandraSettings {
        keyspace: format!("once_{}", &unique[16..]),
        consistency: Consistency::LocalQuorum,
        credentials: Some(credentials),
        ..CassandraSettings::new(nodes, directory.path().to_owned())
    };
    let store = CassandraStore::open(settings, CassandraMetrics::unregistered());
    let store = store.expect("a store");
    let shared = Shared::Cassandra(store.shared_link(), OnFailure::Refuse);
    rules::check(&shared, "c").await;
}
