//! As much of a server as tests need that play one: a request as a client sent it.

use std::io::Read;

/// Reads a request with the body that its head declares; gives the head without its empty line,
/// and the body. `None` where the client ended before.
pub fn read(stream: &mut impl Read) -> Option<(String, String)> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let read = stream.read(&mut buffer).ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if body.len() >= length.map_or(Some(0), |length| length.parse().ok())? {
            return Some((head.to_owned(), body.to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_to_the_end_of_its_body_and_one_that_is_cut_is_none() {
        let whole = "POST /pulse HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}";
        let (head, body) = read(&mut whole.as_bytes()).expect("whole");
        assert_eq!((head.lines().next(), &*body), (Some("POST /pulse HTTP/1.1"), "{}"));
        assert_eq!(read(&mut &whole.as_bytes()[..whole.len() - 1]), None);
        let get = "GET / HTTP/1.1\r\n\r\n";
        assert_eq!(read(&mut get.as_bytes()), Some(("GET / HTTP/1.1".into(), String::new())));
    }
}
