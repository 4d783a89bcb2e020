//! A store behind a gate: each write waits at it, or is turned back. All else goes straight to the
//! store within. For trying out what a slow or faulty store does.

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use uuid::Uuid;

use crate::sink::{Batch, LogId, Progress, Sink, SinkError, SinkState, Written};

use super::{Count, CountQuery, Page, PulseQuery, QueryError, Row, Store};

/// Lets a batch through, after whatever time, or says how its write fails.
pub type Gate = Box<dyn Fn(&Batch) -> BoxFuture<'static, Result<(), SinkError>> + Send + Sync>;

/// A store behind a gate.
pub struct Gated {
    inner: Arc<dyn Store>,
    gate: Gate,
}

impl Gated {
    /// Puts `gate` before the writes of `inner`.
    pub fn new(inner: Arc<dyn Store>, gate: Gate) -> Self {
        Self { inner, gate }
    }
}

impl fmt::Debug for Gated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gated").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl Sink for Gated {
    fn write<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<Written, SinkError>> {
        Box::pin(async move {
            (self.gate)(batch).await?;
            self.inner.write(batch).await
        })
    }

    fn progress(&self, log: LogId) -> Option<Progress> {
        self.inner.progress(log)
    }

    fn sync(&self) -> BoxFuture<'_, anyhow::Result<()>> {
        self.inner.sync()
    }

    fn maintain(&self) -> BoxFuture<'_, anyhow::Result<()>> {
        self.inner.maintain()
    }

    fn state(&self) -> SinkState {
        self.inner.state()
    }
}

impl Store for Gated {
    fn shard_of(&self, tenant: &str, service: &str, event_time_ms: i64, bytes: usize) -> u16 {
        self.inner.shard_of(tenant, service, event_time_ms, bytes)
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
}
