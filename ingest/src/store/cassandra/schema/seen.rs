//! What a keyspace has: the columns of its tables, and what the schema's own table says of them.
//! Reads only.

use std::collections::BTreeMap;

use scylla::value::CqlTimestamp;

use super::definitions::{LOCK, SCHEMA, TABLES, Table, tables};
use super::error::{SchemaError, disagree, is_refused, unread};
use super::requests::Requests;
use super::retention::Retention;

const DOING: &str = "look at the tables";
/// The row of the tables of the default retention class; of another one with `_` and its name.
const COMPONENT: &str = "pulses";

/// What a keyspace has of a retention class.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// `None`: the default class.
    class: Option<String>,
    /// The columns of each table by their names.
    tables: BTreeMap<String, BTreeMap<String, Column>>,
    /// What was written down when the tables were last changed.
    pub(super) noted: Option<Noted>,
}

/// A column as the database has it.
#[derive(Debug)]
struct Column {
    /// As CQL writes it.
    of_type: String,
    /// Whether it is one of the primary key.
    is_key: bool,
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
    pub(super) async fn look(
        requests: Requests<'_>,
        keyspace: &str,
        class: Option<&str>,
    ) -> Result<Self, SchemaError> {
        let cql = "SELECT table_name, column_name, kind, type FROM system_schema.columns \
                   WHERE keyspace_name = ?";
        let rows = requests.rows(DOING, cql, (keyspace,)).await?;
        let mut seen = Self { class: class.map(str::to_owned), ..Self::default() };
        for row in rows.rows::<(String, String, String, String)>().map_err(unread(DOING))? {
            let (table, name, kind, of_type) = row.map_err(unread(DOING))?;
            let is_key = kind == "partition_key" || kind == "clustering";
            seen.tables.entry(table).or_default().insert(name, Column { of_type, is_key });
        }
        let schema = TABLES.iter().find(|table| table.name == SCHEMA);
        let ours = schema.is_some_and(|table| seen.foreign(keyspace, table).is_none());
        if ours && seen.tables.contains_key(SCHEMA) {
            seen.noted = Noted::read(requests, keyspace, class).await?;
        }
        Ok(seen)
    }

    /// Refuses tables of a newer program, and tables that another program made.
    pub(super) fn refuse(&self, keyspace: &str, known: i32) -> Result<(), SchemaError> {
        if let Some(found) = self.noted.map(|noted| noted.version).filter(|&found| found > known) {
            return Err(SchemaError::Newer { keyspace: keyspace.to_owned(), found, known });
        }
        self.ours().find_map(|table| self.foreign(keyspace, table)).map_or(Ok(()), Err)
    }

    /// Whether every table is there.
    pub(super) fn is_whole(&self) -> bool {
        self.ours().all(|table| self.tables.contains_key(&self.name(table)))
    }

    /// Whether there is none but the one of the lease.
    pub(super) fn is_fresh(&self) -> bool {
        let mut ours = self.ours().filter(|table| table.name != LOCK);
        !ours.any(|table| self.tables.contains_key(&self.name(table)))
    }

    fn ours(&self) -> impl Iterator<Item = &'static Table> {
        tables(self.class.as_deref())
    }

    fn name(&self, table: &Table) -> String {
        table.name_in(self.class.as_deref())
    }

    /// Why a table that is there is not one that this program made.
    fn foreign(&self, keyspace: &str, table: &Table) -> Option<SchemaError> {
        let (keyspace, name) = (keyspace.to_owned(), self.name(table));
        let columns = self.tables.get(&name)?;
        let key = |column: &&Column| column.is_key;
        let found = table.key.iter().filter_map(|&column| columns.get(column)).filter(key).count();
        if found != table.key.len() || columns.values().filter(key).count() != found {
            return Some(SchemaError::PlainTable { keyspace, table: name });
        }
        // One that is missing, or more than ours, is another version's.
        let (column, found, wanted) = table.types().find_map(|(column, wanted)| {
            let found = &columns.get(column)?.of_type;
            (found != wanted).then_some((column, found.clone(), wanted))
        })?;
        Some(SchemaError::OtherType { keyspace, table: name, column, found, wanted })
    }
}

