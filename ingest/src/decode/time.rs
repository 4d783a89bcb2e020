//! Event times: RFC 3339 text to milliseconds and back, and which times are accepted.
//! The calendar is the proleptic Gregorian one; jiff is the reference in the tests.

use crate::code::{Code, Reject};
use crate::pulse::EVENT_TIME_AHEAD_MS_MAX;

const DAY_MS: i64 = 86_400_000;
/// Days from 0000-03-01, where the calendar's cycle of 400 years starts, to 1970-01-01.
const EPOCH_DAYS: i64 = 719_468;
/// Days in 400 years.
const ERA_DAYS: i64 = 146_097;
/// `0000-01-01T00:00:00.000Z` and `9999-12-31T23:59:59.999Z`: what RFC 3339 can say.
const WRITABLE_MS: std::ops::RangeInclusive<i64> = -62_167_219_200_000..=253_402_300_799_999;

/// Milliseconds since 1970 in UTC of RFC 3339 text with any offset. A fraction may have 1 to 9
/// digits; what is finer than a millisecond is cut off. A leap second (`:60`) is the second
/// before it, as jiff has it. `None` for all other text.
pub fn parse_rfc3339_ms(text: &str) -> Option<i64> {
    let (head, rest) = text.as_bytes().split_first_chunk::<19>()?;
    let is_laid_out = [head[4], head[7], head[13], head[16]] == *b"--::"
        && matches!(head[10], b'T' | b't' | b' ');
    if !is_laid_out {
        return None;
    }
    let year = two(head, 0)? * 100 + two(head, 2)?;
    let (month, day) = (two(head, 5)?, two(head, 8)?);
    let (hour, minute, second) = (two(head, 11)?, two(head, 14)?, two(head, 17)?);
    if !(1..=12).contains(&month) || day == 0 || day > days_in_month(year, month) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (fraction_ms, rest) = fraction(rest)?;
    let seconds = hour * 3600 + minute * 60 + second.min(59) - offset_seconds(rest)?;
    Some(days_of(year, month, day) * DAY_MS + seconds * 1000 + fraction_ms)
}

#[inline]
fn two(bytes: &[u8], at: usize) -> Option<i64> {
    let [tens, ones] = bytes.get(at..)?.first_chunk::<2>()?.map(|byte| byte.wrapping_sub(b'0'));
    (tens < 10 && ones < 10).then(|| i64::from(tens) * 10 + i64::from(ones))
}

/// The milliseconds of an optional fraction, and what follows it.
#[inline]
fn fraction(rest: &[u8]) -> Option<(i64, &[u8])> {
    let Some((b'.', digits)) = rest.split_first() else { return Some((0, rest)) };
    let length = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let first = digits[..length].iter().map(|digit| i64::from(digit - b'0'));
    let fraction_ms = first.chain([0, 0]).take(3).fold(0, |sum, digit| sum * 10 + digit);
    (1..=9).contains(&length).then_some((fraction_ms, &digits[length..]))
}

#[inline]
fn offset_seconds(rest: &[u8]) -> Option<i64> {
    match rest {
        [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let (hours, minutes) = (two(rest, 1)?, two(rest, 4)?);
            let seconds = hours * 3600 + minutes * 60;
            let signed = if *sign == b'-' { -seconds } else { seconds };
            (hours <= 23 && minutes <= 59).then_some(signed)
        }
        _ => None,
    }
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01. From "chrono-Compatible Low-Level Date Algorithms", Howard Hinnant,
/// `days_from_civil`: years start in March, so the leap day is a year's last.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year) = (year.div_euclid(400), year.rem_euclid(400));
    let month = (month + 9) % 12;
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    era * ERA_DAYS + year * 365 + year / 4 - year / 100 + day_of_year - EPOCH_DAYS
}

/// Year, month and day; `civil_from_days` of the same source.
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + EPOCH_DAYS;
    let (era, day) = (days.div_euclid(ERA_DAYS), days.rem_euclid(ERA_DAYS));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + i64::from(month <= 2), month, day_of_month)
}

