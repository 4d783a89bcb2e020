//! A disk that is soon full, for tests.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use tempfile::TempDir;

/// A file system of a few MiB.
#[derive(Debug)]
pub struct SmallDisk {
    dir: TempDir,
}

impl SmallDisk {
    /// `None` where this process may not mount.
    pub fn mount(mib: u32) -> Result<Option<Self>> {
        let dir = TempDir::new()?;
        let size = format!("size={mib}m");
        let arguments = ["-t", "tmpfs", "-o", size.as_str(), "tmpfs"];
        let output = Command::new("mount").args(arguments).arg(dir.path()).output();
        let mounted = output.is_ok_and(|output| output.status.success());
        Ok(mounted.then_some(Self { dir }))
    }

    /// Its root.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Takes all room but `spare` bytes; the file that is given gives it back.
    pub fn fill(&self, spare: u64) -> Result<PathBuf> {
        let path = self.path().join("ballast");
        let disk = rustix::fs::statvfs(self.path())?;
        let bytes = (disk.f_bavail * disk.f_frsize).saturating_sub(spare);
        let file = File::create(&path)?;
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes)?;
        Ok(path)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a server that is being killed may still have files open.
        let _ = Command::new("umount").arg("-l").arg(self.dir.path()).status();
    }
}
