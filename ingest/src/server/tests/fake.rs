//! An intake and a store that do as the request tells them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use uuid::Uuid;

use crate::code::Code;
use crate::pulse;
use crate::sink::replay::Replays;
use crate::sink::{Batch, Sink, SinkError, Written};
use crate::store::{
    Count, CountQuery, Erased, Erasure, Page, Position, PulseQuery, QueryError, Row, Store,
};
use crate::submission::{Ack, Intake, Receipt, Refusal, Submission};
use crate::tenant::Tenant;

/// Declared length that the fake admission refuses.
pub(super) const REFUSED_BYTES: u64 = 7_777;
/// Rows that the fake store holds of service `many`.
pub(super) const ROWS: usize = 250;

/// Obeys the body: `stall` never answers, `refuse` is refused, `defect` panics, `single` is one
/// pulse; all else is a batch of one.
#[derive(Debug, Default)]
pub(super) struct FakeIntake {
    /// What was submitted, in the order of arrival.
    pub(super) seen: Mutex<Vec<String>>,
    /// Whose it was.
    pub(super) tenants: Mutex<Vec<String>>,
    /// Requests whose head was read and let in.
    pub(super) admitted: AtomicUsize,
    /// Submissions whose wait was begun and not ended.
    pub(super) waiting: Arc<AtomicUsize>,
}

struct Waiting(Arc<AtomicUsize>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Intake for FakeIntake {
    fn admit(&self, _: &Tenant, _: Option<Ack>, bytes: u64) -> Result<(), Refusal> {
        if bytes == REFUSED_BYTES {
            return Err(Refusal::later(Code::LogFull, Duration::from_millis(2_500)));
        }
        self.admitted.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    async fn submit(&self, submission: Submission<'_>) -> Result<Receipt, Refusal> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let _waiting = Waiting(Arc::clone(&self.waiting));
        let seen = format!(
            "{:?} {:?} {} key={:?} trace={} ack={:?}",
            submission.shape,
            submission.format,
            submission.body.len(),
            submission.idempotency_key,
            submission.trace.is_some(),
            submission.ack
        );
        self.seen.lock().expect("seen").push(seen);
        self.tenants.lock().expect("tenants").push(submission.tenant.name.to_string());
        match submission.body {
            b"stall" => std::future::pending().await,
            b"refuse" => return Err(Refusal::later(Code::BufferFull, Duration::from_secs(3))),
            b"defect" => unreachable!("told to"),
            // Some turns of the runtime, as a group commit takes.
            _ => tokio::task::yield_now().await,
        }
        Ok(Receipt {
            ack: submission.ack.unwrap_or(Ack::Durable),
            accepted: 1,
            duplicates: 0,
            errors: Vec::new(),
            ids: vec![Some(Uuid::from_u128(7))],
            single: submission.body.starts_with(b"single"),
        })
    }

    async fn id_of_key(&self, _: &str, key: &str) -> Option<Uuid> {
        (key == "known").then(|| Uuid::from_u128(1))
    }

    fn store(&self) -> Option<Arc<dyn Store>> {
        Some(Arc::new(FakeStore))
    }

    fn replays(&self) -> Option<Replays> {
        None
    }
}

/// Has `ROWS` rows of service `many`; `stall` never answers, `down` is down.
#[derive(Debug)]
struct FakeStore;

fn row(tenant: &str, number: usize) -> Row {
    Row {
        id: Uuid::from_u128(number as u128),
        tenant: tenant.into(),
        service: "many".into(),
        kind: "request".into(),
        event_time_ms: number as i64,
        received_at_us: 0,
        latency_ms: None,
        status: None,
        value: None,
        user: None,
        usage: None,
        metadata: Vec::new(),
        payload: None,
    }
}

impl Sink for FakeStore {
    fn write<'a>(&'a self, _: &'a Batch) -> BoxFuture<'a, Result<Written, SinkError>> {
        Box::pin(async { Ok(Written::default()) })
    }
}

impl Store for FakeStore {
    fn pulses<'a>(&'a self, query: &'a PulseQuery) -> BoxFuture<'a, Result<Page, QueryError>> {
        Box::pin(async {
            match query.service.as_str() {
                "stall" => std::future::pending().await,
                "down" => return Err(QueryError::Unavailable(anyhow::anyhow!("told to"))),
                "broken" => return Err(QueryError::Failed(anyhow::anyhow!("told to"))),
                _ => {}
            }
            let end = query.after.map_or(ROWS, |after| after.event_time_ms as usize);
            let rows: Vec<Row> =
                (0..end).rev().take(query.limit).map(|number| row(&query.tenant, number)).collect();
            let last = rows.last().filter(|row| row.event_time_ms > 0);
            let next = last.map(|row| Position { event_time_ms: row.event_time_ms, id: row.id });
            Ok(Page { rows, next })
        })
    }

    fn pulse<'a>(
        &'a self,
        tenant: &'a str,
        id: Uuid,
    ) -> BoxFuture<'a, Result<Option<Row>, QueryError>> {
        Box::pin(async move {
            let known = [
                Uuid::from_u128(1),
                pulse::id_from_text(tenant, "order/1"),
                pulse::id_from_key(tenant, "old"),
            ];
            Ok(known.contains(&id).then(|| Row { id, ..row(tenant, 1) }))
        })
    }

    fn counts<'a>(
        &'a self,
        query: &'a CountQuery,
    ) -> BoxFuture<'a, Result<Vec<Count>, QueryError>> {
        Box::pin(async {
            let kind = "request".to_owned();
            Ok(vec![Count { minute_ms: query.from_ms, kind, pulses: 3 }])
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
