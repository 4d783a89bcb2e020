//! What the tests of faults share: servers that write to a keyspace of their own, a load whose
//! acknowledged ids are known, and the questions that each test ends with.

use std::cell::Cell;
use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::TryStreamExt;
use rustix::process::Signal;
use scylla::client::session::Session;
use scylla::statement::Consistency;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use uuid::Uuid;
use xtask::cassandra::{Cluster, Node, patient};
use xtask::flags;
use xtask::ledger::drained;
use xtask::server::{Launch, Server, wait_for};

use crate::flow::Acknowledged;
use crate::read;
use crate::session::{UP_MAX, cluster, connect};

/// Longest wait for what takes a second on an idle machine.
pub(crate) const SOON: Duration = Duration::from_secs(60);
/// Longest wait until a server has reached the database and made its tables: a dozen changes, each
/// of which waits until all nodes agree, behind another server that does the same.
const CONNECTED_MAX: Duration = Duration::from_secs(180);
/// Longest wait until a keyspace is dropped on all nodes; one that can't agree never does.
const DROP_MAX: Duration = Duration::from_secs(30);
/// Longest that a node works on a write.
const UNDER_WAY_MAX: Duration = Duration::from_secs(2);
/// How much larger a server may be after a fault than before it: what its bounded windows and
/// batches take when they are full.
const GROWTH_MAX: u64 = 64 * 1024 * 1024;

/// A whole cluster and a keyspace that no other test has.
pub(crate) struct Bed {
    pub(crate) cluster: Cluster,
    keyspace: String,
    secrets: TempDir,
    runtime: Runtime,
    /// The largest that a server was before anything happened to it.
    resident_before: Cell<u64>,
}

impl Bed {
    /// Makes the cluster whole; `name` begins the keyspace's.
    pub(crate) fn new(name: &str) -> Result<Self> {
        let bed = Self {
            cluster: cluster()?,
            keyspace: format!("{name}_{}", std::process::id()),
            secrets: TempDir::new().context("make a folder")?,
            runtime: Builder::new_current_thread().enable_all().build()?,
            resident_before: Cell::new(0),
        };
        let (name, password) = bed.cluster.settings().login().context("there is no login")?;
        std::fs::write(bed.secrets.path().join("username"), name)?;
        bed.set_password(password)?;
        Ok(bed)
    }

    /// Writes the password that servers log in with from now on.
    pub(crate) fn set_password(&self, password: &str) -> Result<()> {
        std::fs::write(self.secrets.path().join("password"), password).context("write a secret")
    }

    /// How a server is started that begins with all nodes.
    pub(crate) fn launch(&self, data_dir: &Path) -> Launch {
        self.launch_of(Path::new(env!("CARGO_BIN_EXE_pulsemesh-ingest")), data_dir)
    }

    /// The same of another program.
    pub(crate) fn launch_of(&self, binary: &Path, data_dir: &Path) -> Launch {
        let secret = |name: &str| self.secrets.path().join(name).display().to_string();
        let nodes: Vec<String> =
            self.cluster.nodes().iter().map(|node| node.address().to_string()).collect();
        Launch::new(binary, data_dir)
            .flag(flags::FLUSH_INTERVAL, "20ms")
            .flag(flags::STORE, "cassandra")
            .flag(flags::CASSANDRA_NODES, &nodes.join(","))
            .flag(flags::CASSANDRA_KEYSPACE, &self.keyspace)
            .flag(flags::CASSANDRA_USERNAME_FILE, &secret("username"))
            .flag(flags::CASSANDRA_PASSWORD_FILE, &secret("password"))
    }

    /// Waits until some of what was sent is stored and notes how large the server is then.
    pub(crate) fn settled(&self, server: &Server) -> Result<()> {
        let before = stored(server)?;
        // Where tables are made anew first, that takes as long as at a start.
        wait_for(CONNECTED_MAX, "pulses to be stored", || Ok(stored(server)? > before + 1000.0))
            .with_context(|| format!("its log:\n{}", server.log()))?;
        self.resident_before.set(self.resident_before.get().max(server.resident_bytes()?));
        Ok(())
    }

    /// Makes the cluster whole again, waits until everything is stored, and asks whether each
    /// acknowledged pulse is one row, and nothing else is a row.
    pub(crate) fn check(&self, server: &Server, sent: &[&Acknowledged]) -> Result<()> {
        let rows = self.check_rows(&[server], sent)?;
        wait_for(SOON, "the counts to tell all rows", || {
            let answer = server.client().get_json("/v1/counts?window=30m&by=kind")?;
            ensure!(answer["total"] == rows, "{answer} for {rows} rows");
            Ok(true)
        })
    }

