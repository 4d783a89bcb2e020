//! A keyspace of its own in the real database that the environment names, and a writer to it.

use std::path::PathBuf;
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
use uuid::Uuid;
use xtask::cassandra::Cluster;

use crate::sink::{Batch, SinkError, Written};
use crate::store::cassandra::link::Link;
use crate::store::cassandra::live::Live;
use crate::store::cassandra::metrics::CassandraMetrics;
use crate::store::cassandra::pace::Pace;
use crate::store::cassandra::settings::CassandraSettings;
use crate::store::cassandra::statements::Statements;

use super::super::Writer;

const TABLES: [&str; 6] = [
    "pulse_events_by_service (tenant text, service_name text, bucket timestamp, shard smallint, \
     event_time timestamp, event_id uuid, received_at timestamp, kind text, latency_ms double, \
     status text, value double, user_id text, sku text, unit text, amount decimal, \
     metadata frozen<map<text, text>>, payload text, \
     PRIMARY KEY ((tenant, service_name, bucket, shard), event_time, event_id))",
    "pulse_buckets (tenant text, service_name text, bucket timestamp, layout smallint, \
     PRIMARY KEY ((tenant, service_name), bucket, layout))",
    "pulse_ids (tenant text, receive_hour timestamp, id_shard int, event_id uuid, \
     service_name text, event_time timestamp, shard smallint, \
     PRIMARY KEY ((tenant, receive_hour, id_shard), event_id))",
    "pulse_id_hours (tenant text, receive_hour timestamp, shards int, \
     PRIMARY KEY ((tenant), receive_hour, shards))",
    "pulse_counts (tenant text, hour timestamp, minute timestamp, kind text, log_id uuid, \
     part int, pulses bigint, PRIMARY KEY ((tenant, hour), minute, kind, log_id, part))",
    "pulse_writers (log_id uuid PRIMARY KEY, seen timestamp)",
];

/// Who writes: guardrails hold for those alone who may not do everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Login {
    Superuser,
    Ordinary,
}

pub(super) struct Fixture {
    pub(super) writer: Writer,
    pub(super) live: Arc<Live>,
    pub(super) metrics: CassandraMetrics,
    /// A session of the superuser.
    pub(super) session: Session,
}

impl Fixture {
    pub(super) async fn new(login: Login) -> Self {
        let cluster = Cluster::from_environment().expect("a cluster");
        let superuser = cluster.settings().login().expect("a cluster with a login");
        let unique = Uuid::now_v7().simple().to_string();
        let keyspace = format!("write_{}", &unique[16..]);
        let session = connect(&cluster, superuser).await;
        for cql in tables(&keyspace) {
            session.query_unpaged(cql, ()).await.expect("make the tables");
        }
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
        Self { writer: writer(&metrics), live, metrics, session }
    }

    pub(super) async fn write(&self, batch: &Batch) -> Result<Written, SinkError> {
        // As a sink's future, which must be one that any thread may drive.
        let write: BoxFuture<'_, _> = Box::pin(self.writer.write_to(&self.live, batch));
        write.await
    }

    pub(super) async fn rows<T>(&self, cql: &str, values: impl SerializeRow) -> Vec<T>
    where
        T: for<'f, 'm> DeserializeRow<'f, 'm>,
    {
        let result = self.session.query_unpaged(cql, values).await.expect("read");
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

fn tables(keyspace: &str) -> impl Iterator<Item = String> {
    let replication = "{'class': 'NetworkTopologyStrategy', 'replication_factor': 1}";
    let tables = TABLES.iter().map(move |table| format!("CREATE TABLE {keyspace}.{table}"));
    let first = format!("CREATE KEYSPACE {keyspace} WITH replication = {replication}");
    std::iter::once(first).chain(tables.collect::<Vec<_>>())
}

fn writer(metrics: &CassandraMetrics) -> Writer {
    let settings = CassandraSettings::new(Vec::new(), PathBuf::new());
    Writer::new(Arc::new(Link {}), Pace::new(16), Arc::default(), &settings, metrics)
}

async fn live(cluster: &Cluster, login: (&str, &str), keyspace: &str) -> Live {
    let session = connect(cluster, login).await;
    session.use_keyspace(keyspace, false).await.expect("use the keyspace");
    let statements = Statements::prepare(&session, LocalQuorum).await.expect("prepare");
    Live { session, statements }
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
