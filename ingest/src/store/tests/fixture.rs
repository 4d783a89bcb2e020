//! Rows, batches and stores for tests.

use std::future::Future;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::{Builder, Runtime};
use uuid::Uuid;

use crate::log::frame::{Entry, Envelope, Frame, FrameBuilder, seal};
use crate::pulse::Shape;
use crate::retention::{ClassNumber, RetentionClasses};
use crate::sink::{Batch, LogId, RowRef, Sink, Written};
use crate::store::embedded::{EmbeddedSettings, EmbeddedStore, RootLimits};
use crate::store::{Count, CountQuery, Page, PulseQuery, Row, Store};

/// Noon of some day, in milliseconds since 1970.
pub(crate) const NOW_MS: i64 = 1_700_049_600_000;
pub(crate) const HOUR_MS: i64 = 3_600_000;
pub(crate) const RETENTION: Duration = Duration::from_secs(24 * 3600);

/// The classes of stores in tests, with their hours, beside the default one of 24.
pub(crate) const CLASSES: [(&str, u64); 2] = [("short", 6), ("long", 1_000)];

pub(crate) fn classes() -> RetentionClasses {
    let class = |(name, hours): (&str, u64)| (name.to_owned(), Duration::from_secs(hours * 3600));
    RetentionClasses::new(CLASSES.map(class)).expect("sound classes")
}

/// A row to be written.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    pub(crate) tenant: String,
    pub(crate) service: String,
    pub(crate) kind: String,
    pub(crate) id: Uuid,
    pub(crate) event_time_ms: i64,
    pub(crate) received_at_us: i64,
    pub(crate) raw: Vec<u8>,
    pub(crate) class: ClassNumber,
}

impl Spec {
    /// A row of tenant `default` and service `checkout`, with a server's id.
    pub(crate) fn new(number: u64, received_ms: i64) -> Self {
        Self {
            tenant: "default".into(),
            service: "checkout".into(),
            kind: "pulse".into(),
            id: v7(received_ms, number),
            event_time_ms: received_ms,
            received_at_us: received_ms * 1000,
            raw: format!("{{\"service\":\"checkout\",\"latency_ms\":{number}}}").into_bytes(),
            class: ClassNumber::DEFAULT,
        }
    }

    /// The row as a query gives it back.
    pub(crate) fn row(&self) -> Row {
        let rows = TestLog::new(std::slice::from_ref(self));
        let batch = rows.batch(None, 0..1);
        Row::from_record(&batch.row(0).expect("one row")).expect("an event")
    }
}

/// An id that tells no time, as it is made of a client's key.
pub(crate) fn v5(number: u64) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, &number.to_le_bytes())
}

