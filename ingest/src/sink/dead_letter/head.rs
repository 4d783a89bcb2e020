//! What is said about a letter's pulse, as bytes in front of it: read as a whole for a person, in
//! part for a replay, which must not pay for what it does not look at. Letters of earlier versions
//! said it as JSON, which is told by its first byte. Pure.
//!
//! ```text
//! u8 1   u8 flags (1: held in memory only)   16 bytes log   u64 number
//! u32 attempts   i64 first, i64 last tried, µs since 1970
//! tenant, sink, code, stage, message: each u32 length, text
//! per attempt that it tells of: i64 when, µs since 1970   u32 rows   u32 length, answer
//! ```

use uuid::Uuid;

use super::LogId;
use super::letter::{Attempt, Letter};

const VERSION: u8 = 1;
const FLAG_IN_MEMORY: u8 = 1;

/// What a replay must know of a letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head<'a> {
    pub(super) tenant: &'a str,
    pub(super) sink: &'a str,
    pub(super) code: &'a str,
    pub(super) log: LogId,
    pub(super) in_memory: bool,
    pub(super) seq: u64,
    pub(super) attempts: u32,
    pub(super) first_at_us: i64,
    pub(super) last_at_us: i64,
}

impl<'a> Head<'a> {
    /// The head of a letter that is known as a whole.
    pub(super) fn of(letter: &'a Letter) -> Self {
        Self {
            tenant: &letter.tenant,
            sink: &letter.sink,
            code: &letter.code,
            log: letter.log,
            in_memory: letter.in_memory,
            seq: letter.seq,
            attempts: letter.attempts,
            first_at_us: letter.first_at_us,
            last_at_us: letter.last_at_us,
        }
    }

    /// Reads what was written by [`put`]; `None`: it is of another version, or damaged.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        Self::read_some(&mut Reader(bytes))
    }

    fn read_some(reader: &mut Reader<'a>) -> Option<Self> {
        let [version, flags] = reader.array()?;
        if version != VERSION {
            return None;
        }
        Some(Self {
            in_memory: flags & FLAG_IN_MEMORY != 0,
            log: LogId(Uuid::from_bytes(reader.array()?)),
            seq: u64::from_le_bytes(reader.array()?),
            attempts: u32::from_le_bytes(reader.array()?),
            first_at_us: i64::from_le_bytes(reader.array()?),
            last_at_us: i64::from_le_bytes(reader.array()?),
            tenant: reader.text()?,
            sink: reader.text()?,
            code: reader.text()?,
        })
    }
}

/// Reads all that is said about a letter, without its pulse.
pub(super) fn read_whole(bytes: &[u8]) -> Option<Letter> {
    let mut reader = Reader(bytes);
    let head = Head::read_some(&mut reader)?;
    let (stage, message) = (reader.text()?.to_owned(), reader.text()?.to_owned());
    let mut history = Vec::new();
    while !reader.0.is_empty() {
        let at_us = i64::from_le_bytes(reader.array()?);
        let rows = u32::from_le_bytes(reader.array()?) as usize;
        history.push(Attempt { at_us, rows, message: reader.text()?.to_owned() });
    }
    Some(Letter {
        tenant: head.tenant.to_owned(),
        sink: head.sink.to_owned(),
        log: head.log,
        in_memory: head.in_memory,
        seq: head.seq,
        code: head.code.to_owned(),
        stage,
        message,
        attempts: head.attempts,
        first_at_us: head.first_at_us,
        last_at_us: head.last_at_us,
        history,
        frame: Vec::new(),
    })
}

/// Appends all that is said about a letter.
pub(super) fn put(bytes: &mut Vec<u8>, letter: &Letter) {
    bytes.extend_from_slice(&[VERSION, if letter.in_memory { FLAG_IN_MEMORY } else { 0 }]);
    bytes.extend_from_slice(letter.log.0.as_bytes());
    bytes.extend_from_slice(&letter.seq.to_le_bytes());
    bytes.extend_from_slice(&letter.attempts.to_le_bytes());
    bytes.extend_from_slice(&letter.first_at_us.to_le_bytes());
    bytes.extend_from_slice(&letter.last_at_us.to_le_bytes());
    for text in [&letter.tenant, &letter.sink, &letter.code, &letter.stage, &letter.message] {
        put_text(bytes, text);
    }
    for Attempt { at_us, rows, message } in &letter.history {
        bytes.extend_from_slice(&at_us.to_le_bytes());
        bytes.extend_from_slice(&u32::try_from(*rows).unwrap_or(u32::MAX).to_le_bytes());
        put_text(bytes, message);
    }
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend_from_slice(&(text.len() as u32).to_le_bytes());
    bytes.extend_from_slice(text.as_bytes());
}

/// What is left to be read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = u32::from_le_bytes(self.array()?) as usize;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::letter;
    use super::*;

    fn any_letter() -> impl Strategy<Value = Letter> {
        let attempt = (any::<i64>(), any::<u32>(), ".{0,40}");
        let attempts = prop::collection::vec(attempt, 0..9);
        let numbers = (any::<u128>(), any::<bool>(), any::<u64>(), any::<u32>(), any::<i64>());
        ([".{0,20}", ".{0,20}", ".{0,20}", ".{0,20}", ".{0,60}"], numbers, attempts).prop_map(
            |([tenant, sink, code, stage, message], numbers, attempts)| {
                let (log, in_memory, seq, attempts_made, first_at_us) = numbers;
                let attempt = |(at_us, rows, message)| Attempt { at_us, rows, message };
                let history =
                    attempts.into_iter().map(|(at, rows, text)| (at, rows as usize, text));
                Letter {
                    tenant,
                    sink,
                    code,
                    stage,
                    message,
                    log: LogId(Uuid::from_u128(log)),
                    in_memory,
                    seq,
                    attempts: attempts_made,
                    first_at_us,
                    last_at_us: first_at_us.wrapping_mul(3),
                    history: history.map(attempt).collect(),
                    ..letter(1)
                }
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_in_part_and_as_a_whole(letter in any_letter()) {
            let mut body = Vec::new();
            letter.encode(&mut body);
            prop_assert_eq!(Letter::decode(&body), Some(letter.clone()));
            let mut bytes = Vec::new();
            put(&mut bytes, &letter);
            prop_assert_eq!(Head::read(&bytes), Some(Head::of(&letter)));
            for end in 0..bytes.len() {
                let cut = read_whole(&bytes[..end]);
                // Cut between two attempts it is a letter with fewer; the record's checksum tells.
                prop_assert!(cut.is_none_or(|cut| cut.history.len() < letter.history.len()));
            }
        }
    }
}
