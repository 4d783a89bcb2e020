//! The format marker: a small file that is read before anything else in the directory is
//! touched. It says which version of the layout the store has, and which store it is.

use std::io;
use std::path::Path;

use uuid::Uuid;

use crate::fs::{Fs, OsFs, read_file, replace_file};

use super::OpenError;

/// The layout that this program writes and reads.
pub(super) const VERSION: u32 = 2;
const FILE: &str = "FORMAT";
const TITLE: &str = "pulsemesh embedded store";
const FILE_BYTES_MAX: usize = 4096;

/// Reads the marker, or makes it where `directory` has none and holds nothing else. Returns the
/// store's id.
pub(super) fn check_or_create(directory: &Path) -> Result<Uuid, OpenError> {
    let fs = OsFs;
    let path = directory.join(FILE);
    match read_file(&fs, &path, FILE_BYTES_MAX) {
        Ok(bytes) => read(&bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs.create_dir_all(directory)?;
            if fs.list(directory)?.iter().any(|name| !name.starts_with(FILE)) {
                return Err(OpenError::NotAStore);
            }
            let id = Uuid::now_v7();
            replace_file(&fs, &path, format!("{TITLE} {VERSION}\n{id}\n").as_bytes())?;
            Ok(id)
        }
        Err(error) => Err(error.into()),
    }
}

fn read(bytes: &[u8]) -> Result<Uuid, OpenError> {
    let text = std::str::from_utf8(bytes).map_err(|_| OpenError::NotAStore)?;
    let mut lines = text.lines();
    let version = lines.next().and_then(|line| line.strip_prefix(TITLE)?.trim().parse().ok());
    match version {
        None => Err(OpenError::NotAStore),
        Some(VERSION) => {
            lines.next().and_then(|line| line.parse().ok()).ok_or(OpenError::NotAStore)
        }
        Some(found) => Err(OpenError::Format { found, known: VERSION }),
    }
}
