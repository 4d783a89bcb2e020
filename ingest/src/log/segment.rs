//! A segment file: its name, its header, and the seal behind its last frame. Pure.
//!
//! ```text
//! header, 96 bytes, little endian; magic, version and checksum keep their place in every version
//!   0 u32 magic   4 u32 format version   8 16 bytes log id   24 u64 ordinal   32 u64 first number
//!  40 u64 predecessor's ordinal (all ones: none)   48 u64 its synced bytes, header included
//!  56 zeros   92 u32 CRC32C of bytes 0..92
//! frames, then zeros; once the successor is on disk, a seal and the file's end
//! seal, 24 bytes
//!   0 u32 magic   4 u64 successor's ordinal   12 u64 successor's first number
//!  20 u32 CRC32C of bytes 0..20
//! ```

use uuid::Uuid;

use crate::sink::progress::LogId;

use super::frame::{u32_at, u64_at};

/// Bytes before a segment's first frame.
pub(crate) const HEADER_BYTES: usize = 96;
/// Bytes of a seal.
pub(crate) const SEAL_BYTES: usize = 24;
/// The format that is written. In version 1 no pulse was refused; all else is the same.
pub(crate) const FORMAT_VERSION: u32 = 2;

const MAGIC: u32 = 0x534D_5001;
const SEAL_MAGIC: u32 = 0x454D_5001;
const NO_ORDINAL: u64 = u64::MAX;

/// How far a segment's predecessor goes: what lies beyond was never acknowledged from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) ordinal: u64,
    /// Synced bytes, header included.
    pub(crate) bytes: u64,
}

/// What a segment says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) version: u32,
    pub(crate) log: LogId,
    pub(crate) ordinal: u64,
    pub(crate) first_seq: u64,
    pub(crate) previous: Option<Link>,
}

impl Header {
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let none = Link { ordinal: NO_ORDINAL, bytes: 0 };
        let previous = self.previous.unwrap_or(none);
        let mut bytes = [0; HEADER_BYTES];
        bytes[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.version.to_le_bytes());
        bytes[8..24].copy_from_slice(self.log.0.as_bytes());
        bytes[24..32].copy_from_slice(&self.ordinal.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.first_seq.to_le_bytes());
        bytes[40..48].copy_from_slice(&previous.ordinal.to_le_bytes());
        bytes[48..56].copy_from_slice(&previous.bytes.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..92]);
        bytes[92..96].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads a header; `None` if it is damaged. Of a newer version only the version is to be
    /// trusted.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..HEADER_BYTES)?;
        let sound = u32_at(bytes, 0) == MAGIC && u32_at(bytes, 92) == crc32c::crc32c(&bytes[..92]);
        if !sound {
            return None;
        }
        let previous = Link { ordinal: u64_at(bytes, 40), bytes: u64_at(bytes, 48) };
        Some(Self {
            version: u32_at(bytes, 4),
            log: LogId(Uuid::from_slice(&bytes[8..24]).ok()?),
            ordinal: u64_at(bytes, 24),
            first_seq: u64_at(bytes, 32),
            previous: (previous.ordinal != NO_ORDINAL).then_some(previous),
        })
    }
}

/// The mark behind a segment's last frame: its successor was on disk when it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seal {
    pub(crate) next_ordinal: u64,
    pub(crate) next_first_seq: u64,
}

impl Seal {
    pub(crate) fn encode(&self) -> [u8; SEAL_BYTES] {
        let mut bytes = [0; SEAL_BYTES];
        bytes[0..4].copy_from_slice(&SEAL_MAGIC.to_le_bytes());
        bytes[4..12].copy_from_slice(&self.next_ordinal.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.next_first_seq.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..20]);
        bytes[20..24].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..SEAL_BYTES)?;
        let sound =
            u32_at(bytes, 0) == SEAL_MAGIC && u32_at(bytes, 20) == crc32c::crc32c(&bytes[..20]);
        sound.then(|| Self { next_ordinal: u64_at(bytes, 4), next_first_seq: u64_at(bytes, 12) })
    }
}

/// What a segment file's name says: enough to keep its numbers apart when its header is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    pub(crate) ordinal: u64,
    pub(crate) first_seq: u64,
    pub(crate) kind: Kind,
}

/// What has become of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Part of the log (`.seg`).
    Live,
    /// Part of the log, damage was found in it (`.damaged.seg`).
    LiveDamaged,
    /// Forgotten by the log and kept for a person to look at (`.damaged`).
    SetAside,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Live, Self::LiveDamaged, Self::SetAside];

    fn extension(self) -> &'static str {
        match self {
            Self::Live => "seg",
            Self::LiveDamaged => "damaged.seg",
            Self::SetAside => "damaged",
        }
    }
}

impl Name {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (numbers, extension) = name.split_once('.')?;
        let kind = Kind::ALL.into_iter().find(|kind| kind.extension() == extension)?;
        let (ordinal, first_seq) = numbers.split_once('-')?;
        let parsed =
            Self { ordinal: ordinal.parse().ok()?, first_seq: first_seq.parse().ok()?, kind };
        // Only the one spelling that is written is a segment's name.
        (parsed.to_string() == name).then_some(parsed)
    }

    pub(crate) fn with(self, kind: Kind) -> Self {
        Self { kind, ..self }
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:020}-{:020}.{}", self.ordinal, self.first_seq, self.kind.extension())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_and_seals_come_back_and_every_flipped_bit_is_noticed() {
        let previous = Some(Link { ordinal: 6, bytes: 4096 });
        let log = LogId(Uuid::from_u128(5));
        for previous in [None, previous] {
            let header = Header { version: 1, log, ordinal: 7, first_seq: 100, previous };
            let bytes = header.encode();
            assert_eq!(Header::decode(&bytes), Some(header));
            for at in 0..HEADER_BYTES {
                let mut damaged = bytes;
                damaged[at] ^= 4;
                assert_eq!(Header::decode(&damaged), None, "flip at {at}");
            }
        }
        let seal = Seal { next_ordinal: 8, next_first_seq: 200 };
        assert_eq!(Seal::decode(&seal.encode()), Some(seal));
        assert_eq!(Seal::decode(&[0; SEAL_BYTES]), None);
    }

    #[test]
    fn only_names_that_are_written_are_read() {
        for kind in Kind::ALL {
            let name = Name { ordinal: 3, first_seq: u64::MAX, kind };
            assert_eq!(Name::parse(&name.to_string()), Some(name));
        }
        for name in ["log.json", "next.tmp", "3-4.seg", "lock", "-.seg", "a.seg"] {
            assert_eq!(Name::parse(name), None, "{name}");
        }
    }
}
