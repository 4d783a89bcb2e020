//! Metadata: a flat object whose values become text, with distinct keys.

use std::borrow::Cow;

use super::problem::{Outcome, Place, conflict_of, duplicate, too_long, too_many_entries};
use super::values::Reader;
use crate::pulse::{METADATA_ENTRIES_MAX, METADATA_KEY_BYTES_MAX, METADATA_VALUE_BYTES_MAX};

pub(super) type Entries<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// Reads the entries of the object that the reader is in; `field` is what it is called.
pub(super) fn read<'a>(reader: &mut Reader<'a>, field: &str) -> Outcome<Entries<'a>> {
    let mut entries: Entries<'a> = Vec::new();
    // Keys of null entries have no place in the entries and must not repeat either.
    let mut absent: Vec<Cow<'a, str>> = Vec::new();
    while let Some(token) = reader.scan.next_key(entries.is_empty() && absent.is_empty())? {
        let key = reader.token_text(token);
        let place = Place::entry(field, &key);
        if entries.iter().any(|(other, _)| *other == key) || absent.contains(&key) {
            return duplicate(place);
        }
        // Keys are compared one by one, so their number has a bound, null entries included.
        if entries.len() + absent.len() == METADATA_ENTRIES_MAX {
            return too_many_entries();
        }
        if key.len() > METADATA_KEY_BYTES_MAX {
            return too_long(place, key.len(), METADATA_KEY_BYTES_MAX);
        }
        match reader.scalar(place, METADATA_VALUE_BYTES_MAX)? {
            Some(value) => entries.push((key, value)),
            None => absent.push(key),
        }
    }
    Ok(entries)
}

/// Adds what the event's tenant adds: entries that are not there, as far as there is room.
#[cold]
pub(super) fn complete<'a>(entries: &mut Entries<'a>, added: Entries<'a>) {
    for (key, value) in added {
        if entries.len() < METADATA_ENTRIES_MAX && entries.iter().all(|(other, _)| *other != key) {
            entries.push((key, value));
        }
    }
}

/// Whether both hold the same entries, in whatever order.
pub(super) fn same(one: &Entries<'_>, other: &Entries<'_>) -> bool {
    one.len() == other.len() && one.iter().all(|entry| other.contains(entry))
}

/// Adds an entry from elsewhere in the event; one that is there already must be the same.
pub(super) fn add<'a>(
    entries: &mut Entries<'a>,
    key: Cow<'a, str>,
    value: Cow<'a, str>,
) -> Outcome<()> {
    match entries.iter().find(|(other, _)| *other == key) {
        Some((_, other)) if *other == value => return Ok(()),
        Some(_) => return conflict_of(&key, "metadata"),
        None => {}
    }
    if entries.len() == METADATA_ENTRIES_MAX {
        return too_many_entries();
    }
    entries.push((key, value));
    Ok(())
}
