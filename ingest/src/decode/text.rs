//! Escapes in JSON text.

/// What `raw`, text with sound escapes, means.
pub(super) fn unescape(raw: &str) -> String {
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
        text.push_str(&rest[..at]);
        let (char, length) = escaped_char(&rest.as_bytes()[at + 1..]);
        text.push(char);
        rest = rest.get(at + 1 + length..).unwrap_or_default();
    }
    text.push_str(rest);
    text
}

/// The character that an escape stands for and the bytes behind its backslash.
fn escaped_char(escape: &[u8]) -> (char, usize) {
    let char = match escape.first() {
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => return unicode_char(escape),
        Some(byte) => char::from(*byte),
        None => char::REPLACEMENT_CHARACTER,
    };
    (char, 1)
}

/// As [`escaped_char`], for `uXXXX` or `uXXXX\uXXXX`.
fn unicode_char(escape: &[u8]) -> (char, usize) {
    let high = unit(escape.get(1..5));
    if (0xD800..0xDC00).contains(&high) {
        let low = unit(escape.get(7..11));
        let code = 0x1_0000 + ((high - 0xD800) << 10) + (low.wrapping_sub(0xDC00) & 0x3FF);
        return (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 11);
    }
    (char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER), 5)
}

fn unit(digits: Option<&[u8]>) -> u32 {
    let digits = digits.unwrap_or_default();
    digits.iter().filter_map(|byte| char::from(*byte).to_digit(16)).fold(0, |n, d| n << 4 | d)
}
