//! A segment of dead letters as bytes. Pure. A record's header has a checksum of its own, so
//! that damage to one letter costs that letter alone.
//!
//! ```text
//! file    u32 magic   u32 format version   u32 CRC32C of these 8 bytes   records
//! record  u32 magic   u32 body length   u32 CRC32C of the body   u32 CRC32C of these 12 bytes
//!         body
//! ```
//!
//! Version 3 is as letters were appended. In version 4 some of them are gone: each body begins
//! with the u32 offset that its letter had at first, which its id and its marks go by. Versions 1
//! and 2 are the same of a time when what is said about a pulse was JSON; in version 4 letters of
//! both times may stand side by side.

use super::letter::Letter;

/// The newest format that is known; an older one stays readable, a newer one is refused.
pub(super) const VERSION: u32 = 4;
/// What is appended to.
pub(super) const VERSION_APPENDED: u32 = 3;
pub(super) const FILE_HEADER_BYTES: usize = 12;
const FILE_MAGIC: u32 = 0x4C44_4D50;
const RECORD_MAGIC: u32 = 0x5244_4D50;
const RECORD_HEADER_BYTES: usize = 16;

/// What is found in a segment, in order.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// A sound record's body, and the offset that it was first written at.
    Record(u32, &'a [u8]),
    /// Bytes that are no record, with sound ones behind them or of a whole record's length.
    Damaged,
    /// From this offset on the last write did not reach the disk.
    Torn(usize),
}

/// The name of a segment that is known to be on disk as it reads.
pub(super) fn sealed_name(number: u64) -> String {
    format!("letters-{number:016}.pmdl")
}

/// The name of a segment that is written, or was when its process ended: a sync of it may have
/// failed, and then what is read of it is not what a power loss leaves.
pub(super) fn open_name(number: u64) -> String {
    format!("letters-{number:016}.open")
}

/// The number in a segment's name, and whether it is open.
pub(super) fn number_of(name: &str) -> Option<(u64, bool)> {
    let rest = name.strip_prefix("letters-")?;
    let sealed = rest.strip_suffix(".pmdl").map(|number| (number, false));
    let (number, open) = sealed.or_else(|| Some((rest.strip_suffix(".open")?, true)))?;
    Some((number.parse().ok()?, open))
}

pub(super) fn file_header(version: u32) -> [u8; FILE_HEADER_BYTES] {
    let mut header = [0; FILE_HEADER_BYTES];
    header[..4].copy_from_slice(&FILE_MAGIC.to_le_bytes());
    header[4..8].copy_from_slice(&version.to_le_bytes());
    let crc = crc32c::crc32c(&header[..8]);
    header[8..].copy_from_slice(&crc.to_le_bytes());
    header
}

/// The format version of a segment, if its header is sound.
pub(super) fn version(bytes: &[u8]) -> Option<u32> {
    let sound = u32_at(bytes, 0)? == FILE_MAGIC && u32_at(bytes, 8)? == crc32c::crc32c(&bytes[..8]);
    sound.then_some(u32_at(bytes, 4)?)
}

/// Appends a letter as it is appended to a segment.
pub(super) fn put_record(bytes: &mut Vec<u8>, letter: &Letter) {
    let at = bytes.len();
    bytes.extend_from_slice(&[0; RECORD_HEADER_BYTES]);
    letter.encode(bytes);
    seal_record(bytes, at);
}

/// Appends a record of a segment that was made smaller.
pub(super) fn put_kept(bytes: &mut Vec<u8>, offset: u32, body: &[u8]) {
    let at = bytes.len();
    bytes.extend_from_slice(&[0; RECORD_HEADER_BYTES]);
    bytes.extend_from_slice(&offset.to_le_bytes());
    bytes.extend_from_slice(body);
    seal_record(bytes, at);
}

fn seal_record(bytes: &mut [u8], at: usize) {
    let (head, body) = bytes[at..].split_at_mut(RECORD_HEADER_BYTES);
    head[0..4].copy_from_slice(&RECORD_MAGIC.to_le_bytes());
    head[4..8].copy_from_slice(&(body.len() as u32).to_le_bytes());
    head[8..12].copy_from_slice(&crc32c::crc32c(body).to_le_bytes());
    let crc = crc32c::crc32c(&head[..12]);
    head[12..16].copy_from_slice(&crc.to_le_bytes());
}

/// Walks a segment; where a header is damaged, on to the next sound one.
pub(super) fn pieces(bytes: &[u8]) -> impl Iterator<Item = Piece<'_>> {
    let mut at = FILE_HEADER_BYTES;
    let kept = matches!(version(bytes), Some(2 | VERSION));
    std::iter::from_fn(move || {
        if at >= bytes.len() {
            return None;
        }
        let Some(end) = record_end(bytes, at) else {
            let next = (at + 1..bytes.len()).find(|next| record_end(bytes, *next).is_some());
            let torn = at;
            at = next.unwrap_or(bytes.len());
            return Some(if next.is_some() { Piece::Damaged } else { Piece::Torn(torn) });
        };
        let (start, cut) = (at, end > bytes.len());
        at = end;
        if cut {
            return Some(Piece::Torn(start));
        }
        let body = &bytes[start + RECORD_HEADER_BYTES..end];
        let sound = u32_at(bytes, start + 8) == Some(crc32c::crc32c(body));
        if !sound {
            return Some(Piece::Damaged);
        }
        Some(match body.split_first_chunk().filter(|_| kept) {
            Some((offset, body)) => Piece::Record(u32::from_le_bytes(*offset), body),
            None => Piece::Record(start as u32, body),
        })
    })
}

/// Where the record at `at` ends, which may be beyond the file.
fn record_end(bytes: &[u8], at: usize) -> Option<usize> {
    let head = bytes.get(at..at + RECORD_HEADER_BYTES)?;
    let sound = u32_at(head, 0)? == RECORD_MAGIC
        && u32_at(head, 12)? == crc32c::crc32c(&head[..RECORD_HEADER_BYTES - 4]);
    sound.then_some(at + RECORD_HEADER_BYTES + u32_at(head, 4)? as usize)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}
