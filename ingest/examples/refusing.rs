//! A server whose store refuses pulses of kind `refused` for as long as a file exists: what
//! becomes a dead letter, and what a replay does with it, can be seen with it. Takes the flags of
//! `pulsemesh-ingest`, and `--refuse-while FILE`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use pulsemesh_ingest::cli;
use pulsemesh_ingest::sink::dead_letter::SharedLetters;
use pulsemesh_ingest::sink::{
    Batch, LogId, Progress, RowFault, Sink, SinkError, SinkState, Written,
};
use pulsemesh_ingest::store::{
    Count, CountQuery, Erased, Erasure, Page, PulseQuery, QueryError, Row, Store,
};
use uuid::Uuid;

const FLAG: &str = "--refuse-while";

/// As in the binary: memory is compared between the two.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let mut arguments: Vec<OsString> = std::env::args_os().collect();
    let Some(at) = arguments.iter().position(|argument| argument == FLAG) else {
        return ExitCode::from(2);
    };
    let Some(file) = arguments.get(at + 1).map(PathBuf::from) else { return ExitCode::from(2) };
    arguments.drain(at..at + 2);
    cli::main_with(arguments, move |inner| Arc::new(Refusing { inner, file }))
}

/// A store that refuses some rows.
#[derive(Debug)]
struct Refusing {
    inner: Arc<dyn Store>,
    file: PathBuf,
}

impl Sink for Refusing {
    fn write<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<Written, SinkError>> {
        Box::pin(async move {
            if self.file.exists() {
                let refused =
                    batch.rows().enumerate().filter(|(_, row)| row.entry.kind == "refused");
                let fault = |(index, _)| RowFault {
                    index,
                    code: "refused",
                    message: "the kind is not taken".to_owned(),
                };
                let faults: Vec<_> = refused.map(fault).collect();
                if !faults.is_empty() {
                    return Err(SinkError::RowFaults(faults));
                }
            }
            self.inner.write(batch).await
        })
    }

    fn progress(&self, log: LogId) -> Option<Progress> {
        self.inner.progress(log)
    }

    fn sync(&self) -> BoxFuture<'_, anyhow::Result<()>> {
        self.inner.sync()
    }

    fn close(&self) -> BoxFuture<'_, anyhow::Result<()>> {
        self.inner.close()
    }

    fn maintain(&self) -> BoxFuture<'_, anyhow::Result<()>> {
        self.inner.maintain()
    }

    fn letters(&self) -> Option<Arc<dyn SharedLetters>> {
        self.inner.letters()
    }

    fn state(&self) -> SinkState {
        self.inner.state()
    }
}

impl Store for Refusing {
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
