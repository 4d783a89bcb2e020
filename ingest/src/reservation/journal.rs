//! The journal: what was committed since the last run, appended block by block and synced.
//!
//! ```text
//! header, 52 bytes: mark (16)   log id (16)   number u64   slice i64   CRC32C u32
//! block,  40 bytes: magic u32   count u32   covered u64   age i64   wall i64
//!                   CRC32C of the entries u32   CRC32C of the 36 bytes before u32
//!                   then `count` entries of 66 bytes
//! ```
//! `covered` is a number of the log below which every reservation lies in files that were synced
//! before, or in this journal up to this block. It counts only where every block before it is
//! sound.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

use super::clock::Stamp;
use super::format::{
    self, JOURNAL_MAGIC, PREFIX_BYTES, ReadError, check_prefix, journal_path, put_stamp, stamp_at,
};
use super::key::{ENTRY_BYTES, Entry, array};
use crate::fs::{File, Fs, Open, read_file};

const HEADER_BYTES: usize = 52;
const BLOCK_HEADER_BYTES: usize = 40;
const BLOCK_MAGIC: u32 = 0x4B4C_4252;
/// Entries of one block: damage to a block costs 66 KiB at most, and encoding one holds the
/// table's lock for some 10 µs.
pub(super) const BLOCK_ENTRIES_MAX: usize = 1024;
/// Largest journal that is read: many times what the bounds of the active table let one grow to.
const FILE_BYTES_MAX: usize = 256 << 20;

/// What a block says beside its entries.
#[derive(Debug, Clone, Copy)]
pub(super) struct BlockHead {
    pub(super) covered: u64,
    pub(super) stamp: Stamp,
}

/// A journal that is being written.
#[derive(Debug)]
pub(super) struct Journal {
    file: Arc<dyn File>,
    path: PathBuf,
    bytes: u64,
}