/// A server's id of that time.
pub(crate) fn v7(time_ms: i64, random: u64) -> Uuid {
    let random = u128::from(random.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let bits = (time_ms as u128) << 80 | random << 3;
    uuid::Builder::from_u128(bits).with_version(uuid::Version::SortRand).into_uuid()
}

/// Rows as a log holds them, numbered from 0.
#[derive(Debug, Clone)]
pub(crate) struct TestLog {
    pub(crate) id: LogId,
    chunk: Bytes,
    refs: Vec<RowRef>,
}

impl TestLog {
    pub(crate) fn new(specs: &[Spec]) -> Self {
        Self::numbered(specs, 0)
    }

    pub(crate) fn numbered(specs: &[Spec], first_seq: u64) -> Self {
        let mut frames = Vec::new();
        let same =
            |a: &Spec, b: &Spec| a.tenant == b.tenant && a.received_at_us == b.received_at_us;
        for specs in specs.chunk_by(same) {
            put_frames(&mut frames, specs);
        }
        seal(&mut frames, first_seq);
        let refs = refs_of(&frames);
        Self { id: LogId(Uuid::from_u128(77)), chunk: frames.into(), refs }
    }

    /// The rows of these indexes, as of the log or of memory only.
    pub(crate) fn batch(
        &self,
        log: Option<LogId>,
        indexes: impl IntoIterator<Item = usize>,
    ) -> Batch {
        let refs: Vec<_> = indexes.into_iter().map(|index| self.refs[index]).collect();
        Batch::new(Arc::from([self.chunk.clone()]), refs, log, 0, self.chunk.len())
    }

    pub(crate) fn all(&self) -> Batch {
        self.batch(Some(self.id), 0..self.refs.len())
    }
}

fn put_frames(frames: &mut Vec<u8>, specs: &[Spec]) {
    let mut rest = specs.iter().peekable();
    while let Some(first) = rest.peek() {
        let envelope = Envelope {
            tenant: &first.tenant,
            shape: Shape::Pulse,
            received_at_us: first.received_at_us,
            trace: None,
        };
        let mut frame = FrameBuilder::new(frames, &envelope);
        while !frame.is_full()
            && let Some(spec) = rest.next()
        {
            frame.push(&Entry {
                id: spec.id,
                event_time_ms: spec.event_time_ms,
                shard: spec.class.with_spread(0),
                service: &spec.service,
                kind: &spec.kind,
                key: None,
                body_hash: None,
                refused: None,
                raw: &spec.raw,
            });
        }
        frame.finish();
    }
}

fn refs_of(frames: &[u8]) -> Vec<RowRef> {
    let mut refs = Vec::new();
    let mut at = 0;
    while at < frames.len() {
        let frame = Frame::read(&frames[at..]).expect("a sound frame");
        for (entry, record) in frame.entries() {
            let (frame, entry) = (at as u32, entry as u32);
            refs.push(RowRef { seq: record.seq, chunk: 0, frame, entry });
        }
        at += frame.header().frame_bytes();
    }
    refs
}

/// An embedded store and the clock that it goes by.
pub(crate) struct Embedded {
    pub(crate) store: Arc<EmbeddedStore>,
    pub(crate) now_ms: Arc<AtomicI64>,
}

impl Embedded {
    pub(crate) fn open(directory: &Path, now_ms: i64) -> Self {
        let now_ms = Arc::new(AtomicI64::new(now_ms));
        let store = EmbeddedStore::open(directory, settings(&now_ms)).expect("an embedded store");
        Self { store, now_ms }
    }

    pub(crate) fn set_now(&self, now_ms: i64) {
        self.now_ms.store(now_ms, Ordering::SeqCst);
    }
}

pub(crate) fn settings(now_ms: &Arc<AtomicI64>) -> EmbeddedSettings {
    let now_ms = Arc::clone(now_ms);
    EmbeddedSettings {
        clock: Arc::new(move || now_ms.load(Ordering::SeqCst) * 1000),
        free_bytes_min: 0,
        classes: classes(),
        // Ids that tell no time are moved on with every few batches.
        root_limits: RootLimits { ids: 60, pieces: 4 },
        ..EmbeddedSettings::new(RETENTION)
    }
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(1).enable_time().build().expect("a runtime")
    });
    RUNTIME.block_on(future)
}

pub(crate) fn write(store: &dyn Store, batch: &Batch) -> Written {
    block_on(Sink::write(store, batch)).expect("a write that succeeds")
}

/// All rows of a service in `[from_ms, to_ms)`, page by page.
pub(crate) fn pages(store: &dyn Store, query: &PulseQuery) -> Vec<Row> {
    let mut query = query.clone();
    let mut rows = Vec::new();
    loop {
        let Page { rows: page, next } =
            block_on(store.pulses(&query)).expect("a page that is read");
        assert!(page.len() <= query.limit && (next.is_none() || !page.is_empty()));
        rows.extend(page);
        match next {
            Some(next) => query.after = Some(next),
            None => return rows,
        }
    }
}

pub(crate) fn query(service: &str, limit: usize) -> PulseQuery {
    PulseQuery {
        tenant: "default".into(),
        service: service.into(),
        from_ms: i64::MIN,
        to_ms: i64::MAX,
        limit,
        after: None,
    }
}

pub(crate) fn row_by_id(store: &dyn Store, tenant: &str, id: Uuid) -> Option<Row> {
    block_on(store.pulse(tenant, id)).expect("a lookup that is answered")
}

pub(crate) fn counts(store: &dyn Store, tenant: &str) -> Vec<Count> {
    let query = CountQuery { tenant: tenant.into(), from_ms: i64::MIN, to_ms: i64::MAX };
    block_on(store.counts(&query)).expect("counts that are answered")
}

pub(crate) fn total(counts: &[Count]) -> u64 {
    counts.iter().map(|count| count.pulses).sum()
}
