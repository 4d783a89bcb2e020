//! Walks from the newest row of a range towards the oldest until a page is full. Asks many
//! partitions at once where rows are few, and no older ones where the newest have enough.

use std::collections::VecDeque;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use crate::pulse::{
    METADATA_ENTRIES_MAX, METADATA_KEY_BYTES_MAX, METADATA_VALUE_BYTES_MAX, NAME_BYTES_MAX,
    PAYLOAD_BYTES_MAX,
};
use crate::store::Page;

use super::merge::{Collected, Merged, OpenPart, OpenSlice};
use super::order::Range;
use super::slices::Slices;
use super::source::{ReadError, Source};

/// Partitions asked first, when nothing tells how many rows each has: a service with a row a
/// minute or more fills its first page from them.
const PARTS_FIRST: usize = 8;
/// Most requests at once: 16 queries may run, and a node refuses no thousand of small reads.
const REQUESTS_MAX: usize = 64;

/// Largest row, in bytes: all of its parts at their bounds, about 330 KiB.
pub(super) const ROW_BYTES_MAX: usize = PAYLOAD_BYTES_MAX
    + METADATA_ENTRIES_MAX * (METADATA_KEY_BYTES_MAX + METADATA_VALUE_BYTES_MAX + 48)
    + 8 * NAME_BYTES_MAX
    + 512;
/// Most bytes of rows that are in memory or were asked for, if all of those were the largest:
/// what the next rows' sizes are, nothing tells. An answer is unpacked beside the frame that it
/// came in, at most half of this again: a query stays below 64 MiB whatever its rows hold. Only
/// where a slice is spread over more than 120 partitions of such rows it needs one row of each.
pub(super) const BYTES_MAX: usize = 40 * 1024 * 1024;
/// Most rows of one answer.
const ANSWER_ROWS_MAX: usize = BYTES_MAX / ROW_BYTES_MAX / 2;

/// A walk over a service's rows.
pub(super) struct Walk<'s, S> {
    source: &'s S,
    slices: Slices,
    /// Slices that are being read, newest first.
    open: VecDeque<OpenSlice>,
    page: Collected,
    /// Parts opened last and in all.
    window: usize,
    opened: usize,
    /// Rows that a part has on average, rounded down, of those that were read to their ends.
    density: Option<usize>,
}

/// What is asked of a part: which, and how many rows.
#[derive(Debug, Clone, Copy)]
struct Ask {
    slice: usize,
    part: usize,
    rows: usize,
}

impl<'s, S: Source> Walk<'s, S> {
    pub(super) fn new(source: &'s S, range: Range, limit: usize) -> Self {
        Self {
            source,
            slices: Slices::new(range),
            open: VecDeque::new(),
            page: Collected::new(limit),
            window: 0,
            opened: 0,
            density: None,
        }
    }

    /// The page: as many rows as it may have, or all that there are.
    pub(super) async fn page(mut self) -> Result<Page, ReadError> {
        loop {
            let merged = self.page.merge(&mut self.open);
            if merged == Merged::Full || (merged == Merged::Drained && !self.open_more().await?) {
                return Ok(self.page.into_page());
            }
            self.read().await?;
        }
    }

    /// Opens the next slices; whether there are any.
    async fn open_more(&mut self) -> Result<bool, ReadError> {
        self.window = self.next_window();
        self.density = self.page.rows().checked_div(self.opened);
        let first = self.opened == 0;
        let mut parts = 0;
        while parts < self.window
            && let Some(slice) = self.slices.next(self.source).await?
        {
            parts += slice.parts.len();
            let enough = first && slice.hot;
            self.open.push_back(OpenSlice::new(slice));
            if enough {
                break;
            }
        }
        self.opened += parts;
        Ok(parts > 0)
    }

    /// Twice as many parts as the last time, but no more than are likely to be needed, and than
    /// can be asked for all that each is likely to have.
    fn next_window(&self) -> usize {
        if self.opened == 0 {
            return PARTS_FIRST;
        }
        let rows = self.page.rows();
        let needed = self.page.missing() * self.opened / rows.max(1) * 5 / 4;
        let wholly = self.room() / (rows * 5 / 4 / self.opened + 2);
        needed.min(wholly).min(self.window * 2).clamp(PARTS_FIRST, REQUESTS_MAX)
    }

    /// Asks once what is needed next, all at the same time.
    async fn read(&mut self) -> Result<(), ReadError> {
        let (source, mut answers) = (self.source, FuturesUnordered::new());
        for ask in self.asks() {
            let Some(part) = part_of(&mut self.open, ask) else { continue };
            let Some(from) = part.rest.clone() else { continue };
            // Boxed: what a request holds is large, and most of the time few are made.
            let read = Box::pin(source.rows(part.part, ask.rows, from));
            answers.push(async move { (ask, read.await) });
        }
        while let Some((ask, answer)) = answers.next().await {
            let answer = answer?;
            if let Some(part) = part_of(&mut self.open, ask) {
                self.page.waits(part.push(answer));
            }
        }
        Ok(())
    }

    /// How many rows may be asked for.
    fn room(&self) -> usize {
        BYTES_MAX.saturating_sub(self.page.bytes()) / ROW_BYTES_MAX
    }

    /// What is needed next, within what may be in memory.
    fn asks(&self) -> Vec<Ask> {
        let mut room = self.room().max(1);
        let mut asks = self.wishes();
        asks.truncate(REQUESTS_MAX);
        let newest: usize = asks.iter().filter(|ask| ask.slice == 0).map(|ask| ask.rows).sum();
        let others = asks.iter().map(|ask| ask.rows).sum::<usize>() - newest;
        // The newest slice's rows are needed in any case.
        let newest_room = newest.min(room - others.min(room / 4));
        let others_room = others.min(room - newest_room);
        for ask in &mut asks {
            let (wished, given) =
                if ask.slice == 0 { (newest, newest_room) } else { (others, others_room) };
            let fair = (ask.rows * given / wished.max(1)).clamp(1, ANSWER_ROWS_MAX);
            ask.rows = fair.min(room);
            room -= ask.rows;
        }
        asks.retain(|ask| ask.rows > 0);
        asks
    }

    /// Parts in the order in which they are needed, with as many rows as each will likely give
    /// to the page: its share of those of its slice and of all newer ones, and some more, so
    /// that chance seldom makes a second request.
    fn wishes(&self) -> Vec<Ask> {
        let missing = self.page.missing();
        let (mut wishes, mut low) = (Vec::new(), Vec::new());
        let (mut held, mut parts) = (0, 0);
        for (slice, open) in self.open.iter().enumerate() {
            if held >= missing {
                break;
            }
            parts += open.parts.iter().filter(|part| part.is_open()).count();
            let rows = missing.min((missing * 3).div_ceil(parts.max(1) * 2) + 4);
            let rows_first = self.density.map_or(rows, |density| rows.min(2 * density + 4));
            let unread = |(_, part): &(usize, &OpenPart)| part.rest.is_some();
            for (part, open) in open.parts.iter().enumerate().filter(unread) {
                let rows = if open.is_begun { rows } else { rows_first };
                let ask = Ask { slice, part, rows };
                match open.rows() {
                    0 => wishes.push(ask),
                    // Asked along with its neighbours before it holds up the merge.
                    few if few * 2 < rows => low.push(ask),
                    _ => {}
                }
            }
            held += open.rows();
        }
        wishes.extend(low);
        wishes
    }
}

fn part_of(open: &mut VecDeque<OpenSlice>, ask: Ask) -> Option<&mut OpenPart> {
    open.get_mut(ask.slice)?.parts.get_mut(ask.part)
}