impl Journal {
    /// Makes an empty journal; it is durable with its first sync and the directory's.
    pub(super) fn create(
        fs: &dyn Fs,
        directory: &Path,
        number: u64,
        log: Uuid,
        slice: i64,
    ) -> io::Result<Self> {
        let path = journal_path(directory, number);
        let file = fs.open(&path, Open::CreateNew)?;
        let mut header = [0; HEADER_BYTES];
        header[..PREFIX_BYTES].copy_from_slice(&format::prefix(JOURNAL_MAGIC));
        header[16..32].copy_from_slice(log.as_bytes());
        header[32..40].copy_from_slice(&number.to_le_bytes());
        header[40..48].copy_from_slice(&slice.to_le_bytes());
        let crc = crc32c::crc32c(&header[..48]);
        header[48..52].copy_from_slice(&crc.to_le_bytes());
        file.write_at(&header, 0)?;
        Ok(Self { file, path, bytes: HEADER_BYTES as u64 })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Writes a block that [`BlockBuffer`] made.
    pub(super) fn append(&mut self, block: &[u8]) -> io::Result<()> {
        self.file.write_at(block, self.bytes)?;
        self.bytes += block.len() as u64;
        Ok(())
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}

/// Lays out one block.
#[derive(Debug)]
pub(super) struct BlockBuffer(Vec<u8>);

impl BlockBuffer {
    pub(super) fn new() -> Self {
        Self(vec![0; BLOCK_HEADER_BYTES])
    }

    /// Starts over with these entries, at most [`BLOCK_ENTRIES_MAX`].
    pub(super) fn fill(&mut self, entries: &[Entry]) {
        self.0.truncate(BLOCK_HEADER_BYTES);
        for entry in entries {
            self.0.extend_from_slice(&entry.encode());
        }
    }

    /// Completes the block.
    pub(super) fn finish(&mut self, head: BlockHead) -> &[u8] {
        let body_crc = crc32c::crc32c(&self.0[BLOCK_HEADER_BYTES..]);
        let count = ((self.0.len() - BLOCK_HEADER_BYTES) / ENTRY_BYTES) as u32;
        let header = &mut self.0[..BLOCK_HEADER_BYTES];
        header[0..4].copy_from_slice(&BLOCK_MAGIC.to_le_bytes());
        header[4..8].copy_from_slice(&count.to_le_bytes());
        header[8..16].copy_from_slice(&head.covered.to_le_bytes());
        put_stamp(&mut header[16..32], head.stamp);
        header[32..36].copy_from_slice(&body_crc.to_le_bytes());
        let crc = crc32c::crc32c(&header[..36]);
        header[36..40].copy_from_slice(&crc.to_le_bytes());
        &self.0
    }
}

/// What a journal held when it was read.
#[derive(Debug)]
pub(super) struct JournalContent {
    pub(super) log: Uuid,
    pub(super) slice: i64,
    pub(super) entries: Vec<Entry>,
    /// Of the last block before any damage.
    pub(super) covered: Option<u64>,
    /// Of the last sound block.
    pub(super) stamp: Option<Stamp>,
    /// Stretches that are no sound block, a torn tail among them.
    pub(super) damaged: u64,
}

impl JournalContent {
    /// Reads what is sound; only a header that is not makes the whole unreadable.
    pub(super) fn read(fs: &dyn Fs, path: &Path) -> Result<Self, ReadError> {
        let bytes = read_file(fs, path, FILE_BYTES_MAX)?;
        check_prefix(&bytes, JOURNAL_MAGIC)?;
        let header = bytes.get(..HEADER_BYTES).ok_or(ReadError::Damaged)?;
        if u32::from_le_bytes(array(header, 48)) != crc32c::crc32c(&header[..48]) {
            return Err(ReadError::Damaged);
        }
        let mut content = Self {
            log: Uuid::from_bytes(array(header, 16)),
            slice: i64::from_le_bytes(array(header, 40)),
            entries: Vec::new(),
            covered: None,
            stamp: None,
            damaged: 0,
        };
        content.read_blocks(&bytes[HEADER_BYTES..]);
        Ok(content)
    }

    fn read_blocks(&mut self, mut rest: &[u8]) {
        let mut in_damage = false;
        while !rest.is_empty() {
            match sound_block(rest) {
                Some(body_bytes) => {
                    self.take_block(&rest[..BLOCK_HEADER_BYTES + body_bytes]);
                    rest = &rest[BLOCK_HEADER_BYTES + body_bytes..];
                    in_damage = false;
                }
                None => {
                    self.damaged += u64::from(!in_damage);
                    in_damage = true;
                    rest = &rest[1..];
                    let magic = BLOCK_MAGIC.to_le_bytes();
                    let next = memchr::memmem::find(rest, &magic).unwrap_or(rest.len());
                    rest = &rest[next..];
                }
            }
        }
    }

    fn take_block(&mut self, block: &[u8]) {
        let (entries, _) = block[BLOCK_HEADER_BYTES..].as_chunks::<ENTRY_BYTES>();
        self.entries.extend(entries.iter().map(Entry::decode));
        if self.damaged == 0 {
            self.covered = Some(u64::from_le_bytes(array(block, 8)));
        }
        self.stamp = self.stamp.max(Some(stamp_at(block, 16)));
    }
}

/// How many bytes of entries the sound block at the start of `bytes` has, if one is there.
fn sound_block(bytes: &[u8]) -> Option<usize> {
    let header = bytes.get(..BLOCK_HEADER_BYTES)?;
    let count = u32::from_le_bytes(array(header, 4)) as usize;
    let sound = u32::from_le_bytes(array(header, 0)) == BLOCK_MAGIC
        && count <= BLOCK_ENTRIES_MAX
        && u32::from_le_bytes(array(header, 36)) == crc32c::crc32c(&header[..36]);
    let body_bytes = count * ENTRY_BYTES;
    let body = bytes.get(BLOCK_HEADER_BYTES..BLOCK_HEADER_BYTES + body_bytes)?;
    (sound && u32::from_le_bytes(array(header, 32)) == crc32c::crc32c(body)).then_some(body_bytes)
}
