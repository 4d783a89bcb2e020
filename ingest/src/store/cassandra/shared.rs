//! The store's connection, lent to what processes share in the database beside pulses: its table
//! is made only when it is asked for, and belongs to none of the store's versions.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use scylla::client::session::Session;
use uuid::{Uuid, uuid};

use super::link::Link;

/// The space of the table's id.
const IDS: Uuid = uuid!("2f8d0a67-5a5e-5c0e-8a55-0d5e9c3e7b21");
/// Longest that a node may miss the end of a row: hints last three hours.
const TRACES_SECONDS: u64 = 3 * 3600;

/// A connection that the store keeps. Cloning shares it.
#[derive(Clone)]
pub struct SharedLink {
    link: Arc<Link>,
    keyspace: Arc<str>,
}

impl fmt::Debug for SharedLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedLink").field("keyspace", &self.keyspace).finish_non_exhaustive()
    }
}

impl SharedLink {
    pub(super) fn new(link: Arc<Link>, keyspace: &str) -> Self {
        Self { link, keyspace: keyspace.into() }
    }

    /// A session that uses the store's keyspace; an error says for a person why there is none.
    pub(crate) fn session(&self) -> Result<Arc<Session>, String> {
        self.link.live().map(|live| Arc::clone(&live.session)).map_err(|down| down.0)
    }

    /// Makes the table of ids and keys where it is missing. Its id follows from its name, so that
    /// processes which make it at once make the same one.
    pub(crate) fn idempotency_table(&self, window: Duration) -> String {
        let keyspace = &self.keyspace;
        let id = Uuid::new_v5(&IDS, format!("{keyspace}.pulse_idempotency").as_bytes());
        format!(
            "CREATE TABLE IF NOT EXISTS {keyspace}.pulse_idempotency (tenant text, key blob, \
             value blob, PRIMARY KEY ((tenant, key))) WITH id = {id} \
             AND comment = 'PulseMesh: ids and keys that processes share' \
             AND default_time_to_live = {} AND gc_grace_seconds = {TRACES_SECONDS}",
            window.as_secs()
        )
    }
}
