//! What a refusal says: the server's problem document, with what to do about it. The advice is
//! the last column of `docs/errors.md`, so that both say the same.

use pulsemesh_ingest::code::Code;
use serde::Deserialize;

use crate::client::Answer;

const DOCUMENT: &str = include_str!("../../docs/errors.md");
/// Most characters of an answer that is none of ours.
const EXCERPT_CHARS_MAX: usize = 200;

/// The members of a problem document that are read. A proxy's answer has none of them.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Problem {
    pub(crate) title: Option<String>,
    pub(crate) code: Option<String>,
    pub(crate) detail: Option<String>,
}

impl Problem {
    /// Of an answer that is no success.
    pub(crate) fn of(answer: &Answer) -> Self {
        serde_json::from_slice(&answer.body).unwrap_or_else(|_| {
            let text = String::from_utf8_lossy(&answer.body);
            let text: String = text.trim().chars().take(EXCERPT_CHARS_MAX).collect();
            Self { detail: Some(text).filter(|text| !text.is_empty()), ..Self::default() }
        })
    }

    /// What is wrong, as one line.
    pub(crate) fn what(&self, status: u16) -> String {
        let mut what = format!("the answer is {status}");
        for part in [&self.code, &self.title, &self.detail].into_iter().flatten() {
            what.push_str(": ");
            what.push_str(part);
        }
        what
    }

    /// What to do.
    pub(crate) fn advice(&self, status: u16) -> String {
        let known = self.code.as_deref().and_then(by_code);
        known.unwrap_or_else(|| by_status(status).to_owned())
    }
}

/// The code of this name.
pub(crate) fn code(name: &str) -> Option<Code> {
    Code::ALL.iter().copied().find(|code| code.as_str() == name)
}

/// Whether the same request may succeed a little later. Waiting does not raise the level of
/// acknowledgement that a server gives.
pub(crate) fn passes(code: Code) -> bool {
    matches!(code.status(), 408 | 409 | 429 | 503) && code != Code::AckNotAvailable
}

/// What the documents say to do about a code.
fn by_code(code: &str) -> Option<String> {
    let anchor = format!("<a id=\"{code}\"></a>");
    let row = DOCUMENT.lines().find(|line| line.contains(&anchor))?;
    let (_, advice) = row.trim_end().strip_suffix('|')?.rsplit_once(" | ")?;
    Some(without_links(advice.trim()))
}

/// `[text](address)` as `text`.
fn without_links(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, label, behind)) = link(rest) {
        out.push_str(before);
        out.push_str(label);
        rest = behind;
    }
    out + rest
}

fn link(text: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = text.split_once('[')?;
    let (label, rest) = rest.split_once("](")?;
    let (_, behind) = rest.split_once(')')?;
    Some((before, label, behind))
}

fn by_status(status: u16) -> &'static str {
    match status {
        300..=399 => "The address has moved: give the one that the answer leads to as --url.",
        401 | 403 => "A proxy or gateway wants something that is not sent: ask past it.",
        429 => "A limit on requests is reached, here or at a proxy: wait.",
        502 => "A proxy answers and does not reach the server: see whether it runs and is ready.",
        408 | 503 | 504 => "The server or a proxy has no capacity: see its log and its load.",
        500..=599 => "See the log of the server for the error.",
        _ => "Something other than pulsemesh-ingest may listen here: check --url.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_advice_in_the_documents() {
        for code in Code::ALL {
            let advice = by_code(code.as_str()).expect("a row");
            assert!(advice.len() > 10 && !advice.contains("]("), "{}: {advice}", code.as_str());
        }
        assert_eq!(by_code("no_such_code"), None);
    }

    #[test]
    fn links_are_read_as_their_text() {
        assert_eq!(without_links("see [a](b.md#c), [d](e)."), "see a, d.");
        assert_eq!(without_links("[x] (y)"), "[x] (y)");
    }
}
