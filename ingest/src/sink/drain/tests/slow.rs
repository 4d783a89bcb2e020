//! A sink that works, and needs longer for a batch than one write may take.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::rig::{LONG, ScriptedSink, frames, settings};
use crate::fs::OsFs;
use crate::log::frame::Frame;
use crate::metrics::unregistered;
use crate::sink::buffer::MemoryBuffer;
use crate::sink::dead_letter::DeadLetters;
use crate::sink::drain::board::{Board, Place};
use crate::sink::drain::job::{Ends, Job};
use crate::sink::drain::sink_drain::SinkDrain;
use crate::sink::drain::{Need, SinkRegistration};
use crate::sink::source::{FrameSource, Source};
use crate::sink::{Batch, RowRef, Sink, SinkError, Written};

const WRITE_TIMEOUT: Duration = Duration::from_millis(200);

/// Takes this long for each row, and begins anew with each write.
#[derive(Debug)]
struct SlowSink {
    row_time: Duration,
    inner: Arc<ScriptedSink>,
}

impl Sink for SlowSink {
    fn write<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<Written, SinkError>> {
        async move {
            tokio::time::sleep(self.row_time * batch.len() as u32).await;
            self.inner.write(batch).await
        }
        .boxed()
    }
}

/// A batch of so many pulses on its way into a sink.
fn job(dir: &Path, sink: SlowSink, pulses: u128) -> Job {
    let mut settings = settings();
    settings.retry.write_timeout = WRITE_TIMEOUT;
    let letters = DeadLetters::open(Arc::new(OsFs), dir.join("letters"), 1 << 20);
    let letters = Arc::new(letters.expect("no letters yet").0);
    let sink =
        SinkRegistration { name: "main".to_owned(), sink: Arc::new(sink), need: Need::Required };
    let drain = SinkDrain::new(0, sink, &settings, letters, &unregistered().sinks);
    let buffer = Arc::new(MemoryBuffer::new(1_000_000, 256 << 20));
    buffer.attach(1, 1, 0);
    buffer.append(&frames("a", 0..pulses), pulses as u64).expect("room");
    let batch = batch_of(&*buffer);
    assert_eq!(batch.len() as u128, pulses);
    let board = Board::new(Source::Memory, buffer, vec![Place::default()], 1);
    let (drain, board) = (Arc::new(drain), Arc::new(board));
    Job { drain, ends: Ends::Board(board), batch, _leases: Vec::new(), parts: Vec::new() }
}

/// All that a source holds.
fn batch_of(source: &dyn FrameSource) -> Batch {
    let (mut reader, mut chunks, mut rows) = (source.reader(0), Vec::new(), Vec::new());
    while let Some(read) = reader.read(usize::MAX).expect("readable") {
        let mut at = 0;
        while at < read.bytes.len() {
            let frame = Frame::read(&read.bytes[at..]).expect("a sound frame");
            let chunk = chunks.len() as u32;
            rows.extend(frame.entries().map(|(entry, record)| {
                let (frame, entry) = (at as u32, entry as u32);
                RowRef { seq: record.seq, chunk, frame, entry }
            }));
            at += frame.header().frame_bytes();
        }
        chunks.push(read.bytes);
    }
    Batch::new(chunks.into(), rows, None, 0, 0)
}

async fn run(job: &Job) {
    tokio::time::timeout(LONG, job.run()).await.expect("the job gets on");
}

#[tokio::test]
async fn a_batch_that_takes_longer_than_a_write_may_is_written_in_halves() {
    let dir = tempfile::tempdir().expect("a directory");
    let inner = ScriptedSink::taking_all();
    let row_time = WRITE_TIMEOUT / 40;
    let job = job(dir.path(), SlowSink { row_time, inner: Arc::clone(&inner) }, 100);
    run(&job).await;
    {
        let held = inner.held();
        assert_eq!(held.rows.len(), 100);
        // A busy machine may make it smaller parts than quarters.
        assert!(held.batches.len() >= 4, "{:?}", held.batches);
    }
    assert_eq!(job.drain.letters.iter().count(), 0, "no row is at fault");
}

#[tokio::test]
async fn a_batch_whose_sink_says_that_it_is_away_stays_whole() {
    let dir = tempfile::tempdir().expect("a directory");
    let left = AtomicUsize::new(3);
    let inner = ScriptedSink::new(move |_| {
        let away = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        away.is_ok().then(|| SinkError::Unavailable(anyhow::anyhow!("connection refused")))
    });
    let sink = SlowSink { row_time: Duration::ZERO, inner: Arc::clone(&inner) };
    run(&job(dir.path(), sink, 100)).await;
    let held = inner.held();
    assert_eq!((held.attempts, held.batches.len(), held.rows.len()), (4, 1, 100));
}
