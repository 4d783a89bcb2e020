//! A file as the rules see it: its text, and the same text with comments and the insides of
//! literals blanked, so that a rule about code is not fooled by words about code.

/// A text file.
#[derive(Debug, Clone)]
pub(super) struct File {
    /// From the repository's root, with `/`.
    pub(super) path: String,
    pub(super) text: String,
    /// `text` with comments and the insides of literals as spaces; line breaks stay.
    pub(super) code: String,
}

impl File {
    pub(super) fn new(path: &str, text: impl Into<String>) -> Self {
        let text = text.into();
        let code = if path.ends_with(".rs") { blank(&text) } else { text.clone() };
        Self { path: path.to_owned(), text, code }
    }

    pub(super) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// The line, from 1, of a byte offset.
    pub(super) fn line_of(&self, offset: usize) -> usize {
        self.text.as_bytes()[..offset.min(self.text.len())].iter().filter(|b| **b == b'\n').count()
            + 1
    }
}

/// Whether `byte` can be part of an identifier.
pub(super) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The identifiers of `code` with their offsets.
pub(super) fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    code.split(|c: char| !c.is_ascii() || !is_word(c as u8)).filter_map(move |word| {
        // Every separator is one character; those beyond ASCII are blanked in code.
        let start = at;
        at += word.len() + 1;
        (!word.is_empty()).then_some((start, word))
    })
}

fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let (end, kept) = token_end(bytes, at);
        let token = &bytes[at..end];
        if kept {
            code.extend_from_slice(token);
        } else {
            code.extend(token.iter().map(|byte| if *byte == b'\n' { b'\n' } else { b' ' }));
        }
        at = end;
    }
    // Non-ASCII text outside comments and literals has no meaning for a rule.
    code.iter_mut().filter(|byte| !byte.is_ascii()).for_each(|byte| *byte = b' ');
    String::from_utf8(code).unwrap_or_default()
}

/// Where the token at `at` ends, and whether it is code.
fn token_end(bytes: &[u8], at: usize) -> (usize, bool) {
    let rest = &bytes[at..];
    let find = |from: usize, needle: &[u8]| {
        let found = rest[from..].windows(needle.len()).position(|window| window == needle);
        found.map_or(bytes.len(), |offset| at + from + offset)
    };
    match rest {
        [b'/', b'/', ..] => (find(0, b"\n"), false),
        [b'/', b'*', ..] => (block_end(bytes, at), false),
        [b'"', ..] => (string_end(bytes, at + 1), false),
        [b'r', b'"' | b'#', ..] if !is_word(before(bytes, at)) || before(bytes, at) == b'b' => {
            let hashes = rest[1..].iter().take_while(|byte| **byte == b'#').count();
            if rest.get(1 + hashes) != Some(&b'"') {
                return (at + 1, true);
            }
            let mut close = vec![b'"'];
            close.resize(1 + hashes, b'#');
            ((find(2 + hashes, &close) + close.len()).min(bytes.len()), false)
        }
        [b'\'', b'\\', ..] => ((find(3, b"'") + 1).min(bytes.len()), false),
        [b'\'', ..] => match char_end(rest) {
            Some(length) => (at + length, false),
            None => (at + 1, true),
        },
        _ => (at + 1, true),
    }
}

fn before(bytes: &[u8], at: usize) -> u8 {
    at.checked_sub(1).map_or(b' ', |at| bytes[at])
}

/// The length of a character literal; `None` for a lifetime.
fn char_end(rest: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(&rest[1..rest.len().min(8)]);
    let character = match text {
        Ok(text) => text.chars().next()?,
        Err(error) => {
            std::str::from_utf8(&rest[1..1 + error.valid_up_to()]).ok()?.chars().next()?
        }
    };
    let end = 1 + character.len_utf8();
    (rest.get(end) == Some(&b'\'')).then_some(end + 1)
}

fn string_end(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn block_end(bytes: &[u8], mut at: usize) -> usize {
    let mut depth = 0;
    while at < bytes.len() {
        match &bytes[at..] {
            [b'/', b'*', ..] => {
                depth += 1;
                at += 2;
            }
            [b'*', b'/', ..] => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_and_code_stays_in_place() {
        for (text, expected) in [
            ("a // b\nc", "a     \nc"),
            ("a /* b /* c */ d */ e", "a                   e"),
            (r#"f("a \" b") + c"#, "f(        ) + c"),
            ("let x = r#\"a \" b\"#; y", "let x =           ; y"),
            ("x = 'a'; 'b'.c", "x =    ;    .c"),
            (r"x = '\''; y", "x =     ; y"),
            ("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}"),
            ("b\"x\" y", "b    y"),
        ] {
            let code = blank(text);
            assert_eq!(code, expected, "{text}");
        }
    }

    #[test]
    fn words_come_with_their_offsets() {
        let code = "use a::b_c; d1";
        assert_eq!(words(code).collect::<Vec<_>>(), [(0, "use"), (4, "a"), (7, "b_c"), (12, "d1")]);
    }
}
