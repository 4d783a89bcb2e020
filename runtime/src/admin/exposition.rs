//! Metrics as text, in the format that the reader asks for. Pure.

use std::fmt;

use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All metrics of `registry` as OpenMetrics text. Without exemplars, infos and state sets,
/// which we do not use, it reads as the plain format too: what is new in it is a comment there.
pub(super) fn encode(registry: &Registry) -> Result<String, fmt::Error> {
    let mut text = String::new();
    text::encode(&mut text, registry)?;
    Ok(text)
}

/// OpenMetrics where an `Accept` header names it, plain text for everyone else (`curl`).
pub(super) fn content_type<'a>(accept: impl Iterator<Item = &'a str>) -> &'static str {
    let mut ranges = accept.flat_map(|value| value.split(','));
    if ranges.any(accepts_openmetrics) { OPENMETRICS } else { PLAIN }
}

fn accepts_openmetrics(range: &str) -> bool {
    let mut parts = range.split(';').map(str::trim);
    let named =
        parts.next().is_some_and(|name| name.eq_ignore_ascii_case("application/openmetrics-text"));
    named
        && !parts.any(|part| {
            part.strip_prefix("q=").and_then(|q| q.parse::<f32>().ok()).is_some_and(|q| q <= 0.0)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openmetrics_is_given_to_those_who_name_it() {
        let prometheus =
            "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;q=0.3,*/*;q=0.1";
        let cases: [(&[&str], &str); 6] = [
            (&[], PLAIN),
            (&["*/*"], PLAIN),
            (&["text/plain;version=0.0.4"], PLAIN),
            (&[prometheus], OPENMETRICS),
            (&["text/html", "Application/OpenMetrics-Text"], OPENMETRICS),
            (&["application/openmetrics-text; q=0, */*"], PLAIN),
        ];
        for (accept, expected) in cases {
            assert_eq!(content_type(accept.iter().copied()), expected, "{accept:?}");
        }
    }
}
