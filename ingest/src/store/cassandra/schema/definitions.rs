//! The tables, and the versions that lead to them. A table that is here stays as it is: a change
//! is a new migration, and the definition is changed beside it. Nothing that only one of
//! Cassandra and Scylla has; so no compression is named, which both default to LZ4 for.
//!
//! * `pulse_events_by_service`: the rows; a partition is a shard of ten minutes of a service.
//! * `pulse_buckets`: which slices of ten minutes of a service have rows, and how these are spread.
//! * `pulse_ids`: where the row of an id is.
//! * `pulse_id_hours`: in which hours a tenant has ids that do not tell their time themselves.
//! * `pulse_counts`: how many pulses a minute has, as absolute sums of each log's parts.
//! * `pulse_writers`: which logs are written from now.
//! * `pulse_dead_letters`: pulses that a sink can never take, as they were.
//! * `pulse_dead_letter_parts`: the bytes of large ones.
//! * `pulse_dead_letter_days`: in which days a tenant has any.
//! * `pulse_schema`: the version and the retention of these tables, of each class.
//! * `pulse_lock`: who changes them.
//!
//! A retention class has the first five once more, with `_` and its name behind theirs.

use uuid::{Uuid, uuid};

use super::retention::{Retention, TRACES_MIN};

/// Where the version is.
pub(super) const SCHEMA: &str = "pulse_schema";
/// Where the lease is.
pub(super) const LOCK: &str = "pulse_lock";

/// What a key begins with that is a line of its own, and what a column ends with that is one.
const KEY: &str = "PRIMARY KEY";

/// The space of all table ids.
const IDS: Uuid = uuid!("0a0c3a7e-1d7d-5a39-9a0b-5b1f0f6a6c11");

/// How long a table keeps its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keeps {
    /// As long as the retention, in time windows that are dropped whole.
    Retention,
    /// Long enough for every row that may still come.
    Buckets,
    /// So many seconds.
    Seconds(u64),
    /// For ever.
    Always,
}

/// The version that made the first tables.
const FIRST: i32 = 1;
/// The version that handed dead letters over to the database.
const SECOND: i32 = 2;

/// A table.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: &'static str,
    /// What is in it, as the table's own comment.
    comment: &'static str,
    /// All columns, then the key.
    columns: &'static [&'static str],
    /// The columns of its primary key, by which it is recognised.
    pub(super) key: &'static [&'static str],
    order: &'static str,
    keeps: Keeps,
    /// The version that made it.
    since: i32,
}

/// Tables that each retention class has its own of: those of rows and of what leads to them.
const OF_CLASS: [&str; 5] =
    ["pulse_events_by_service", "pulse_buckets", "pulse_ids", "pulse_id_hours", "pulse_counts"];

/// What leads from the version below to this one. Each statement may run again.
#[derive(Debug)]
pub(super) struct Migration {
    pub(super) version: i32,
    pub(super) statements: Vec<String>,
}

