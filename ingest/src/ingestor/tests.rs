//! The whole path of a pulse, on real files, into sinks that do as they are told.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;

use super::*;
use crate::sink::{Batch, RowFault, SinkError};
use crate::store::gated::Gated;
use crate::store::memory::{MemoryStore, MemoryStoreLimits};

const TAKES: u8 = 0;
const STUCK: u8 = 1;
const REFUSES_ROWS: u8 = 2;

/// What happens to a batch before a store in memory has it.
fn gate(mode: u8, batch: &Batch) -> BoxFuture<'static, Result<(), SinkError>> {
    match mode {
        STUCK => Box::pin(std::future::pending()),
        REFUSES_ROWS => {
            let message = "as told".to_owned();
            let fault = |index| RowFault { index, code: "told", message: message.clone() };
            let faults = (0..batch.len()).map(fault).collect();
            Box::pin(async { Err(SinkError::RowFaults(faults)) })
        }
        _ => Box::pin(async { Ok(()) }),
    }
}

fn started(directory: &Path, mode: u8) -> (Ingestor, Arc<MemoryStore>) {
    let limits = MemoryStoreLimits { rows_max: 100_000, bytes_max: 64 << 20 };
    let store = Arc::new(MemoryStore::new(limits));
    let gated =
        Gated::new(Arc::clone(&store) as Arc<dyn Store>, Box::new(move |batch| gate(mode, batch)));
    let ingestor = Ingestor::builder(directory)
        .store(Arc::new(gated))
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
        tenant: DEFAULT_TENANT,
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
    assert_eq!(store.len(), 100);
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
    assert_eq!(store.len(), 6);
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
    assert_eq!(store.len(), 3, "stored means stored");
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
    let dead = ingestor.submit(submission(bad, None, Ack::Stored)).await;
    assert_eq!(dead.expect_err("refused").reject.code, Code::DeadLettered);
    let again = ingestor.submit(submission(bad, None, Ack::Stored)).await.expect("judged");
    assert_eq!(codes(&again), [(0, Code::DeadLettered)]);
    assert_eq!(ingestor.dead_letters(), 2);
    assert!(ingestor.ledger().iter().all(SinkLedger::is_balanced));
    ingestor.close().await.expect("closes");
}

#[tokio::test]
async fn a_client_that_goes_before_the_sync_leaves_its_key_with_the_pulse() {
    let directory = tempfile::tempdir().expect("a directory");
    let (ingestor, store) = started(directory.path(), TAKES);
    for number in 0..50 {
        let body = format!(r#"{{"service":"s","event_id":"gone-{number}"}}"#);
        {
            let mut going = Box::pin(ingestor.submit(submission(&body, None, Ack::Durable)));
            // Polled once: the append is made, and the client goes.
            assert!(futures_util::poll!(&mut going).is_pending() || number > 0);
        }
        let again = ingestor.submit(submission(&body, None, Ack::Durable)).await.expect("judged");
        assert_eq!(again.accepted + again.duplicates, 1);
    }
    ingestor.flush().await.expect("drains");
    assert_eq!(store.len(), 50);
    ingestor.close().await.expect("closes");
}
