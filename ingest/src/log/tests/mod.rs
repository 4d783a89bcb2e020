//! The log as its users and its disk see it.

mod damage;
mod group;
mod live;
mod refusal;
mod tool;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

use crate::fs::fault::SimFs;
use crate::metrics::{self, LogMetrics};
use crate::pulse::Shape;

use super::chain::Chain;
use super::frame::{Entry, Envelope, Frame, FrameBuilder};
use super::reader::LogReader;
use super::segment::{Kind, Name};
use super::writer::Writer;
use super::{LogSettings, open_core};

const DIRECTORY: &str = "/data/log";

pub(super) fn settings(segment_bytes: u64) -> LogSettings {
    LogSettings {
        dir: PathBuf::from(DIRECTORY),
        budget_bytes: 1 << 30,
        segment_bytes,
        free_bytes_min: 0,
    }
}

pub(super) fn no_metrics() -> LogMetrics {
    metrics::unregistered().log.clone()
}

/// Appends a frame that holds pulses of these ids.
pub(super) fn put_frame(frames: &mut Vec<u8>, ids: impl IntoIterator<Item = u128>, raw: &[u8]) {
    let envelope =
        Envelope { tenant: "default", shape: Shape::Pulse, received_at_us: 1, trace: None };
    let mut frame = FrameBuilder::new(frames, &envelope);
    for id in ids {
        frame.push(&Entry {
            id: Uuid::from_u128(id),
            event_time_ms: 2,
            shard: 0,
            service: "checkout",
            kind: "pulse",
            key: None,
            body_hash: None,
            refused: None,
            raw,
        });
    }
    frame.finish();
}

pub(super) fn frame(ids: impl IntoIterator<Item = u128>) -> Vec<u8> {
    let mut frames = Vec::new();
    put_frame(&mut frames, ids, br#"{"service":"checkout"}"#);
    frames
}

/// Numbers and ids in consecutive frames.
pub(super) fn pulses(bytes: &[u8]) -> Vec<(u64, u128)> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let frame = Frame::read(&bytes[at..]).expect("chunks hold sound frames");
        found.extend(frame.entries().map(|(_, record)| (record.seq, record.entry.id.as_u128())));
        at += frame.header().frame_bytes();
    }
    found
}

/// All that can be read from `seq` on, and how many numbers can't.
fn read_all(chain: &Arc<Chain>, seq: u64) -> (Vec<(u64, u128)>, u64) {
    let mut reader = LogReader::new(Arc::clone(chain), seq);
    let (mut found, mut damaged) = (Vec::new(), 0);
    while let Some(chunk) = reader.read(2000).expect("no faults") {
        damaged += chunk.damaged;
        found.extend(pulses(&chunk.bytes));
    }
    (found, damaged)
}

fn open(fs: &SimFs, segment_bytes: u64) -> (Arc<Chain>, Writer) {
    let (chain, mut writer) =
        open_core(&settings(segment_bytes), Arc::new(fs.clone()), no_metrics()).expect("opens");
    writer.check();
    (chain, writer)
}

/// Appends groups of one pulse each; ids are the numbers.
fn fill(writer: &mut Writer, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let done = writer.append(&mut frame([u128::from(number)]));
        assert_eq!(done, Ok(number));
        writer.tidy();
    }
}

fn segments(fs: &SimFs) -> Vec<Name> {
    use crate::fs::Fs;
    let names = fs.list(Path::new(DIRECTORY)).expect("no faults");
    names.iter().filter_map(|name| Name::parse(name)).collect()
}

fn path(name: Name) -> PathBuf {
    Path::new(DIRECTORY).join(name.to_string())
}

fn of_kind(fs: &SimFs, kind: Kind) -> usize {
    segments(fs).iter().filter(|name| name.kind == kind).count()
}