/// Appends a time in milliseconds since 1970 as `2026-11-21T08:00:00.123Z`. What is outside of
/// the years 0000 to 9999 becomes the nearest time inside.
pub fn write_rfc3339_ms(time_ms: i64, buffer: &mut Vec<u8>) {
    let time_ms = time_ms.clamp(*WRITABLE_MS.start(), *WRITABLE_MS.end());
    let (year, month, day) = date_of(time_ms.div_euclid(DAY_MS));
    let of_day = time_ms.rem_euclid(DAY_MS);
    let mut text = *b"0000-00-00T00:00:00.000Z";
    let mut put = |at: usize, digits: usize, mut value: i64| {
        for place in text[at..at + digits].iter_mut().rev() {
            *place = b'0' + (value % 10) as u8;
            value /= 10;
        }
    };
    put(0, 4, year);
    put(5, 2, month);
    put(8, 2, day);
    put(11, 2, of_day / 3_600_000);
    put(14, 2, of_day / 60_000 % 60);
    put(17, 2, of_day / 1000 % 60);
    put(20, 3, of_day % 1000);
    buffer.extend_from_slice(&text);
}

/// Whether an event of this time is accepted now: not older than the retention, and at most
/// [`EVENT_TIME_AHEAD_MS_MAX`] ahead. All in milliseconds (since 1970 in UTC).
///
/// # Errors
/// [`Code::EventTimeTooOld`] or [`Code::EventTimeInFuture`].
pub fn check_event_time(event_time_ms: i64, now_ms: i64, retention_ms: i64) -> Result<(), Reject> {
    let oldest_ms = now_ms.saturating_sub(retention_ms);
    let newest_ms = now_ms.saturating_add(EVENT_TIME_AHEAD_MS_MAX);
    if event_time_ms < oldest_ms {
        return refuse(Code::EventTimeTooOld, event_time_ms, "the oldest kept is", oldest_ms);
    }
    if event_time_ms > newest_ms {
        return refuse(Code::EventTimeInFuture, event_time_ms, "the newest taken is", newest_ms);
    }
    Ok(())
}

