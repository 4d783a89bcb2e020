//! A store for tests whose rows are written by plain INSERTs: each time with another layout and
//! another number of shards of ids, as ingests do whose rates differ.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};
use scylla::serialize::row::SerializeRow;
use scylla::statement::prepared::PreparedStatement;
use scylla::value::{CqlDecimal, CqlTimestamp, CqlValue};
use uuid::Uuid;
use xtask::cassandra::Cluster;

use crate::sink::{Batch, Sink, SinkError, Written};
use crate::store::cassandra::layout::{IdPlace, Layout, bucket_of};
use crate::store::cassandra::link::Link;
use crate::store::cassandra::live::Live;
use crate::store::cassandra::metrics::CassandraMetrics;
use crate::store::cassandra::read::Reader;
use crate::store::cassandra::settings::{CassandraSettings, CredentialFiles, TlsFiles};
use crate::store::tests::fixture::{NOW_MS, RETENTION, block_on};
use crate::store::{Count, CountQuery, Erased, Erasure, Page, PulseQuery, QueryError, Row, Store};

pub(super) const UP_MAX: Duration = Duration::from_secs(120);
const TTL_S: i32 = 24 * 3600;
/// From one partition to a slice of nine seconds in eight of them.
const LAYOUTS: [(u8, u8); 4] = [(0, 0), (2, 1), (6, 3), (0, 2)];

/// A keyspace of its own, and a reader whose clock stands still.
#[derive(Debug)]
pub(super) struct Stored {
    live: Arc<Live>,
    pub(super) reader: Reader,
    writes: AtomicUsize,
    _secrets: tempfile::TempDir,
}

/// Rows of tenants that only this one uses: one keyspace serves many histories.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) stored: Arc<Stored>,
    name: String,
}

pub(super) fn settings(cluster: &Cluster, secrets: &Path) -> CassandraSettings {
    let nodes = cluster.nodes().iter().map(|node| node.address().to_string()).collect();
    let mut settings = CassandraSettings::new(nodes, PathBuf::new());
    let unique = Uuid::now_v7().simple().to_string();
    settings.keyspace = format!("read_{}", &unique[20..]);
    settings.replication_factor = Some(1);
    if let Some((name, password)) = cluster.settings().login() {
        let (username, word) = (secrets.join("username"), secrets.join("password"));
        std::fs::write(&username, name).expect("a file");
        std::fs::write(&word, password).expect("a file");
        settings.credentials = Some(CredentialFiles { username, password: word });
    }
    settings.tls = cluster.tls_files().map(|files| TlsFiles {
        ca: files.ca,
        client: Some((files.client, files.client_key)),
        verify_name: true,
    });
    settings
}

