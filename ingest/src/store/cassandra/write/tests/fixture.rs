//! A keyspace of its own in the real database that the environment names, and a writer to it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::deserialize::row::DeserializeRow;
use scylla::errors::DbError;
use scylla::policies::retry::FallthroughRetryPolicy;
use scylla::serialize::row::SerializeRow;
use scylla::statement::Consistency::LocalQuorum;
use tempfile::TempDir;
use uuid::Uuid;
use xtask::cassandra::{Cluster, patient};

use crate::fs::{Fs, OsFs};
use crate::sink::{Batch, SinkError, Written};
use crate::store::cassandra::counts::Sums;
use crate::store::cassandra::link::Link;
use crate::store::cassandra::live::Live;
use crate::store::cassandra::metrics::CassandraMetrics;
use crate::store::cassandra::pace::Pace;
use crate::store::cassandra::read::Reader;
use crate::store::cassandra::schema;
use crate::store::cassandra::settings::CassandraSettings;
use crate::store::cassandra::statements::Statements;

use super::super::Writer;

/// Who writes: guardrails hold for those alone who may not do everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store::cassandra) enum Login {
    Superuser,
    Ordinary,
}

pub(in crate::store::cassandra) struct Fixture {
    pub(super) writer: Writer,
    pub(super) reader: Reader,
    pub(in crate::store::cassandra) link: Arc<Link>,
    pub(super) live: Arc<Live>,
    pub(super) metrics: CassandraMetrics,
    /// A session of the superuser.
    pub(super) session: Session,
    _directory: TempDir,
}

impl Fixture {
    pub(in crate::store::cassandra) fn new(login: Login) -> BoxFuture<'static, Self> {
        Box::pin(Self::make(login))
    }

    async fn make(login: Login) -> Self {
        let cluster = Cluster::from_environment().expect("a cluster");
        let superuser = cluster.settings().login().expect("a cluster with a login");
        let unique = Uuid::now_v7().simple().to_string();
        let keyspace = format!("write_{}", &unique[16..]);
        let session = connect(&cluster, superuser).await;
        let directory = TempDir::new().expect("a directory");
        let settings = CassandraSettings {
            keyspace: keyspace.clone(),
            replication_factor: Some(1),
            ..CassandraSettings::new(Vec::new(), directory.path().to_owned())
        };
        Box::pin(schema::prepare(&session, &settings, 1)).await.expect("make the tables");
        let role = ("write_tests", "write_tests");
        if login == Login::Ordinary {
            let cql = format!(
                "CREATE ROLE IF NOT EXISTS {} WITH PASSWORD = '{}' AND LOGIN = true",
                role.0, role.1
            );
            session.query_unpaged(cql, ()).await.expect("make a role");
            let cql = format!("GRANT ALL ON KEYSPACE {keyspace} TO {}", role.0);
            session.query_unpaged(cql, ()).await.expect("grant");
        }
        let own = if login == Login::Ordinary { role } else { superuser };
        let live = Arc::new(live(&cluster, own, &keyspace).await);
        session.use_keyspace(&keyspace, false).await.expect("use the keyspace");
        let metrics = CassandraMetrics::unregistered();
        let (link, settings) = (Link::to(Arc::clone(&live), metrics.clone()), Arc::new(settings));
        let link = Arc::new(link);
        let writer = writer(Arc::clone(&link), &settings, &metrics);
        let reader = Reader::new(Arc::clone(&link), settings);
        Self { writer, reader, link, live, metrics, session, _directory: directory }
    }

    /// Writes whatever the link has doubted.
    pub(super) async fn write(&self, batch: &Batch) -> Result<Written, SinkError> {
        // As a sink's future, which must be one that any thread may drive.
        let write: BoxFuture<'_, _> = Box::pin(self.writer.write_to(&self.live, batch));
        write.await
    }

    pub(super) async fn rows<T>(&self, cql: &str, values: impl SerializeRow) -> Vec<T>
    where
        T: for<'f, 'm> DeserializeRow<'f, 'm>,
    {
        let result = self.session.query_unpaged(patient(cql), values).await.expect("read");
        let result = result.into_rows_result().expect("rows");
        result.rows::<T>().expect("these types").map(|row| row.expect("a row")).collect()
    }
}

/// What the database said.
pub(super) fn refusal(error: &scylla::errors::ExecutionError) -> (DbError, String) {
    match error {
        scylla::errors::ExecutionError::LastAttemptError(
            scylla::errors::RequestAttemptError::DbError(error, words),
        ) => (error.clone(), words.clone()),
        other => panic!("{other}"),
    }
}

fn writer(link: Arc<Link>, settings: &CassandraSettings, metrics: &CassandraMetrics) -> Writer {
    let fs: Arc<dyn Fs> = Arc::new(OsFs);
    let sums = Sums::open(fs, settings, metrics.clone()).expect("no counts yet");
    Writer::new(link, Pace::new(16, metrics), Arc::new(sums), settings, metrics)
}

async fn live(cluster: &Cluster, login: (&str, &str), keyspace: &str) -> Live {
    let session = connect(cluster, login).await;
    session.use_keyspace(keyspace, false).await.expect("use the keyspace");
    let statements = Statements::prepare(&session, LocalQuorum).await.expect("prepare");
    Live { session: Arc::new(session), statements, classes: Vec::new() }
}

async fn connect(cluster: &Cluster, (name, password): (&str, &str)) -> Session {
    let profile = ExecutionProfile::builder()
        .request_timeout(Some(Duration::from_secs(30)))
        .retry_policy(Arc::new(FallthroughRetryPolicy::new()))
        .build();
    SessionBuilder::new()
        .known_node_addr(cluster.nodes()[0].address())
        .user(name, password)
        .default_execution_profile_handle(profile.into_handle())
        .build()
        .await
        .expect("connect")
}
