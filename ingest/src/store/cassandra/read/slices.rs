//! Where rows of a time lie: the buckets of a service, each cut into slices of time, newest
//! first, and the partitions that together hold all rows of a slice.

use std::collections::VecDeque;

use scylla::response::PagingState;

use crate::store::cassandra::layout::{BUCKET_MS, Layout, bucket_of};

use super::order::Range;
use super::source::{Laid, Part, ReadError, Source};

/// Rows of the table of buckets read first, of which a bucket of a hot service has one for each
/// slice, and any other has one: more than most pages need. Then so many at once, some 20 KiB.
const BUCKETS_FIRST: usize = 128;
const BUCKETS_NEXT: usize = 1_000;

/// A range of time of one bucket; its parts together hold all rows of it, none twice but for a
/// row that was written twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slice {
    pub(super) parts: Vec<Part>,
    /// Whether the bucket's rows came so fast that they were spread over slices: one alone
    /// most likely fills a page.
    pub(super) hot: bool,
}

/// The slices of a range, newest first. Buckets are read when they are needed.
#[derive(Debug)]
pub(super) struct Slices {
    range: Range,
    /// Of buckets that were read and not cut yet.
    laid: VecDeque<Laid>,
    /// Where to read on; `None`: all were read.
    rest: Option<PagingState>,
    asked: usize,
    bucket: Option<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    start_ms: i64,
    /// Each with the slices that have rows of it, a bit for each.
    layouts: Vec<(Layout, u64)>,
    finest: Layout,
    /// How many slices are still to come.
    left: u16,
}

impl Slices {
    pub(super) fn new(range: Range) -> Self {
        let rest = Some(PagingState::start());
        Self { range, laid: VecDeque::new(), rest, asked: BUCKETS_FIRST, bucket: None }
    }

    /// The next older slice that is in the range.
    pub(super) async fn next(&mut self, source: &impl Source) -> Result<Option<Slice>, ReadError> {
        loop {
            while let Some(bucket) = &mut self.bucket {
                match bucket.next(self.range) {
                    Some(slice) if !slice.parts.is_empty() => return Ok(Some(slice)),
                    Some(_) => {}
                    None => self.bucket = None,
                }
            }
            self.bucket = self.take_bucket();
            if self.bucket.is_none() && !self.read(source).await? {
                return Ok(None);
            }
        }
    }

    /// The newest bucket of which all layouts were read.
    fn take_bucket(&mut self) -> Option<Bucket> {
        let start_ms = self.laid.front()?.bucket_ms;
        let layouts = self.laid.iter().take_while(|laid| laid.bucket_ms == start_ms).count();
        if layouts == self.laid.len() && self.rest.is_some() {
            return None;
        }
        Some(Bucket::new(start_ms, self.laid.drain(..layouts)))
    }

    /// Reads further buckets; whether there may be more than before.
    async fn read(&mut self, source: &impl Source) -> Result<bool, ReadError> {
        let Some(from) = self.rest.take() else { return Ok(false) };
        let newest_ms = bucket_of(self.range.until.event_time_ms);
        let oldest_ms = bucket_of(self.range.from_ms);
        let answer = source.buckets((oldest_ms, newest_ms), self.asked, from).await?;
        self.asked = BUCKETS_NEXT;
        self.laid.extend(answer.items);
        self.rest = answer.rest;
        Ok(true)
    }
}

impl Bucket {
    fn new(start_ms: i64, laid: impl Iterator<Item = Laid>) -> Self {
        let mut layouts: Vec<(Layout, u64)> = Vec::new();
        for Laid { layout, slice, .. } in laid {
            let bit = 1_u64.checked_shl(slice.into()).unwrap_or(0);
            match layouts.iter_mut().find(|(known, _)| *known == layout) {
                Some((_, slices)) => *slices |= bit,
                None => layouts.push((layout, bit)),
            }
        }
        let finest = layouts.iter().map(|(layout, _)| *layout).max_by_key(|layout| layout.slices());
        let finest = finest.unwrap_or_default();
        Self { start_ms, layouts, finest, left: finest.slices() }
    }

