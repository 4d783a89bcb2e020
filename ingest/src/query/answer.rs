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
    last: Option<Position>,
    rows: usize,
}

impl Default for PageWriter {
    fn default() -> Self {
        Self { out: b"{\"pulses\":[".to_vec(), last: None, rows: 0 }
    }
}

impl PageWriter {
    /// Adds rows until the page is full; whether all of them found room.
    pub fn push(&mut self, rows: &[Row]) -> bool {
        for row in rows {
            if self.out.len() >= PAGE_BYTES_SOFT {
                return false;
            }
            if self.rows > 0 {
                self.out.push(b',');
            }
            row.write_json(&mut self.out);
            self.rows += 1;
            self.last = Some(Position { event_time_ms: row.event_time_ms, id: row.id });
        }
        true
    }

    /// Rows so far.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The place of the last row.
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
