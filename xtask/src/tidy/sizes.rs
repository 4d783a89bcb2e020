//! Rules of size: lines, files and functions that a reader can hold.

use super::Finding;
use super::source::{File, words};

const LINE_CHARACTERS_MAX: usize = 100;
const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;

/// No line of Rust is longer than the columns of two files side by side.
pub(super) fn lines(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        for (index, line) in file.text.lines().enumerate() {
            let length = line.chars().count();
            if length > LINE_CHARACTERS_MAX {
                let message = format!("line has {length} characters, over {LINE_CHARACTERS_MAX}");
                findings.push(Finding::new(&file.path, index + 1, message));
            }
        }
    }
    findings
}

/// No Rust file outgrows one concept.
pub(super) fn files(files: &[File]) -> Vec<Finding> {
    let too_long = |file: &File| {
        let length = file.text.lines().count();
        let message = || format!("file has {length} lines, over {FILE_LINES_MAX}: split it");
        (length > FILE_LINES_MAX).then(|| Finding::new(&file.path, 1, message()))
    };
    files.iter().filter(|file| file.is_rust()).filter_map(too_long).collect()
}

/// No function outgrows a screen.
pub(super) fn functions(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        for (name, start, end) in bodies(&file.code) {
            let first = file.line_of(start);
            let length = file.line_of(end) - first + 1;
            if length > FUNCTION_LINES_MAX {
                let message =
                    format!("function {name} has {length} lines, over {FUNCTION_LINES_MAX}");
                findings.push(Finding::new(&file.path, first, message));
            }
        }
    }
    findings
}

/// Every function with a body: its name, where `fn` stands and where its last brace is.
fn bodies(code: &str) -> Vec<(&str, usize, usize)> {
    let mut bodies = Vec::new();
    let mut tokens = words(code).peekable();
    while let Some((start, word)) = tokens.next() {
        // `fn(u8)` is a type: the next word must follow at once.
        let Some(&(name_at, name)) = tokens.peek() else { break };
        if word == "fn" && code[start + 2..name_at].trim().is_empty() {
            bodies.extend(body_end(&code[name_at..]).map(|end| (name, start, name_at + end)));
        }
    }
    bodies
}

/// Where the braces of the function whose name `code` starts with are closed; `None` for one
/// without a body.
fn body_end(code: &str) -> Option<usize> {
    let (mut depth, mut brackets) = (0usize, 0usize);
    for (at, byte) in code.bytes().enumerate() {
        match byte {
            b'(' | b'[' => brackets += 1,
            b')' | b']' => brackets = brackets.saturating_sub(1),
            b';' if depth == 0 && brackets == 0 => return None,
            b'{' => depth += 1,
            b'}' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_may_have_100_characters_and_no_more() {
        let file = |length: usize| [File::new("a/src/b.rs", "ä".repeat(length))];
        assert_eq!(lines(&file(100)), []);
        assert_eq!(lines(&file(101)).len(), 1);
        assert_eq!(lines(&[File::new("README.md", "x".repeat(200))]), []);
    }

    #[test]
    fn a_file_may_have_500_lines_and_no_more() {
        let file = |lines: usize| [File::new("a/src/b.rs", "x\n".repeat(lines))];
        assert_eq!(files(&file(500)), []);
        assert_eq!(files(&file(501)).len(), 1);
    }

    #[test]
    fn a_function_may_have_70_lines_and_no_more() {
        let function = |lines: usize| {
            let body = "    let f: fn(u8) = |_| { \"}\" };\n".repeat(lines - 2);
            [File::new(
                "a/src/b.rs",
                format!("trait T {{ fn g(x: [u8; 2]); }}\nfn h() {{\n{body}}}\n"),
            )]
        };
        assert_eq!(functions(&function(70)), []);
        let findings = functions(&function(71));
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_eq!(findings[0].line, 2);
        assert!(findings[0].message.contains("h has 71"), "{findings:?}");
    }
}