/// All tables.
pub(super) const TABLES: [Table; 11] = [
    Table {
        name: "pulse_events_by_service",
        comment: "pulses by service and time",
        columns: &[
            "tenant text",
            "service_name text",
            "bucket timestamp",
            "shard int",
            "event_time timestamp",
            "event_id uuid",
            "received_at timestamp",
            "kind text",
            "latency_ms double",
            "status text",
            "value double",
            "user_id text",
            "sku text",
            "unit text",
            "amount decimal",
            "metadata frozen<map<text, text>>",
            "payload text",
            "PRIMARY KEY ((tenant, service_name, bucket, shard), event_time, event_id)",
        ],
        key: &["tenant", "service_name", "bucket", "shard", "event_time", "event_id"],
        order: "event_time DESC, event_id DESC",
        keeps: Keeps::Retention,
        since: FIRST,
    },
    Table {
        name: "pulse_buckets",
        comment: "which slices of ten minutes of a service have rows, and how they are spread",
        columns: &[
            "tenant text",
            "service_name text",
            "bucket timestamp",
            "slice smallint",
            "layout smallint",
            "PRIMARY KEY ((tenant, service_name), bucket, slice, layout)",
        ],
        key: &["tenant", "service_name", "bucket", "slice", "layout"],
        order: "bucket DESC, slice DESC, layout ASC",
        keeps: Keeps::Buckets,
        since: FIRST,
    },
    Table {
        name: "pulse_ids",
        comment: "where the row of an id is",
        columns: &[
            "tenant text",
            "receive_hour timestamp",
            "id_shard int",
            "event_id uuid",
            "service_name text",
            "event_time timestamp",
            "shard int",
            "PRIMARY KEY ((tenant, receive_hour, id_shard), event_id)",
        ],
        key: &["tenant", "receive_hour", "id_shard", "event_id"],
        order: "",
        keeps: Keeps::Retention,
        since: FIRST,
    },
    Table {
        name: "pulse_id_hours",
        comment: "hours in which a tenant has ids that do not tell their time",
        columns: &[
            "tenant text",
            "receive_hour timestamp",
            "shards int",
            "PRIMARY KEY ((tenant), receive_hour, shards)",
        ],
        key: &["tenant", "receive_hour", "shards"],
        order: "receive_hour DESC, shards ASC",
        keeps: Keeps::Buckets,
        since: FIRST,
    },
    Table {
        name: "pulse_counts",
        comment: "pulses of a minute of event time, as absolute sums of each log",
        columns: &[
            "tenant text",
            "hour timestamp",
            "minute timestamp",
            "kind text",
            "log_id uuid",
            "part bigint",
            "pulses bigint",
            "PRIMARY KEY ((tenant, hour), minute, kind, log_id, part)",
        ],
        key: &["tenant", "hour", "minute", "kind", "log_id", "part"],
        order: "",
        keeps: Keeps::Retention,
        since: FIRST,
    },
    Table {
        name: "pulse_writers",
        comment: "logs that are written from now",
        columns: &["log_id uuid PRIMARY KEY", "seen timestamp"],
        key: &["log_id"],
        order: "",
        keeps: Keeps::Seconds(180),
        since: FIRST,
    },
    Table {
        name: "pulse_dead_letters",
        comment: "pulses that a sink can never take, as they were",
        columns: &[
            "tenant text",
            "day timestamp",
            "shard smallint",
            "at timestamp",
            "sink text",
            "log_id uuid",
            "seq bigint",
            "in_memory boolean",
            "event_id uuid",
            "code text",
            "stage text",
            "message text",
            "attempts int",
            "first_at timestamp",
            "history text",
            "frame blob",
            "PRIMARY KEY ((tenant, day, shard), at, sink, log_id, seq)",
        ],
        key: &["tenant", "day", "shard", "at", "sink", "log_id", "seq"],
        order: "at DESC, sink ASC, log_id ASC, seq ASC",
        keeps: Keeps::Retention,
        since: FIRST,
    },
    Table {
        name: "pulse_dead_letter_parts",
        comment: "bytes of dead letters that are large",
        columns: &[
            "tenant text",
            "day timestamp",
            "shard smallint",
            "letter uuid",
            "part smallint",
            "bytes blob",
            "PRIMARY KEY ((tenant, day, shard), letter, part)",
        ],
        key: &["tenant", "day", "shard", "letter", "part"],
        order: "",
        keeps: Keeps::Retention,
        since: SECOND,
    },
    Table {
        name: "pulse_dead_letter_days",
        comment: "days in which a tenant has dead letters, and where they lie",
        columns: &[
            "tenant text",
            "day timestamp",
            "shard smallint",
            "PRIMARY KEY ((tenant), day, shard)",
        ],
        key: &["tenant", "day", "shard"],
        order: "day DESC, shard ASC",
        keeps: Keeps::Buckets,
        since: SECOND,
    },
    Table {
        name: SCHEMA,
        comment: "version and retention of these tables",
        columns: &[
            "component text PRIMARY KEY",
            "version int",
            "retention_seconds bigint",
            "changed_at timestamp",
        ],
        key: &["component"],
        order: "",
        keeps: Keeps::Always,
        since: FIRST,
    },
    Table {
        name: LOCK,
        comment: "who changes these tables",
        columns: &["name text PRIMARY KEY", "holder uuid"],
        key: &["name"],
        order: "",
        keeps: Keeps::Always,
        since: FIRST,
    },
];

