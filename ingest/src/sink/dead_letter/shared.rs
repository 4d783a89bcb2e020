//! Letters where every process sees them: what a store keeps of them beside its rows, and how
//! they are called there. The letters of a process are on its own disk first; these are what it
//! has handed over. Pure but for the trait.

use std::fmt::Debug;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::{Builder, Uuid};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::letter::Letter;

const DAY_MS: i64 = 24 * 3600 * 1000;
/// Bits of a group's number in an id.
const GROUP_BITS: u32 = 15;
/// Of those, which lie above the bits that say that it is a UUID.
const GROUP_LOW_BITS: u32 = 3;
/// Bits of an id that are its letter's own.
const OWN_BITS: u32 = 59;

/// Where a letter lies: made from the letter and the segment that it was written to, so that what
/// is handed over twice is there once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedPlace {
    /// When it was first tried, in milliseconds since 1970.
    pub at_ms: i64,
    /// With which others it lies: those of one segment of one process, some megabytes at most.
    pub group: i16,
    /// Which sink did not take it.
    pub sink: String,
    /// The log that its number belongs to.
    #[serde(with = "super::uuid_text")]
    pub log: Uuid,
    /// Its number there.
    pub seq: u64,
}

/// A letter that was handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedLetter {
    /// With which others it lies.
    pub group: i16,
    /// The letter.
    pub letter: Letter,
}

/// Letters as they lie, and where to go on.
#[derive(Debug, Clone, Default)]
pub struct SharedPage {
    /// The newest first.
    pub letters: Vec<SharedLetter>,
    /// The last place that was looked at; `None` when there is no more.
    pub next: Option<SharedPlace>,
}

/// Letters of one pulse, and where to go on.
#[derive(Debug, Clone, Default)]
pub struct LettersOfPulse {
    /// Those that were found.
    pub letters: Vec<SharedLetter>,
    /// The last place that was looked at; `None` when there is no more.
    pub next: Option<SharedPlace>,
    /// Whether there are more than are told.
    pub cut: bool,
}

/// Why a store did not do what was asked of its letters.
#[derive(Debug, Error)]
pub enum SharedError {
    /// It can't be reached now.
    #[error("the store's dead letters can't be reached")]
    Unavailable(#[source] anyhow::Error),
    /// It answered what can't be.
    #[error("use of the store's dead letters failed")]
    Failed(#[source] anyhow::Error),
}

/// Letters beside the rows of a store. All of it may be asked twice, by several processes at
/// once: a letter that was removed stays so unless it has failed again since.
pub trait SharedLetters: Send + Sync + Debug {
    /// Keeps letters, as safe as rows are; gives the places in the list of those that the store
    /// refuses.
    fn put<'a>(
        &'a self,
        letters: &'a [SharedLetter],
    ) -> BoxFuture<'a, Result<Vec<usize>, SharedError>>;

    /// Lets letters go, as they were when they were given.
    fn remove<'a>(&'a self, letters: &'a [SharedLetter]) -> BoxFuture<'a, Result<(), SharedError>>;

    /// Letters of a tenant behind `after`, at most so many.
    fn page<'a>(
        &'a self,
        tenant: &'a str,
        after: &'a SharedPlace,
        limit: usize,
    ) -> BoxFuture<'a, Result<SharedPage, SharedError>>;

    /// The letters of a tenant's pulse behind `after`; a bounded number is looked through.
    fn of_pulse<'a>(
        &'a self,
        tenant: &'a str,
        pulse: Uuid,
        after: Option<&'a SharedPlace>,
    ) -> BoxFuture<'a, Result<LettersOfPulse, SharedError>>;

    /// Makes sure that no letter of a tenant is there that was last tried by then, in
    /// microseconds since 1970, or comes to be there late; of what leads to letters too.
    fn bury<'a>(&'a self, tenant: &'a str, until_us: i64)
    -> BoxFuture<'a, Result<(), SharedError>>;

    /// The letter of an id.
    fn find<'a>(
        &'a self,
        tenant: &'a str,
        id: Uuid,
    ) -> BoxFuture<'a, Result<Option<SharedLetter>, SharedError>>;
}

