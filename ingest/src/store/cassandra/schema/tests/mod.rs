//! Against a real database: that tables are made, found, kept and refused as they should be.

mod at_once;
mod change;
mod flaws;
mod refuse;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::deserialize::row::DeserializeRow;
use scylla::serialize::row::SerializeRow;
use scylla::statement::Consistency::LocalQuorum;
use scylla::value::CqlTimestamp;
use uuid::Uuid;

use super::definitions::{Migration, TABLES};
use super::requests::Requests;
use super::retention::Retention;
use super::*;
use crate::clock::now_us;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A keyspace of its own.
struct Fixture {
    session: Session,
    settings: CassandraSettings,
}

impl Fixture {
    async fn new(name: &str) -> Self {
        let mut settings = CassandraSettings::new(nodes(), PathBuf::new());
        let unique = Uuid::now_v7().simple().to_string();
        settings.keyspace = format!("schema_{name}_{}", &unique[20..]);
        settings.replication_factor = Some(1);
        Self { session: connect(&settings).await, settings }
    }

    /// What a process that begins now would do.
    fn process(&self) -> Preparation<'_> {
        self.process_on(&self.session)
    }

    fn process_on<'a>(&'a self, session: &'a Session) -> Preparation<'a> {
        Preparation {
            requests: Requests { session, consistency: self.settings.consistency },
            settings: &self.settings,
            nodes: 1,
            began_ms: now_us() / 1000,
            lease: LEASE,
            migrations: definitions::migrations,
        }
    }

    async fn make_keyspace(&self) {
        let requests = self.process().requests;
        keyspace::make(requests, &self.settings, 1).await.expect("make the keyspace");
    }

    /// Sends a statement in which `KS` stands for the keyspace.
    async fn send(&self, cql: &str, values: impl SerializeRow) {
        let cql = cql.replace("KS", &self.settings.keyspace);
        self.session.query_unpaged(cql, values).await.expect("send a statement");
    }

    async fn rows<T>(&self, cql: &str) -> Vec<T>
    where
        T: for<'f, 'm> DeserializeRow<'f, 'm>,
    {
        let cql = cql.replace("KS", &self.settings.keyspace);
        let result = self.session.query_unpaged(cql, ()).await.expect("read");
        let result = result.into_rows_result().expect("rows");
        result.rows::<T>().expect("these types").map(|row| row.expect("a row")).collect()
    }

    /// Each table with its id, time to live, traces' time and compaction.
    async fn tables(&self) -> BTreeMap<String, (Uuid, i32, i32, BTreeMap<String, String>)> {
        let rows: Vec<(String, Uuid, i32, i32, BTreeMap<String, String>)> = self
            .rows(
                "SELECT table_name, id, default_time_to_live, gc_grace_seconds, compaction \
                 FROM system_schema.tables WHERE keyspace_name = 'KS'",
            )
            .await;
        rows.into_iter()
            .map(|(name, id, live, traces, how)| (name, (id, live, traces, how)))
            .collect()
    }

    async fn noted(&self) -> Option<Noted> {
        let seen = Seen::look(self.process().requests, &self.settings.keyspace).await;
        seen.expect("look").noted
    }

    async fn close(self) {
        self.send("DROP KEYSPACE IF EXISTS KS", ()).await;
    }
}

/// Prepares until no other process does; all else is an error.
async fn prepare_in_turn(preparation: &Preparation<'_>) -> Result<(), SchemaError> {
    let end = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        match preparation.run().await {
            Err(error) if error.again() == error::Again::Soon => {
                assert!(tokio::time::Instant::now() < end, "in time: {error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            done => return done,
        }
    }
}

async fn connect(settings: &CassandraSettings) -> Session {
    SessionBuilder::new().known_nodes(&settings.nodes).build().await.expect("connect")
}

#[allow(clippy::disallowed_methods, reason = "the step that runs these tests names the database")]
fn nodes() -> Vec<String> {
    let nodes = std::env::var("PULSEMESH_TESTBED_CASSANDRA").expect("the name of a database");
    nodes.split(',').map(str::to_owned).collect()
}
