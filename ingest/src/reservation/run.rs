//! Runs: sealed reservations, sorted by key in a file that never changes, and the small index
//! over one that stays in memory.
//!
//! ```text
//! header, 128 bytes: mark (16)   log id (16)   first, last journal number u64 each
//!                    slice i64   newest i64   age i64   wall i64   covered u64   count u64
//!                    buckets u32   CRC32C of the index u32   CRC32C of the 112 bytes before u32
//! count × 70 bytes:  entry (66)   its CRC32C u32
//! index:             (buckets + 1) × u32 first entry   count × u16 fingerprint   count × u8 more
//! ```
//! The high bits of a key give its bucket of about 16 neighbours, 24 low bits its fingerprint,
//! and the place of a fingerprint the place of its entry: a hit costs one read of 70 bytes, and
//! one new key in a million costs such a read for nothing. A key costs 3.25 bytes of memory.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use uuid::Uuid;

use super::clock::Stamp;
use super::format::{
    self, PREFIX_BYTES, RUN_MAGIC, ReadError, check_prefix, put_stamp, read_exact, stamp_at,
};
use super::key::{ENTRY_BYTES, Entry, Fixed, ReservationKey, array};
use crate::fs::{File, Fs, Open};

pub(super) const HEADER_BYTES: usize = 128;
const HEADER_CRC_AT: usize = 112;
/// An entry with its checksum.
pub(super) const SLOT_BYTES: usize = ENTRY_BYTES + 4;
/// Mean keys of a bucket: one in 7,000 is larger than the window that is compared at once.
const BUCKET_KEYS: usize = 16;
/// Bytes of fingerprints that are compared at once, from a bucket's start on; half a cache line.
const WINDOW: usize = 32;

/// What a run's header says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RunMeta {
    /// The log that `covered` counts in.
    pub(super) log: Uuid,
    /// First and last number of the journals that it replaces.
    pub(super) first: u64,
    pub(super) last: u64,
    /// The slice of time that it belongs to: when the slice began.
    pub(super) slice: i64,
    /// Age time of its newest entry; the run goes when that is older than the window.
    pub(super) newest_us: i64,
    /// When it was written.
    pub(super) stamp: Stamp,
    /// What was covered when it was written.
    pub(super) covered: u64,
}

impl RunMeta {
    pub(super) fn encode(&self, count: usize, index: &RunIndex, index_crc: u32) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_BYTES];
        bytes[..PREFIX_BYTES].copy_from_slice(&format::prefix(RUN_MAGIC));
        bytes[16..32].copy_from_slice(self.log.as_bytes());
        bytes[32..40].copy_from_slice(&self.first.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.last.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.slice.to_le_bytes());
        bytes[56..64].copy_from_slice(&self.newest_us.to_le_bytes());
        put_stamp(&mut bytes[64..80], self.stamp);
        bytes[80..88].copy_from_slice(&self.covered.to_le_bytes());
        bytes[88..96].copy_from_slice(&(count as u64).to_le_bytes());
        bytes[96..100].copy_from_slice(&index.buckets.to_le_bytes());
        bytes[100..104].copy_from_slice(&index_crc.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..HEADER_CRC_AT]);
        bytes[HEADER_CRC_AT..HEADER_CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Self {
        Self {
            log: Uuid::from_bytes(array(bytes, 16)),
            first: u64::from_le_bytes(array(bytes, 32)),
            last: u64::from_le_bytes(array(bytes, 40)),
            slice: i64::from_le_bytes(array(bytes, 48)),
            newest_us: i64::from_le_bytes(array(bytes, 56)),
            stamp: stamp_at(bytes, 64),
            covered: u64::from_le_bytes(array(bytes, 80)),
        }
    }
}

/// Reads and proves a run's header alone.
pub(super) fn read_meta(file: &dyn File) -> Result<(RunMeta, [u8; HEADER_BYTES]), ReadError> {
    let mut header = [0; HEADER_BYTES];
    read_exact(file, &mut header, 0)?;
    check_prefix(&header, RUN_MAGIC)?;
    if u32::from_le_bytes(array(&header, HEADER_CRC_AT)) != crc32c::crc32c(&header[..HEADER_CRC_AT])
    {
        return Err(ReadError::Damaged);
    }
    Ok((RunMeta::decode(&header), header))
}

