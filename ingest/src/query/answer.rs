//! The JSON of rows, in pages.

use jiff::Timestamp;

use crate::store::{Position, Row};
use crate::text::write_string;

use super::cursor;

/// Bytes of rows after which a page ends early: its cursor goes on from there, and a query
/// costs bounded memory whatever its rows hold.
pub const PAGE_BYTES_SOFT: usize = 4 * 1024 * 1024;

/// Writes `{"pulses":[…],"next":cursor or null}`, row by row.
#[derive(Debug)]
pub struct PageWriter {
    out: Vec<u8>,
    kind: Option<String>,
    rows_max: usize,
    last: Option<Position>,
    rows: usize,
}

impl PageWriter {
    /// A page of so many rows, only of this kind.
    pub fn new(kind: Option<String>, rows_max: usize) -> Self {
        Self { out: b"{\"pulses\":[".to_vec(), kind, rows_max, last: None, rows: 0 }
    }

    /// Adds those rows that are wanted until the page is full; whether all were looked at.
    pub fn push(&mut self, rows: &[Row]) -> bool {
        for row in rows {
            if self.out.len() >= PAGE_BYTES_SOFT || self.rows == self.rows_max {
                return false;
            }
            self.last = Some(Position { event_time_ms: row.event_time_ms, id: row.id });
            if self.kind.as_ref().is_some_and(|kind| *kind != row.kind) {
                continue;
            }
            if self.rows > 0 {
                self.out.push(b',');
            }
            row.write_json(&mut self.out);
            self.rows += 1;
        }
        true
    }

    /// Rows so far.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The place of the last row that was looked at.
    pub fn last(&self) -> Option<Position> {
        self.last
    }

    /// Ends the page; `more`: there are rows behind the last one.
    pub fn finish(mut self, more: bool, mark: u64) -> Vec<u8> {
        self.out.extend_from_slice(b"],\"next\":");
        match self.last.filter(|_| more) {
            None => self.out.extend_from_slice(b"null"),
            Some(position) => write_string(&mut self.out, &cursor::encode(position, mark)),
        }
        self.out.push(b'}');
        self.out
    }
}

/// Appends a time as RFC 3339 in UTC with milliseconds, in quotes; `null` where it is beyond
/// what RFC 3339 can say.
pub(super) fn write_time(out: &mut Vec<u8>, time_ms: i64) {
    match Timestamp::from_millisecond(time_ms) {
        Ok(time) => write_string(out, &format!("{time:.3}")),
        Err(_) => out.extend_from_slice(b"null"),
    }
}
