//! How far an erasure has come in the database, as text. Pure.

use serde::{Deserialize, Serialize};

/// Where it goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    /// Counts that were written by then are erased, in microseconds since 1970.
    pub(super) stamp_us: i64,
    /// Whether all is looked for once more.
    pub(super) again: bool,
    pub(super) place: Place,
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Place {
    /// To look for a service of the tenant behind this token.
    Series { token: i64 },
    /// The buckets of a service, from this one back.
    Buckets { token: i64, service: String, newest_ms: i64 },
    /// The hours with ids that tell no time, from this one back.
    Hours { newest_ms: i64 },
}

impl Place {
    /// Where an erasure begins.
    pub(super) fn start() -> Self {
        Self::Series { token: i64::MIN }
    }
}

impl Position {
    pub(super) fn write(&self) -> String {
        // Nothing in it has a key that is no text, which alone can fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    pub(super) fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_reads_back() {
        let buckets = Place::Buckets { token: -5, service: "a \"b\"".to_owned(), newest_ms: 7 };
        for place in [Place::start(), buckets, Place::Hours { newest_ms: i64::MAX }] {
            let position = Position { stamp_us: 9, again: true, place };
            assert_eq!(Position::read(&position.write()), Some(position));
        }
        assert_eq!(Position::read(""), None);
    }
}
