//! Looks at letters: pages for a person, pieces for a replay. Each call reads a bounded number
//! of segments, one after the other, and decodes one letter at a time, which for a replay stays in
//! its segment's bytes. Blocks.

use std::io;
use std::ops::ControlFlow;
use std::sync::{Arc, PoisonError};

use uuid::Uuid;

use super::marks::{self, Marks};
use super::sealed::SealedError;
use super::segment::{open_name, sealed_name};
use super::slip::{Slipper, Snapshot};
use super::{
    DeadLetters, Filter, Held, Letter, LetterPlace, SEGMENT_READ_BYTES_MAX, Slip, Slips, place_of,
};

/// Segments that one call looks through: about 64 MiB, a tenth of a second.
const SEGMENTS_A_CALL_MAX: usize = 8;
/// Letters of one pulse that are given at once: one for each sink, and those of a crash.
const LETTERS_OF_PULSE_MAX: usize = 16;

/// Letters and where to go on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LetterPage {
    /// In the order that was asked for.
    pub letters: Vec<Held>,
    /// Letters of the tenant that were looked at.
    pub looked_at: u64,
    /// Where the next page begins; `None` when there is no more. A page may have no letter and a
    /// next page all the same: what one call looks at is bounded.
    pub next: Option<LetterPlace>,
}

/// Letters of one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The stable word for the reason.
    pub reason: String,
    /// How many there are.
    pub count: u64,
    /// A recent one, where one is among the newest segments.
    pub sample: Option<Held>,
}

/// How much a call is to give.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) letters_max: usize,
    /// So many are enough at the end of a segment: what is noted of one is written as a whole.
    pub(crate) letters_enough: usize,
    /// Bytes that end it: of letters, or of whole segments where letters stay in those.
    pub(crate) bytes_max: usize,
}

