//! Rules of plain text: how files end, and words that must not stay in them.

use super::Finding;
use super::source::File;

/// Written in two parts, so that this file keeps its own rule.
const BANNED: [(&str, &str); 4] = [
    (concat!("TO", "DO"), "do it or open an issue"),
    (concat!("FIX", "ME"), "do it or open an issue"),
    (concat!("XX", "X:"), "do it or open an issue"),
    (concat!("/wo", "rk/"), "a path of one machine has no place here"),
];

/// Lines end without space, files with one line break.
pub(super) fn endings(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files {
        for (index, line) in file.text.split('\n').enumerate() {
            if line.trim_end() != line {
                findings.push(Finding::new(&file.path, index + 1, "space at the end of the line"));
            }
        }
        let last = file.text.lines().count();
        if !file.text.is_empty() && (!file.text.ends_with('\n') || file.text.ends_with("\n\n")) {
            findings.push(Finding::new(&file.path, last, "file does not end with one line break"));
        }
    }
    findings
}

/// No note to oneself and no path of one machine.
pub(super) fn banned(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files {
        for (index, line) in file.text.lines().enumerate() {
            for (word, instead) in BANNED.iter().filter(|(word, _)| line.contains(word)) {
                findings.push(Finding::new(&file.path, index + 1, format!("{word}: {instead}")));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_files_end_cleanly() {
        let count = |text: &str| endings(&[File::new("a.toml", text)]).len();
        assert_eq!(count("a\nb\n"), 0);
        assert_eq!(count(""), 0);
        for text in ["a \nb\n", "a\t\n", "a\r\n", "a", "a\n\n"] {
            assert_eq!(count(text), 1, "{text:?}");
        }
    }

    #[test]
    fn each_banned_word_is_found_in_any_file() {
        for (word, _) in BANNED {
            let file = File::new("docs/a.md", format!("fine\n<!-- {word} -->\n"));
            assert_eq!(banned(&[file])[0].line, 2, "{word}");
        }
        assert_eq!(banned(&[File::new("a.rs", "//! workers/1\n")]), []);
    }
}
