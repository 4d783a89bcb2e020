//! What journals and runs have in common on disk: the mark at their start, their names, and the
//! errors of reading them. Numbers are little endian.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::clock::Stamp;
use super::key::array;
use crate::fs::File;

/// The version that is written. A newer one is refused untouched.
pub(super) const VERSION: u32 = 1;
/// Mark, version and their checksum.
pub(super) const PREFIX_BYTES: usize = 16;
pub(super) const JOURNAL_MAGIC: [u8; 8] = *b"PMRSVJNL";
pub(super) const RUN_MAGIC: [u8; 8] = *b"PMRSVRUN";

/// Why a file could not be read.
#[derive(Debug, Error)]
pub(super) enum ReadError {
    #[error("format version {0} is newer than this program's")]
    Newer(u32),
    #[error("file is damaged")]
    Damaged,
    #[error("read failed")]
    Io(#[from] io::Error),
}

pub(super) fn prefix(magic: [u8; 8]) -> [u8; PREFIX_BYTES] {
    let mut bytes = [0; PREFIX_BYTES];
    bytes[0..8].copy_from_slice(&magic);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..12]);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Proves the mark. Its checksum covers it alone, in every version: a flipped bit is damage,
/// never a newer version.
pub(super) fn check_prefix(bytes: &[u8], magic: [u8; 8]) -> Result<(), ReadError> {
    let marked = bytes.get(..12).ok_or(ReadError::Damaged)?;
    let sound = marked.starts_with(&magic)
        && u32::from_le_bytes(array(bytes, 12)) == crc32c::crc32c(marked);
    match u32::from_le_bytes(array(bytes, 8)) {
        _ if !sound => Err(ReadError::Damaged),
        version if version > VERSION => Err(ReadError::Newer(version)),
        _ => Ok(()),
    }
}

pub(super) fn put_stamp(bytes: &mut [u8], stamp: Stamp) {
    bytes[0..8].copy_from_slice(&stamp.age_us.to_le_bytes());
    bytes[8..16].copy_from_slice(&stamp.wall_us.to_le_bytes());
}

pub(super) fn stamp_at(bytes: &[u8], at: usize) -> Stamp {
    Stamp {
        age_us: i64::from_le_bytes(array(bytes, at)),
        wall_us: i64::from_le_bytes(array(bytes, at + 8)),
    }
}

/// A file of the directory, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    /// The journal of this number.
    Journal(u64),
    /// The run of all that was journaled under these numbers, both included.
    Run(u64, u64),
    /// A file that was not finished.
    Unfinished,
}

impl Name {
    pub(super) fn parse(name: &str) -> Option<Self> {
        if name.ends_with(".tmp") {
            return Some(Self::Unfinished);
        }
        if let Some(number) = name.strip_suffix(".journal") {
            return Some(Self::Journal(number.parse().ok()?));
        }
        let (first, last) = name.strip_suffix(".run")?.split_once('-')?;
        Some(Self::Run(first.parse().ok()?, last.parse().ok()?))
    }
}

pub(super) fn journal_path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:010}.journal"))
}

pub(super) fn run_path(directory: &Path, first: u64, last: u64) -> PathBuf {
    directory.join(format!("{first:010}-{last:010}.run"))
}

/// Fills `buffer` from `offset` on; an early end of the file is damage.
pub(super) fn read_exact(file: &dyn File, buffer: &mut [u8], offset: u64) -> Result<(), ReadError> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64)? {
            0 => return Err(ReadError::Damaged),
            read => filled += read,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_others_left_alone() {
        let check = |path: PathBuf, expected| {
            let name = path.file_name().and_then(|name| name.to_str()).expect("a text name");
            assert_eq!(Name::parse(name), expected);
        };
        let directory = Path::new("d");
        check(journal_path(directory, 7), Some(Name::Journal(7)));
        check(run_path(directory, 3, u64::MAX), Some(Name::Run(3, u64::MAX)));
        check(directory.join("1-2.run.tmp"), Some(Name::Unfinished));
        check(directory.join("seed"), None);
        check(directory.join("x.journal"), None);
    }

    #[test]
    fn a_newer_version_is_told_from_damage() {
        let mut bytes = prefix(RUN_MAGIC);
        assert!(check_prefix(&bytes, RUN_MAGIC).is_ok());
        assert!(matches!(check_prefix(&bytes, JOURNAL_MAGIC), Err(ReadError::Damaged)));
        bytes[8] = 2;
        assert!(matches!(check_prefix(&bytes, RUN_MAGIC), Err(ReadError::Damaged)));
        let crc = crc32c::crc32c(&bytes[..12]);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        assert!(matches!(check_prefix(&bytes, RUN_MAGIC), Err(ReadError::Newer(2))));
        assert!(matches!(check_prefix(&bytes[..9], RUN_MAGIC), Err(ReadError::Damaged)));
    }
}
