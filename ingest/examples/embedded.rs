//! PulseMesh as a library: an ingestor with its log and a store of one's own.
//! Run it with `cargo run -p pulsemesh-ingest --example embedded`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::BoxFuture;
use pulsemesh_ingest::ingestor::Ingestor;
use pulsemesh_ingest::pulse::Pulse;
use pulsemesh_ingest::sink::{Batch, Sink, SinkError, Written};
use pulsemesh_ingest::submission::Ack;

/// A sink that counts. A real one would write `batch` to a database, and say
/// `SinkError::Unavailable` while that is away: the same batch then comes again.
#[derive(Debug, Default)]
struct Counter(AtomicU64);

impl Sink for Counter {
    fn write<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<Written, SinkError>> {
        Box::pin(async move {
            for record in batch.rows() {
                assert!(!record.entry.service.is_empty());
            }
            let rows = batch.len() as u64;
            self.0.fetch_add(rows, Ordering::Relaxed);
            Ok(Written { rows, expired: 0 })
        })
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let counter = Arc::new(Counter::default());
    let ingestor = Ingestor::builder(directory.path())
        .required_sink("counter", Arc::clone(&counter) as Arc<dyn Sink>)
        .ack(Ack::Durable)
        .batch_size(1_000)
        .build()?;

    // Returns when the pulse is on disk.
    let receipt = ingestor.push(&Pulse::new("checkout", "payment")).await?;
    assert_eq!((receipt.ack, receipt.accepted), (Ack::Durable, 1));

    let pulses: Vec<_> = (0..500)
        .map(|number| Pulse { value: Some(f64::from(number)), ..Pulse::new("checkout", "cart") })
        .collect();
    ingestor.push_batch(&pulses).await?;

    // Returns when every sink has taken everything.
    ingestor.flush().await?;
    assert_eq!(counter.0.load(Ordering::Relaxed), 501);
    ingestor.close().await?;
    Ok(())
}
