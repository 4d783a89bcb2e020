//! What a server exports, read from the Prometheus text format as tests ask for it.

use anyhow::{Context, Result};

/// One value with its labels.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The full name, such as `pulsemesh_requests_total`.
    pub name: String,
    /// Label names and values as written.
    pub labels: Vec<(String, String)>,
    /// The value.
    pub value: f64,
}

impl Sample {
    fn has(&self, name: &str, labels: &[(&str, &str)]) -> bool {
        let labelled = |(key, value): &(&str, &str)| {
            self.labels.iter().any(|(have, as_value)| have == key && as_value == value)
        };
        self.name == name && labels.iter().all(labelled)
    }
}

/// All values of one scrape.
#[derive(Debug, Clone, Default)]
pub struct Samples(pub Vec<Sample>);

impl Samples {
    /// Reads a scrape.
    pub fn parse(text: &str) -> Result<Self> {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines
            .map(|line| parse_line(line).with_context(|| format!("read the sample {line:?}")))
            .collect::<Result<_>>()
            .map(Self)
    }

    /// The sum of all samples of this name that have these labels (and perhaps others).
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.matching(name, labels).map(|sample| sample.value).sum()
    }

    /// The samples of this name that have these labels (and perhaps others).
    pub fn matching<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = &'a Sample> {
        self.0.iter().filter(move |sample| sample.has(name, labels))
    }
}

fn parse_line(line: &str) -> Option<Sample> {
    let name_end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(name_end);
    let mut labels = Vec::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        while !rest.starts_with('}') {
            let (key, after) = rest.split_once("=\"")?;
            let end = closing_quote(after)?;
            labels.push((key.to_owned(), after[..end].to_owned()));
            rest = after[end + 1..].trim_start_matches(',');
        }
        rest = &rest[1..];
    }
    let value = rest.split_ascii_whitespace().next()?.parse().ok()?;
    Some(Sample { name: name.to_owned(), labels, value })
}

fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().find_map(|(at, character)| {
        let closes = character == '"' && !escaped;
        escaped = character == '\\' && !escaped;
        closes.then_some(at)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_summed_by_the_labels_that_are_asked_for() {
        let text = "# TYPE a counter\na_total{sink=\"x\",place=\"in \\\"log\\\"\"} 3\n\
            a_total{sink=\"y\",place=\"in_log\"} 4.5\nb 1e3 # {trace=\"1\"}\n# EOF\n";
        let samples = Samples::parse(text).expect("valid");
        assert_eq!(samples.sum("a_total", &[]), 7.5);
        assert_eq!(samples.sum("a_total", &[("sink", "y")]), 4.5);
        assert_eq!(samples.sum("a_total", &[("sink", "z")]), 0.0);
        assert_eq!(samples.sum("b", &[]), 1000.0);
    }

    #[test]
    fn what_is_no_sample_is_an_error() {
        for text in ["a", "a{b=\"c} 1", "a x"] {
            assert!(Samples::parse(text).is_err(), "{text}");
        }
    }
}
