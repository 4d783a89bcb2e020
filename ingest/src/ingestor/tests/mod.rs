//! The whole path of a pulse, on real files, into sinks that do as they are told.

mod classes;

use std::path::Path;
use std::sync::atomic::{AtomicU8, AtomicU16, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;

use super::*;
use crate::limits::{Allowance, Allowances};
use crate::sink::{Batch, RowFault, Sink, SinkError, Written};
use crate::store::memory::{MemoryStore, MemoryStoreLimits};
use crate::store::{Count, CountQuery, Erased, Erasure, Page, PulseQuery, QueryError, Row};
use crate::tenant::DEFAULT_TENANT;

const TAKES: u8 = 0;
const STUCK: u8 = 1;
const REFUSES_ROWS: u8 = 2;
const REFUSES_BAD: u8 = 3;

static TENANT: LazyLock<Tenant> = LazyLock::new(|| Tenant::unlimited(DEFAULT_TENANT));

/// A memory store that can be told to hang, or to refuse every row or those of a service `bad`.
/// Each row is to be spread in another way.
#[derive(Debug)]
struct Scripted {
    inner: MemoryStore,
    mode: AtomicU8,
    shards: AtomicU16,
}

impl Sink for Scripted {
    fn write<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<Written, SinkError>> {
        Box::pin(async move {
            match self.mode.load(Ordering::SeqCst) {
                STUCK => std::future::pending().await,
                TAKES => self.inner.write(batch).await,
                mode => {
                    let message = "as told".to_owned();
                    let fault = |index| RowFault { index, code: "told", message: message.clone() };
                    let is_refused = |at: &usize| {
                        let row = batch.row(*at);
                        mode == REFUSES_ROWS || row.is_some_and(|row| row.entry.service == "bad")
                    };
                    let faults: Vec<_> = (0..batch.len()).filter(is_refused).map(fault).collect();
                    if faults.is_empty() {
                        return self.inner.write(batch).await;
                    }
                    Err(SinkError::RowFaults(faults))
                }
            }
        })
    }
}

impl Store for Scripted {
    fn shard_of(&self, tenant: &str, service: &str, event_time_ms: i64, bytes: usize) -> u16 {
        assert!(!tenant.is_empty() && !service.is_empty());
        assert!(event_time_ms > 0 && bytes > 0);
        self.shards.fetch_add(1, Ordering::SeqCst)
    }

    fn pulses<'a>(&'a self, query: &'a PulseQuery) -> BoxFuture<'a, Result<Page, QueryError>> {
        self.inner.pulses(query)
    }

    fn pulse<'a>(
        &'a self,
        tenant: &'a str,
        id: Uuid,
    ) -> BoxFuture<'a, Result<Option<Row>, QueryError>> {
        self.inner.pulse(tenant, id)
    }

    fn counts<'a>(
        &'a self,
        query: &'a CountQuery,
    ) -> BoxFuture<'a, Result<Vec<Count>, QueryError>> {
        self.inner.counts(query)
    }

    fn bar(&self, tenant: &str, until_us: Option<i64>) {
        self.inner.bar(tenant, until_us);
    }

    fn erase<'a>(
        &'a self,
        erasure: &'a Erasure,
        position: Option<&'a str>,
    ) -> BoxFuture<'a, anyhow::Result<Erased>> {
        self.inner.erase(erasure, position)
    }
}

fn started(directory: &Path, mode: u8) -> (Ingestor, Arc<Scripted>) {
    let limits = MemoryStoreLimits { rows_max: 100_000, bytes_max: 64 << 20 };
    let store = Arc::new(Scripted {
        inner: MemoryStore::new(limits),
        mode: AtomicU8::new(mode),
        shards: AtomicU16::new(7),
    });
    let ingestor = Ingestor::builder(directory)
        .store(Arc::clone(&store) as Arc<dyn Store>)
        .flush_interval(Duration::from_millis(5))
        // Short only where it must run out.
        .stored_timeout(Duration::from_millis(if mode == STUCK { 300 } else { 30_000 }))
        .log_bounds(LogBounds { budget_bytes: 64 << 20, segment_bytes: 1 << 20, free_bytes_min: 0 })
        .build()
        .expect("starts on an empty directory");
    (ingestor, store)
}

fn submission<'a>(body: &'a str, key: Option<&'a str>, ack: Ack) -> Submission<'a> {
    Submission {
        tenant: &TENANT,
        shape: Shape::Pulse,
        format: Format::Json,
        body: body.as_bytes(),
        ack: Some(ack),
        idempotency_key: key,
        trace: None,
        ids: true,
    }
}

