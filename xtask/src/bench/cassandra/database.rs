//! The node that is measured with: started here, or one that is there. Its keyspaces are made by
//! the server itself, so that both sides write the same tables.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use scylla::client::session_builder::SessionBuilder;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use xtask::cassandra::{Cluster, ClusterSettings, Node};
use xtask::flags;
use xtask::server::{Launch, wait_for};

use super::super::context::Context;
use super::wait_connected;

/// The keyspace that our server writes to.
pub(super) const OURS: &str = "pulsemesh_bench";
/// The keyspace that the raw loop writes to.
pub(super) const RAW: &str = "pulsemesh_raw";
/// Tables that a measurement fills.
const TABLES: [&str; 3] = ["pulse_events_by_service", "pulse_ids", "pulse_buckets"];
/// Away from the addresses where clusters are started by hand or by tests.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 51);
const HEAP: &str = "1G";
/// Nearer to what a node of its own has than the testbed's, which share a machine.
const YAML: [(&str, &str); 3] = [
    ("concurrent_writes", "32"),
    ("commitlog_total_space", "2048MiB"),
    ("file_cache_size", "128MiB"),
];
/// Longest wait for a node that was started again: it replays its commit log.
const START_MAX: Duration = Duration::from_secs(300);
/// Longest wait until a load of 10 million rows is compacted.
const SETTLE_MAX: Duration = Duration::from_secs(600);
/// Longest time of a statement; a table is emptied in about a second.
const STATEMENT_MAX: Duration = Duration::from_secs(120);

/// The node.
#[derive(Debug)]
pub(super) struct Database {
    /// Ours to stop, with the folder that goes after it.
    own: Option<(Cluster, TempDir)>,
    address: String,
    runtime: Runtime,
}

impl Database {
    /// Starts a node whose data lie in a folder of `dir`.
    pub(super) fn start(dir: &Path) -> Result<Self> {
        let folder = TempDir::with_prefix_in("cassandra-", dir).context("make a folder")?;
        let yaml = YAML.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let cluster = Cluster::start(ClusterSettings {
            heap: HEAP.to_owned(),
            first: ADDRESS,
            yaml: yaml.into(),
            // What Java chooses by itself for a server.
            java: Vec::new(),
            ..ClusterSettings::new(folder.path())
        })?;
        let address = cluster.settings().address(0).to_string();
        Ok(Self { own: Some((cluster, folder)), address, runtime: runtime()? })
    }

    /// Uses a node that is there.
    pub(super) fn attach(address: &str) -> Result<Self> {
        Ok(Self { own: None, address: address.to_owned(), runtime: runtime()? })
    }

    /// Where it is asked, as `host:port`.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// The node under our control.
    pub(super) fn node(&self) -> Result<&Node> {
        let (cluster, _) = self.own.as_ref().context("the node is not ours")?;
        cluster.nodes().first().context("the cluster has no node")
    }

    /// How a server is started that writes here.
    pub(super) fn flags(&self, launch: Launch, keyspace: &str) -> Launch {
        launch
            .flag(flags::STORE, "cassandra")
            .flag(flags::CASSANDRA_NODES, &self.address)
            .flag(flags::CASSANDRA_KEYSPACE, keyspace)
    }

    /// Starts the node again and gives how long it took until it could be asked.
    pub(super) fn start_again(&self) -> Result<Duration> {
        let started = Instant::now();
        self.node()?.start()?;
        self.node()?.wait_up(START_MAX)?;
        Ok(started.elapsed())
    }

    /// Makes both keyspaces, where they are not there, and empties their tables: each round
    /// finds the node with the same to keep.
    pub(super) fn renew(&self, context: &Context) -> Result<()> {
        for keyspace in [OURS, RAW] {
            if !self.has_keyspace(keyspace)? {
                let ours = context.ours(|launch| self.flags(launch, keyspace))?;
                wait_connected(&ours.server)?;
            }
            for table in TABLES {
                self.execute(&format!("TRUNCATE {keyspace}.{table}"))?;
            }
        }
        Ok(())
    }

    /// Has the node write what it holds to disk, as it does by itself in time, and waits until it
    /// has compacted what a load left behind; a node that is not ours does both when it will.
    pub(super) fn settle(&self) -> Result<()> {
        if self.own.is_none() {
            return Ok(());
        }
        let node = self.node()?;
        node.nodetool(&["flush"])?;
        wait_for(SETTLE_MAX, "compaction to end", || {
            let told = node.nodetool(&["compactionstats"])?;
            Ok(is_compacted(&told))
        })
    }

    fn has_keyspace(&self, name: &str) -> Result<bool> {
        let tables = format!(
            "SELECT table_name FROM system_schema.tables WHERE keyspace_name = '{name}' AND \
             table_name = '{}'",
            TABLES[0]
        );
        Ok(self.execute(&tables)? > 0)
    }

    /// Runs a statement and gives how many rows it answered.
    fn execute(&self, statement: &str) -> Result<usize> {
        let run = async {
            let session = SessionBuilder::new().known_node(&self.address).build().await?;
            let answer = session.query_unpaged(statement, ()).await?;
            let rows = answer.into_rows_result().map_or(0, |rows| rows.rows_num());
            anyhow::Ok(rows)
        };
        let limited = async { tokio::time::timeout(STATEMENT_MAX, run).await };
        self.runtime.block_on(limited)?.with_context(|| format!("run {statement}"))
    }
}

/// Whether `nodetool compactionstats` tells of nothing left to do: `pending tasks: 0` until
/// Cassandra 4, `pending tasks                0` from 5 on, when nothing runs beside.
fn is_compacted(told: &str) -> bool {
    let pending = told.lines().find_map(|line| line.trim().strip_prefix("pending tasks"));
    let count = pending.map(|rest| rest.trim_start_matches(|c: char| !c.is_ascii_digit()));
    count.is_some_and(|count| count.trim() == "0")
}

fn runtime() -> Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

#[cfg(test)]
mod tests {
    use super::is_compacted;

    #[test]
    fn compaction_has_ended_when_no_task_is_pending_in_either_version() {
        let ended = [
            "pending tasks: 0\n",
            "concurrent compactors                 2\npending tasks                         0\n",
        ];
        for told in ended {
            assert!(is_compacted(told), "{told}");
        }
        let busy = ["pending tasks: 3\n- a.b: 3\n", "pending tasks       10\n", "", "no such node"];
        for told in busy {
            assert!(!is_compacted(told), "{told}");
        }
    }
}