impl SharedPlace {
    /// The day that it lies in, in milliseconds since 1970.
    pub fn day_ms(&self) -> i64 {
        day_of(self.at_ms)
    }

    /// In front of all letters that were first tried by then.
    pub fn newest(at_ms: i64) -> Self {
        Self { at_ms: at_ms.saturating_add(1), group: i16::MAX, ..Self::default() }
    }
}

impl Default for SharedPlace {
    fn default() -> Self {
        Self { at_ms: 0, group: 0, sink: String::new(), log: Uuid::nil(), seq: 0 }
    }
}

impl SharedLetter {
    /// Where it lies.
    pub fn place(&self) -> SharedPlace {
        let Letter { sink, log, seq, first_at_us, .. } = &self.letter;
        let at_ms = first_at_us.div_euclid(1000);
        SharedPlace { at_ms, group: self.group, sink: sink.clone(), log: log.0, seq: *seq }
    }

    /// The id that clients call it by, before it is handed over and after.
    pub fn id(&self) -> Uuid {
        shared_id(&self.letter, self.group)
    }
}

/// The day of a time, both in milliseconds since 1970.
pub fn day_of(at_ms: i64) -> i64 {
    at_ms.div_euclid(DAY_MS) * DAY_MS
}

/// The group of a segment's letters; `owner` is the directory's own.
pub(crate) fn group_of(owner: Uuid, segment: u64) -> i16 {
    let mut name = [0; 24];
    name[..16].copy_from_slice(owner.as_bytes());
    name[16..].copy_from_slice(&segment.to_le_bytes());
    (xxh3_64(&name) & ((1 << GROUP_BITS) - 1)) as i16
}

/// The id of a letter in a group: it says when and where, and half of it is the letter's own.
pub(crate) fn shared_id(letter: &Letter, group: i16) -> Uuid {
    let mut hash = Xxh3::new();
    hash.update(letter.tenant.as_bytes());
    hash.update(letter.sink.as_bytes());
    hash.update(letter.log.0.as_bytes());
    hash.update(&letter.seq.to_le_bytes());
    let own = hash.digest() & ((1 << OWN_BITS) - 1);
    let at = letter.first_at_us.div_euclid(1000).clamp(0, (1 << 48) - 1) as u128;
    let group = u128::from(group as u16);
    let high = group >> GROUP_LOW_BITS;
    let low = group & ((1 << GROUP_LOW_BITS) - 1);
    let whole = at << 80 | high << 64 | low << OWN_BITS | u128::from(own);
    // Sets the few bits that say which version of UUID it is.
    Builder::from_custom_bytes(whole.to_be_bytes()).into_uuid()
}

/// When the letter of an id was first tried, in milliseconds since 1970, and its group.
pub fn time_and_group(id: Uuid) -> Option<(i64, i16)> {
    if id.get_version_num() != 8 {
        return None;
    }
    let whole = id.as_u128();
    let high = (whole >> 64) as u16 & ((1 << (GROUP_BITS - GROUP_LOW_BITS)) - 1);
    let low = (whole >> OWN_BITS) as u16 & ((1 << GROUP_LOW_BITS) - 1);
    Some(((whole >> 80) as i64, (high << GROUP_LOW_BITS | low) as i16))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::letter;
    use super::*;

    proptest! {
        #[test]
        fn an_id_says_where_its_letter_lies(
            at_ms in 0_i64..1 << 48, seq: u64, owner: u128, segment: u64
        ) {
            let group = group_of(Uuid::from_u128(owner), segment);
            let letter = Letter { seq, first_at_us: at_ms * 1000, ..letter(1) };
            let shared = SharedLetter { group, letter };
            prop_assert!(group >= 0);
            prop_assert_eq!(time_and_group(shared.id()), Some((at_ms, group)));
            let other = SharedLetter {
                letter: Letter { seq: seq ^ 1, ..shared.letter.clone() }, group
            };
            prop_assert_ne!(shared.id(), other.id());
        }
    }
}
