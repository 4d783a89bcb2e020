//! Retention classes: how long the pulses of some tenants are kept where that is not
//! `--retention`. A class is known by a number that follows from its name alone, and the number
//! lies in the pulse's record with what else is fixed before the log: what is written again goes
//! to the same class, whatever its tenant has by then. Pure.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use xxhash_rust::xxh3::xxh3_64;

use crate::units;

/// The class that every pulse has unless its tenant has another: `--retention`.
pub const DEFAULT_CLASS: &str = "default";
/// Most classes beside the default one. Each costs a set of tables or windows with files and
/// memory of their own, and a query one more place to look at.
pub const CLASSES_MAX: usize = 4;
/// Longest name, in bytes: tables are named after it, and a table's name has 48 at most.
pub const CLASS_NAME_BYTES_MAX: usize = 16;

/// Shortest and longest time that pulses of a class are kept.
pub const RETENTION_MIN: Duration = Duration::from_secs(3600);
/// See [`RETENTION_MIN`].
pub const RETENTION_MAX: Duration = Duration::from_secs(3650 * 24 * 3600);

/// Where in a record's code of how its row is spread the number of its class begins.
const CLASS_SHIFT: u32 = 8;
/// The bits of that code that are the store's own.
const SPREAD_MASK: u16 = (1 << CLASS_SHIFT) - 1;

/// The number of a class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClassNumber(u8);

impl ClassNumber {
    /// Of the default class; also of every record that was made before there were others.
    pub const DEFAULT: Self = Self(0);

    /// Of the class of this name.
    pub fn of(name: &str) -> Self {
        if name == DEFAULT_CLASS {
            return Self::DEFAULT;
        }
        // From 1 to 255: one in 255 pairs of names shares its number, and is refused.
        Self((xxh3_64(name.as_bytes()) % u64::from(u8::MAX)) as u8 + 1)
    }

    /// As stores write it down.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// Reads what a store has written down.
    pub const fn from_number(number: u8) -> Self {
        Self(number)
    }

    /// Of a pulse, by what its record keeps as its shard.
    pub const fn of_shard(shard: u16) -> Self {
        Self((shard >> CLASS_SHIFT) as u8)
    }

    /// What a record keeps as its shard: the store's own code, and this number above it.
    pub const fn with_spread(self, spread: u16) -> u16 {
        (self.0 as u16) << CLASS_SHIFT | spread & SPREAD_MASK
    }
}

/// A class beside the default one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionClass {
    /// Its name.
    pub name: Arc<str>,
    /// Follows from its name.
    pub number: ClassNumber,
    /// How long a pulse is kept after it was received.
    pub retention: Duration,
}

/// Why classes can't be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ClassError {
    /// A name that no class may have.
    #[error(
        "`{0}` is no name of a retention class; write at most {CLASS_NAME_BYTES_MAX} of a-z and \
         0-9, a letter first, and not `{DEFAULT_CLASS}`"
    )]
    Name(String),
    /// Text that says no class.
    #[error("`{0}` is no retention class; write a name, `=` and a time, such as audit=365d")]
    Form(String),
    /// A time beyond the bounds.
    #[error(
        "`{text}` is not within {} and {}",
        units::time_text(RETENTION_MIN),
        units::time_text(RETENTION_MAX)
    )]
    Time {
        /// The class as it was written.
        text: String,
    },
    /// Two of one name.
    #[error("the retention class `{0}` is given twice; write it once")]
    Twice(String),
    /// Too many.
    #[error("{0} retention classes are too many; write at most {CLASSES_MAX}")]
    Many(usize),
    /// Two names of one number.
    #[error(
        "the retention classes `{0}` and `{1}` can't be together: records tell them by a number \
         that is the same for both; give the newer one another name"
    )]
    SameNumber(String, String),
}

/// The classes of a process, but for the default one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RetentionClasses(Arc<[RetentionClass]>);

impl RetentionClasses {
    /// Those of these names.
    ///
    /// # Errors
    /// See [`ClassError`].
    pub fn new(named: impl IntoIterator<Item = (String, Duration)>) -> Result<Self, ClassError> {
        let mut classes: Vec<RetentionClass> = Vec::new();
        for (name, retention) in named {
            if !is_class_name(&name) {
                return Err(ClassError::Name(name));
            }
            let number = ClassNumber::of(&name);
            match classes.iter().find(|class| class.number == number) {
                Some(class) if *class.name == *name => return Err(ClassError::Twice(name)),
                Some(class) => return Err(ClassError::SameNumber(class.name.to_string(), name)),
                None => classes.push(RetentionClass { name: name.into(), number, retention }),
            }
        }
        if classes.len() > CLASSES_MAX {
            return Err(ClassError::Many(classes.len()));
        }
        Ok(Self(classes.into()))
    }

