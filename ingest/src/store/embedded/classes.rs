//! How long the rows of each retention class are kept, and how wide their windows are. What a
//! class had in the last run that knew it is kept in the database: rows of one that is taken out
//! of the settings stay for as long as they were to.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::retention::ClassNumber;

use super::EmbeddedSettings;
use super::database::{Database, DatabaseError};
use super::keys::CLASS;

/// Parts that a retention is divided into: a row is kept longer by one part at most.
const WINDOWS_PER_RETENTION: u32 = 16;
/// The shortest window: each costs two keyspaces with memtables and files of their own.
const WINDOW_MIN: Duration = Duration::from_secs(5 * 60);

/// What holds for the rows of one class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kept {
    retention_ms: i64,
    window_ms: i64,
}

impl Kept {
    fn of(retention: Duration) -> Self {
        let window = (retention / WINDOWS_PER_RETENTION).max(WINDOW_MIN);
        Self { retention_ms: milliseconds(retention), window_ms: milliseconds(window) }
    }
}

/// All classes of a store.
#[derive(Debug)]
pub(super) struct Classes {
    default: Kept,
    others: BTreeMap<ClassNumber, Kept>,
}

impl Classes {
    /// Those of the settings, and those of former runs; keeps what is new, synced, before any row
    /// can be written by it.
    pub(super) fn open(
        database: &Database,
        settings: &EmbeddedSettings,
    ) -> Result<Self, DatabaseError> {
        let mut others = read(database)?;
        let mut changed = false;
        for class in settings.classes.iter() {
            let kept = Kept::of(class.retention);
            if others.insert(class.number, kept) != Some(kept) {
                let key = [CLASS, class.number.number()];
                database.meta.insert(key, kept.retention_ms.to_be_bytes())?;
                changed = true;
            }
        }
        if changed {
            database.sync()?;
        }
        Ok(Self { default: Kept::of(settings.retention), others })
    }

    /// Rows of a class that were received before this need not be kept.
    pub(super) fn expired_ms(&self, class: ClassNumber, now_ms: i64) -> i64 {
        now_ms.saturating_sub(self.kept(class).retention_ms)
    }

    /// How wide a new window of a class is.
    pub(super) fn window_ms(&self, class: ClassNumber) -> i64 {
        self.kept(class).window_ms
    }

    /// One that neither this run nor a former one knew, as of a letter from elsewhere, is as the
    /// default class.
    fn kept(&self, class: ClassNumber) -> Kept {
        self.others.get(&class).copied().unwrap_or(self.default)
    }
}

fn read(database: &Database) -> Result<BTreeMap<ClassNumber, Kept>, DatabaseError> {
    let mut classes = BTreeMap::new();
    for guard in database.meta.prefix([CLASS]) {
        let (key, value) = guard.into_inner()?;
        let (&[_, number], Some(bytes)) = (&key[..], value.first_chunk()) else {
            return Err(DatabaseError::Damaged("a retention class"));
        };
        let retention_ms = u64::try_from(i64::from_be_bytes(*bytes)).unwrap_or_default();
        let kept = Kept::of(Duration::from_millis(retention_ms));
        classes.insert(ClassNumber::from_number(number), kept);
    }
    Ok(classes)
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
