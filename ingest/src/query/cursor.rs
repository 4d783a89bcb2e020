//! Cursors: where the next page of a query begins, as opaque text. A cursor carries a mark of
//! its query, so that one of another query is refused instead of silently skipping rows.

use uuid::Uuid;
use xxhash_rust::xxh3::Xxh3;

use crate::store::Position;

/// First byte of every cursor; another layout gets another number.
const VERSION: u8 = 1;
/// Version, mark, event time, id. A multiple of three: its base64 needs no padding.
const BYTES: usize = 1 + 8 + 8 + 16;
const TEXT_BYTES: usize = BYTES / 3 * 4;
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// What tells queries apart: everything but the limit, which may change from page to page.
pub fn mark(
    tenant: &str,
    service: &str,
    kind: Option<&str>,
    (from_ms, to_ms): (Option<i64>, Option<i64>),
) -> u64 {
    let mut hash = Xxh3::new();
    for text in [tenant, service].into_iter().chain(kind) {
        hash.update(&(text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    }
    for time in [from_ms, to_ms] {
        hash.update(&[u8::from(time.is_some())]);
        hash.update(&time.unwrap_or_default().to_le_bytes());
    }
    hash.digest()
}

/// The cursor of the page behind `position`, as base64url.
pub fn encode(position: Position, mark: u64) -> String {
    let mut bytes = [0; BYTES];
    bytes[0] = VERSION;
    bytes[1..9].copy_from_slice(&mark.to_le_bytes());
    bytes[9..17].copy_from_slice(&position.event_time_ms.to_le_bytes());
    bytes[17..].copy_from_slice(position.id.as_bytes());
    let mut text = String::with_capacity(TEXT_BYTES);
    for group in bytes.chunks_exact(3) {
        let bits = u32::from_be_bytes([0, group[0], group[1], group[2]]);
        for shift in [18, 12, 6, 0] {
            text.push(char::from(ALPHABET[(bits >> shift) as usize & 63]));
        }
    }
    text
}

/// The position in a cursor; `None` where the text is no cursor, or one of another query.
pub fn decode(text: &str, mark: u64) -> Option<Position> {
    if text.len() != TEXT_BYTES {
        return None;
    }
    let mut bytes = [0; BYTES];
    for (group, out) in text.as_bytes().chunks_exact(4).zip(bytes.chunks_exact_mut(3)) {
        let mut bits = 0;
        for letter in group {
            let value = ALPHABET.iter().position(|known| known == letter)?;
            bits = bits << 6 | value as u32;
        }
        out.copy_from_slice(&bits.to_be_bytes()[1..]);
    }
    let number = |from: usize| <[u8; 8]>::try_from(&bytes[from..from + 8]).ok();
    if bytes[0] != VERSION || u64::from_le_bytes(number(1)?) != mark {
        return None;
    }
    let id = Uuid::from_slice(&bytes[17..]).ok()?;
    Some(Position { event_time_ms: i64::from_le_bytes(number(9)?), id })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_cursor_gives_back_its_position(time: i64, id: u128, mark: u64, other: u64) {
            let position = Position { event_time_ms: time, id: Uuid::from_u128(id) };
            let text = encode(position, mark);
            prop_assert_eq!(decode(&text, mark), Some(position));
            prop_assume!(mark != other);
            prop_assert_eq!(decode(&text, other), None);
        }

        #[test]
        fn any_other_text_is_refused(text in "[A-Za-z0-9_+/=ä-]{0,50}") {
            prop_assert_eq!(decode(&text, 1), None);
        }
    }

    #[test]
    fn queries_that_differ_have_different_marks() {
        let marks = [
            mark("t", "s", None, (None, None)),
            mark("t", "s", None, (Some(0), None)),
            mark("t", "s", None, (None, Some(0))),
            mark("ts", "", None, (None, None)),
            mark("t", "z", None, (None, None)),
            mark("t", "s", Some("k"), (None, None)),
        ];
        for (place, one) in marks.iter().enumerate() {
            assert!(marks[place + 1..].iter().all(|other| other != one));
        }
    }
}
