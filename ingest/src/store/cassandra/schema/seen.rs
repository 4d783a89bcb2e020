//! What a keyspace has: the keys of its tables, and what the schema's own table says of them.
//! Reads only.

use std::collections::{BTreeMap, BTreeSet};

use scylla::value::CqlTimestamp;

use super::definitions::{LOCK, SCHEMA, TABLES};
use super::error::{SchemaError, disagree, is_refused, unread};
use super::requests::Requests;
use super::retention::Retention;

const DOING: &str = "look at the tables";
/// The row of the tables of the one retention class that there is.
pub(super) const COMPONENT: &str = "pulses";

/// What a keyspace has.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The columns of each table's primary key.
    keys: BTreeMap<String, BTreeSet<String>>,
    /// What was written down when the tables were last changed.
    pub(super) noted: Option<Noted>,
}

/// What was written down when the tables were last changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Noted {
    pub(super) version: i32,
    pub(super) retention: Retention,
    /// When the retention was last set, in milliseconds since 1970 in UTC.
    pub(super) changed_at_ms: i64,
}

impl Seen {
    /// Looks; a keyspace that is not there has nothing.
    pub(super) async fn look(requests: Requests<'_>, keyspace: &str) -> Result<Self, SchemaError> {
        let cql = "SELECT table_name, column_name, kind FROM system_schema.columns \
                   WHERE keyspace_name = ?";
        let rows = requests.rows(DOING, cql, (keyspace,)).await?;
        let mut seen = Self::default();
        for row in rows.rows::<(String, String, String)>().map_err(unread(DOING))? {
            let (table, column, kind) = row.map_err(unread(DOING))?;
            let key = seen.keys.entry(table).or_default();
            if kind == "partition_key" || kind == "clustering" {
                key.insert(column);
            }
        }
        if !seen.is_foreign(SCHEMA, &["component"]) && seen.keys.contains_key(SCHEMA) {
            seen.noted = Noted::read(requests, keyspace).await?;
        }
        Ok(seen)
    }

    /// Refuses tables of a newer program, and tables that another program made.
    pub(super) fn refuse(&self, keyspace: &str, known: i32) -> Result<(), SchemaError> {
        if let Some(found) = self.noted.map(|noted| noted.version).filter(|&found| found > known) {
            return Err(SchemaError::Newer { keyspace: keyspace.to_owned(), found, known });
        }
        match TABLES.iter().find(|table| self.is_foreign(table.name, table.key)) {
            Some(table) => Err(SchemaError::PlainTable {
                keyspace: keyspace.to_owned(),
                table: table.name.to_owned(),
            }),
            None => Ok(()),
        }
    }

    /// Whether every table is there.
    pub(super) fn is_whole(&self) -> bool {
        TABLES.iter().all(|table| self.keys.contains_key(table.name))
    }

    /// Whether there is none but the one of the lease.
    pub(super) fn is_fresh(&self) -> bool {
        let mut ours = TABLES.iter().filter(|table| table.name != LOCK);
        !ours.any(|table| self.keys.contains_key(table.name))
    }

    /// Whether it is there with another key.
    fn is_foreign(&self, table: &str, key: &[&str]) -> bool {
        let ours = |found: &BTreeSet<String>| {
            found.len() == key.len() && key.iter().all(|&column| found.contains(column))
        };
        self.keys.get(table).is_some_and(|found| !ours(found))
    }
}

impl Noted {
    async fn read(requests: Requests<'_>, keyspace: &str) -> Result<Option<Self>, SchemaError> {
        let cql = format!(
            "SELECT version, retention_seconds, changed_at FROM {keyspace}.{SCHEMA} \
             WHERE component = ?"
        );
        let rows = match requests.rows(DOING, &cql, (COMPONENT,)).await {
            // A table is listed a moment before it can be read, and on some nodes before others.
            Err(SchemaError::Request { source, .. }) if is_refused(&source) => {
                return Err(disagree(*source));
            }
            rows => rows?,
        };
        let row = rows.maybe_first_row::<(i32, i64, CqlTimestamp)>().map_err(unread(DOING))?;
        Ok(row.map(|(version, seconds, at)| Self {
            version,
            retention: Retention::from_seconds(seconds),
            changed_at_ms: at.0,
        }))
    }

    /// Writes it down.
    pub(super) async fn write(
        self,
        requests: Requests<'_>,
        keyspace: &str,
    ) -> Result<(), SchemaError> {
        let cql = format!(
            "INSERT INTO {keyspace}.{SCHEMA} (component, version, retention_seconds, changed_at) \
             VALUES (?, ?, ?, ?)"
        );
        let at = CqlTimestamp(self.changed_at_ms);
        let values = (COMPONENT, self.version, self.retention.seconds(), at);
        requests.write("write down the version of the tables", &cql, values).await
    }
}