impl Noted {
    async fn read(
        requests: Requests<'_>,
        keyspace: &str,
        class: Option<&str>,
    ) -> Result<Option<Self>, SchemaError> {
        let cql = format!(
            "SELECT version, retention_seconds, changed_at FROM {keyspace}.{SCHEMA} \
             WHERE component = ?"
        );
        let rows = match requests.rows(DOING, &cql, (component(class),)).await {
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
        class: Option<&str>,
    ) -> Result<(), SchemaError> {
        let cql = format!(
            "INSERT INTO {keyspace}.{SCHEMA} (component, version, retention_seconds, changed_at) \
             VALUES (?, ?, ?, ?)"
        );
        let at = CqlTimestamp(self.changed_at_ms);
        let values = (component(class), self.version, self.retention.seconds(), at);
        requests.write("write down the version of the tables", &cql, values).await
    }
}

/// The name of the row of a class's tables.
fn component(class: Option<&str>) -> String {
    class.map_or_else(|| COMPONENT.to_owned(), |class| format!("{COMPONENT}_{class}"))
}

/// Classes that have tables, by their rows.
pub(super) async fn classes(
    requests: Requests<'_>,
    keyspace: &str,
) -> Result<Vec<String>, SchemaError> {
    let cql = format!("SELECT component FROM {keyspace}.{SCHEMA}");
    let rows = requests.rows(DOING, &cql, ()).await?;
    let mut classes = Vec::new();
    for row in rows.rows::<(String,)>().map_err(unread(DOING))? {
        let (component,) = row.map_err(unread(DOING))?;
        let class = component.strip_prefix(COMPONENT).and_then(|rest| rest.strip_prefix('_'));
        classes.extend(class.map(str::to_owned));
    }
    Ok(classes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A keyspace with our tables, in which columns are changed before it is looked at.
    fn refused(change: impl FnOnce(&mut BTreeMap<String, Column>)) -> Option<String> {
        let mut seen = Seen::default();
        for table in &TABLES {
            let column = |(name, of_type): (&str, &str)| {
                let is_key = table.key.contains(&name);
                (name.to_owned(), Column { of_type: of_type.to_owned(), is_key })
            };
            seen.tables.insert(table.name.to_owned(), table.types().map(column).collect());
        }
        change(seen.tables.get_mut("pulse_events_by_service").expect("a table"));
        seen.refuse("mesh", 1).err().map(|error| error.to_string())
    }

    #[test]
    fn a_table_is_ours_by_the_columns_of_its_key_and_all_types() {
        let column = |of_type: &str, is_key| Column { of_type: of_type.to_owned(), is_key };
        let is_refused = |refused: Option<String>, expected: &[&str]| {
            let text = refused.expect("refused");
            assert!(expected.iter().all(|part| text.contains(part)), "{text}");
        };
        assert_eq!(refused(|_| {}), None);
        assert_eq!(refused(|columns| drop(columns.remove("payload"))), None);
        let more = refused(|columns| drop(columns.insert("more".into(), column("int", false))));
        assert_eq!(more, None, "a column of another version");
        let key = ["mesh.pulse_events_by_service", "its primary key is not"];
        is_refused(refused(|columns| drop(columns.remove("bucket"))), &key);
        let more = refused(|columns| drop(columns.insert("more".into(), column("int", true))));
        is_refused(more, &key);
        let shard =
            refused(|columns| drop(columns.insert("shard".into(), column("smallint", true))));
        let words = ["mesh.pulse_events_by_service", "shard is of type smallint", "int"];
        is_refused(shard, &words);
        let text = refused(|columns| drop(columns.insert("payload".into(), column("blob", false))));
        is_refused(text, &["payload is of type blob", "text", "--cassandra-keyspace"]);
    }
}
