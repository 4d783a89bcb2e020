//! Walking a segment's bytes: a window over the file, and the search for the next sound frame
//! behind damage. Changes nothing; an unreadable block reads as zeros, which is damage.

use std::io;

use memchr::memmem;

use crate::fs::File;

use super::frame::{self, Frame, Header};

/// Bytes read at once: large enough that the call costs nothing beside the copy.
const WINDOW_BYTES: usize = 1024 * 1024;
/// What a failing disk can't read comes in such blocks.
const BLOCK_BYTES: usize = 4096;
/// How often a block is tried before it counts as damaged.
const READ_ATTEMPTS: usize = 3;

/// A moving view of a file's first `end` bytes.
#[derive(Debug)]
pub(crate) struct Window<'f> {
    file: &'f dyn File,
    end: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl<'f> Window<'f> {
    pub(crate) fn new(file: &'f dyn File, end: u64) -> Self {
        Self { file, end, start: 0, bytes: Vec::new() }
    }

    /// The bytes at `at`: at least `length` unless the file ends before.
    pub(crate) fn at(&mut self, at: u64, length: usize) -> &[u8] {
        let wanted = (length as u64).min(self.end.saturating_sub(at));
        let held = self.start + self.bytes.len() as u64;
        if at < self.start || at + wanted > held {
            let size = wanted.max(WINDOW_BYTES as u64).min(self.end.saturating_sub(at));
            self.bytes.clear();
            self.bytes.resize(size as usize, 0);
            self.start = at;
            let read = read_salvaging(self.file, &mut self.bytes, at);
            self.bytes.truncate(read);
        }
        let skipped = (at - self.start) as usize;
        self.bytes.get(skipped..).unwrap_or_default()
    }

    /// The sound frame at `at`, if there is one.
    pub(crate) fn frame(&mut self, at: u64) -> Option<Header> {
        let header = Header::read(self.at(at, frame::HEADER_BYTES)).ok()?;
        let bytes = self.at(at, header.frame_bytes());
        Frame::read(bytes).ok().map(|frame| frame.header())
    }

    /// Where a sound frame that `accept` takes begins, from `from` on and before `to`.
    pub(crate) fn find(
        &mut self,
        from: u64,
        to: u64,
        accept: impl Fn(&Header) -> bool,
    ) -> Option<u64> {
        let magic = frame::MAGIC.to_le_bytes();
        let finder = memmem::Finder::new(&magic);
        let mut at = from;
        while at < to && at + frame::HEADER_BYTES as u64 <= self.end {
            let view = self.at(at, frame::HEADER_BYTES);
            let length = view.len();
            if length < frame::HEADER_BYTES {
                return None;
            }
            match finder.find(view) {
                Some(offset) => {
                    at += offset as u64;
                    if self.frame(at).is_some_and(|header| accept(&header)) {
                        return Some(at);
                    }
                    at += 1;
                }
                // The magic may lie across the window's end.
                None => at += (length - (magic.len() - 1)) as u64,
            }
        }
        None
    }
}

/// Where the last byte that is not zero ends, of a file's bytes from `from` up to `end`; `from`
/// if all are zeros. Looks from the end, so what it costs is the zeros there.
pub(crate) fn used_end(file: &dyn File, from: u64, end: u64) -> u64 {
    let mut buffer = vec![0; WINDOW_BYTES];
    let mut end = end;
    while end > from {
        let start = from.max(end.saturating_sub(WINDOW_BYTES as u64));
        let wanted = (end - start) as usize;
        let read = read_salvaging(file, &mut buffer[..wanted], start);
        let used = without_zeros_behind(&buffer[..read]);
        if !used.is_empty() {
            return start + used.len() as u64;
        }
        end = start;
    }
    from
}

fn without_zeros_behind(bytes: &[u8]) -> &[u8] {
    const ZEROS: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];
    let mut used = bytes;
    while let Some(before) = used.strip_suffix(&ZEROS) {
        used = before;
    }
    let length = used.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    &used[..length]
}

/// Reads what can be read; blocks that can't are zeros. Returns how many bytes there are.
pub(crate) fn read_salvaging(file: &dyn File, buffer: &mut [u8], at: u64) -> usize {
    for _ in 0..READ_ATTEMPTS {
        if let Ok(read) = read_full(file, buffer, at) {
            return read;
        }
    }
    let there = file.len().map_or(buffer.len() as u64, |length| length.saturating_sub(at));
    let there = buffer.len().min(there as usize);
    for (index, block) in buffer[..there].chunks_mut(BLOCK_BYTES).enumerate() {
        let at = at + (index * BLOCK_BYTES) as u64;
        if (0..READ_ATTEMPTS).all(|_| read_full(file, block, at).is_err()) {
            block.fill(0);
        }
    }
    there
}

/// Reads until the buffer is full or the file ends.
pub(crate) fn read_full(file: &dyn File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
