//! A file system in memory that keeps only what a real one promises: an unsynced write can be
//! lost by the sector or torn, an unsynced name can be lost, a sync can fail and lie later, the
//! disk can run full, and everything can stop between two calls. All chance comes from a seed.
//! For tests only.

mod chance;
mod state;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::state::{Inode, NameChange, Node, Piece, State, put, sectors, stopped};
use super::{File, Fs, Open};

pub(crate) use self::chance::Chance;

/// How often each kind of call fails, in cases of 1000.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    /// Of `write_at`; any sectors of it may have been written.
    pub(crate) write: u32,
    /// Of `sync`; of what was not synced each sector may be on disk, dirty, or lost for ever.
    pub(crate) sync: u32,
    /// Of `sync_dir`; each name may be on disk or still be dirty.
    pub(crate) sync_dir: u32,
    /// Of creating, renaming, removing, cutting and allocating; nothing was done.
    pub(crate) change: u32,
    /// Of `read_at`.
    pub(crate) read: u32,
}

/// The file system. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct SimFs {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct SimFile {
    state: Arc<Mutex<State>>,
    inode: usize,
    epoch: u64,
}

#[allow(dead_code, reason = "each test uses the faults that its part can meet")]
impl SimFs {
    /// An empty file system without faults, with room for 1 GiB.
    pub(crate) fn new(seed: u64) -> Self {
        let root = BTreeMap::from([(PathBuf::from("/"), Node::Directory)]);
        Self {
            state: Arc::new(Mutex::new(State {
                chance: Chance::new(seed),
                faults: Faults::default(),
                capacity: 1 << 30,
                calls_left: None,
                epoch: 0,
                syncs: 0,
                bytes_read: 0,
                names: root.clone(),
                durable_names: root,
                dirty_names: Vec::new(),
                inodes: Vec::new(),
            })),
        }
    }

    /// From now on calls fail so often.
    pub(crate) fn set_faults(&self, faults: Faults) {
        self.lock().faults = faults;
    }

    /// From now on all files together have at most so many bytes.
    pub(crate) fn set_capacity(&self, bytes: u64) {
        self.lock().capacity = bytes;
    }

    /// Bytes of all files that have a name.
    pub(crate) fn used_bytes(&self) -> u64 {
        self.lock().used()
    }

