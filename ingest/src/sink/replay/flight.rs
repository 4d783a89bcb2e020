//! Letters on their way to their sink, as they are kept before it has them: each under a number
//! that it keeps until it is known how it ended. Pure.
//!
//! As JSON the places are lists of a segment and its offsets, `null` for a letter that has ended.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::sink::dead_letter::{LetterPlace, Slip};

/// Letters on their way to their sink.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Flight {
    /// The number of the first; the others' follow. A letter keeps its number until it is known
    /// how it ended: a sink that keeps its progress takes no number twice.
    pub(crate) first_seq: u64,
    /// Where they lie in ascending order, `None` for those that have ended. Shared: a replay is
    /// copied at every look at it.
    #[serde(serialize_with = "write_places", deserialize_with = "read_places")]
    pub(crate) places: Arc<Vec<Option<LetterPlace>>>,
    /// Where the replay goes on after them; `None`: it is at its end.
    pub(crate) next: Option<LetterPlace>,
    pub(crate) looked_at: u64,
}

/// A letter on its way, and its number there.
#[derive(Debug, Clone)]
pub(crate) struct Numbered {
    pub(crate) seq: u64,
    pub(crate) slip: Slip,
}

impl Flight {
    /// Those of its letters that are still there, with their numbers, and the places of those
    /// that are not. `slips` are in the order of their places.
    pub(crate) fn number(&self, slips: Vec<Slip>) -> (Vec<Numbered>, Vec<LetterPlace>) {
        let (mut numbered, mut gone) = (Vec::with_capacity(slips.len()), Vec::new());
        let mut slips = slips.into_iter().peekable();
        for (seq, place) in (self.first_seq..).zip(&*self.places) {
            let Some(place) = *place else { continue };
            while slips.next_if(|slip| slip.place < place).is_some() {}
            match slips.next_if(|slip| slip.place == place) {
                Some(slip) => numbered.push(Numbered { seq, slip }),
                None => gone.push(place),
            }
        }
        (numbered, gone)
    }

    /// Where those lie that have not ended.
    pub(crate) fn on_their_way(&self) -> impl Iterator<Item = LetterPlace> {
        self.places.iter().flatten().copied()
    }

    /// Whether all have ended.
    pub(crate) fn has_landed(&self) -> bool {
        self.places.iter().all(Option::is_none)
    }

    /// Letters have ended, which are in the order of their places.
    pub(crate) fn land(&mut self, landed: &[LetterPlace]) {
        let mut landed = landed.iter().peekable();
        for place in Arc::make_mut(&mut self.places) {
            let Some(at) = *place else { continue };
            while landed.next_if(|landed| **landed < at).is_some() {}
            if landed.next_if(|landed| **landed == at).is_some() {
                *place = None;
            }
        }
    }
}

/// Places of one segment as they are written.
#[derive(Serialize, Deserialize)]
struct InSegment(u64, Vec<Option<u32>>);

/// Places as they are read: those of earlier versions one by one.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    InSegment(InSegment),
    One(Option<LetterPlace>),
}

fn write_places<S: Serializer>(places: &[Option<LetterPlace>], to: S) -> Result<S::Ok, S::Error> {
    let mut written: Vec<InSegment> = Vec::new();
    for place in places {
        // One that has ended needs no segment of its own.
        let last = written.last().map(|last| last.0);
        let segment = place.map(|place| place.segment).or(last).unwrap_or_default();
        if last != Some(segment) {
            written.push(InSegment(segment, Vec::new()));
        }
        if let Some(last) = written.last_mut() {
            last.1.push(place.map(|place| place.offset));
        }
    }
    written.serialize(to)
}

fn read_places<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Arc<Vec<Option<LetterPlace>>>, D::Error> {
    let mut places = Vec::new();
    for written in Vec::<Written>::deserialize(from)? {
        match written {
            Written::One(place) => places.push(place),
            Written::InSegment(InSegment(segment, offsets)) => {
                let place = |offset| LetterPlace { segment, offset };
                places.extend(offsets.into_iter().map(|offset| offset.map(place)));
            }
        }
    }
    Ok(Arc::new(places))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn flight(places: Vec<Option<LetterPlace>>) -> Flight {
        Flight { first_seq: 7, places: Arc::new(places), next: None, looked_at: 3 }
    }

    proptest! {
        #[test]
        fn a_flight_is_read_as_it_was_written_and_lands_in_parts(
            offsets in prop::collection::btree_set((0_u64..4, 0_u32..100), 0..40), ended: u64
        ) {
            let at = |(segment, offset)| LetterPlace { segment, offset };
            let places: Vec<_> = offsets.into_iter().map(at).collect();
            let (first, rest): (Vec<_>, Vec<_>) = (places.iter().enumerate())
                .partition(|(index, _)| ended >> (index % 64) & 1 == 1);
            let of = |some: Vec<(usize, &LetterPlace)>| {
                some.into_iter().map(|(_, place)| *place).collect::<Vec<_>>()
            };
            let (first, rest) = (of(first), of(rest));
            let mut flight = flight(places.iter().copied().map(Some).collect());
            flight.land(&first);
            prop_assert_eq!(flight.on_their_way().collect::<Vec<_>>(), &*rest);
            let text = serde_json::to_string(&flight).expect("is written");
            prop_assert_eq!(&serde_json::from_str::<Flight>(&text).expect("is read"), &flight);
            prop_assert_eq!(flight.has_landed(), rest.is_empty());
            flight.land(&rest);
            prop_assert!(flight.has_landed());
        }
    }

    #[test]
    fn a_flight_of_the_first_version_is_read() {
        let text = r#"{"first_seq":7,"places":[{"segment":1,"offset":12},null,
            {"segment":2,"offset":4}],"next":null,"looked_at":3}"#;
        let place = |segment, offset| Some(LetterPlace { segment, offset });
        let read: Flight = serde_json::from_str(text).expect("is read");
        assert_eq!(read, flight(vec![place(1, 12), None, place(2, 4)]));
    }
}