    /// The next older slice; without parts where it is not in the range.
    fn next(&mut self, range: Range) -> Option<Slice> {
        self.left = self.left.checked_sub(1)?;
        let length_ms = BUCKET_MS / i64::from(self.finest.slices());
        let from_ms = self.start_ms.saturating_add(i64::from(self.left) * length_ms);
        let range = Range::new(from_ms, from_ms.saturating_add(length_ms)).and(range);
        let hot = self.finest.slices() > 1;
        if range.is_empty() {
            return Some(Slice { parts: Vec::new(), hot });
        }
        // Lengths are powers of two apart: the slice lies in one slice of each layout.
        let shards = |(layout, slices): &(Layout, u64)| {
            let slice = layout.slice_of(from_ms);
            let has_rows = slices >> slice & 1 == 1;
            has_rows.then(|| layout.shards_of_slice(slice)).into_iter().flatten()
        };
        let mut shards: Vec<i16> = self.layouts.iter().flat_map(shards).collect();
        shards.sort_unstable();
        shards.dedup();
        let bucket_ms = self.start_ms;
        let parts = shards.into_iter().map(|shard| Part { bucket_ms, shard, range }).collect();
        Some(Slice { parts, hot })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUCKET: i64 = 1_700_000_400_000;

    /// Lengths of time and shards of each slice of a bucket, newest first.
    fn cut(layouts: &[(u8, u8)], range: Range) -> Vec<(i64, i64, Vec<i16>)> {
        let laid = layouts.iter().flat_map(|(slices, spread)| {
            let layout = Layout::new(*slices, *spread);
            (0..layout.slices()).map(move |slice| Laid { bucket_ms: BUCKET, layout, slice })
        });
        cut_laid(laid, range)
    }

    fn cut_laid(laid: impl Iterator<Item = Laid>, range: Range) -> Vec<(i64, i64, Vec<i16>)> {
        let mut bucket = Bucket::new(BUCKET, laid);
        let mut slices = Vec::new();
        while let Some(Slice { parts, .. }) = bucket.next(range) {
            let Some(Part { range, .. }) = parts.first() else { continue };
            let shards = parts.iter().map(|part| part.shard).collect();
            slices.push((range.from_ms - BUCKET, range.until.event_time_ms - BUCKET, shards));
        }
        slices
    }

    #[test]
    fn a_slice_asks_the_partitions_of_every_layout_once() {
        let all = Range::new(i64::MIN, i64::MAX);
        assert_eq!(bucket_of(BUCKET), BUCKET);
        assert_eq!(cut(&[(0, 0)], all), [(0, BUCKET_MS, vec![0])]);
        assert_eq!(cut(&[(0, 0), (0, 1)], all), [(0, BUCKET_MS, vec![0, 1])]);
        let expected = [(300_000, 600_000, vec![2, 3]), (0, 300_000, vec![0, 1])];
        assert_eq!(cut(&[(1, 1)], all), expected);
        // One slice of the coarse layout is asked for each of the fine one's that it covers.
        let expected = [
            (450_000, 600_000, vec![1, 3]),
            (300_000, 450_000, vec![1, 2]),
            (150_000, 300_000, vec![0, 1]),
            (0, 150_000, vec![0]),
        ];
        assert_eq!(cut(&[(1, 0), (2, 0)], all), expected);
    }

    #[test]
    fn a_slice_without_rows_is_not_asked() {
        let laid = |slices, spread, slice| Laid {
            bucket_ms: BUCKET,
            layout: Layout::new(slices, spread),
            slice,
        };
        let all = Range::new(i64::MIN, i64::MAX);
        let rows = [laid(2, 1, 1), laid(1, 0, 1), laid(2, 1, 1), laid(6, 8, 63)];
        let asked = cut_laid(rows.into_iter(), all);
        // The last 64th of the finest, and what the others have of the older ones.
        assert_eq!(asked.len(), 1 + 31 + 16);
        let newest: Vec<i16> = std::iter::once(1).chain(63 * 256..64 * 256).collect();
        assert_eq!(asked[0], (BUCKET_MS - BUCKET_MS / 64, BUCKET_MS, newest));
        assert!(asked[1..32].iter().all(|(from, _, shards)| *from >= 300_000 && *shards == [1]));
        let (oldest, _, shards) = &asked[47];
        assert_eq!((*oldest, &shards[..]), (150_000, &[2, 3][..]));
    }

    #[test]
    fn slices_are_cut_to_the_range() {
        let range = Range::new(BUCKET + 149_999, BUCKET + 300_001);
        let expected =
            [(300_000, 300_001, vec![2]), (150_000, 300_000, vec![1]), (149_999, 150_000, vec![0])];
        assert_eq!(cut(&[(2, 0)], range), expected);
        assert_eq!(cut(&[(2, 0)], Range::new(BUCKET + 150_000, BUCKET + 300_000)).len(), 1);
        assert_eq!(cut(&[(2, 0)], Range::new(BUCKET - 9, BUCKET)), []);
    }
}
