//! Pulses as clients send them, built before a load starts so that sending costs no more than
//! a copy.

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::client::Request;

/// Services, over which the events of a load are spread.
pub const SERVICES: [&str; 4] = ["checkout", "payments", "search", "frontend"];

/// One pulse of about 110 bytes in the shape of `POST /pulse`; `number` varies its values.
pub fn pulse(number: usize, event_time_ms: u64) -> String {
    let service = SERVICES[number % SERVICES.len()];
    let status = if number % 50 == 7 { "error" } else { "ok" };
    let (time, latency, zone) = (rfc3339(event_time_ms), number % 90 + 5, number % 3);
    format!(r#"{{"service_name":"{service}","event_time":"{time}","latency_ms":{latency}.5,"#,)
        + &format!(r#""status":"{status}","metadata":{{"zone":"eu-{zone}"}}}}"#)
}

/// One pulse of `service` that happens when it is received, in the shape of `POST /pulse`.
pub fn live_pulse(service: &str, number: usize) -> String {
    let (latency, zone) = (number % 90 + 5, number % 3);
    format!(r#"{{"service_name":"{service}","latency_ms":{latency}.5,"status":"ok","#)
        + &format!(r#""metadata":{{"zone":"eu-{zone}"}}}}"#)
}

/// Requests of `pulses` NDJSON pulses each that happen when they are received.
pub fn live_batches(services: &[&str], pulses: usize, variants: usize) -> Vec<Vec<u8>> {
    let line = |number: usize| live_pulse(services[number % services.len()], number) + "\n";
    let body = |variant: usize| (0..pulses).map(|n| line(variant * pulses + n)).collect::<String>();
    (0..variants).map(|variant| Request::lines("/pulse", body(variant)).to_bytes()).collect()
}

/// Requests of one pulse each, `variants` different ones.
pub fn singles(target: &str, variants: usize) -> Vec<Vec<u8>> {
    let now = now_ms();
    (0..variants)
        .map(|number| Request::json(target, pulse(number, now + number as u64)).to_bytes())
        .collect()
}

/// Requests of `pulses` NDJSON pulses each, `variants` different ones.
pub fn batches(target: &str, pulses: usize, variants: usize) -> Vec<Vec<u8>> {
    let now = now_ms();
    let body = |variant: usize| {
        (0..pulses).fold(String::new(), |mut body, line| {
            let number = variant * pulses + line;
            body.push_str(&pulse(number, now + (number % 1000) as u64));
            body.push('\n');
            body
        })
    };
    (0..variants).map(|variant| Request::lines(target, body(variant)).to_bytes()).collect()
}

/// Milliseconds since 1970 in UTC.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis() as u64
}

/// A time as RFC 3339 in UTC with milliseconds.
pub fn rfc3339(ms: u64) -> String {
    let (days, in_day) = (ms / 86_400_000, ms % 86_400_000);
    let (year, month, day) = civil(days);
    let mut text = format!("{year:04}-{month:02}-{day:02}T");
    let (hour, minute) = (in_day / 3_600_000, in_day / 60_000 % 60);
    let (second, milli) = (in_day / 1000 % 60, in_day % 1000);
    // Writing to a string can't fail.
    let _ = write!(text, "{hour:02}:{minute:02}:{second:02}.{milli:03}Z");
    text
}

/// Year, month and day of a number of days since 1970, in the Gregorian calendar
/// (Howard Hinnant, "chrono-compatible low-level date algorithms", `civil_from_days`).
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_rfc_3339() {
        for (ms, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
            (1_735_689_600_000, "2025-01-01T00:00:00.000Z"),
            (4_107_542_400_007, "2100-03-01T00:00:00.007Z"),
        ] {
            assert_eq!(rfc3339(ms), expected);
        }
    }

    #[test]
    fn a_pulse_has_about_110_bytes_and_a_batch_a_line_each() {
        for number in 0..200 {
            let length = pulse(number, now_ms()).len();
            assert!((100..=130).contains(&length), "{length}");
        }
        let batch = &batches("/pulse", 512, 1)[0];
        assert_eq!(batch.iter().filter(|byte| **byte == b'\n').count() - 5, 512);
    }
}