fn codes(receipt: &Receipt) -> Vec<(usize, Code)> {
    receipt.errors.iter().map(|error| (error.index, error.reject.code)).collect()
}

#[tokio::test]
async fn what_was_pushed_is_stored_after_a_flush_and_survives_a_restart_before() {
    let directory = tempfile::tempdir().expect("a directory");
    let (ingestor, _) = started(directory.path(), STUCK);
    let pulses: Vec<_> = (0..100).map(|_| Pulse::new("checkout", "cart")).collect();
    let receipt = ingestor.push_batch(&pulses).await.expect("logged");
    assert_eq!((receipt.accepted, receipt.ack), (100, Ack::Durable));
    let id = receipt.ids[7].expect("every pulse has its id");
    ingestor.close().await.expect("closes with a stuck store");
    drop(ingestor);

    let (ingestor, store) = started(directory.path(), TAKES);
    ingestor.flush().await.expect("drains");
    assert_eq!(store.inner.len(), 100);
    assert!(store.pulse(DEFAULT_TENANT, id).await.expect("readable").is_some());
    assert!(ingestor.ledger().iter().all(SinkLedger::is_balanced));
    ingestor.close().await.expect("closes");
}

#[tokio::test]
async fn a_repeat_is_known_by_id_and_by_key_and_another_body_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let (ingestor, store) = started(directory.path(), TAKES);
    let named = r#"{"service":"s","event_id":"e-1"}"#;
    let (plain, other) = (r#"{"service":"s"}"#, r#"{"service":"t"}"#);
    type Case<'a> = (&'a str, Option<&'a str>, usize, usize, Option<Code>);
    let cases: [Case<'_>; 6] = [
        (named, None, 1, 0, None),
        (named, None, 0, 1, None),
        (plain, Some("k-1"), 1, 0, None),
        (plain, Some("k-1"), 0, 1, None),
        (other, Some("k-1"), 0, 0, Some(Code::KeyReused)),
        (named, Some("k-1"), 0, 0, Some(Code::KeyReused)),
    ];
    for level in [Ack::Memory, Ack::Durable, Ack::Stored] {
        for (body, key, accepted, duplicates, code) in cases {
            let body = body.replace("e-1", &format!("e-{}", level.as_str()));
            let key = key.map(|key| format!("{key}-{}", level.as_str()));
            let asked = submission(&body, key.as_deref(), level);
            let receipt = ingestor.submit(asked).await.expect("judged alone");
            let found = (receipt.accepted, receipt.duplicates, codes(&receipt));
            let code = code.map(|code| (0, code)).into_iter().collect();
            assert_eq!(found, (accepted, duplicates, code), "{body} {key:?} {level:?}");
        }
    }
    ingestor.flush().await.expect("drains");
    assert_eq!(store.inner.len(), 6);
    ingestor.close().await.expect("closes");
}

#[tokio::test]
async fn a_batch_answers_for_each_event_whether_named_or_not() {
    let directory = tempfile::tempdir().expect("a directory");
    let (ingestor, store) = started(directory.path(), TAKES);
    let body = r#"[{"service":"s","event_id":"a"},{"service":"s"},{"service":""},
        {"service":"s","event_id":"a"},{"service":"s","event_id":"b"}]"#;
    let receipt = ingestor.submit(submission(body, None, Ack::Stored)).await.expect("judged");
    assert_eq!((receipt.accepted, receipt.duplicates), (3, 1));
    assert_eq!(codes(&receipt), [(2, Code::EmptyService)]);
    assert_eq!(receipt.ids[0], receipt.ids[3]);
    assert_eq!(store.inner.len(), 3, "stored means stored");
    ingestor.close().await.expect("closes");
}

