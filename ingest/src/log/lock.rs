//! The lock on a data directory: one process at a time. Held by the system, so a process that
//! dies never leaves it behind.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use thiserror::Error;

const LOCK_NAME: &str = "lock";

/// Why the lock was not taken.
#[derive(Debug, Error)]
pub enum LockError {
    /// Another process has it.
    #[error("data directory {} is in use by {holder}", directory.display())]
    InUse {
        /// The data directory.
        directory: PathBuf,
        /// `process` and its id, as far as known.
        holder: String,
    },
    /// The file system refused.
    #[error("lock data directory {} failed", directory.display())]
    Io {
        /// The data directory.
        directory: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

/// A data directory that is this process's until this is dropped.
#[derive(Debug)]
pub struct DataDirLock {
    _file: File,
}

impl DataDirLock {
    /// Takes the lock on `directory`, making it if it is not there. Never waits.
    ///
    /// # Errors
    /// [`LockError::InUse`] names the process that has it.
    pub fn acquire(directory: &Path) -> Result<Self, LockError> {
        let refused = |source| LockError::Io { directory: directory.to_path_buf(), source };
        std::fs::create_dir_all(directory).map_err(refused)?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(directory.join(LOCK_NAME))
            .map_err(refused)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let holder = holder(&mut file);
                return Err(LockError::InUse { directory: directory.to_path_buf(), holder });
            }
            Err(error) => return Err(refused(error.into())),
        }
        // The file stays for ever: removing it would let two processes hold two locks.
        write_holder(&mut file).map_err(refused)?;
        Ok(Self { _file: file })
    }
}

fn write_holder(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    match file.take(32).read_to_string(&mut text) {
        Ok(_) if text.trim().parse::<u32>().is_ok() => format!("process {}", text.trim()),
        _ => "another process".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_refused_by_name_and_admitted_after_the_first() {
        let directory = tempfile::tempdir().expect("a directory");
        let data = directory.path().join("data");
        let first = DataDirLock::acquire(&data).expect("free");
        let refused = DataDirLock::acquire(&data).expect_err("taken").to_string();
        assert!(refused.contains(&data.display().to_string()), "{refused}");
        assert!(refused.contains(&format!("process {}", std::process::id())), "{refused}");
        drop(first);
        DataDirLock::acquire(&data).expect("free again");
    }
}
