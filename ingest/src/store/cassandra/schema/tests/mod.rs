//! Against a real database: that tables are made, found, kept and refused as they should be.

mod at_once;
mod change;
mod flaws;
mod refuse;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::deserialize::row::DeserializeRow;
use scylla::serialize::row::SerializeRow;
use scylla::statement::Consistency::LocalQuorum;
use scylla::value::CqlTimestamp;
use uuid::Uuid;
use xtask::cassandra::{Cluster, Node, TlsFiles, patient};

use super::definitions::{Migration, TABLES};
use super::requests::Requests;
use super::retention::Retention;
use super::*;
use crate::clock::now_us;

/// Longest wait for nodes that another test has stopped.
const UP_MAX: Duration = Duration::from_secs(120);
const DAY: Duration = Duration::from_secs(24 * 3600);

type Options = BTreeMap<String, String>;

/// A table as the database has it: its id, time to live, traces' time and compaction.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Made {
    id: Uuid,
    live: i32,
    traces: i32,
    how: Options,
}

impl Made {
    /// Size and unit of its time windows.
    fn window(&self) -> (&str, &str) {
        (&self.how["compaction_window_size"], &self.how["compaction_window_unit"])
    }
}

/// A keyspace of its own.
struct Fixture {
    session: Session,
    settings: CassandraSettings,
}

impl Fixture {
    async fn new(name: &str) -> Self {
        let cluster = cluster();
        let mut settings = CassandraSettings::new(Vec::new(), PathBuf::new());
        let unique = Uuid::now_v7().simple().to_string();
        settings.keyspace = format!("schema_{name}_{}", &unique[20..]);
        Self { session: connect(&cluster).await, settings }
    }

    /// What a process that begins now would do.
    fn process(&self) -> Preparation<'_> {
        self.process_on(&self.session)
    }

    fn process_on<'a>(&'a self, session: &'a Session) -> Preparation<'a> {
        Preparation {
            requests: Requests { session, consistency: self.settings.consistency },
            settings: &self.settings,
            class: None,
            nodes: session.get_cluster_state().get_nodes_info().len(),
            began_ms: now_us() / 1000,
            lease: (Uuid::now_v7(), LEASE),
            migrations: definitions::migrations,
        }
    }

    async fn make_keyspace(&self) {
        let requests = self.process().requests;
        keyspace::make(requests, &self.settings, self.process().nodes)
            .await
            .expect("make the keyspace");
    }

    /// Sends a statement in which `KS` stands for the keyspace.
    async fn send(&self, cql: &str, values: impl SerializeRow) {
        let cql = cql.replace("KS", &self.settings.keyspace);
        self.session.query_unpaged(patient(cql), values).await.expect("send a statement");
    }

    async fn rows<T>(&self, cql: &str) -> Vec<T>
    where
        T: for<'f, 'm> DeserializeRow<'f, 'm>,
    {
        let cql = cql.replace("KS", &self.settings.keyspace);
        let result = self.session.query_unpaged(patient(cql), ()).await.expect("read");
        let result = result.into_rows_result().expect("rows");
        result.rows::<T>().expect("these types").map(|row| row.expect("a row")).collect()
    }

    /// All tables.
    async fn tables(&self) -> BTreeMap<String, Made> {
        let rows: Vec<(String, Uuid, i32, i32, Options)> = self
            .rows(
                "SELECT table_name, id, default_time_to_live, gc_grace_seconds, compaction \
                 FROM system_schema.tables WHERE keyspace_name = 'KS'",
            )
            .await;
        let made = |(name, id, live, traces, how)| (name, Made { id, live, traces, how });
        rows.into_iter().map(made).collect()
    }

    async fn noted(&self) -> Option<Noted> {
        let seen = Seen::look(self.process().requests, &self.settings.keyspace, None).await;
        seen.expect("look").noted
    }

    async fn close(self) {
        self.send("DROP KEYSPACE IF EXISTS KS", ()).await;
    }
}

/// Longest that eight processes take in turn: the first makes all tables, which is ten seconds
/// on an idle machine, and many times that on a busy one.
const IN_TURN_MAX: Duration = Duration::from_secs(180);

/// Prepares until no other process does, and again where a node was late, as a server does; what
/// is refused for good is an error.
async fn prepare_in_turn(preparation: &Preparation<'_>) -> Result<(), SchemaError> {
    let end = tokio::time::Instant::now() + IN_TURN_MAX;
    let late = |error: &SchemaError| matches!(error, SchemaError::Request { .. });
    loop {
        match preparation.run().await {
            Err(error) if error.again() == error::Again::Soon || late(&error) => {
                assert!(tokio::time::Instant::now() < end, "in time: {error}");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            done => return done,
        }
    }
}

/// The cluster that the environment names, with all of its nodes up.
fn cluster() -> Cluster {
    let cluster = Cluster::from_environment().expect("a cluster");
    cluster.mend(UP_MAX).expect("all nodes up");
    cluster
}

async fn connect(cluster: &Cluster) -> Session {
    let mut builder = SessionBuilder::new()
        .known_nodes_addr(cluster.nodes().iter().map(Node::address))
        .tls_context(cluster.tls_files().as_ref().map(tls));
    if let Some((name, password)) = cluster.settings().login() {
        builder = builder.user(name, password);
    }
    builder.build().await.expect("connect")
}

fn tls(files: &TlsFiles) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&files.ca).expect("read it")).expect("a certificate");
    let chain = vec![CertificateDer::from_pem_file(&files.client).expect("a certificate")];
    let key = PrivateKeyDer::from_pem_file(&files.client_key).expect("a key");
    let builder = ClientConfig::builder().with_root_certificates(roots);
    Arc::new(builder.with_client_auth_cert(chain, key).expect("a configuration"))
}