impl Stored {
    pub(super) fn open() -> Arc<Self> {
        let cluster = Cluster::from_environment().expect("a database");
        cluster.mend(UP_MAX).expect("a whole database");
        let secrets = tempfile::tempdir().expect("a directory");
        let settings = settings(&cluster, secrets.path());
        let reads = CassandraSettings {
            retention: RETENTION,
            clock: Arc::new(|| NOW_MS * 1000),
            ..settings.clone()
        };
        let metrics =
            CassandraMetrics::register(&mut prometheus_client::registry::Registry::default());
        let link = Link::open(Arc::new(settings), metrics).expect("threads");
        let end = Instant::now() + UP_MAX;
        let live = loop {
            match link.live() {
                Ok(live) => break live,
                Err(down) => assert!(Instant::now() < end, "{down}"),
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        let reader = Reader::new(Arc::new(link), Arc::new(reads));
        Arc::new(Self { live, reader, writes: AtomicUsize::new(0), _secrets: secrets })
    }

    /// A store of its own within this one.
    pub(super) fn case(self: &Arc<Self>) -> Case {
        Case { stored: Arc::clone(self), name: Uuid::now_v7().simple().to_string() }
    }

    async fn send(&self, statement: &PreparedStatement, values: impl SerializeRow) {
        let sent = self.live.session.execute_unpaged(statement, values).await;
        sent.expect("an INSERT that succeeds");
    }

    /// Writes a row, its bucket and its id, as an ingest does that chose this layout.
    pub(super) async fn insert(&self, row: &Row, layout: Layout, id_shards: u32) {
        let statements = &self.live.statements;
        let Row { tenant, service, id, event_time_ms, received_at_us, .. } = row;
        let (bucket, shard) = (bucket_of(*event_time_ms), layout.shard_of(*event_time_ms, *id));
        let code = layout.code() as i16;
        let slice = layout.mark_of(layout.slice_of(*event_time_ms));
        let written = (tenant, service, CqlTimestamp(bucket), slice, code, TTL_S, 1i64);
        self.send(&statements.insert_bucket, written).await;
        let place = IdPlace::of(*received_at_us, *id, || id_shards);
        let hour = CqlTimestamp(place.hour_ms);
        if place.shard < 0 {
            let written = (tenant, hour, id_shards as i32, TTL_S, 1i64);
            self.send(&statements.insert_id_hour, written).await;
        }
        let time = CqlTimestamp(*event_time_ms);
        let entry = (tenant, hour, place.shard, id, service, time, shard, TTL_S, 1i64);
        self.send(&statements.insert_id, entry).await;
        self.send(&statements.insert_event, values(row, shard)).await;
    }

    /// All rows are gone, and what leads to them is still there.
    pub(super) async fn forget_events(&self) {
        let forgotten = self.live.session.query_unpaged("TRUNCATE pulse_events_by_service", ());
        forgotten.await.expect("a TRUNCATE that succeeds");
    }

    /// Counts one pulse as the only one of its part.
    async fn count(&self, row: &Row, part: u64) {
        let minute_ms = row.event_time_ms.div_euclid(60_000) * 60_000;
        let hour = CqlTimestamp(minute_ms.div_euclid(3_600_000) * 3_600_000);
        let (minute, log, part) = (CqlTimestamp(minute_ms), Uuid::from_u128(77), part as i64);
        let sum = (&row.tenant, hour, minute, &row.kind, log, part, 1i64, TTL_S, 1i64);
        self.send(&self.live.statements.insert_count, sum).await;
    }
}

fn values(row: &Row, shard: i32) -> Vec<Option<CqlValue>> {
    let text = |text: &str| Some(CqlValue::Text(text.to_owned()));
    let optional = |part: &Option<String>| part.clone().map(CqlValue::Text);
    let time = |time_ms| Some(CqlValue::Timestamp(CqlTimestamp(time_ms)));
    let usage = row.usage.as_ref();
    let amount = usage.map(|usage| {
        let digits = usage.amount.mantissa().to_be_bytes();
        CqlDecimal::from_signed_be_bytes_slice_and_exponent(&digits, usage.amount.scale() as i32)
    });
    let entry = |(key, value): &(String, String)| {
        (CqlValue::Text(key.clone()), CqlValue::Text(value.clone()))
    };
    let metadata = CqlValue::Map(row.metadata.iter().map(entry).collect());
    vec![
        text(&row.tenant),
        text(&row.service),
        time(bucket_of(row.event_time_ms)),
        Some(CqlValue::Int(shard)),
        time(row.event_time_ms),
        Some(CqlValue::Uuid(row.id)),
        time(row.received_at_us.div_euclid(1000)),
        text(&row.kind),
        row.latency_ms.map(CqlValue::Double),
        optional(&row.status),
        row.value.map(CqlValue::Double),
        optional(&row.user),
        usage.map(|usage| CqlValue::Text(usage.sku.clone())),
        usage.map(|usage| CqlValue::Text(usage.unit.clone())),
        amount.map(CqlValue::Decimal),
        (!row.metadata.is_empty()).then_some(metadata),
        optional(&row.payload),
        Some(CqlValue::Int(TTL_S)),
        Some(CqlValue::BigInt(row.received_at_us)),
    ]
}

impl Case {
    /// The tenant's name in the database.
    pub(super) fn tenant(&self, tenant: &str) -> String {
        format!("{}{tenant}", self.name)
    }

    /// The row with its tenant's own name again; nobody else's row may come.
    fn own(&self, row: Row, tenant: &str) -> Row {
        assert_eq!(row.tenant, self.tenant(tenant));
        Row { tenant: tenant.to_owned(), ..row }
    }

    async fn put(&self, write: usize, seq: u64, row: Row) {
        let row = Row { tenant: self.tenant(&row.tenant), ..row };
        let (slices, spread) = LAYOUTS[(write + seq as usize) % LAYOUTS.len()];
        let id_shards = 8 << (write % 3);
        self.stored.insert(&row, Layout::new(slices, spread), id_shards).await;
        self.stored.count(&row, seq).await;
    }
}

impl Sink for Case {
    fn write<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<Written, SinkError>> {
        Box::pin(async move {
            let write = self.stored.writes.fetch_add(1, Ordering::Relaxed);
            let mut puts = Vec::new();
            for record in batch.rows() {
                let row = Row::from_record(&record).expect("an event");
                puts.push(self.put(write, record.seq, row));
            }
            stream::iter(puts).buffer_unordered(32).collect::<Vec<()>>().await;
            Ok(Written { rows: batch.len() as u64, expired: 0 })
        })
    }
}

impl Store for Case {
    fn pulses<'a>(&'a self, query: &'a PulseQuery) -> BoxFuture<'a, Result<Page, QueryError>> {
        Box::pin(async move {
            let asked = PulseQuery { tenant: self.tenant(&query.tenant), ..query.clone() };
            let Page { rows, next } = self.stored.reader.pulses(&asked).await?;
            let rows = rows.into_iter().map(|row| self.own(row, &query.tenant)).collect();
            Ok(Page { rows, next })
        })
    }

    fn pulse<'a>(
        &'a self,
        tenant: &'a str,
        id: Uuid,
    ) -> BoxFuture<'a, Result<Option<Row>, QueryError>> {
        Box::pin(async move {
            let row = self.stored.reader.pulse(&self.tenant(tenant), id).await?;
            Ok(row.map(|row| self.own(row, tenant)))
        })
    }

    fn counts<'a>(
        &'a self,
        query: &'a CountQuery,
    ) -> BoxFuture<'a, Result<Vec<Count>, QueryError>> {
        Box::pin(async move {
            let asked = CountQuery { tenant: self.tenant(&query.tenant), ..query.clone() };
            self.stored.reader.counts(&asked).await
        })
    }

    fn bar(&self, _: &str, _: Option<i64>) {}

    fn erase<'a>(
        &'a self,
        _: &'a Erasure,
        _: Option<&'a str>,
    ) -> BoxFuture<'a, anyhow::Result<Erased>> {
        Box::pin(async { Ok(Erased::default()) })
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        let keyspace = self.live.session.get_keyspace();
        // What a failed test has written is left to look at.
        let Some(keyspace) = keyspace.filter(|_| !std::thread::panicking()) else { return };
        let dropped = self.live.session.query_unpaged(format!("DROP KEYSPACE {keyspace}"), ());
        drop(block_on(dropped));
    }
}

/// Writes many rows with one layout.
pub(super) async fn fill(stored: &Stored, rows: Vec<Row>, layout: Layout) {
    let mut inserts = Vec::new();
    for row in &rows {
        inserts.push(stored.insert(row, layout, 8));
    }
    stream::iter(inserts).buffer_unordered(64).collect::<Vec<()>>().await;
}