    /// How many syncs of files succeeded.
    pub(crate) fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// How many bytes of files were read.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.lock().bytes_read
    }

    /// After `calls` further changing calls, the next one is done in part and it and all after
    /// it fail, as for a process that was stopped there. Ends with a kill or a power loss.
    pub(crate) fn stop_after(&self, calls: u64) {
        let mut state = self.lock();
        // What has stopped stays so.
        if state.calls_left != Some(0) {
            state.calls_left = Some(calls);
        }
    }

    /// Takes back a [`SimFs::stop_after`] that has not come to pass.
    pub(crate) fn do_not_stop(&self) {
        let mut state = self.lock();
        state.calls_left = state.calls_left.filter(|left| *left == 0);
    }

    /// Whether [`SimFs::stop_after`] has come to pass.
    pub(crate) fn is_stopped(&self) -> bool {
        self.lock().calls_left == Some(0)
    }

    /// The process dies, the system lives: open files are gone, what was written is there.
    pub(crate) fn kill(&self) {
        let mut state = self.lock();
        state.epoch += 1;
        state.calls_left = None;
    }

    /// The power fails: of what was not synced, any part is lost.
    pub(crate) fn power_loss(&self) {
        self.kill();
        self.lock().lose();
    }

    /// A file's content as a process sees it now.
    pub(crate) fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.lock();
        match state.names.get(path) {
            Some(Node::File(inode)) => Some(state.inodes[*inode].live.clone()),
            _ => None,
        }
    }

    /// Changes a file on disk behind everybody's back, as a failing medium does.
    pub(crate) fn damage(&self, path: &Path, offset: usize, with: &[u8]) {
        let mut state = self.lock();
        if let Some(Node::File(inode)) = state.names.get(path).copied() {
            let inode = &mut state.inodes[inode];
            put(&mut inode.live, offset, with);
            put(&mut inode.durable, offset, with);
        }
    }

    /// Cuts a file short, as damage to its length does.
    pub(crate) fn cut(&self, path: &Path, length: usize) {
        let mut state = self.lock();
        if let Some(Node::File(inode)) = state.names.get(path).copied() {
            let inode = &mut state.inodes[inode];
            inode.live.truncate(length);
            inode.durable.truncate(length);
        }
    }

    /// Takes a file off the disk for good, as damage to a directory does.
    pub(crate) fn lose_file(&self, path: &Path) {
        let mut state = self.lock();
        state.names.remove(path);
        state.durable_names.remove(path);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fs for SimFs {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        let mut state = self.lock();
        state.check_alive()?;
        let inode = match (state.names.get(path).copied(), how) {
            (Some(Node::File(inode)), Open::Read | Open::Write) => inode,
            (Some(_), _) => return Err(io::ErrorKind::AlreadyExists.into()),
            (None, Open::Read | Open::Write) => return Err(io::ErrorKind::NotFound.into()),
            (None, Open::CreateNew) => {
                state.check_parent(path)?;
                state.change()?;
                let inode = state.inodes.len();
                state.inodes.push(Inode::default());
                state.rename_live(NameChange::Make(path.to_path_buf(), Node::File(inode)));
                inode
            }
        };
        Ok(Arc::new(SimFile { state: Arc::clone(&self.state), inode, epoch: state.epoch }))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let state = self.lock();
        state.check_alive()?;
        if state.names.get(directory) != Some(&Node::Directory) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(state
            .names
            .keys()
            .filter(|path| path.parent() == Some(directory))
            .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
            .collect())
    }

    fn create_dir_all(&self, directory: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let mut missing: Vec<_> =
            directory.ancestors().take_while(|path| !state.names.contains_key(*path)).collect();
        while let Some(path) = missing.pop() {
            state.change()?;
            state.rename_live(NameChange::Make(path.to_path_buf(), Node::Directory));
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let node = *state.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        state.check_parent(to)?;
        state.change()?;
        state.rename_live(NameChange::Rename(from.to_path_buf(), to.to_path_buf(), node));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.check_alive()?;
        if !state.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change()?;
        state.rename_live(NameChange::Remove(path.to_path_buf()));
        Ok(())
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let stopped = state.step()?;
        let failed = {
            let rate = state.faults.sync_dir;
            stopped || state.chance.is(rate)
        };
        // What is done to one name is on disk in its order.
        let mut held = BTreeSet::new();
        for change in std::mem::take(&mut state.dirty_names) {
            let ours = change.is_in(directory);
            let behind = change.paths().any(|path| held.contains(path));
            if !ours || behind || (failed && state.chance.is(500)) {
                held.extend(change.paths().map(Path::to_path_buf));
                state.dirty_names.push(change);
            } else {
                change.apply(&mut state.durable_names);
            }
        }
        if failed { Err(io::Error::other("simulated sync failure")) } else { Ok(()) }
    }

    fn free_bytes(&self, _directory: &Path) -> io::Result<u64> {
        let state = self.lock();
        state.check_alive()?;
        Ok(state.capacity.saturating_sub(state.used()))
    }
}

impl SimFile {
    fn lock(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.check_alive()?;
        if state.epoch == self.epoch { Ok(state) } else { Err(stopped()) }
    }

    fn resize(&self, length: usize) -> io::Result<()> {
        let mut state = self.lock()?;
        state.change()?;
        let growth = length.saturating_sub(state.inodes[self.inode].live.len()) as u64;
        if growth > state.capacity.saturating_sub(state.used()) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let inode = &mut state.inodes[self.inode];
        inode.live.resize(length, 0);
        inode.dirty.push(Piece::Length(length));
        Ok(())
    }
}

impl File for SimFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.lock()?;
        let rate = state.faults.read;
        if state.chance.is(rate) {
            return Err(io::Error::other("simulated read failure"));
        }
        let live = &state.inodes[self.inode].live;
        let from = live.len().min(offset as usize);
        let read = buffer.len().min(live.len() - from);
        buffer[..read].copy_from_slice(&live[from..from + read]);
        state.bytes_read += read as u64;
        Ok(read)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.lock()?;
        let stopped_now = state.step()?;
        let offset = offset as usize;
        let length = state.inodes[self.inode].live.len();
        let room = state.capacity.saturating_sub(state.used()) as usize;
        let fits = bytes.len().min((length + room).saturating_sub(offset));
        let rate = state.faults.write;
        let failed = stopped_now || state.chance.is(rate);
        for (at, sector) in sectors(offset, &bytes[..fits]) {
            if failed && state.chance.is(500) {
                continue;
            }
            let inode = &mut state.inodes[self.inode];
            put(&mut inode.live, at, sector);
            inode.dirty.push(Piece::Write(at, sector.to_vec()));
        }
        match (failed, fits < bytes.len()) {
            (true, _) => Err(io::Error::other("simulated write failure")),
            (false, true) => Err(io::ErrorKind::StorageFull.into()),
            (false, false) => Ok(()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.lock()?;
        let stopped_now = state.step()?;
        let rate = state.faults.sync;
        if stopped_now || state.chance.is(rate) {
            state.fail_sync(self.inode);
            return Err(io::Error::other("simulated sync failure"));
        }
        let Inode { durable, dirty, .. } = &mut state.inodes[self.inode];
        for piece in dirty.drain(..) {
            piece.apply(durable);
        }
        state.syncs += 1;
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.lock()?.inodes[self.inode].live.len() as u64)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.resize(bytes as usize)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        let length = self.lock()?.inodes[self.inode].live.len();
        if length < bytes as usize { self.resize(bytes as usize) } else { Ok(()) }
    }
}
