//! Small files that are replaced as a whole: a checksum, a version and JSON. Knows nothing of
//! what they say.
//!
//! ```text
//! u32 magic   u32 CRC32C of the rest   u32 format version   JSON
//! ```

use std::io;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::fs::{self, Fs};

const HEADER_BYTES: usize = 12;

/// A kind of file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) magic: u32,
    /// The format that is written; an older one stays readable, a newer one is refused.
    pub(crate) version: u32,
    /// Longest file that is read.
    pub(crate) bytes_max: usize,
}

/// Why a file can't be read.
#[derive(Debug, Error)]
pub(crate) enum SealedError {
    /// It could not be read or moved.
    #[error("read a file beside the dead letters failed")]
    Io(#[source] io::Error),
    /// A newer version of this program wrote it; it is untouched.
    #[error("a file beside the dead letters has format version {0}, newer than this program")]
    Newer(u32),
}

impl Kind {
    /// Reads a file; `None` where there is none, or only a damaged one, which is set aside.
    pub(crate) fn read<T: DeserializeOwned>(
        self,
        fs: &dyn Fs,
        path: &Path,
    ) -> Result<Option<T>, SealedError> {
        let bytes = match fs::read_file(fs, path, self.bytes_max) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(SealedError::Io(error)),
        };
        let version = self.version_of(&bytes);
        if let Some(version) = version.filter(|version| *version > self.version) {
            return Err(SealedError::Newer(version));
        }
        let text = version.and_then(|_| bytes.get(HEADER_BYTES..));
        if let Some(value) = text.and_then(|text| serde_json::from_slice(text).ok()) {
            return Ok(Some(value));
        }
        let mut aside = path.as_os_str().to_owned();
        aside.push(".damaged");
        tracing::warn!(path = %path.display(), "set a damaged file aside");
        fs.rename(path, Path::new(&aside)).map_err(SealedError::Io)?;
        Ok(None)
    }

    /// Replaces a file; returns its size when it survives a crash.
    pub(crate) fn write<T: Serialize>(
        self,
        fs: &dyn Fs,
        path: &Path,
        value: &T,
    ) -> io::Result<u64> {
        let mut bytes = vec![0; HEADER_BYTES];
        serde_json::to_writer(&mut bytes, value)?;
        bytes[0..4].copy_from_slice(&self.magic.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.version.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[8..]);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        fs::replace_file(fs, path, &bytes)?;
        Ok(bytes.len() as u64)
    }

    /// The format version, if nothing is damaged: a flipped bit is no newer format.
    fn version_of(self, bytes: &[u8]) -> Option<u32> {
        let sound =
            u32_at(bytes, 0)? == self.magic && u32_at(bytes, 4)? == crc32c::crc32c(bytes.get(8..)?);
        sound.then_some(u32_at(bytes, 8)?)
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::OsFs;

    const KIND: Kind = Kind { magic: 7, version: 1, bytes_max: 1 << 20 };

    #[test]
    fn a_file_is_read_as_it_was_written_damage_is_set_aside_and_a_newer_one_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("file");
        assert_eq!(KIND.read::<Vec<u32>>(&OsFs, &path).expect("none"), None);
        KIND.write(&OsFs, &path, &vec![1, 2, 3]).expect("written");
        assert_eq!(KIND.read(&OsFs, &path).expect("read"), Some(vec![1, 2, 3]));

        let newer = Kind { version: 2, ..KIND };
        newer.write(&OsFs, &path, &vec![4]).expect("written");
        let refused = KIND.read::<Vec<u32>>(&OsFs, &path);
        assert!(matches!(refused, Err(SealedError::Newer(2))));
        assert!(path.exists());

        KIND.write(&OsFs, &path, &vec![1]).expect("written");
        let mut bytes = std::fs::read(&path).expect("read");
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        std::fs::write(&path, &bytes).expect("written");
        assert_eq!(KIND.read::<Vec<u32>>(&OsFs, &path).expect("set aside"), None);
        assert_eq!(std::fs::read(dir.path().join("file.damaged")).expect("kept"), bytes);
    }
}
