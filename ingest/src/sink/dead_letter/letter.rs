//! One dead letter and its bytes: what is said about the pulse, and the pulse as a frame, so that
//! it can go through the log again as it was.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::log::frame::{Frame, FrameBuilder, Record, seal};
use crate::sink::progress::LogId;

use super::head;

/// Attempts that a letter tells of: the last ones.
pub(crate) const HISTORY_MAX: usize = 8;
/// Longest message that is kept; some stores answer with the whole row.
pub(crate) const MESSAGE_BYTES_MAX: usize = 1024;

/// A pulse that a sink can never take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Whose it is.
    pub tenant: String,
    /// Which sink did not take it.
    pub sink: String,
    /// The log or memory buffer that its number belongs to.
    pub log: LogId,
    /// Whether it was held in memory only.
    pub in_memory: bool,
    /// Its number there.
    pub seq: u64,
    /// A stable word for the reason.
    pub code: String,
    /// Where on its way it failed, such as `write`.
    pub stage: String,
    /// The reason for a person.
    pub message: String,
    /// How often a batch with it was tried.
    pub attempts: u32,
    /// When it was first tried, in microseconds since 1970 in UTC.
    pub first_at_us: i64,
    /// When it was last tried, in microseconds since 1970 in UTC.
    pub last_at_us: i64,
    /// The last attempts, oldest first.
    pub history: Vec<Attempt>,
    /// The pulse as a frame of its own.
    pub frame: Vec<u8>,
}

/// One attempt to write a pulse.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// When, in microseconds since 1970 in UTC.
    pub at_us: i64,
    /// How many rows were tried together.
    pub rows: usize,
    /// What the sink answered.
    pub message: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct About {
    tenant: String,
    sink: String,
    log: String,
    in_memory: bool,
    seq: u64,
    code: String,
    stage: String,
    message: String,
    attempts: u32,
    first_at_us: i64,
    last_at_us: i64,
    history: Vec<Attempt>,
}

impl Letter {
    /// The pulse: id, shape, times and original bytes.
    pub fn record(&self) -> Option<Record<'_>> {
        let frame = Frame::read_proven(&self.frame).ok()?;
        frame.entries().next().map(|(_, record)| record)
    }

    /// A frame that holds one pulse under its number.
    pub(crate) fn frame_of(record: &Record<'_>) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(record.entry.raw.len() + 256);
        let mut frame = FrameBuilder::new(&mut bytes, &record.envelope);
        frame.push(&record.entry);
        frame.finish();
        seal(&mut bytes, record.seq);
        bytes
    }

    /// Its service and kind, where its pulse can be read.
    pub fn names(&self) -> Option<(&str, &str)> {
        self.record().map(|record| (record.entry.service, record.entry.kind))
    }

    pub(super) fn encode(&self, bytes: &mut Vec<u8>) {
        let at = bytes.len();
        bytes.extend_from_slice(&[0; 4]);
        head::put(bytes, self);
        let length = (bytes.len() - at - 4) as u32;
        bytes[at..at + 4].copy_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&self.frame);
    }

    /// All that is known of it but its pulse, as a store keeps it.
    pub(crate) fn about_json(&self) -> String {
        let about = About {
            tenant: self.tenant.clone(),
            sink: self.sink.clone(),
            log: self.log.to_string(),
            in_memory: self.in_memory,
            seq: self.seq,
            code: self.code.clone(),
            stage: self.stage.clone(),
            message: self.message.clone(),
            attempts: self.attempts,
            first_at_us: self.first_at_us,
            last_at_us: self.last_at_us,
            history: self.history.clone(),
        };
        // Nothing in it has a key that is no text, which alone can fail.
        serde_json::to_string(&about).unwrap_or_default()
    }

    pub(super) fn decode(body: &[u8]) -> Option<Self> {
        let (about, frame) = parts(body)?;
        if about.first() == Some(&b'{') {
            return Self::from_parts(about, frame.to_vec());
        }
        Some(Self { frame: frame.to_vec(), ..head::read_whole(about)? })
    }

    /// The letter of what is known of it and its pulse.
    pub(crate) fn from_parts(about: &[u8], frame: Vec<u8>) -> Option<Self> {
        let about: About = serde_json::from_slice(about).ok()?;
        Some(Self {
            tenant: about.tenant,
            sink: about.sink,
            log: LogId(Uuid::try_parse(&about.log).ok()?),
            in_memory: about.in_memory,
            seq: about.seq,
            code: about.code,
            stage: about.stage,
            message: about.message,
            attempts: about.attempts,
            first_at_us: about.first_at_us,
            last_at_us: about.last_at_us,
            history: about.history,
            frame,
        })
    }
}

/// The two parts of a letter's body: what is said about the pulse, and the pulse.
pub(super) fn parts(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = body.split_first_chunk()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

/// A message, cut to what is kept of it.
pub(crate) fn shortened(message: &str, bytes_max: usize) -> String {
    message[..message.floor_char_boundary(bytes_max)].to_owned()
}