/// The part of a run that stays in memory.
#[derive(Debug)]
pub(super) struct RunIndex {
    buckets: u32,
    starts: Vec<u32>,
    low: Vec<u16>,
    /// [`WINDOW`] longer than there are keys.
    high: Vec<u8>,
}

impl RunIndex {
    /// An index for up to `keys` keys.
    pub(super) fn with_capacity(keys: usize) -> Self {
        let buckets = u32::try_from(keys / BUCKET_KEYS + 1).unwrap_or(u32::MAX);
        Self {
            buckets,
            starts: Vec::with_capacity(buckets as usize + 1),
            low: Vec::with_capacity(keys),
            high: Vec::with_capacity(keys + WINDOW),
        }
    }

    /// Adds a key, which must be above those before.
    pub(super) fn push(&mut self, key: ReservationKey) {
        let bucket = self.bucket(key);
        while self.starts.len() <= bucket {
            self.starts.push(self.low.len() as u32);
        }
        self.low.push(low_of(key));
        self.high.push(high_of(key));
    }

    /// No more keys come.
    pub(super) fn finish(&mut self) {
        self.starts.resize(self.buckets as usize + 1, self.low.len() as u32);
        self.high.resize(self.low.len() + WINDOW, 0);
        self.low.shrink_to_fit();
        self.high.shrink_to_fit();
    }

    fn len(&self) -> usize {
        self.low.len()
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.starts.len() * 4 + self.len() * 3);
        self.starts.iter().for_each(|start| bytes.extend_from_slice(&start.to_le_bytes()));
        self.low.iter().for_each(|low| bytes.extend_from_slice(&low.to_le_bytes()));
        bytes.extend_from_slice(&self.high[..self.len()]);
        bytes
    }

    fn decode(bytes: &[u8], buckets: u32, count: usize) -> Option<Self> {
        let (starts, rest) = bytes.split_at_checked((buckets as usize + 1) * 4)?;
        let (low, high) = rest.split_at_checked(count * 2)?;
        let (starts, _) = starts.as_chunks::<4>();
        let (low, _) = low.as_chunks::<2>();
        let starts: Vec<_> = starts.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect();
        let low = low.iter().map(|bytes| u16::from_le_bytes(*bytes)).collect();
        let ordered = starts.is_sorted() && starts.last() == Some(&(count as u32));
        let high = [high, &[0; WINDOW]].concat();
        (buckets > 0 && ordered).then_some(Self { buckets, starts, low, high })
    }

    fn memory_bytes(&self) -> usize {
        self.starts.capacity() * 4 + self.low.capacity() * 2 + self.high.capacity()
    }

    /// Ascends with the key, so that a bucket's entries are neighbours in the file.
    fn bucket(&self, key: ReservationKey) -> usize {
        let position = u128::from((key.0 >> 64) as u64);
        ((position * u128::from(self.buckets)) >> 64) as usize
    }

    /// The bucket of `key` as places of entries.
    fn places(&self, key: ReservationKey) -> Range<usize> {
        let bucket = self.bucket(key);
        match self.starts.get(bucket..bucket + 2) {
            Some(&[start, end]) => start as usize..end as usize,
            _ => 0..0,
        }
    }

    fn may_hold(&self, key: ReservationKey) -> bool {
        let places = self.places(key);
        let high = high_of(key);
        let Some(window) = self.high[places.start..].first_chunk::<WINDOW>() else { return true };
        // Without a branch in it, this is two vector compares, and most new keys end here.
        let any = window.iter().fold(false, |any, found| any | (*found == high));
        (any || places.len() > WINDOW) && places.into_iter().any(|place| self.is_match(key, place))
    }

    fn is_match(&self, key: ReservationKey, place: usize) -> bool {
        self.high[place] == high_of(key) && self.low[place] == low_of(key)
    }
}

fn low_of(key: ReservationKey) -> u16 {
    key.0 as u16
}

fn high_of(key: ReservationKey) -> u8 {
    (key.0 >> 16) as u8
}

