//! The file that counts are kept in: which numbers are counted, and the sums that they are in.
//! Replaced as a whole, so that the two always fit.
//!
//! ```text
//! u32 magic   u32 CRC32C of the rest   u32 format version
//! i64 last write time, in µs   u8 whether a log follows
//! log:   u64 low   u32 ranges × (u64 start   u64 end)   part
//! u32 closed parts × part
//! part:  u128 log   i64 number   i64 opened at, in µs
//!        u32 names × (u16 length   bytes)
//!        u32 sums × (u32 tenant   u32 kind   i64 minute   i64 pulses   u8 written)
//! ```

use std::io;
use std::path::Path;

use thiserror::Error;
use uuid::Uuid;

use crate::fs::{self, Fs};
use crate::sink::{LogId, SeqSet};

use super::part::{Part, PartId};
use super::state::{Ledger, State};
use super::tally::Group;

const MAGIC: u32 = 0x5343_4D50;
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 12;
/// Above any file: the most sums in memory, each with two names of the longest.
const BYTES_MAX: usize = 256 * 1024 * 1024;

/// Why the counts of the last run can't be read.
#[derive(Debug, Error)]
pub(crate) enum SumsError {
    /// The file could not be read or moved.
    #[error("read counts failed")]
    Io(#[source] io::Error),
    /// A newer version of this program wrote it.
    #[error("counts have format version {0}, newer than {VERSION}")]
    Newer(u32),
}

/// Reads the file; a new state where there is none, or only a damaged one, which is set aside.
pub(super) fn read(fs: &dyn Fs, path: &Path) -> Result<State, SumsError> {
    let bytes = match fs::read_file(fs, path, BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(State::default()),
        Err(error) => return Err(SumsError::Io(error)),
    };
    match version_of(&bytes) {
        Some(version) if version > VERSION => return Err(SumsError::Newer(version)),
        Some(_) => {
            if let Some(state) = bytes.get(HEADER_BYTES..).and_then(decode) {
                return Ok(state);
            }
        }
        None => {}
    }
    let aside = path.with_extension("damaged");
    let (path_shown, aside_shown) = (path.display(), aside.display());
    tracing::warn!(
        path = %path_shown,
        aside = %aside_shown,
        "set damaged counts aside; pulses of the last moments may be counted twice or not at all"
    );
    fs.rename(path, &aside).map_err(SumsError::Io)?;
    Ok(State::default())
}

/// The format version, if nothing is damaged: a flipped bit is no newer format.
fn version_of(bytes: &[u8]) -> Option<u32> {
    let mut header = bytes.get(..HEADER_BYTES)?;
    let (magic, crc) = (take_u32(&mut header)?, take_u32(&mut header)?);
    let sound = magic == MAGIC && crc == crc32c::crc32c(bytes.get(8..)?);
    sound.then_some(take_u32(&mut header)?)
}

/// What the file is to hold.
pub(super) fn encode(state: &State) -> Vec<u8> {
    let mut out = Vec::new();
    for number in [MAGIC, 0, VERSION] {
        put_u32(&mut out, number);
    }
    put_u64(&mut out, state.stamp_us as u64);
    out.push(u8::from(state.log.is_some()));
    if let Some(Ledger { counted, open }) = &state.log {
        put_u64(&mut out, counted.low());
        put_u32(&mut out, counted.ranges().count() as u32);
        for (start, end) in counted.ranges() {
            put_u64(&mut out, start);
            put_u64(&mut out, end);
        }
        put_part(&mut out, open, false);
    }
    put_u32(&mut out, state.closed_of_logs().count() as u32);
    for part in state.closed_of_logs() {
        put_part(&mut out, part, true);
    }
    let crc = crc32c::crc32c(&out[8..]);
    out[4..8].copy_from_slice(&crc.to_le_bytes());
    out
}

/// Of a closed part only what is still to be written is of use.
fn put_part(out: &mut Vec<u8>, part: &Part, closed: bool) {
    out.extend_from_slice(part.id.log.0.as_bytes());
    put_u64(out, part.id.number as u64);
    put_u64(out, part.opened_at_us as u64);
    put_u32(out, part.names.len() as u32);
    for name in &part.names {
        // Names are bounded far below by what a pulse may have.
        out.extend_from_slice(&(name.len() as u16).to_le_bytes());
        out.extend_from_slice(name.as_bytes());
    }
    let sums = || part.sums.iter().filter(|sum| !(closed && sum.is_written()));
    put_u32(out, sums().count() as u32);
    for sum in sums() {
        put_u32(out, sum.tenant);
        put_u32(out, sum.kind);
        put_u64(out, sum.minute_ms as u64);
        put_u64(out, sum.pulses as u64);
        out.push(u8::from(sum.is_written()));
    }
}

fn decode(mut bytes: &[u8]) -> Option<State> {
    let bytes = &mut bytes;
    let stamp_us = take_u64(bytes)? as i64;
    let log = match take::<1>(bytes)? {
        [0] => None,
        _ => Some(take_ledger(bytes)?),
    };
    let mut closed = Vec::new();
    for _ in 0..take_u32(bytes)? {
        closed.push(take_part(bytes)?);
    }
    bytes.is_empty().then(|| State::restored(log, closed, stamp_us))
}

fn take_ledger(bytes: &mut &[u8]) -> Option<Ledger> {
    let mut counted = SeqSet::below(take_u64(bytes)?);
    for _ in 0..take_u32(bytes)? {
        counted.insert(take_u64(bytes)?, take_u64(bytes)?);
    }
    Some(Ledger { counted, open: take_part(bytes)? })
}

fn take_part(bytes: &mut &[u8]) -> Option<Part> {
    let log = LogId(Uuid::from_bytes(take::<16>(bytes)?));
    let number = take_u64(bytes)? as i64;
    let mut part = Part::new(PartId { log, number }, take_u64(bytes)? as i64, true);
    let mut names = Vec::new();
    for _ in 0..take_u32(bytes)? {
        names.push(take_name(bytes)?);
    }
    for _ in 0..take_u32(bytes)? {
        let tenant = names.get(take_u32(bytes)? as usize)?;
        let kind = names.get(take_u32(bytes)? as usize)?;
        let group = Group { tenant, kind, minute_ms: take_u64(bytes)? as i64 };
        part.add(&group, take_u64(bytes)? as i64);
        if take::<1>(bytes)? != [0] {
            part.restore_answered(&group);
        }
    }
    Some(part)
}

fn take_name<'a>(bytes: &mut &'a [u8]) -> Option<&'a str> {
    let length = u16::from_le_bytes(take(bytes)?);
    let (name, rest) = bytes.split_at_checked(length.into())?;
    *bytes = rest;
    std::str::from_utf8(name).ok()
}

fn put_u32(out: &mut Vec<u8>, number: u32) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn put_u64(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn take_u32(bytes: &mut &[u8]) -> Option<u32> {
    take(bytes).map(u32::from_le_bytes)
}

fn take_u64(bytes: &mut &[u8]) -> Option<u64> {
    take(bytes).map(u64::from_le_bytes)
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*taken)
}
