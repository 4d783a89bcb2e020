//! A page while it is collected: rows of a slice's parts, each newest first, merged into one
//! order. A row that lies in two partitions is given once.

use std::cmp::Reverse;
use std::collections::VecDeque;

use scylla::response::PagingState;

use crate::store::{Page, Position, Row};

use super::order::Place;
use super::slices::Slice;
use super::source::{Answer, Part};

/// Bytes of rows at which a page ends before its limit of rows, as in the other stores.
pub(super) const PAGE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Whether rows that were read decide what comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Merged {
    /// The page is complete.
    Full,
    /// All parts that were opened have given all that they have.
    Drained,
    /// A part of the newest slice has more, and its next row is not there yet.
    Waiting,
}

/// A slice that is being read.
#[derive(Debug)]
pub(super) struct OpenSlice {
    pub(super) parts: Vec<OpenPart>,
}

/// A part that is being read.
#[derive(Debug)]
pub(super) struct OpenPart {
    pub(super) part: Part,
    /// Where to read on; `None`: all was read.
    pub(super) rest: Option<PagingState>,
    /// Whether some of it was read.
    pub(super) is_begun: bool,
    rows: VecDeque<Read>,
}

/// A row that was read.
#[derive(Debug)]
struct Read {
    place: Place,
    bytes: usize,
    row: Row,
}

impl Read {
    fn of(row: Row) -> Self {
        Self { place: Place::new(row.event_time_ms, row.id), bytes: bytes_of(&row), row }
    }
}

impl OpenSlice {
    pub(super) fn new(slice: Slice) -> Self {
        let open = |part| OpenPart {
            part,
            rest: Some(PagingState::start()),
            is_begun: false,
            rows: VecDeque::new(),
        };
        Self { parts: slice.parts.into_iter().map(open).collect() }
    }

    /// Rows that were read and not given yet.
    pub(super) fn rows(&self) -> usize {
        self.parts.iter().map(OpenPart::rows).sum()
    }

    /// The part with the newest row. `Err`: a part whose next row is not there may have it.
    fn newest(&mut self) -> Result<Option<&mut OpenPart>, ()> {
        let mut newest: Option<(Place, usize)> = None;
        for (at, part) in self.parts.iter().enumerate() {
            match part.rows.front() {
                Some(read) => newest = newest.max(Some((read.place, at))),
                None if part.rest.is_some() => return Err(()),
                None => {}
            }
        }
        Ok(newest.and_then(|(_, at)| self.parts.get_mut(at)))
    }
}

impl OpenPart {
    /// Rows that were read and not given yet.
    pub(super) fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Whether it has a row to give, or may have.
    pub(super) fn is_open(&self) -> bool {
        self.rest.is_some() || !self.rows.is_empty()
    }

    /// Takes what was read of it; returns its bytes.
    pub(super) fn push(&mut self, answer: Answer<Row>) -> usize {
        self.rest = answer.rest;
        self.is_begun = true;
        let mut bytes = 0;
        for row in answer.items {
            let read = Read::of(row);
            bytes += read.bytes;
            self.rows.push_back(read);
        }
        bytes
    }
}

/// The rows of a page so far.
#[derive(Debug)]
pub(super) struct Collected {
    limit: usize,
    rows: Vec<Row>,
    last: Option<Place>,
    /// Of the rows, and of those that were read and not given yet.
    bytes: usize,
    waiting_bytes: usize,
    more: bool,
}

impl Collected {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, rows: Vec::new(), last: None, bytes: 0, waiting_bytes: 0, more: false }
    }

    /// Rows that are given so far.
    pub(super) fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Rows that are missing to know that the page is full and whether there is more.
    pub(super) fn missing(&self) -> usize {
        (self.limit + 1).saturating_sub(self.rows.len())
    }

    /// Bytes of all rows in memory.
    pub(super) fn bytes(&self) -> usize {
        self.bytes + self.waiting_bytes
    }

    /// Rows of so many bytes were read.
    pub(super) fn waits(&mut self, bytes: usize) {
        self.waiting_bytes += bytes;
    }

    /// Takes rows from the slices, which are in order, as far as the order is sure.
    pub(super) fn merge(&mut self, open: &mut VecDeque<OpenSlice>) -> Merged {
        while let Some(slice) = open.front_mut() {
            match slice.newest() {
                Err(()) => return Merged::Waiting,
                Ok(None) => drop(open.pop_front()),
                Ok(Some(part)) => {
                    let Some(read) = part.rows.pop_front() else { continue };
                    if !self.take(read) {
                        return Merged::Full;
                    }
                }
            }
        }
        Merged::Drained
    }

    /// Whether the page goes on behind this row.
    fn take(&mut self, read: Read) -> bool {
        self.waiting_bytes = self.waiting_bytes.saturating_sub(read.bytes);
        if self.last == Some(read.place) {
            return true;
        }
        let too_large = !self.rows.is_empty() && self.bytes + read.bytes > PAGE_BYTES_MAX;
        if self.rows.len() == self.limit || too_large {
            self.more = true;
            return false;
        }
        self.last = Some(read.place);
        self.bytes += read.bytes;
        self.rows.push(read.row);
        true
    }

    pub(super) fn into_page(self) -> Page {
        let position = |row: &Row| Position { event_time_ms: row.event_time_ms, id: row.id };
        let next = self.rows.last().filter(|_| self.more).map(position);
        Page { rows: self.rows, next }
    }
}

/// Pages of several tables as one. Where one ends early, what the others have behind its end is
/// left to the next page.
pub(super) fn merged(pages: impl IntoIterator<Item = Page>, limit: usize) -> Page {
    let (mut reads, mut end) = (Vec::new(), None);
    for page in pages {
        end = end.max(page.next.map(Place::of));
        reads.extend(page.rows.into_iter().map(Read::of));
    }
    reads.sort_unstable_by_key(|read| Reverse(read.place));
    let mut page = Collected::new(limit);
    // Ends at a row that does not fit, or at the end of what is known.
    let known = |read: &Read| end.is_none_or(|end| read.place >= end);
    let fits = reads.into_iter().take_while(known).all(|read| page.take(read));
    page.more = !fits || end.is_some();
    page.into_page()
}

/// About what a row takes in memory, in bytes.
fn bytes_of(row: &Row) -> usize {
    let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let usage = row.usage.as_ref().map_or(0, |usage| usage.sku.len() + usage.unit.len());
    let entry =
        |(key, value): &(String, String)| size_of::<(String, String)>() + key.len() + value.len();
    let metadata: usize = row.metadata.iter().map(entry).sum();
    let names = row.tenant.len() + row.service.len() + row.kind.len();
    let texts = length(&row.status) + length(&row.user) + length(&row.payload);
    size_of::<Row>() + names + texts + usage + metadata
}