impl DeadLetters {
    /// All letters, oldest first; those whose file can't be read are passed over with an error.
    pub fn iter(&self) -> impl Iterator<Item = io::Result<Letter>> + '_ {
        let segments: Vec<_> = self.lock().segments.keys().copied().collect();
        segments.into_iter().flat_map(|number| match self.snapshot(number) {
            Ok(snapshot) => snapshot
                .records()
                .filter_map(|(offset, body)| snapshot.letter(offset, body))
                .map(Ok)
                .collect(),
            Err(error) => vec![Err(error)],
        })
    }

    /// A page of letters, the newest first, behind `after`.
    pub(crate) fn page(
        &self,
        filter: &Filter,
        after: Option<LetterPlace>,
        limit: usize,
    ) -> io::Result<LetterPage> {
        self.page_of((&filter.tenant, &|letter| filter.fits(letter)), after, limit)
    }

    /// The letters of a tenant's pulse, the newest first, behind `after`.
    pub(crate) fn of_pulse(
        &self,
        tenant: &str,
        pulse: Uuid,
        after: Option<LetterPlace>,
    ) -> io::Result<LetterPage> {
        if self.len_of(tenant) == 0 {
            return Ok(LetterPage::default());
        }
        let fits = |letter: &Letter| {
            letter.tenant == tenant
                && letter.record().is_some_and(|record| record.entry.id == pulse)
        };
        self.page_of((tenant, &fits), after, LETTERS_OF_PULSE_MAX)
    }

    fn page_of(
        &self,
        (tenant, fits): (&str, &dyn Fn(&Letter) -> bool),
        after: Option<LetterPlace>,
        limit: usize,
    ) -> io::Result<LetterPage> {
        let segments = self.segments(|number| after.is_none_or(|after| number <= after.segment));
        let mut page = LetterPage::default();
        for (looked_through, number) in segments.into_iter().rev().enumerate() {
            if looked_through == SEGMENTS_A_CALL_MAX {
                // Everything of this segment is still to come.
                page.next = Some(LetterPlace { segment: number, offset: u32::MAX });
                return Ok(page);
            }
            let snapshot = self.snapshot(number)?;
            let records: Vec<_> = snapshot.records().collect();
            for (offset, body) in records.into_iter().rev() {
                let place = LetterPlace { segment: number, offset };
                if after.is_some_and(|after| place >= after) {
                    continue;
                }
                let Some(letter) = snapshot.letter(offset, body) else { continue };
                page.looked_at += u64::from(letter.tenant == tenant);
                if !fits(&letter) {
                    continue;
                }
                if page.letters.len() == limit {
                    page.next = page.letters.last().map(|held| held.place);
                    return Ok(page);
                }
                page.letters.push(Held { place, letter: letter.into() });
            }
        }
        Ok(page)
    }

    /// Letters in the order in which they were made, behind `after` and before `end`. `next` is
    /// the last place that was looked at; `None` when there is no more.
    pub(crate) fn forward(
        &self,
        filter: &Filter,
        (after, end): (Option<LetterPlace>, LetterPlace),
        wanted: Wanted,
    ) -> io::Result<Slips> {
        let begin = after.map_or(0, |after| after.segment);
        let segments = self.segments(|number| (begin..=end.segment).contains(&number));
        let (mut page, mut bytes) = (Slips::default(), 0);
        for (looked_through, number) in segments.into_iter().enumerate() {
            let enough = page.slips.len() >= wanted.letters_enough || bytes >= wanted.bytes_max;
            if enough || looked_through == SEGMENTS_A_CALL_MAX {
                return Ok(page);
            }
            let snapshot = Arc::new(self.snapshot(number)?);
            let mut slipper = Slipper::new(number, Arc::clone(&snapshot));
            let before = page.slips.len();
            for record in snapshot.records() {
                let place = LetterPlace { segment: number, offset: record.0 };
                if place >= end || after.is_some_and(|after| place <= after) {
                    continue;
                }
                let Some((own, slip)) = slipper.slip(record, Some(filter)) else { continue };
                if slip.is_some() && page.slips.len() == wanted.letters_max {
                    return Ok(page);
                }
                page.looked_at += u64::from(own);
                page.next = Some(place);
                page.slips.extend(slip);
            }
            bytes += if page.slips.len() > before { snapshot.bytes() } else { 0 };
            page.next = Some(LetterPlace { segment: number, offset: u32::MAX });
        }
        page.next = None;
        Ok(page)
    }

    /// Letters of all tenants behind `after`, oldest first, as many as are wanted or one call
    /// looks through.
    pub(crate) fn oldest(
        &self,
        after: Option<LetterPlace>,
        wanted: Wanted,
    ) -> io::Result<Vec<Held>> {
        let begin = after.map_or(0, |after| after.segment);
        let (mut found, mut bytes) = (Vec::new(), 0);
        for number in self.segments(|number| number >= begin) {
            let snapshot = self.snapshot(number)?;
            for (offset, body) in snapshot.records() {
                let place = LetterPlace { segment: number, offset };
                if after.is_some_and(|after| place <= after) {
                    continue;
                }
                let Some(letter) = snapshot.letter(offset, body) else { continue };
                bytes += letter.frame.len();
                found.push(Held { place, letter: letter.into() });
                if found.len() == wanted.letters_max || bytes >= wanted.bytes_max {
                    return Ok(found);
                }
            }
            if !found.is_empty() {
                break;
            }
        }
        Ok(found)
    }

    /// The first letter in some segments that is as is asked for.
    pub(crate) fn find_by(
        &self,
        lies: impl Fn(u64) -> bool,
        is: impl Fn(&Held) -> bool,
    ) -> io::Result<Option<Held>> {
        for segment in self.segments(lies) {
            let snapshot = self.snapshot(segment)?;
            let held = |(offset, body): (u32, &[u8])| {
                let letter = snapshot.letter(offset, body)?.into();
                Some(Held { place: LetterPlace { segment, offset }, letter })
            };
            if let Some(found) = snapshot.records().filter_map(held).find(&is) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The letter of an id, if it is there and the tenant's.
    pub(crate) fn find(&self, tenant: &str, id: Uuid) -> io::Result<Option<Held>> {
        let Some(place) = place_of(id) else { return Ok(None) };
        let found = self.at(&[place])?.first().and_then(Slip::held);
        Ok(found.filter(|held| held.letter.tenant == tenant && held.id() == id))
    }

    /// Those letters of some places, in ascending order, that are there.
    pub(crate) fn at(&self, places: &[LetterPlace]) -> io::Result<Vec<Slip>> {
        let mut found = Vec::with_capacity(places.len());
        for places in places.chunk_by(|a, b| a.segment == b.segment) {
            let Some(&LetterPlace { segment, .. }) = places.first() else { continue };
            if !self.lock().segments.contains_key(&segment) {
                continue;
            }
            let snapshot = Arc::new(self.snapshot(segment)?);
            let mut slipper = Slipper::new(segment, Arc::clone(&snapshot));
            let wanted = |(offset, _): &(u32, &[u8])| {
                places.binary_search_by_key(offset, |place| place.offset).is_ok()
            };
            let records = snapshot.records().filter(wanted);
            found.extend(records.filter_map(|record| slipper.slip(record, None)?.1));
        }
        Ok(found)
    }

    /// Keeps of some letters, in the order of their places, those that are there still.
    pub(crate) fn keep_there(&self, letters: &mut Vec<Slip>) -> io::Result<()> {
        let mut of_segment: Option<(u64, Marks)> = None;
        let mut failed = None;
        letters.retain(|slip| {
            let LetterPlace { segment, offset } = slip.place;
            if of_segment.as_ref().is_none_or(|(number, _)| *number != segment) {
                match self.marks(segment) {
                    Ok(marks) => of_segment = Some((segment, marks)),
                    Err(error) => failed = Some(error),
                }
            }
            of_segment.as_ref().is_some_and(|(_, marks)| !marks.gone.contains(offset))
        });
        failed.map_or(Ok(()), Err)
    }

    /// The letters of a tenant by reason, the most frequent first.
    pub(crate) fn groups(&self, tenant: &str) -> io::Result<Vec<Group>> {
        let mut groups: Vec<_> = {
            let state = self.lock();
            let from = (tenant.to_owned(), String::new());
            let of_tenant = state.groups.range(from..).take_while(|((of, _), _)| of == tenant);
            let group = |((_, reason), count): (&(String, String), &u64)| Group {
                reason: reason.clone(),
                count: *count,
                sample: None,
            };
            of_tenant.map(group).collect()
        };
        groups.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.reason.cmp(&b.reason)));
        for number in self.segments(|_| true).into_iter().rev().take(SEGMENTS_A_CALL_MAX) {
            if groups.iter().all(|group| group.sample.is_some()) {
                break;
            }
            self.add_samples(number, tenant, &mut groups)?;
        }
        Ok(groups)
    }

    fn add_samples(&self, number: u64, tenant: &str, groups: &mut [Group]) -> io::Result<()> {
        let snapshot = self.snapshot(number)?;
        let add = |(offset, body): (u32, &[u8])| {
            let letter = snapshot.letter(offset, body).filter(|letter| letter.tenant == tenant);
            let Some(letter) = letter else { return ControlFlow::Continue(()) };
            let wants = |group: &&mut Group| group.sample.is_none() && group.reason == letter.code;
            if let Some(group) = groups.iter_mut().find(wants) {
                group.sample = Some(Held {
                    place: LetterPlace { segment: number, offset },
                    letter: letter.into(),
                });
            }
            let done = groups.iter().all(|group| group.sample.is_some());
            if done { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let records: Vec<_> = snapshot.records().collect();
        let _done = records.into_iter().rev().try_for_each(add);
        Ok(())
    }

    /// Behind all letters that there are now.
    pub(crate) fn end(&self) -> LetterPlace {
        let state = self.lock();
        match state.segments.last_key_value() {
            None => LetterPlace { segment: 0, offset: 0 },
            Some((number, segment)) => {
                let grows = state.active.as_ref().is_some_and(|active| active.number == *number);
                let end = if grows { u32::try_from(segment.bytes).ok() } else { None };
                // One that was made smaller has offsets beyond its end.
                LetterPlace { segment: *number, offset: end.unwrap_or(u32::MAX) }
            }
        }
    }

    fn segments(&self, wanted: impl Fn(u64) -> bool) -> Vec<u64> {
        let state = self.lock();
        let live = state.segments.iter().filter(|(_, segment)| segment.live > 0);
        live.map(|(number, _)| *number).filter(|number| wanted(*number)).collect()
    }

    fn snapshot(&self, number: u64) -> io::Result<Snapshot> {
        let _one_moment = self.files.read().unwrap_or_else(PoisonError::into_inner);
        let end = self.lock().segments.get(&number).map_or(0, |segment| segment.bytes);
        let mut bytes = self.segment_bytes(number)?;
        bytes.truncate(usize::try_from(end).unwrap_or(usize::MAX));
        Ok(Snapshot::new(bytes, self.marks(number)?))
    }

    pub(super) fn marks(&self, number: u64) -> io::Result<Marks> {
        if let Some(marks) = self.lock().doubted.get(&number) {
            return Ok(marks.clone());
        }
        let path = marks::path(&self.dir, number);
        match marks::KIND.read(&*self.fs, &path) {
            Ok(marks) => Ok(marks.unwrap_or_default()),
            Err(SealedError::Io(error)) => Err(error),
            Err(error @ SealedError::Newer(_)) => Err(io::Error::other(error)),
        }
    }

    pub(super) fn segment_bytes(&self, number: u64) -> io::Result<Vec<u8>> {
        // It may be sealed between two looks.
        for name in [sealed_name(number), open_name(number), sealed_name(number)] {
            match crate::fs::read_file(&*self.fs, &self.dir.join(name), SEGMENT_READ_BYTES_MAX) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                read => return read,
            }
        }
        // It has been removed since it was listed.
        Ok(Vec::new())
    }
}
