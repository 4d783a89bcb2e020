//! The file system as the log, the cursors, the dead letters and the reservations use it: few
//! calls, each of which the crash model can lose, tear or fail. Blocking; never called on a
//! thread that serves requests.

#[cfg(test)]
pub(crate) mod fault;
mod os;
pub mod watch;

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use os::OsFs;

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Open {
    /// For reading; it must exist.
    Read,
    /// For reading and writing; it must exist.
    Write,
    /// For reading and writing; it must not exist.
    CreateNew,
}

/// An open file.
pub trait File: Send + Sync + Debug {
    /// Reads at `offset` as much as there is, up to `buffer`'s length; returns how much.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of `bytes` at `offset`; on error any part may have been written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes what was written survive a power loss (`fdatasync`). After a failure nothing is
    /// known of what was written since the last success, and a later success proves nothing.
    fn sync(&self) -> io::Result<()>;
    /// Its length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether it is empty.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Cuts it, or lengthens it with zeros.
    fn set_len(&self, bytes: u64) -> io::Result<()>;
    /// Reserves room on the disk for its first `bytes`, reading as zeros, and makes it that long.
    fn allocate(&self, bytes: u64) -> io::Result<()>;
}

/// A file system.
pub trait Fs: Send + Sync + Debug + 'static {
    /// Opens a file.
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>>;
    /// The names in a directory, sorted.
    fn list(&self, directory: &Path) -> io::Result<Vec<String>>;
    /// Makes a directory and its parents, if they are not there.
    fn create_dir_all(&self, directory: &Path) -> io::Result<()>;
    /// Gives a file another name, replacing what had it; survives power loss only after
    /// [`Fs::sync_dir`] of the directory.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file; survives power loss only after [`Fs::sync_dir`].
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes creations, renames and removals in a directory survive a power loss.
    fn sync_dir(&self, directory: &Path) -> io::Result<()>;
    /// How many bytes may still be written on the disk that holds `directory`.
    fn free_bytes(&self, directory: &Path) -> io::Result<u64>;
}

/// Reads a whole file that is at most `bytes_max` long.
pub fn read_file(fs: &dyn Fs, path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    let file = fs.open(path, Open::Read)?;
    let length = usize::try_from(file.len()?).unwrap_or(usize::MAX);
    if length > bytes_max {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "file is larger than it can be"));
    }
    let mut bytes = vec![0; length];
    let mut filled = 0;
    while filled < length {
        match file.read_at(&mut bytes[filled..], filled as u64)? {
            0 => break,
            read => filled += read,
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// Replaces a file's content as one step: after a crash it has the old content or the new.
pub fn replace_file(fs: &dyn Fs, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or_else(|| Path::new("."));
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".tmp");
    let temporary: PathBuf = directory.join(name);
    match fs.remove(&temporary) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let file = fs.open(&temporary, Open::CreateNew)?;
    file.write_at(bytes, 0)?;
    file.sync()?;
    fs.rename(&temporary, path)?;
    fs.sync_dir(directory)
}