/// The tables of a retention class; `None`: of the default one, and all that are not of a class.
pub(super) fn tables(class: Option<&str>) -> impl Iterator<Item = &'static Table> {
    let every = class.is_none();
    TABLES.iter().filter(move |table| every || OF_CLASS.contains(&table.name))
}

/// All versions, oldest first.
pub(super) fn migrations(keyspace: &str, retention: Retention) -> Vec<Migration> {
    migrations_of(keyspace, None, retention)
}

/// The same of the tables of a class.
pub(super) fn migrations_of(
    keyspace: &str,
    class: Option<&str>,
    retention: Retention,
) -> Vec<Migration> {
    let version = |version| {
        let new = tables(class).filter(|table| table.since == version);
        let statements = new.map(|table| table.create(keyspace, class, retention)).collect();
        Migration { version, statements }
    };
    vec![version(FIRST), version(SECOND)]
}

/// What makes existing tables keep rows for another time.
pub(super) fn keep(keyspace: &str, class: Option<&str>, retention: Retention) -> Vec<String> {
    let depends = |table: &&Table| matches!(table.keeps, Keeps::Retention | Keeps::Buckets);
    let alter = |table: &Table| {
        let options = table.keeps.options(retention).join(" AND ");
        format!("ALTER TABLE {keyspace}.{} WITH {options}", table.name_in(class))
    };
    tables(class).filter(depends).map(alter).collect()
}

/// Makes the table of the lease, which must be there before the others.
pub(super) fn create_lock(keyspace: &str, retention: Retention) -> Option<String> {
    let lock = TABLES.iter().find(|table| table.name == LOCK)?;
    Some(lock.create(keyspace, None, retention))
}

impl Table {
    /// What the table is called of a class.
    pub(super) fn name_in(&self, class: Option<&str>) -> String {
        match class {
            Some(class) if OF_CLASS.contains(&self.name) => format!("{}_{class}", self.name),
            _ => self.name.to_owned(),
        }
    }

    /// The columns' names and types.
    pub(super) fn types(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.columns.iter().filter(|line| !line.starts_with(KEY)).filter_map(|line| {
            let column = line.strip_suffix(KEY).map_or(*line, str::trim_end);
            column.split_once(' ')
        })
    }

    /// Makes it if it is missing. Its id is made from its name alone: when two nodes are asked to
    /// make it at once, both make the same table. With the ids that the database gives there
    /// would be two, and what was written to the one that loses is gone.
    fn create(&self, keyspace: &str, class: Option<&str>, retention: Retention) -> String {
        let name = self.name_in(class);
        let id = Uuid::new_v5(&IDS, format!("{keyspace}.{name}").as_bytes());
        let mut options = vec![format!("id = {id}")];
        if !self.order.is_empty() {
            options.push(format!("CLUSTERING ORDER BY ({})", self.order));
        }
        options.push(format!("comment = 'PulseMesh: {}'", self.comment));
        options.extend(self.keeps.options(retention));
        format!(
            "CREATE TABLE IF NOT EXISTS {keyspace}.{name} (\n  {}\n) WITH {}",
            self.columns.join(",\n  "),
            options.join("\n  AND ")
        )
    }
}

