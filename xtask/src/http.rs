//! As much of HTTP/1.1 as a client of our own servers needs: where a response's head ends and
//! what it says about the body. No validation beyond that.

use anyhow::{Context, Result, bail, ensure};

/// Largest head that is read; our servers send about 200 bytes.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

/// What the head of a response says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The status code.
    pub status: u16,
    /// Bytes of the body that follows; 0 where none is declared.
    pub body_bytes: usize,
    /// Whether the body comes in chunks instead.
    pub chunked: bool,
    /// Whether the server closes the connection behind this response.
    pub close: bool,
    /// Bytes of the head itself, with its empty line.
    pub bytes: usize,
}

impl Head {
    /// Reads the head at the start of `input`; `None` when it is not complete yet.
    pub fn parse(input: &[u8]) -> Result<Option<Self>> {
        let mut head = Self { status: 0, body_bytes: 0, chunked: false, close: false, bytes: 0 };
        for line in (Lines { input }) {
            head.bytes += line.len() + 2;
            if head.status == 0 {
                head.status = status(line)?;
            } else if line.is_empty() {
                return Ok(Some(head));
            } else {
                head.read_header(line)?;
            }
        }
        ensure!(input.len() <= HEAD_BYTES_MAX, "head of the response is over its bound");
        Ok(None)
    }

    fn read_header(&mut self, line: &[u8]) -> Result<()> {
        // Only three headers matter, and their first letters tell most others apart.
        if !matches!(line[0] | 0x20, b'c' | b't') {
            return Ok(());
        }
        let Some((name, value)) = split_header(line) else { bail!("header has no colon") };
        if name.eq_ignore_ascii_case(b"content-length") {
            let text = std::str::from_utf8(value)?;
            self.body_bytes = text.parse().context("read a content-length")?;
        } else if name.eq_ignore_ascii_case(b"connection") {
            self.close = value.eq_ignore_ascii_case(b"close");
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.chunked = value.eq_ignore_ascii_case(b"chunked");
        }
        Ok(())
    }
}

/// Splits a header line into its name and its value without the space around it.
pub fn split_header(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    Some((&line[..colon], line[colon + 1..].trim_ascii()))
}

fn status(line: &[u8]) -> Result<u16> {
    ensure!(line.starts_with(b"HTTP/1.") && line.len() >= 12, "not an HTTP/1 response");
    Ok(std::str::from_utf8(&line[9..12])?.parse()?)
}

/// Complete lines, without their ends.
struct Lines<'a> {
    input: &'a [u8],
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let end = self.input.windows(2).position(|pair| pair == b"\r\n")?;
        let line = &self.input[..end];
        self.input = &self.input[end + 2..];
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_once_it_is_complete() {
        let text = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 12\r\n\
            retry-after: 1\r\nconnection: close\r\n\r\n{\"status\":1}";
        let head = Head::parse(text).expect("valid").expect("complete");
        assert_eq!((head.status, head.body_bytes, head.close), (503, 12, true));
        assert_eq!(text.len() - head.bytes, 12);
        for length in 0..head.bytes {
            assert_eq!(Head::parse(&text[..length]).expect("valid so far"), None, "{length}");
        }
    }

    #[test]
    fn what_is_no_response_is_refused() {
        for text in ["SSH-2.0-OpenSSH_9.6\r\n", "HTTP/1.1 abc\r\n", "HTTP/1.1\r\n"] {
            assert!(Head::parse(text.as_bytes()).is_err(), "{text}");
        }
        let text = b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n";
        assert!(Head::parse(text).is_err());
        assert!(Head::parse(&vec![b'a'; HEAD_BYTES_MAX + 1]).is_err());
    }
}