    /// Reads `name=time` with more behind commas, as the settings have it; nothing is none.
    ///
    /// # Errors
    /// See [`ClassError`].
    pub fn parse(text: &str) -> Result<Self, ClassError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        Self::new(text.split(',').map(parse_one).collect::<Result<Vec<_>, _>>()?)
    }

    /// The class of this name.
    pub fn find(&self, name: &str) -> Option<&RetentionClass> {
        self.iter().find(|class| *class.name == *name)
    }

    /// All of them.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &RetentionClass> {
        self.0.iter()
    }

    /// Whether there is only the default one.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for RetentionClasses {
    /// The names that a tenant may have, for a person.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(DEFAULT_CLASS)?;
        let last = self.0.len().saturating_sub(1);
        for (index, class) in self.iter().enumerate() {
            f.write_str(if index == last { " or " } else { ", " })?;
            f.write_str(&class.name)?;
        }
        Ok(())
    }
}

fn parse_one(text: &str) -> Result<(String, Duration), ClassError> {
    let text = text.trim();
    let form = || ClassError::Form(text.to_owned());
    let (name, time) = text.split_once('=').ok_or_else(form)?;
    let time = units::time(time).ok_or_else(form)?;
    if !(RETENTION_MIN..=RETENTION_MAX).contains(&time) {
        return Err(ClassError::Time { text: text.to_owned() });
    }
    Ok((name.to_owned(), time))
}

/// Whether a class beside the default one may be called so. Tables are named after it, without
/// quotes.
pub fn is_class_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.len() <= CLASS_NAME_BYTES_MAX
        && text.bytes().all(plain)
        && text != DEFAULT_CLASS
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn classes(names: &[&str]) -> Result<RetentionClasses, ClassError> {
        RetentionClasses::new(names.iter().map(|name| ((*name).to_owned(), DAY)))
    }

    #[test]
    fn a_name_is_plain_short_and_not_the_default() {
        for name in ["a", "short", "audit7", "abcdefghijklmnop"] {
            assert!(is_class_name(name), "{name}");
        }
        for name in ["", "7d", "Short", "a-b", "a_b", "é", "default", "abcdefghijklmnopq"] {
            assert_eq!(classes(&[name]), Err(ClassError::Name(name.to_owned())));
        }
    }

    #[test]
    fn classes_are_few_and_told_apart_by_their_numbers() {
        let four = classes(&["a", "b", "week", "year"]).expect("four");
        assert_eq!(four.to_string(), "default, a, b, week or year");
        assert_eq!(classes(&["short"]).expect("one").to_string(), "default or short");
        assert_eq!(RetentionClasses::default().to_string(), "default");
        assert_eq!(four.find("week").map(|class| class.retention), Some(DAY));
        assert_eq!(four.find("default"), None);
        assert_eq!(classes(&["a", "b", "week", "year", "long"]), Err(ClassError::Many(5)));
        assert_eq!(classes(&["a", "b", "a"]), Err(ClassError::Twice("a".to_owned())));
        let same = (0..).map(|number| format!("x{number}"));
        let same = same.into_iter().find(|name| ClassNumber::of(name) == ClassNumber::of("a"));
        let same = same.expect("one in 255");
        let expected = ClassError::SameNumber("a".to_owned(), same.clone());
        assert_eq!(classes(&["a", &same]), Err(expected));
    }

    #[test]
    fn classes_are_read_as_settings_write_them() {
        let read = |text: &str| RetentionClasses::parse(text).map(|read| read.to_string());
        let told = |text: &str| read(text).expect_err("no classes").to_string();
        assert_eq!(read("").as_deref(), Ok("default"));
        assert_eq!(read("short=1h, audit=3650d").as_deref(), Ok("default, short or audit"));
        let classes = RetentionClasses::parse("short=1h30m").expect("one");
        let short = classes.find("short").expect("short");
        assert_eq!(short.retention, Duration::from_secs(5_400));
        assert!(told("short").starts_with("`short` is no retention class; write a name"));
        assert!(told("short=1h,").starts_with("`` is no retention class"));
        assert!(told("short=soon").starts_with("`short=soon` is no retention class"));
        assert_eq!(told("a=59m"), "`a=59m` is not within 1h and 3650d");
        assert_eq!(told("a=3651d"), "`a=3651d` is not within 1h and 3650d");
        assert!(told("Short=1d").starts_with("`Short` is no name of a retention class"));
        assert!(told("a=1d,a=2d").contains("given twice"));
        assert!(told("a=1d,b=1d,week=1d,year=1d,long=1d").starts_with("5 retention classes"));
    }

    #[test]
    fn numbers_are_the_same_for_ever() {
        let numbers = ["default", "short", "audit", "long"].map(|name| ClassNumber::of(name).0);
        assert_eq!(numbers, NUMBERS);
        let many: BTreeSet<_> =
            (0..10_000).map(|number| ClassNumber::of(&format!("c{number}"))).collect();
        assert_eq!(many.len(), 255);
        assert!(!many.contains(&ClassNumber::DEFAULT));
    }

    const NUMBERS: [u8; 4] = [0, 116, 25, 183];

    proptest! {
        #[test]
        fn the_number_and_the_stores_own_code_read_back(name in "[a-z][a-z0-9]{0,15}", code: u8) {
            let number = ClassNumber::of(&name);
            let shard = number.with_spread(u16::from(code));
            prop_assert_eq!(ClassNumber::of_shard(shard), number);
            prop_assert_eq!(shard & 0xFF, u16::from(code));
        }
    }
}