    /// The same of several servers of one keyspace, in the tables and through the API of the first,
    /// without the counts; gives the number of rows.
    pub(crate) fn check_rows(&self, servers: &[&Server], sent: &[&Acknowledged]) -> Result<u64> {
        self.settle(servers)?;
        let acknowledged: HashSet<Uuid> = sent.iter().flat_map(|sent| sent.ids()).collect();
        let rows = self.rows()?;
        let distinct: HashSet<Uuid> = rows.iter().copied().collect();
        let lost = acknowledged.difference(&distinct).count();
        let strange = distinct.difference(&acknowledged).count();
        ensure!(!acknowledged.is_empty(), "nothing was acknowledged");
        ensure!(lost == 0, "{lost} of {} are lost", acknowledged.len());
        ensure!(strange == 0, "{strange} rows were not acknowledged");
        ensure!(rows.len() == distinct.len(), "{} rows, {} ids", rows.len(), distinct.len());
        read::check(servers.first().context("no server")?, &acknowledged)?;
        Ok(rows.len() as u64)
    }

    /// Makes the cluster whole, waits until all is stored; the ledgers agree and nobody grew.
    pub(crate) fn settle(&self, servers: &[&Server]) -> Result<()> {
        self.cluster.mend(UP_MAX)?;
        for server in servers {
            drained(server, SOON).with_context(|| format!("its log:\n{}", server.log()))?;
            let (before, now) = (self.resident_before.get(), server.resident_bytes()?);
            ensure!(before == 0 || now <= before + GROWTH_MAX, "grew from {before} to {now}");
        }
        Ok(())
    }

    /// The ids of all rows, as all replicas have them.
    pub(crate) fn rows(&self) -> Result<Vec<Uuid>> {
        let text = format!("SELECT event_id FROM {}.pulse_events_by_service", self.keyspace);
        let mut statement = patient(text).with_page_size(2_000);
        statement.set_consistency(Consistency::All);
        self.runtime.block_on(async {
            let session = self.session().await?;
            let rows = session.query_iter(statement, ()).await.context("read all rows")?;
            let ids = rows.rows_stream::<(Uuid,)>()?.map_ok(|(id,)| id);
            ids.try_collect().await.context("read all rows")
        })
    }

    /// How many rows of a table are a tenant's, as all replicas have them.
    pub(crate) fn rows_of(&self, table: &str, tenant: &str) -> Result<usize> {
        let text = format!("SELECT tenant FROM {}.{table}", self.keyspace);
        let mut statement = patient(text).with_page_size(2_000);
        statement.set_consistency(Consistency::All);
        self.runtime.block_on(async {
            let session = self.session().await?;
            let rows = session.query_iter(statement, ()).await.context("read all rows")?;
            let tenants = rows.rows_stream::<(String,)>()?;
            let own = tenants.try_filter(|(of,)| std::future::ready(of == tenant));
            own.try_fold(0, |rows, _| std::future::ready(Ok(rows + 1)))
                .await
                .context("read all rows")
        })
    }

    /// Drops the keyspace with all that is in it, between two requests of a server that goes on
    /// as soon as it is gone. A node that is written to meanwhile may trip over a table that it
    /// has just taken away; it then agrees with nobody on the schema until it is restarted.
    pub(crate) fn drop_keyspace(&self, server: &Server) -> Result<()> {
        server.signal(Signal::STOP)?;
        // What was under way is answered within the nodes' own time-out of writes.
        std::thread::sleep(UNDER_WAY_MAX);
        let dropped = self.drop_once();
        server.signal(Signal::CONT)?;
        dropped
    }

    /// Drops the keyspace and waits until all nodes know.
    fn drop_once(&self) -> Result<()> {
        self.runtime.block_on(async {
            let text = format!("DROP KEYSPACE IF EXISTS {}", self.keyspace);
            let dropped = async {
                let session = self.session().await?;
                session.query_unpaged(text, ()).await.context("drop the keyspace")?;
                session.await_schema_agreement().await.context("agree that it is dropped")
            };
            timeout(DROP_MAX, dropped).await.context("drop the keyspace in time")??;
            Ok(())
        })
    }

    async fn session(&self) -> Result<Session> {
        connect(&self.cluster, self.cluster.nodes().first().context("no node")?).await
    }

    /// The last of three nodes, which no session of a test is begun with.
    pub(crate) fn last_node(&self) -> Result<&Node> {
        self.cluster.nodes().last().context("no node")
    }

    /// Kills every node.
    pub(crate) fn kill_all(&self) -> Result<()> {
        self.cluster.nodes().iter().try_for_each(Node::kill)
    }
}

/// Pulses that the server has written.
pub(crate) fn stored(server: &Server) -> Result<f64> {
    Ok(server.samples()?.sum("pulsemesh_pulses_stored_total", &[]))
}

/// Waits until the server has reached the database and its tables are right.
pub(crate) fn connected(server: &Server) -> Result<()> {
    let look = || Ok(server.samples()?.sum("pulsemesh_cassandra_connected", &[]) >= 1.0);
    wait_for(CONNECTED_MAX, "a connection to the database", look)
        .with_context(|| format!("its log:\n{}", server.log()))
}

/// Lets a fault last while `look` is asked again and again; an error of it ends the wait.
pub(crate) fn lasts(time: Duration, mut look: impl FnMut() -> Result<()>) -> Result<()> {
    let end = Instant::now() + time;
    while Instant::now() < end {
        look()?;
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// Whether long faults are asked for (`cargo xtask test --long`).
#[allow(clippy::disallowed_methods, reason = "tests have no flags of their own")]
pub(crate) fn long() -> bool {
    std::env::var_os("PULSEMESH_LONG").is_some()
}
