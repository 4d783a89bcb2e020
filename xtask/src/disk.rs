//! A disk that is soon full, for tests.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::io::Errno;
use tempfile::TempDir;

/// Looks at a disk that others fill at the same time; one is nearly always enough.
const FILL_TRIES: usize = 50;

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

    /// Takes all room but `spare` bytes; the file that is given gives it back. Others may write
    /// meanwhile: what they take between the look and the step is looked for again.
    pub fn fill(&self, spare: u64) -> Result<PathBuf> {
        let path = self.path().join("ballast");
        let file = File::create(&path).context("make the ballast")?;
        for _ in 0..FILL_TRIES {
            let disk = statvfs(self.path()).context("measure the disk")?;
            let bytes = (disk.f_bavail * disk.f_frsize).saturating_sub(spare);
            if bytes == 0 {
                return Ok(path);
            }
            match fallocate(&file, FallocateFlags::empty(), 0, bytes) {
                Err(Errno::NOSPC) => {}
                done => return done.map(|()| path).context("take the room"),
            }
        }
        bail!("others take all room faster than it can be measured")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a server that is being killed may still have files open.
        let _ = Command::new("umount").arg("-l").arg(self.dir.path()).status();
    }
}
