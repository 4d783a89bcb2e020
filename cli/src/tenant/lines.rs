//! YAML as lines: where the entries of a list and the members of an entry stand. Knows block
//! style, and flow style on one line; what it does not know it does not find.

use std::ops::Range;

/// What a line holds: how far it is indented, and its text. `None`: nothing but a comment.
fn content(line: &str) -> Option<(usize, &str)> {
    let text = line.trim_start_matches(' ');
    let held = !text.trim().is_empty() && !text.starts_with('#');
    held.then(|| (line.len() - text.len(), text))
}

/// Whether the text begins an entry of a list.
fn is_entry(text: &str) -> bool {
    text.strip_prefix('-').is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\r']))
}

/// Whether nothing but a comment follows.
fn is_blank(text: &str) -> bool {
    let text = text.trim();
    text.is_empty() || text.starts_with('#')
}

/// The entries of a list in block style.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entries {
    /// Where their dashes stand.
    pub(super) indent: usize,
    /// The lines of each, without comments behind it.
    pub(super) ranges: Vec<Range<usize>>,
}

/// The list that begins within `range`, no further left than `least`.
pub(super) fn entries(lines: &[String], range: Range<usize>, least: usize) -> Option<Entries> {
    let held = || range.clone().filter_map(|at| Some((at, content(&lines[at])?)));
    let (_, (indent, first)) = held().next()?;
    if indent < least || !is_entry(first) {
        return None;
    }
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for (at, (column, text)) in held() {
        if column == indent && is_entry(text) {
            ranges.push(at..at + 1);
        } else if column > indent {
            ranges.last_mut()?.end = at + 1;
        } else {
            break;
        }
    }
    Some(Entries { indent, ranges })
}

/// A member of an object: its line, the column of its name, and where its value begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) line: usize,
    pub(super) indent: usize,
    pub(super) value: usize,
}

impl Member {
    /// Whether its value is on the lines below.
    pub(super) fn is_block(&self, lines: &[String]) -> bool {
        is_blank(&lines[self.line][self.value..])
    }
}

/// The column in which the members of an entry stand; `None` where it is none of block style.
pub(super) fn members_indent(lines: &[String], entry: Range<usize>) -> Option<usize> {
    let (dash, text) = content(&lines[entry.start])?;
    let rest = text.strip_prefix('-')?;
    if is_blank(rest) {
        let (indent, _) = entry.skip(1).find_map(|at| content(&lines[at]))?;
        return Some(indent);
    }
    let first = rest.trim_start_matches(' ');
    let plain = first.starts_with(|first: char| first.is_ascii_alphabetic() || first == '"');
    plain.then_some(dash + 1 + rest.len() - first.len())
}

/// The member `name` of the object within `range` whose members stand in column `indent`.
pub(super) fn member(
    lines: &[String],
    mut range: Range<usize>,
    (indent, name): (usize, &str),
) -> Option<Member> {
    range.find_map(|line| {
        let text = lines[line].get(indent..)?;
        // In front of the first member of an entry stands its dash.
        let before = lines[line][..indent].trim_matches(' ');
        let value = text.strip_prefix(name)?.strip_prefix(':')?;
        let whole = value.is_empty() || value.starts_with([' ', '\r']);
        let value = indent + name.len() + 1;
        (whole && matches!(before, "" | "-")).then_some(Member { line, indent, value })
    })
}

/// A list in flow style on one line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Flow {
    /// Its brackets.
    pub(super) open: usize,
    pub(super) close: usize,
    /// Its entries, without the space around them.
    pub(super) entries: Vec<Range<usize>>,
}

/// The list that begins at or behind `from`; `None` where it does not end on this line.
pub(super) fn flow(line: &str, from: usize) -> Option<Flow> {
    let open =
        from + line[from..].find('[').filter(|at| line[from..from + at].trim().is_empty())?;
    let (mut depth, mut quote) = (0_usize, None);
    let mut entries = Vec::new();
    let mut start = open + 1;
    for (offset, byte) in line.bytes().enumerate().skip(open) {
        match (quote, byte) {
            (Some(open), byte) if open == byte => quote = None,
            (Some(_), _) => {}
            (None, b'"' | b'\'') => quote = Some(byte),
            (None, b'[' | b'{') => depth += 1,
            (None, b',') if depth == 1 => {
                entries.extend(trimmed(line, start..offset));
                start = offset + 1;
            }
            (None, b']' | b'}') => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    entries.extend(trimmed(line, start..offset));
                    return Some(Flow { open, close: offset, entries });
                }
            }
            _ => {}
        }
    }
    None
}

fn trimmed(line: &str, range: Range<usize>) -> Option<Range<usize>> {
    let text = &line[range.clone()];
    let start = range.start + text.len() - text.trim_start().len();
    let end = range.end - (text.len() - text.trim_end().len());
    (start < end).then_some(start..end)
}
