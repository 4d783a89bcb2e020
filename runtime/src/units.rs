//! Sizes, times and numbers as people write them. Pure.

use std::time::Duration;

const SIZES: &[(&str, u64)] = &[
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("Ti", 1 << 40),
    ("Gi", 1 << 30),
    ("Mi", 1 << 20),
    ("Ki", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
    ("", 1),
];

/// In milliseconds.
const TIMES: &[(&str, u64)] =
    &[("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// A whole number; `_` may part its digits.
pub fn count(text: &str) -> Option<u64> {
    let digits = text.replace('_', "");
    let plain = !text.starts_with('_') && digits.bytes().all(|byte| byte.is_ascii_digit());
    if plain { digits.parse().ok() } else { None }
}

/// A number of bytes, such as `64MiB`, `64Mi`, `67108864`; case does not matter.
pub fn size(text: &str) -> Option<u64> {
    let (number, unit) = split_unit(text);
    let (_, factor) = SIZES.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
    count(number)?.checked_mul(*factor)
}

/// A time, such as `100ms`, `1h30m`, `7d`. A number needs its unit, but for `0`.
pub fn time(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut milliseconds: u64 = 0;
    while !rest.is_empty() {
        let (number, behind) = split_unit(rest);
        let end = behind.find(|character: char| character.is_ascii_digit());
        let (unit, next) = behind.split_at(end.unwrap_or(behind.len()));
        let (_, factor) = TIMES.iter().find(|(name, _)| *name == unit.trim_end())?;
        let part = count(number)?.checked_mul(*factor)?;
        milliseconds = milliseconds.checked_add(part)?;
        rest = next;
    }
    (!text.is_empty()).then_some(Duration::from_millis(milliseconds))
}

/// Splits in front of the first character that is no digit.
fn split_unit(text: &str) -> (&str, &str) {
    let end = text.find(|character: char| !character.is_ascii_digit() && character != '_');
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    (number, unit.trim_start())
}

/// A number of bytes in the largest unit that divides it.
pub fn size_text(bytes: u64) -> String {
    let whole = SIZES[..4].iter().find(|(_, factor)| bytes != 0 && bytes.is_multiple_of(*factor));
    match whole {
        Some((unit, factor)) => format!("{}{unit}", bytes / factor),
        None => format!("{bytes}B"),
    }
}

/// A time in the largest unit that divides it, from days to milliseconds.
pub fn time_text(time: Duration) -> String {
    let milliseconds = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let whole =
        TIMES.iter().find(|(_, factor)| milliseconds != 0 && milliseconds.is_multiple_of(*factor));
    match whole {
        Some((unit, factor)) => format!("{}{unit}", milliseconds / factor),
        None => "0s".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_are_read_in_the_units_that_people_write() {
        let cases = [
            ("64MiB", Some(64 << 20)),
            ("64Mi", Some(64 << 20)),
            ("64 mib", Some(64 << 20)),
            ("1_000kB", Some(1_000_000)),
            ("512", Some(512)),
            ("512B", Some(512)),
            ("0", Some(0)),
            ("64M", None),
            ("1.5GiB", None),
            ("-1", None),
            ("", None),
            ("MiB", None),
            ("_1", None),
            ("99999999999999999999", None),
            ("18446744073709551615KiB", None),
        ];
        for (text, expected) in cases {
            assert_eq!(size(text), expected, "{text}");
        }
    }

    #[test]
    fn times_need_a_unit_and_may_have_parts() {
        let cases = [
            ("100ms", Some(100)),
            ("7d", Some(7 * 86_400_000)),
            ("1h30m", Some(5_400_000)),
            ("2 m", Some(120_000)),
            ("0", Some(0)),
            ("0s", Some(0)),
            ("10", None),
            ("1h30", None),
            ("5 minutes", None),
            ("1.5s", None),
            ("", None),
            ("s", None),
            ("99999999999999999d", None),
        ];
        for (text, expected) in cases {
            assert_eq!(time(text), expected.map(Duration::from_millis), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(number: u64, milliseconds in 0..u64::MAX / 2) {
            prop_assert_eq!(size(&size_text(number)), Some(number));
            let span = Duration::from_millis(milliseconds);
            prop_assert_eq!(time(&time_text(span)), Some(span));
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC*") {
            let _ = (size(&text), time(&text), count(&text));
        }
    }
}
