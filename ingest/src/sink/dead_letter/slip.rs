//! A letter as a replay carries it: where it lies and what must be known of it on its way. Its
//! pulse stays where it was read, in the bytes of its segment, which all its letters share; the
//! whole letter is put together only for whom that is needed. Reads no file.

use std::sync::Arc;

use bytes::Bytes;

use super::head::Head;
use super::letter::{Letter, parts};
use super::marks::Marks;
use super::segment::{Piece, pieces};
use super::{Filter, Held, LetterPlace, LogId};

/// Origins that are looked through for one that a letter shares: tenants have turns in a batch,
/// and finding none costs one more of them, nothing else.
const ORIGINS_LOOKED_AT: usize = 16;

/// A segment as it was at one moment.
#[derive(Debug)]
pub(crate) struct Snapshot {
    bytes: Bytes,
    marks: Marks,
}

/// What letters that failed together share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) tenant: String,
    pub(crate) sink: String,
    pub(crate) log: LogId,
    pub(crate) in_memory: bool,
    /// The reason that it was written with; marks may tell a later one.
    pub(crate) code: String,
}

/// A letter on its way.
#[derive(Debug, Clone)]
pub(crate) struct Slip {
    pub(crate) place: LetterPlace,
    pub(crate) origin: Arc<Origin>,
    /// Its number in the log that it comes from.
    pub(crate) seq: u64,
    of: Arc<Snapshot>,
    /// Where in the segment's bytes its body lies, and in it its pulse.
    start: u32,
    frame: u32,
    end: u32,
}

/// Slips, in the order of their places, and where to go on.
#[derive(Debug, Default)]
pub(crate) struct Slips {
    pub(crate) slips: Vec<Slip>,
    /// Letters of the tenant that were looked at.
    pub(crate) looked_at: u64,
    /// The last place that was looked at; `None` when there is no more.
    pub(crate) next: Option<LetterPlace>,
}

impl Snapshot {
    pub(super) fn new(bytes: Vec<u8>, marks: Marks) -> Self {
        Self { bytes: bytes.into(), marks }
    }

    /// Its records under the offsets that they were first written at, oldest first; without those
    /// that are gone.
    pub(super) fn records(&self) -> impl Iterator<Item = (u32, &[u8])> {
        pieces(&self.bytes)
            .filter_map(|piece| match piece {
                Piece::Record(offset, body) => Some((offset, body)),
                Piece::Damaged | Piece::Torn(_) => None,
            })
            .filter(|(offset, _)| !self.marks.gone.contains(*offset))
    }

    /// How many bytes it keeps in memory.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn letter(&self, offset: u32, body: &[u8]) -> Option<Letter> {
        let mut letter = Letter::decode(body)?;
        self.marks.apply(offset, &mut letter);
        Some(letter)
    }

    /// Where a part of its bytes begins in it.
    fn start_of(&self, part: &[u8]) -> u32 {
        part.as_ptr().addr().saturating_sub(self.bytes.as_ptr().addr()) as u32
    }
}

/// Makes slips of a segment's records.
#[derive(Debug)]
pub(super) struct Slipper {
    of: Arc<Snapshot>,
    segment: u64,
    origins: Vec<Arc<Origin>>,
}

impl Slipper {
    pub(super) fn new(segment: u64, of: Arc<Snapshot>) -> Self {
        Self { of, segment, origins: Vec::new() }
    }

    /// The slip of a record, if it can be read and is meant; and whether it is the tenant's.
    pub(super) fn slip(
        &mut self,
        (offset, body): (u32, &[u8]),
        filter: Option<&Filter>,
    ) -> Option<(bool, Option<Slip>)> {
        let (about, frame) = parts(body)?;
        let whole: Letter;
        let head = match Head::read(about) {
            Some(head) => head,
            None => {
                whole = Letter::decode(body)?;
                Head::of(&whole)
            }
        };
        let own = filter.is_none_or(|filter| head.tenant == filter.tenant);
        let fits = || {
            let Some(filter) = filter else { return true };
            let code = self.of.marks.code(offset).unwrap_or(head.code);
            filter.fits_head(head.tenant, code, head.first_at_us)
                && (!filter.looks_inside()
                    || self.of.letter(offset, body).is_some_and(|letter| filter.fits(&letter)))
        };
        if !own || !fits() {
            return Some((own, None));
        }
        let slip = Slip {
            place: LetterPlace { segment: self.segment, offset },
            seq: head.seq,
            start: self.of.start_of(body),
            frame: self.of.start_of(frame),
            end: self.of.start_of(frame) + frame.len() as u32,
            origin: origin(&mut self.origins, &head),
            of: Arc::clone(&self.of),
        };
        Some((own, Some(slip)))
    }
}

/// The origin of a letter, one of those that are known where it can be.
fn origin(known: &mut Vec<Arc<Origin>>, head: &Head<'_>) -> Arc<Origin> {
    let is = |origin: &&Arc<Origin>| {
        origin.log == head.log
            && origin.tenant == head.tenant
            && origin.code == head.code
            && origin.sink == head.sink
            && origin.in_memory == head.in_memory
    };
    if let Some(found) = known.iter().rev().take(ORIGINS_LOOKED_AT).find(is) {
        return Arc::clone(found);
    }
    let new = Arc::new(Origin {
        tenant: head.tenant.to_owned(),
        sink: head.sink.to_owned(),
        log: head.log,
        in_memory: head.in_memory,
        code: head.code.to_owned(),
    });
    known.push(Arc::clone(&new));
    new
}

impl Slip {
    /// Its pulse as a frame of its own: the segment's bytes, and where in them it begins.
    pub(crate) fn frame(&self) -> (&Bytes, u32) {
        (&self.of.bytes, self.frame)
    }

    /// Bytes of that frame.
    pub(crate) fn frame_bytes(&self) -> &[u8] {
        self.of.bytes.get(self.frame as usize..self.end as usize).unwrap_or_default()
    }

    /// The reason for which it has failed again, if it has.
    pub(crate) fn later_code(&self) -> Option<&str> {
        self.of.marks.code(self.place.offset)
    }

    /// The whole letter as it was when it was read.
    pub(crate) fn letter(&self) -> Option<Letter> {
        let body = self.of.bytes.get(self.start as usize..self.end as usize)?;
        self.of.letter(self.place.offset, body)
    }

    /// The whole letter and where it lies.
    pub(crate) fn held(&self) -> Option<Held> {
        Some(Held { place: self.place, letter: self.letter()?.into() })
    }
}

impl Origin {
    /// That of a letter that is known as a whole.
    pub(crate) fn of(letter: &Letter) -> Arc<Self> {
        origin(&mut Vec::new(), &Head::of(letter))
    }
}
