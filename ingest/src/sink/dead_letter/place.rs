//! Where a letter lies, and the id that says so. Pure.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::{Builder, Uuid};
use xxhash_rust::xxh3::Xxh3;

use super::LogId;
use super::letter::Letter;

/// Bits of an offset in an id: a segment is never longer than it can be read.
const OFFSET_BITS: u32 = 28;
/// Bits of a segment's number in an id.
const SEGMENT_BITS: u32 = 34;

/// Where a letter lies: its segment, and the offset there that it was first written at. Later
/// letters have greater ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LetterPlace {
    /// The segment's number.
    pub segment: u64,
    /// The offset in it.
    pub offset: u32,
}

/// A letter and where it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Where.
    pub place: LetterPlace,
    /// The letter, with what has become of it since.
    pub letter: Arc<Letter>,
}

impl Held {
    /// The id that clients call it by.
    pub fn id(&self) -> Uuid {
        let Letter { sink, log, seq, .. } = &*self.letter;
        self.place.id_of(sink, *log, *seq)
    }
}

impl LetterPlace {
    /// The id of the letter here: half says where it lies, half is of its own, so that an id of
    /// another process's letter names none here.
    pub(crate) fn id_of(self, sink: &str, log: LogId, seq: u64) -> Uuid {
        let mut hash = Xxh3::new();
        hash.update(sink.as_bytes());
        hash.update(log.0.as_bytes());
        hash.update(&seq.to_le_bytes());
        let own = u128::from(hash.digest()) << 64;
        let segment = self.segment & ((1 << SEGMENT_BITS) - 1);
        let whole = own | u128::from(segment << OFFSET_BITS) | u128::from(self.offset);
        // Sets the few bits that say which version of UUID it is.
        Builder::from_custom_bytes(whole.to_be_bytes()).into_uuid()
    }
}

/// Where the letter of an id lies, if it is one at all.
pub(crate) fn place_of(id: Uuid) -> Option<LetterPlace> {
    if id.get_version_num() != 8 {
        return None;
    }
    let low = id.as_u128() as u64;
    Some(LetterPlace {
        segment: (low >> OFFSET_BITS) & ((1 << SEGMENT_BITS) - 1),
        offset: (low & ((1 << OFFSET_BITS) - 1)) as u32,
    })
}