#[tokio::test]
async fn requests_that_share_a_second_key_meet_and_one_of_them_wins() {
    let directory = tempfile::tempdir().expect("a directory");
    let (ingestor, _) = started(directory.path(), TAKES);
    let bodies = [r#"{"service":"s","event_id":"1"}"#, r#"{"service":"s","event_id":"2"}"#];
    let begun = Instant::now();
    // On one thread: a request that spun instead of waiting would keep the other from ending.
    let [first, second] = bodies.map(|body| submission(body, Some("k"), Ack::Durable));
    let (first, second) = tokio::join!(ingestor.submit(first), ingestor.submit(second));
    assert_eq!(first.expect("the first").accepted, 1);
    assert_eq!(codes(&second.expect("judged")), [(0, Code::KeyReused)]);
    assert!(begun.elapsed() < Duration::from_secs(2), "it waited for the key, not for its time");
    ingestor.close().await.expect("closes");
}

#[tokio::test]
async fn stored_is_never_said_of_what_is_not() {
    let directory = tempfile::tempdir().expect("a directory");
    let (ingestor, store) = started(directory.path(), STUCK);
    let body = r#"{"service":"s","event_id":"late"}"#;
    let late = ingestor.submit(submission(body, None, Ack::Stored)).await;
    assert_eq!(late.expect_err("stuck").reject.code, Code::NotStoredInTime);
    let again = ingestor.submit(submission(body, None, Ack::Stored)).await.expect("judged");
    assert_eq!(codes(&again), [(0, Code::NotStoredInTime)]);
    ingestor.close().await.expect("closes");
    drop((ingestor, store));

    let (ingestor, _) = started(directory.path(), REFUSES_ROWS);
    let bad = r#"{"service":"s","event_id":"bad"}"#;
    let dead = ingestor.submit(submission(bad, None, Ack::Stored)).await.expect("judged");
    assert_eq!((dead.accepted, codes(&dead)), (0, vec![(0, Code::DeadLettered)]));
    let again = ingestor.submit(submission(bad, None, Ack::Stored)).await.expect("judged");
    assert_eq!(codes(&again), [(0, Code::DeadLettered)]);
    assert_eq!(ingestor.dead_letters(), 2);
    assert!(ingestor.ledger().iter().all(SinkLedger::is_balanced));
    ingestor.close().await.expect("closes");
}

#[tokio::test]
async fn a_stored_batch_tells_which_of_its_events_became_dead_letters() {
    let directory = tempfile::tempdir().expect("a directory");
    let (ingestor, store) = started(directory.path(), REFUSES_BAD);
    let body = r#"[{"service":"bad","event_id":"a"},{"service":"s"},{"service":""},
        {"service":"bad"},{"service":"s","event_id":"b"},{"service":"bad","event_id":"a"},
        {"service":"s"}]"#;
    let dead = Code::DeadLettered;
    let errors = vec![(0, dead), (2, Code::EmptyService), (3, dead), (5, dead)];
    let receipt = ingestor.submit(submission(body, None, Ack::Stored)).await.expect("judged");
    assert_eq!((receipt.accepted, receipt.duplicates), (3, 0));
    assert_eq!(codes(&receipt), errors);
    let has_id: Vec<_> = receipt.ids.iter().map(Option::is_some).collect();
    assert_eq!(has_id, [false, true, false, false, true, false, true]);
    assert_eq!(store.inner.len(), 3);

    let again = ingestor.submit(submission(body, None, Ack::Stored)).await.expect("judged");
    assert_eq!((again.accepted, again.duplicates, codes(&again)), (2, 1, errors));
    assert_eq!((store.inner.len(), ingestor.dead_letters()), (5, 3));
    ingestor.close().await.expect("closes");
}