/// A sealed run.
#[derive(Debug)]
pub(super) struct Run {
    file: Arc<dyn File>,
    path: PathBuf,
    meta: RunMeta,
    index: RunIndex,
    damaged: AtomicU64,
}

impl Run {
    pub(super) fn new(file: Arc<dyn File>, path: PathBuf, meta: RunMeta, index: RunIndex) -> Self {
        Self { file, path, meta, index, damaged: AtomicU64::new(0) }
    }

    /// Opens a run by its header and index: 3.25 bytes a key are read.
    pub(super) fn open(fs: &dyn Fs, path: &Path) -> Result<Self, ReadError> {
        let file = fs.open(path, Open::Read)?;
        let (meta, header) = read_meta(&*file)?;
        let count = u64::from_le_bytes(array(&header, 88));
        let buckets = u32::from_le_bytes(array(&header, 96));
        let index_at =
            (HEADER_BYTES as u64).saturating_add(count.saturating_mul(SLOT_BYTES as u64));
        let index_bytes = (u64::from(buckets) + 1) * 4 + count.saturating_mul(3);
        // Also keeps a wrong count from asking for more memory than the file has bytes.
        if index_at.checked_add(index_bytes) != Some(file.len()?) {
            return Err(ReadError::Damaged);
        }
        let mut bytes = vec![0; index_bytes as usize];
        read_exact(&*file, &mut bytes, index_at)?;
        if crc32c::crc32c(&bytes) != u32::from_le_bytes(array(&header, 100)) {
            return Err(ReadError::Damaged);
        }
        let index = RunIndex::decode(&bytes, buckets, count as usize).ok_or(ReadError::Damaged)?;
        Ok(Self::new(file, path.to_path_buf(), meta, index))
    }

    pub(super) fn meta(&self) -> &RunMeta {
        &self.meta
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn file(&self) -> &Arc<dyn File> {
        &self.file
    }

    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// Entries that were found damaged when they were asked for.
    pub(super) fn damaged(&self) -> u64 {
        self.damaged.load(Ordering::Relaxed)
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.index.memory_bytes() + size_of::<Self>()
    }

    pub(super) fn disk_bytes(&self) -> u64 {
        (HEADER_BYTES + self.len() * (SLOT_BYTES + 3) + self.index.starts.len() * 4) as u64
    }

    /// Whether the run may hold `key`: no disk; "no" is certain.
    pub(super) fn may_hold(&self, key: ReservationKey) -> bool {
        self.index.may_hold(key)
    }

    /// What `key` leads to. Reads the disk where the fingerprint matches.
    pub(super) fn find(&self, key: ReservationKey) -> io::Result<Option<Fixed>> {
        for place in self.index.places(key).filter(|place| self.index.is_match(key, *place)) {
            match self.read(place) {
                Ok(entry) if entry.key == key => return Ok(Some(entry.fixed)),
                Ok(_) => {}
                Err(ReadError::Io(error)) => return Err(error),
                Err(_) => {
                    self.damaged.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        Ok(None)
    }

    fn read(&self, place: usize) -> Result<Entry, ReadError> {
        let mut slot = [0; SLOT_BYTES];
        read_exact(&*self.file, &mut slot, (HEADER_BYTES + place * SLOT_BYTES) as u64)?;
        read_slot(&slot).ok_or(ReadError::Damaged)
    }
}

pub(super) fn write_slot(entry: &Entry) -> [u8; SLOT_BYTES] {
    let mut slot = [0; SLOT_BYTES];
    slot[..ENTRY_BYTES].copy_from_slice(&entry.encode());
    let crc = crc32c::crc32c(&slot[..ENTRY_BYTES]);
    slot[ENTRY_BYTES..].copy_from_slice(&crc.to_le_bytes());
    slot
}

/// The entry of a slot, if it is sound.
pub(super) fn read_slot(slot: &[u8; SLOT_BYTES]) -> Option<Entry> {
    let crc = u32::from_le_bytes(array(slot, ENTRY_BYTES));
    (crc32c::crc32c(&slot[..ENTRY_BYTES]) == crc).then(|| Entry::decode(&array(slot, 0)))
}
