//! What a setting is: its names, its kind with its bounds, and what holds when nobody sets it.

use std::fmt;
use std::time::Duration;

use pulsemesh_runtime::units;

use crate::retention::{CLASSES_MAX, RETENTION_MAX, RETENTION_MIN};

/// One setting. Everything that is said of it anywhere comes from here.
#[derive(Debug)]
pub struct Definition {
    /// Its flag without dashes, and its key in the file.
    pub name: &'static str,
    /// Its environment variable.
    pub env: &'static str,
    /// What values it takes.
    pub kind: Kind,
    /// What holds when nobody sets it.
    pub default: Fallback,
    /// Under which heading it is listed.
    pub section: &'static str,
    /// One sentence about it.
    pub about: &'static str,
}

/// What holds when nobody sets a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// This value.
    Value(&'static str),
    /// A value made from the machine or from another setting; how, for a person.
    Computed(&'static str),
    /// Nothing, which an empty text says too; what that means, for a person.
    Nothing(&'static str),
}

impl Fallback {
    /// The value, or how it comes about.
    pub const fn text(&self) -> &'static str {
        match self {
            Self::Value(text) | Self::Computed(text) | Self::Nothing(text) => text,
        }
    }
}

/// What values a setting takes. Bounds include their ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An IP address with a port.
    Address,
    /// Hosts with their ports, parted by commas.
    Nodes,
    /// The name of a keyspace, as CQL writes it without quotes.
    Keyspace,
    /// The name of a datacenter.
    Datacenter,
    /// An address of Redis.
    Redis,
    /// Retention classes with their times, parted by commas.
    Classes,
    /// A path in the file system.
    Path,
    /// A log level or directives.
    Level,
    /// `true` or `false`; as a flag alone, `true`.
    Switch,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A whole number.
    Count {
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// A number of bytes.
    Size {
        /// The least, in bytes.
        min: u64,
        /// The most, in bytes.
        max: u64,
    },
    /// A span of time.
    Time {
        /// The least.
        min: Duration,
        /// The most.
        max: Duration,
    },
}

impl Kind {
    /// The placeholder for a value in the help.
    pub const fn placeholder(&self) -> &'static str {
        match self {
            Self::Address => "ADDRESS",
            Self::Nodes => "HOST:PORT,…",
            Self::Keyspace | Self::Datacenter => "NAME",
            Self::Redis => "URL",
            Self::Classes => "NAME=TIME,…",
            Self::Path => "PATH",
            Self::Level => "LEVEL",
            Self::Switch => "BOOL",
            Self::Word(_) => "WORD",
            Self::Count { .. } => "NUMBER",
            Self::Size { .. } => "SIZE",
            Self::Time { .. } => "TIME",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address => f.write_str("address and port, such as `127.0.0.1:8080`"),
            Self::Nodes => {
                f.write_str("`host:port`, more after commas; an IPv6 address in brackets")
            }
            Self::Keyspace => {
                f.write_str("name of `a`-`z`, `0`-`9` and `_` that begins with a letter")
            }
            Self::Datacenter => f.write_str("name of letters, digits, `_`, `-` and `.`"),
            Self::Redis => f.write_str(
                "`redis://host:port/database` with `user@` before the host where one logs in; \
                 `rediss://` with TLS",
            ),
            Self::Classes => write!(
                f,
                "at most {CLASSES_MAX} of `name=time`, parted by commas: names of `a`-`z` and \
                 `0`-`9` that begin with a letter, times of {} to {}",
                units::time_text(RETENTION_MIN),
                units::time_text(RETENTION_MAX)
            ),
            Self::Path => f.write_str("path"),
            Self::Level => {
                f.write_str("level, or directives such as `info,pulsemesh_ingest=debug`")
            }
            Self::Switch => f.write_str("`true` or `false`"),
            Self::Word(words) => {
                for (index, word) in words.iter().enumerate() {
                    let separator = match index {
                        0 => "",
                        _ if index + 1 == words.len() => " or ",
                        _ => ", ",
                    };
                    write!(f, "{separator}`{word}`")?;
                }
                Ok(())
            }
            Self::Count { min, max } => write!(f, "whole number, {min} to {max}"),
            Self::Size { min, max } => {
                write!(f, "size, {} to {}", units::size_text(*min), units::size_text(*max))
            }
            Self::Time { min, max } => {
                write!(f, "time, {} to {}", units::time_text(*min), units::time_text(*max))
            }
        }
    }
}

/// Makes, from one list of settings in groups: the definitions, and a struct of their values
/// for each group, which are taken apart without `..` so that a forgotten one does not compile.
macro_rules! settings {
    ($($group:ident: $Group:ident = $section:literal {
        $($(#[doc = $about:literal])+
          $field:ident = $name:literal, $env:literal, $kind:expr, $default:expr;)+
    })+) => {
        /// One definition for each setting, by the name of its field.
        #[allow(non_upper_case_globals, reason = "named as the fields that they define")]
        mod each {
            use super::*;
            $($(pub(super) static $field: Definition = Definition {
                name: $name,
                env: $env,
                kind: $kind,
                default: $default,
                section: $section,
                about: concat!($($about,)+),
            };)+)+
        }

        /// Every setting, in the order of the help and the documents.
        pub static DEFINITIONS: &[&Definition] = &[$($(&each::$field,)+)+];

        $(#[doc = concat!("Values of: ", $section, ".")]
        #[derive(Debug, Clone)]
        #[allow(missing_docs, reason = "each field is documented where it is defined")]
        pub struct $Group { $(pub $field: Value,)+ })+

        /// A value for every setting, as text with its source.
        #[derive(Debug, Clone)]
        #[allow(missing_docs, reason = "each group is documented where it is defined")]
        pub struct Values { $(pub $group: $Group,)+ }

        impl Values {
            /// Asks `find` for the value of every setting.
            pub(super) fn gather(mut find: impl FnMut(&'static Definition) -> Value) -> Self {
                Self { $($group: $Group { $($field: find(&each::$field),)+ },)+ }
            }

            /// All values in the order of [`DEFINITIONS`].
            pub fn all(&self) -> Vec<&Value> {
                vec![$($(&self.$group.$field,)+)+]
            }
        }
    };
}
pub(super) use settings;
