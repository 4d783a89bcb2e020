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
/// Far more than a conditional write takes: what is to be in flight still is.
const LEASE: Duration = Duration::from_secs(8);
/// Nodes that share a machine with their tests pause now and then for longer than a request may
/// wait.
const ATTEMPTS_MAX: usize = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "needs the database of cargo xtask test cassandra"]
async fn the_rules_hold() {
    let cluster = Cluster::from_environment().expect("a cluster");
    // Others have stopped nodes.
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
    for attempt in 0..ATTEMPTS_MAX {
        if rules::check(&shared, &format!("c{attempt}"), LEASE).await.is_ok() {
            return;
        }
    }
    panic!("the database was too late to answer, {ATTEMPTS_MAX} times");
}