#[tokio::test]
async fn a_client_that_goes_before_the_sync_leaves_its_key_with_the_pulse() {
    let directory = tempfile::tempdir().expect("a directory");
    let (ingestor, store) = started(directory.path(), TAKES);
    let mut gone = 0;
    for number in 0..50 {
        let body = format!(r#"{{"service":"s","event_id":"gone-{number}"}}"#);
        {
            let mut going = Box::pin(ingestor.submit(submission(&body, None, Ack::Durable)));
            // Polled once: the append is made, and the client goes. On a busy machine this thread
            // may rest in between, until all is done.
            gone += usize::from(futures_util::poll!(&mut going).is_pending());
        }
        let again = ingestor.submit(submission(&body, None, Ack::Durable)).await.expect("judged");
        assert_eq!(again.accepted + again.duplicates, 1);
    }
    assert!(gone > 0, "nobody went before the sync");
    ingestor.flush().await.expect("drains");
    assert_eq!(store.inner.len(), 50);
    ingestor.close().await.expect("closes");
}

/// Of each record in the log: id, shard and event time.
fn logged(ingestor: &Ingestor) -> Vec<(Uuid, u16, i64)> {
    let mut found = Vec::new();
    let mut reader = ingestor.parts.log.reader(0);
    while let Some(chunk) = reader.read(1 << 20).expect("readable") {
        let mut at = 0;
        while let Ok(frame) = crate::log::frame::Frame::read_proven(&chunk.bytes[at..]) {
            let one = |(_, record): (_, crate::log::frame::Record<'_>)| {
                (record.entry.id, record.entry.shard, record.entry.event_time_ms)
            };
            found.extend(frame.entries().map(one));
            at += frame.header().frame_bytes();
        }
    }
    found
}

#[tokio::test]
async fn the_shard_is_fixed_once_and_a_repeat_finds_it_again_after_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let (ingestor, _) = started(directory.path(), STUCK);
    let body = r#"[{"service":"s"},{"service":"s","event_id":"a"},{"service":"s"},
        {"service":"s","event_id":"b","idempotency_key":"k"}]"#;
    let receipt = ingestor.submit(submission(body, None, Ack::Durable)).await.expect("logged");
    let ids: Vec<_> = receipt.ids.iter().map(|id| id.expect("accepted")).collect();
    let first = logged(&ingestor);
    // The unnamed ones have a frame of their own.
    let shards = first.iter().map(|(id, shard, _)| (*id, *shard)).collect::<Vec<_>>();
    assert_eq!(shards, [(ids[0], 7), (ids[2], 9), (ids[1], 8), (ids[3], 10)]);

    let again = ingestor.submit(submission(body, None, Ack::Durable)).await.expect("logged");
    assert_eq!((again.accepted, again.duplicates), (2, 2));
    assert_eq!(logged(&ingestor).len(), 6, "a repeat is not logged");
    ingestor.close().await.expect("closes with a stuck store");
    drop(ingestor);

    let (ingestor, _) = started(directory.path(), STUCK);
    let keys = ingestor.parts.reservations.keys();
    for (id, shard, event_time_ms) in &first[2..] {
        let key = keys.of_id(DEFAULT_TENANT, *id);
        let fixed = ingestor.parts.reservations.find(key).await.expect("reserved");
        let found = (fixed.id, fixed.shard, fixed.event_time_ms);
        assert_eq!(found, (*id, *shard, *event_time_ms));
    }
    ingestor.close().await.expect("closes with a stuck store");
}

#[tokio::test]
async fn every_event_of_a_body_is_charged_to_its_tenant() {
    let directory = tempfile::tempdir().expect("a directory");
    let (_, store) = started(directory.path(), TAKES);
    let allowance = Allowance { per_minute: 60, burst: Some(5) };
    let limiter = Limiter::unlimited();
    let allowances = Allowances { pulses: allowance, ..Allowances::default() };
    limiter.configure([(DEFAULT_TENANT, allowances)]);
    let other = tempfile::tempdir().expect("a directory");
    let ingestor = Ingestor::builder(other.path())
        .store(store)
        .limiter(Arc::clone(&limiter))
        .build()
        .expect("starts on an empty directory");
    let left = || limiter.standing(DEFAULT_TENANT).and_then(|left| left.pulses).expect("a limit");
    let batch = r#"[{"service":"s"},{"service":"s","event_id":"e"},{"no":"service"}]"#;
    ingestor.submit(submission(batch, None, Ack::Durable)).await.expect("judged alone");
    assert_eq!(left().remaining, 2);
    ingestor.submit(submission(batch, None, Ack::Memory)).await.expect("what is owed is taken");
    assert_eq!(left().remaining, 0);
    let refusal = limiter.admit(DEFAULT_TENANT).expect_err("one is owed");
    assert_eq!(refusal.reject.code, Code::TooManyPulses);
    ingestor.close().await.expect("closes");
}

#[tokio::test]
async fn a_tenant_that_fills_the_log_is_refused_and_another_is_not() {
    let directory = tempfile::tempdir().expect("a directory");
    let (ingestor, _) = started(directory.path(), STUCK);
    let (hot, quiet) = (Tenant::unlimited("hot"), Tenant::unlimited("quiet"));
    let padding = "x".repeat(60_000);
    let body = format!(r#"{{"service":"s","payload":"{padding}"}}"#).repeat(16);
    let of = |tenant| Submission { tenant, ..submission(&body, None, Ack::Durable) };
    ingestor.submit(of(&quiet)).await.expect("there is room");
    let refusal = loop {
        if let Err(refusal) = ingestor.submit(of(&hot)).await {
            break refusal;
        }
    };
    assert_eq!(refusal.reject.code, Code::OverShare);
    let head = ingestor.admit(&hot, None, 1).expect_err("by its head already");
    assert_eq!(head.reject.code, Code::OverShare);
    ingestor.submit(of(&quiet)).await.expect("its share is free");
    assert!(ingestor.admit(&quiet, None, 1).is_ok());
    ingestor.close().await.expect("closes with a stuck store");
}
