//! The path and parameters of a request, encoded. Pure.

use std::fmt::{Display, Write};

/// A path with parameters.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    text: String,
    separator: char,
}

impl Target {
    /// A path that needs no encoding.
    pub(crate) fn new(path: &str) -> Self {
        Self { text: path.to_owned(), separator: '?' }
    }

    /// Adds a segment to the path, before any parameter.
    pub(crate) fn segment(mut self, segment: &str) -> Self {
        self.text.push('/');
        encode(segment, &mut self.text);
        self
    }

    /// Adds a parameter.
    pub(crate) fn with(mut self, name: &str, value: impl Display) -> Self {
        self.text.push(self.separator);
        self.separator = '&';
        self.text.push_str(name);
        self.text.push('=');
        encode(&value.to_string(), &mut self.text);
        self
    }

    /// Adds a parameter where there is a value.
    pub(crate) fn with_some(self, name: &str, value: Option<impl Display>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }
}

/// RFC 3986: all but the unreserved characters.
fn encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // A string takes all.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_stays_one_segment_and_one_value() {
        let target = Target::new("/v1/pulses").segment("a/b?c").with("service", "x&y=z ü");
        let target = target.with_some("limit", Some(3)).with_some("cursor", None::<&str>);
        assert_eq!(target.as_str(), "/v1/pulses/a%2Fb%3Fc?service=x%26y%3Dz%20%C3%BC&limit=3");
    }
}
