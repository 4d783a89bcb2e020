//! A sink's cursor on disk: which numbers of which log it has finished and how they ended.
//! Replaced as a whole; a damaged one is set aside and the log is read again.
//!
//! ```text
//! u32 magic   u32 CRC32C of the rest   u32 format version   JSON
//! ```

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use crate::fs::{self, Fs};

use super::drain::board::{Place, Totals};
use super::progress::{LogId, SeqSet};

const MAGIC: u32 = 0x5543_4D50;
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 12;
/// Far above any cursor: a window of single rows of alternating tenants has thousands of
/// ranges, each some 20 bytes of text.
const BYTES_MAX: usize = 64 * 1024 * 1024;

/// Why a cursor can't be read.
#[derive(Debug, Error)]
pub(crate) enum CursorError {
    /// It could not be read or moved.
    #[error("read cursor failed")]
    Io(#[source] io::Error),
    /// A newer version of this program wrote it.
    #[error("cursor has format version {0}, newer than {VERSION}")]
    Newer(u32),
}

/// What a cursor file holds.
#[derive(Debug, Clone)]
pub(crate) struct Cursor {
    pub(crate) log: LogId,
    pub(crate) place: Place,
}

#[derive(Debug, Serialize, Deserialize)]
struct Text {
    log: String,
    origin: u64,
    low: u64,
    ranges: Vec<(u64, u64)>,
    totals: Totals,
}

/// Where a sink's cursor lies.
pub(crate) fn cursor_path(sinks_dir: &Path, sink: &str) -> PathBuf {
    sinks_dir.join(format!("{sink}.cursor"))
}

/// Reads a cursor; `None` where there is none, or only a damaged one, which is set aside.
pub(crate) fn read_cursor(fs: &dyn Fs, path: &Path) -> Result<Option<Cursor>, CursorError> {
    let bytes = match fs::read_file(fs, path, BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(CursorError::Io(error)),
    };
    if let Some(version) = version_of(&bytes)
        && version > VERSION
    {
        return Err(CursorError::Newer(version));
    }
    if let Some(cursor) = decode(&bytes) {
        return Ok(Some(cursor));
    }
    let aside = path.with_extension("cursor.damaged");
    tracing::warn!(path = %path.display(), aside = %aside.display(), "set a damaged cursor aside");
    fs.rename(path, &aside).map_err(CursorError::Io)?;
    Ok(None)
}

/// Replaces a cursor; returns when it survives a crash.
pub(crate) fn write_cursor(fs: &dyn Fs, path: &Path, cursor: &Cursor) -> io::Result<()> {
    fs::replace_file(fs, path, &encode(cursor)?)
}

fn encode(cursor: &Cursor) -> io::Result<Vec<u8>> {
    let Place { origin, finished, totals } = &cursor.place;
    let text = Text {
        log: cursor.log.to_string(),
        origin: *origin,
        low: finished.low(),
        ranges: finished.ranges().collect(),
        totals: *totals,
    };
    let mut bytes = vec![0; HEADER_BYTES];
    serde_json::to_writer(&mut bytes, &text)?;
    bytes[0..4].copy_from_slice(&MAGIC.to_le_bytes());
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[8..]);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    Ok(bytes)
}

/// The format version, if nothing is damaged: a flipped bit is no newer format.
fn version_of(bytes: &[u8]) -> Option<u32> {
    let sound = u32_at(bytes, 0)? == MAGIC && u32_at(bytes, 4)? == crc32c::crc32c(bytes.get(8..)?);
    sound.then_some(u32_at(bytes, 8)?)
}

fn decode(bytes: &[u8]) -> Option<Cursor> {
    version_of(bytes)?;
    let text: Text = serde_json::from_slice(bytes.get(HEADER_BYTES..)?).ok()?;
    let mut finished = SeqSet::below(text.low);
    for (start, end) in text.ranges {
        finished.insert(start, end);
    }
    let log = LogId(Uuid::try_parse(&text.log).ok()?);
    Some(Cursor { log, place: Place { origin: text.origin, finished, totals: text.totals } })
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::OsFs;

    fn cursor() -> Cursor {
        let mut finished = SeqSet::below(40);
        finished.insert(50, 60);
        let totals = Totals { stored: 30, dead_lettered: 9, dropped: 1, ..Totals::default() };
        Cursor { log: LogId(Uuid::from_u128(5)), place: Place { origin: 10, finished, totals } }
    }

    #[test]
    fn a_cursor_is_read_as_it_was_written_and_damage_is_set_aside() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = cursor_path(dir.path(), "main");
        assert!(read_cursor(&OsFs, &path).expect("no file").is_none());
        write_cursor(&OsFs, &path, &cursor()).expect("written");
        let read = read_cursor(&OsFs, &path).expect("read").expect("there");
        assert_eq!(read.log, cursor().log);
        assert_eq!(read.place.finished, cursor().place.finished);
        assert_eq!(read.place.totals, cursor().place.totals);
        assert_eq!(read.place.origin, 10);

        let sound = std::fs::read(&path).expect("read");
        let mut damaged = sound.clone();
        damaged[20] ^= 1;
        std::fs::write(&path, &damaged).expect("written");
        assert!(read_cursor(&OsFs, &path).expect("read").is_none());
        let aside = std::fs::read(path.with_extension("cursor.damaged")).expect("set aside");
        assert_eq!(aside, damaged);

        let mut newer = sound;
        newer[8] = 2;
        let crc = crc32c::crc32c(&newer[8..]);
        newer[4..8].copy_from_slice(&crc.to_le_bytes());
        std::fs::write(&path, &newer).expect("written");
        assert!(matches!(read_cursor(&OsFs, &path), Err(CursorError::Newer(2))));
        assert_eq!(std::fs::read(&path).expect("untouched"), newer);
    }
}