impl Keeps {
    /// Each row brings its own time to live; the table's is for those that do not.
    fn options(self, retention: Retention) -> Vec<String> {
        let (live, traces) = match self {
            Self::Retention => (retention.seconds() as u64, retention.traces_seconds()),
            Self::Buckets => (retention.buckets_seconds(), retention.traces_seconds()),
            Self::Seconds(seconds) => (seconds, TRACES_MIN),
            Self::Always => return Vec::new(),
        };
        let mut options =
            vec![format!("default_time_to_live = {live}"), format!("gc_grace_seconds = {traces}")];
        if self == Self::Retention {
            options.push(format!("compaction = {}", retention.window()));
            options.push("speculative_retry = '99PERCENTILE'".to_owned());
        }
        options
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::*;

    fn week() -> Retention {
        Retention::new(Duration::from_secs(7 * 24 * 3600))
    }

    #[test]
    fn the_tables_of_a_week_are_these() {
        let versions = migrations("pulsemesh", week());
        let all: Vec<_> = versions.iter().flat_map(|version| &version.statements).collect();
        insta::assert_snapshot!(
            all.iter().map(|cql| format!("{cql};")).collect::<Vec<_>>().join("\n\n")
        );
    }

    #[test]
    fn another_retention_changes_these_tables() {
        insta::assert_snapshot!(keep("pulsemesh", None, week()).join(";\n"));
    }

    #[test]
    fn each_key_is_that_of_its_definition() {
        for table in &TABLES {
            let columns = table.columns.join("\n");
            let (before, after) = columns.split_once("PRIMARY KEY").expect("a key");
            let line = if after.contains('(') { after } else { before };
            for key in table.key {
                assert!(line.contains(key), "{key} of {}", table.name);
            }
            let names = line.split(|c: char| !c.is_alphanumeric() && c != '_');
            let count = names.filter(|name| !name.is_empty()).count();
            if after.contains('(') {
                assert_eq!(count, table.key.len(), "of {}", table.name);
            }
        }
    }

    #[test]
    fn each_column_has_a_name_and_a_type() {
        for table in &TABLES {
            let types: Vec<_> = table.types().collect();
            let names: BTreeSet<_> = types.iter().map(|(name, _)| *name).collect();
            let own_line = table.columns.iter().any(|line| line.starts_with(KEY));
            assert_eq!(names.len() + usize::from(own_line), table.columns.len());
            assert!(table.key.iter().all(|key| names.contains(key)), "{}", table.name);
            assert!(types.iter().all(|(_, of)| !of.contains(KEY)), "{types:?}");
        }
        let metadata = TABLES[0].types().find(|(name, _)| *name == "metadata");
        assert_eq!(metadata, Some(("metadata", "frozen<map<text, text>>")));
    }

    #[test]
    fn a_class_has_the_tables_of_rows_with_its_name_and_its_own_times() {
        let day = Retention::new(Duration::from_secs(24 * 3600));
        let versions = migrations_of("mesh", Some("short"), day);
        assert_eq!(versions.last().map(|last| last.version), Some(SECOND));
        let all: Vec<_> = versions.iter().flat_map(|version| &version.statements).collect();
        let named = |table: &str| format!("CREATE TABLE IF NOT EXISTS mesh.{table}_short (");
        for table in OF_CLASS {
            assert_eq!(all.iter().filter(|cql| cql.starts_with(&named(table))).count(), 1);
        }
        assert_eq!(all.len(), OF_CLASS.len());
        assert!(all[0].contains("default_time_to_live = 86400"), "{}", all[0]);
        assert!(all[0].contains("'HOURS', 'compaction_window_size': '1'"), "{}", all[0]);
        let altered = keep("mesh", Some("short"), day);
        assert_eq!(altered.len(), OF_CLASS.len());
        assert!(altered.iter().all(|cql| cql.contains("_short WITH default_time_to_live")));
        let longest = "abcdefghijklmnop";
        let longest = tables(Some(longest)).map(|table| table.name_in(Some(longest)).len()).max();
        assert!(longest <= Some(48), "the longest name of a table that the databases take");
    }

    #[test]
    fn versions_rise_and_ids_differ_by_keyspace_and_table() {
        let versions = migrations("a", week());
        assert!(versions.is_sorted_by(|a, b| a.version < b.version));
        let both = ["a", "b"].into_iter().flat_map(|keyspace| migrations(keyspace, week()));
        let class = migrations_of("a", Some("b"), week());
        let all: Vec<_> = both.chain(class).flat_map(|version| version.statements).collect();
        let id = |cql: &String| cql.split("id = ").last()?.split('\n').next().map(str::to_owned);
        let ids: BTreeSet<_> = all.iter().map(id).collect();
        assert_eq!(ids.len(), all.len());
    }
}