#[cold]
fn refuse(code: Code, time_ms: i64, bound: &str, bound_ms: i64) -> Result<(), Reject> {
    let text = |ms| {
        let mut buffer = Vec::with_capacity(24);
        write_rfc3339_ms(ms, &mut buffer);
        String::from_utf8_lossy(&buffer).into_owned()
    };
    let message = format!("the event time is {}; {bound} {}", text(time_ms), text(bound_ms));
    Err(Reject::new(code, message))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;

    fn written(time_ms: i64) -> String {
        let mut buffer = Vec::new();
        write_rfc3339_ms(time_ms, &mut buffer);
        String::from_utf8(buffer).expect("ASCII")
    }

    #[test]
    fn rfc_3339_is_read_and_nothing_else() {
        let check = |text: &str, expected: Option<i64>| {
            assert_eq!(parse_rfc3339_ms(text), expected, "{text}");
        };
        let base = 1_795_248_000_000;
        check("2026-11-21T08:00:00Z", Some(base));
        check("2026-11-21t08:00:00z", Some(base));
        check("2026-11-21 08:00:00Z", Some(base));
        check("2026-11-21T08:00:00.123Z", Some(base + 123));
        check("2026-11-21T08:00:00.1Z", Some(base + 100));
        check("2026-11-21T08:00:00.123999999Z", Some(base + 123));
        check("2026-11-21T09:30:00+01:30", Some(base));
        check("2026-11-21T07:00:00-01:00", Some(base));
        check("2026-11-21T08:00:00-00:00", Some(base));
        check("1969-12-31T23:59:59.999Z", Some(-1));
        check("1970-01-01T00:00:00Z", Some(0));
        check("2024-02-29T00:00:00Z", Some(1_709_164_800_000));
        check("2016-12-31T23:59:60Z", Some(1_483_228_799_000));
        for text in [
            "",
            "2026-11-21",
            "2026-11-21T08:00:00",
            "2026-11-21T08:00Z",
            "2026-11-21T08:00:00.Z",
            "2026-11-21T08:00:00.1234567890Z",
            "2026-11-21T08:00:00,5Z",
            "2026-11-21T08:00:00Zx",
            "2026-11-21T08:00:00+01",
            "2026-11-21T08:00:00+0100",
            "2026-11-21T08:00:00+24:00",
            "2026-11-21T08:00:00+01:60",
            "2026-11-21T08:00:00Z[UTC]",
            "2026-11-21\u{0}08:00:00Z",
            "2026-11-21T24:00:00Z",
            "2026-11-21T08:60:00Z",
            "2026-11-21T08:00:61Z",
            "2026-13-21T08:00:00Z",
            "2026-00-21T08:00:00Z",
            "2026-11-00T08:00:00Z",
            "2026-11-31T08:00:00Z",
            "2023-02-29T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "+2026-11-21T08:00:00Z",
            "20261121T080000Z",
            "2026/11/21T08:00:00Z",
            "2026-11-21T08:00:0é",
            "1795248000000",
            "now",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn times_outside_of_the_calendar_are_written_as_its_ends() {
        assert_eq!(written(i64::MIN), "0000-01-01T00:00:00.000Z");
        assert_eq!(written(i64::MAX), "9999-12-31T23:59:59.999Z");
        assert_eq!(written(0), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn an_event_time_is_accepted_from_the_retention_to_ten_minutes_ahead() {
        let now = 1_795_248_000_000;
        let check = |time, expected: Option<Code>| {
            let code = check_event_time(time, now, 1000).err().map(|reject| reject.code);
            assert_eq!(code, expected, "{time}");
        };
        check(now, None);
        check(now - 1000, None);
        check(now - 1001, Some(Code::EventTimeTooOld));
        check(now + EVENT_TIME_AHEAD_MS_MAX, None);
        check(now + EVENT_TIME_AHEAD_MS_MAX + 1, Some(Code::EventTimeInFuture));
        check(i64::MIN, Some(Code::EventTimeTooOld));
        check(i64::MAX, Some(Code::EventTimeInFuture));
        let reject = check_event_time(0, now, 1000).expect_err("too old");
        let message = "the event time is 1970-01-01T00:00:00.000Z; the oldest kept is \
                       2026-11-21T07:59:59.000Z";
        assert_eq!(reject.message, message);
    }

    /// Fields in and out of range alike, joined as RFC 3339 would.
    fn time_like() -> impl Strategy<Value = String> {
        let fraction = prop_oneof![Just(String::new()), "\\.[0-9]{1,10}"];
        let offset = prop_oneof![Just("Z".to_owned()), "[+-][0-2][0-9]:[0-6][0-9]"];
        (1..9998_u32, 0..14_u32, 0..33_u32, 0..25_u32, 0..61_u32, 0..62_u32, fraction, offset)
            .prop_map(|(year, month, day, hour, minute, second, fraction, offset)| {
                let date = format!("{year:04}-{month:02}-{day:02}");
                format!("{date}T{hour:02}:{minute:02}:{second:02}{fraction}{offset}")
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]
        #[test]
        fn times_are_read_as_jiff_reads_them(text in time_like()) {
            // jiff takes offsets up to 25:59; RFC 3339 ends at 23:59.
            prop_assume!(!text.contains("+24:") && !text.contains("-24:"));
            prop_assume!(!text.contains("+25:") && !text.contains("-25:"));
            let jiff = text.parse::<Timestamp>().ok();
            let expected = jiff.map(|time| time.as_nanosecond().div_euclid(1_000_000) as i64);
            prop_assert_eq!(parse_rfc3339_ms(&text), expected);
        }

        #[test]
        fn a_time_that_is_written_is_what_jiff_writes_and_is_read_back(
            time_ms in -62_135_596_800_000_i64..253_370_764_800_000,
        ) {
            let text = written(time_ms);
            let jiff = Timestamp::from_millisecond(time_ms).expect("in range");
            prop_assert_eq!(&text, &format!("{jiff:.3}"));
            prop_assert_eq!(parse_rfc3339_ms(&text), Some(time_ms));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,40}") {
            parse_rfc3339_ms(&text);
        }
    }
}
