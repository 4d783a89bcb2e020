//! Times as people type and read them. Pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use pulsemesh_runtime::units;

/// A span that is not empty, such as `10s`.
pub(crate) fn span(text: &str) -> Result<Duration, String> {
    let span = units::time(text).filter(|span| !span.is_zero());
    span.ok_or_else(|| "write a whole number with ms, s, m, h or d, such as 10s".to_owned())
}

/// A point in time: RFC 3339, `now`, or how long ago.
pub(crate) fn point(text: &str) -> Result<Timestamp, String> {
    if text == "now" {
        return Ok(Timestamp::now());
    }
    let ago = units::time(text).and_then(|span| SignedDuration::try_from(span).ok());
    let point = match ago {
        Some(ago) => Timestamp::now().checked_sub(ago).ok(),
        None => text.parse().ok(),
    };
    let how = "write a time such as 2026-01-31T12:00:00Z, or how long ago, such as 15m";
    point.ok_or_else(|| how.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_a_time_or_an_age() {
        let at = point("2026-01-31T12:00:00+01:00").expect("a time");
        assert_eq!(at.to_string(), "2026-01-31T11:00:00Z");
        let now = Timestamp::now();
        let ago = |text| now.duration_since(point(text).expect("an age")).as_secs();
        assert!((899..=900).contains(&ago("15m")) && ago("now") <= 0);
        for text in ["", "yesterday", "15", "2026-01-31", "2026-01-31T12:00:00", "999999999d"] {
            assert!(point(text).is_err(), "{text}");
        }
        assert!(span("0").is_err() && span("10").is_err() && span("10s").is_ok());
    }
}
