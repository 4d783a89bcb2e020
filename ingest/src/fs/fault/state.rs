//! What the simulated disk holds: what processes see, what would survive, and the changes
//! between the two. Decides what a failed sync and a power loss do to them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use super::{Chance, Faults};

/// What a disk writes whole or not at all, mostly.
const SECTOR_BYTES: usize = 512;

#[derive(Debug)]
pub(super) struct State {
    pub(super) chance: Chance,
    pub(super) faults: Faults,
    pub(super) capacity: u64,
    pub(super) calls_left: Option<u64>,
    pub(super) epoch: u64,
    pub(super) syncs: u64,
    pub(super) bytes_read: u64,
    pub(super) names: BTreeMap<PathBuf, Node>,
    pub(super) durable_names: BTreeMap<PathBuf, Node>,
    pub(super) dirty_names: Vec<NameChange>,
    pub(super) inodes: Vec<Inode>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    File(usize),
    Directory,
}

#[derive(Debug, Clone)]
pub(super) enum NameChange {
    Make(PathBuf, Node),
    Rename(PathBuf, PathBuf, Node),
    Remove(PathBuf),
}

#[derive(Debug, Default)]
pub(super) struct Inode {
    pub(super) live: Vec<u8>,
    pub(super) durable: Vec<u8>,
    pub(super) dirty: Vec<Piece>,
}

/// A change of one file that a sync would make durable.
#[derive(Debug, Clone)]
pub(super) enum Piece {
    /// Bytes within one sector.
    Write(usize, Vec<u8>),
    Length(usize),
}

impl State {
    pub(super) fn used(&self) -> u64 {
        let files = self.names.values().filter_map(|node| match node {
            Node::File(inode) => Some(self.inodes[*inode].live.len() as u64),
            Node::Directory => None,
        });
        files.sum()
    }

    pub(super) fn check_alive(&self) -> io::Result<()> {
        if self.calls_left == Some(0) { Err(stopped()) } else { Ok(()) }
    }

    pub(super) fn check_parent(&self, path: &Path) -> io::Result<()> {
        match path.parent().and_then(|parent| self.names.get(parent)) {
            Some(Node::Directory) => Ok(()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Counts a changing call; true if it is the one in which everything stops.
    pub(super) fn step(&mut self) -> io::Result<bool> {
        self.check_alive()?;
        if let Some(left) = &mut self.calls_left {
            *left -= 1;
        }
        Ok(self.calls_left == Some(0))
    }

    /// Counts a call that is done whole or not at all.
    pub(super) fn change(&mut self) -> io::Result<()> {
        let stopped_now = self.step()?;
        let rate = self.faults.change;
        if stopped_now || self.chance.is(rate) {
            return Err(io::Error::other("simulated failure of a change"));
        }
        Ok(())
    }

    pub(super) fn rename_live(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.dirty_names.push(change);
    }

    pub(super) fn fail_sync(&mut self, inode: usize) {
        let Self { chance, inodes, .. } = self;
        let Inode { live, durable, dirty } = &mut inodes[inode];
        for piece in std::mem::take(dirty) {
            match chance.below(4) {
                0 => piece.apply(durable),
                1 => dirty.push(piece),
                // The page is marked clean and never written; a reader still sees it...
                2 => {}
                // ...or what is on disk.
                _ => piece.revert(live, durable),
            }
        }
    }

    pub(super) fn lose(&mut self) {
        // Whole crashes in which nothing, or everything, was written are likely ones.
        let loss = [0, 100, 500, 1000][self.chance.below(4) as usize];
        for inode in &mut self.inodes {
            inode.lose(&mut self.chance, loss);
        }
        let changes = std::mem::take(&mut self.dirty_names);
        for change in changes {
            if !self.chance.is(loss) {
                change.apply(&mut self.durable_names);
            }
        }
        let known = self.durable_names.clone();
        self.durable_names.retain(|path, _| path.ancestors().all(|part| known.contains_key(part)));
        self.names = self.durable_names.clone();
    }
}

impl Inode {
    pub(super) fn lose(&mut self, chance: &mut Chance, loss: u32) {
        let mut cut = BTreeSet::new();
        for piece in std::mem::take(&mut self.dirty) {
            // Later versions of a sector are on disk only if earlier ones could have been.
            if cut.contains(&piece.sector()) {
                continue;
            }
            if chance.is(loss) {
                cut.insert(piece.sector());
                piece.tear(&mut self.durable, chance);
            } else {
                piece.apply(&mut self.durable);
            }
        }
        self.live = self.durable.clone();
    }
}

impl Piece {
    pub(super) fn sector(&self) -> Option<usize> {
        match self {
            Self::Write(at, _) => Some(at / SECTOR_BYTES),
            Self::Length(_) => None,
        }
    }

    pub(super) fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write(at, bytes) => put(content, *at, bytes),
            Self::Length(length) => content.resize(*length, 0),
        }
    }

    pub(super) fn revert(&self, live: &mut [u8], durable: &[u8]) {
        if let Self::Write(at, bytes) = self {
            for index in *at..(*at + bytes.len()).min(live.len()) {
                live[index] = durable.get(index).copied().unwrap_or(0);
            }
        }
    }

    /// Now and then a sector is lost half-written.
    pub(super) fn tear(&self, content: &mut Vec<u8>, chance: &mut Chance) {
        if let Self::Write(at, bytes) = self
            && chance.is(200)
        {
            let mut part = bytes[..chance.below(bytes.len() as u64 + 1) as usize].to_vec();
            if chance.is(300)
                && let Some(last) = part.last_mut()
            {
                *last = !*last;
            }
            put(content, *at, &part);
        }
    }
}

impl NameChange {
    /// The names that it touches.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        let (first, second) = match self {
            Self::Make(path, _) | Self::Remove(path) => (path, None),
            Self::Rename(from, to, _) => (from, Some(to)),
        };
        std::iter::once(first).chain(second).map(PathBuf::as_path)
    }

    pub(super) fn is_in(&self, directory: &Path) -> bool {
        match self {
            Self::Make(path, _) | Self::Rename(_, path, _) | Self::Remove(path) => {
                path.parent() == Some(directory)
            }
        }
    }

    pub(super) fn apply(&self, names: &mut BTreeMap<PathBuf, Node>) {
        match self {
            Self::Make(path, node) => {
                names.insert(path.clone(), *node);
            }
            Self::Rename(from, to, node) => {
                names.remove(from);
                names.insert(to.clone(), *node);
            }
            Self::Remove(path) => {
                names.remove(path);
            }
        }
    }
}

pub(super) fn sectors(offset: usize, bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut at = offset;
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = rest.len().min(SECTOR_BYTES - at % SECTOR_BYTES);
        let (sector, behind) = rest.split_at(length);
        let found = (!sector.is_empty()).then_some((at, sector));
        at += length;
        rest = behind;
        found
    })
}

pub(super) fn put(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if content.len() < offset + bytes.len() {
        content.resize(offset + bytes.len(), 0);
    }
    content[offset..offset + bytes.len()].copy_from_slice(bytes);
}

pub(super) fn stopped() -> io::Error {
    io::Error::other("the simulated process has stopped")
}
