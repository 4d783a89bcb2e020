//! Sizes and times as `pulsemesh-ingest` reads and writes them. Pure; the ingest's own reading is
//! compared with this one by a test.

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
pub(super) fn count(text: &str) -> Option<u64> {
    let digits = text.replace('_', "");
    let is_plain = !text.starts_with('_') && digits.bytes().all(|byte| byte.is_ascii_digit());
    if is_plain { digits.parse().ok() } else { None }
}

/// A number of bytes, such as `64MiB` or `64Mi`.
pub(super) fn size(text: &str) -> Option<u64> {
    let (number, unit) = split_unit(text);
    let (_, factor) = SIZES.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
    count(number)?.checked_mul(*factor)
}

/// A time, such as `100ms`, `1h30m` or `7d`.
pub(super) fn time(text: &str) -> Option<Duration> {
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
        milliseconds = milliseconds.checked_add(count(number)?.checked_mul(*factor)?)?;
        rest = next;
    }
    (!text.is_empty()).then_some(Duration::from_millis(milliseconds))
}

fn split_unit(text: &str) -> (&str, &str) {
    let end = text.find(|character: char| !character.is_ascii_digit() && character != '_');
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    (number, unit.trim_start())
}

/// A number of bytes in the largest unit that divides it.
pub(super) fn size_text(bytes: u64) -> String {
    let whole = SIZES[..4].iter().find(|(_, factor)| bytes != 0 && bytes.is_multiple_of(*factor));
    match whole {
        Some((unit, factor)) => format!("{}{unit}", bytes / factor),
        None => format!("{bytes}B"),
    }
}

/// A time in the largest unit that divides it, from days to milliseconds.
pub(super) fn time_text(time: Duration) -> String {
    let milliseconds = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let whole =
        TIMES.iter().find(|(_, factor)| milliseconds != 0 && milliseconds.is_multiple_of(*factor));
    match whole {
        Some((unit, factor)) => format!("{}{unit}", milliseconds / factor),
        None => "0s".to_owned(),
    }
}
