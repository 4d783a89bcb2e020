//! Where the last segment ends: tells a torn tail, which cost nothing that was acknowledged, from
//! damage, which did. Changes nothing.

use crate::fs::File;

use super::PENDING_BYTES_MAX;
use super::frame::{self, ENTRY_BYTES_MIN};
use super::scan::{Window, read_salvaging, used_end};
use super::segment::{HEADER_BYTES, SEAL_BYTES, Seal};
use super::writer::Carry;

const _: () = assert!(frame::HEADER_BYTES > SEAL_BYTES, "a seal is never taken for a frame");

/// Where the last segment's sound frames end.
#[derive(Debug)]
pub(crate) struct Tail {
    /// Where the last group begins: all before it was synced.
    pub(crate) group_at: u64,
    pub(crate) group_seq: u64,
    /// Where the last sound frame ends.
    pub(crate) end: u64,
    pub(crate) end_seq: u64,
    /// Whether something was lost that had been synced.
    pub(crate) damaged: bool,
    /// Where the last byte that is not zero ends.
    used_end: u64,
    seal: Option<Seal>,
}

impl Tail {
    pub(crate) fn scan(file: &dyn File, first_seq: u64, length: u64) -> Self {
        let start = HEADER_BYTES as u64;
        // Nothing begins in the zeros behind; they are most of a segment, and looked at once.
        let used_end = used_end(file, start, length);
        let mut window = Window::new(file, length);
        let mut tail = Self {
            group_at: start,
            group_seq: first_seq,
            end: start,
            end_seq: first_seq,
            damaged: false,
            used_end,
            seal: None,
        };
        while tail.step(&mut window) {}
        tail.used_end = tail.used_end.max(tail.end);
        tail
    }

    fn step(&mut self, window: &mut Window<'_>) -> bool {
        let end_seq = self.end_seq;
        if let Some(header) = window.frame(self.end)
            && header.first_seq >= end_seq
        {
            if header.starts_group {
                self.group_at = self.end;
                self.group_seq = header.first_seq;
            }
            self.end += header.frame_bytes() as u64;
            self.end_seq = header.end_seq();
            return true;
        }
        self.seal = Seal::decode(window.at(self.end, SEAL_BYTES));
        if self.seal.is_some() {
            self.group_at = self.end;
            self.group_seq = end_seq;
            return false;
        }
        // A group further on proves that all before it was synced once: that is no torn tail.
        let next = window.find(self.end + 1, self.used_end, |header| {
            header.starts_group && header.first_seq >= end_seq
        });
        if let Some(next) = next {
            self.damaged = true;
            self.end = next;
        }
        next.is_some()
    }

    /// The last group's frames.
    pub(crate) fn carry(&self, file: &dyn File) -> Carry {
        let mut frames = vec![0; (self.end - self.group_at) as usize];
        let read = read_salvaging(file, &mut frames, self.group_at);
        frames.truncate(read);
        Carry { frames, first_seq: self.group_seq, end_seq: self.end_seq }
    }

    /// How many pulses may have been acknowledged behind the last sound frame. Their numbers are
    /// not used again: a sink may have finished them. A tail that is merely torn had none.
    pub(crate) fn unknown_pulses(&self, segment_bytes: u64) -> u64 {
        let bytes = match &self.seal {
            // There was a successor, and it is gone.
            Some(_) => segment_bytes.max(PENDING_BYTES_MAX as u64),
            None if self.damaged => self.used_end - self.end,
            None => 0,
        };
        bytes.div_ceil(ENTRY_BYTES_MIN as u64)
    }
}
