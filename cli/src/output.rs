//! What is printed on standard output: tables for people, JSON for programs. Text that others
//! have sent never reaches a terminal as it is.

use std::borrow::Cow;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// Standard output.
pub(crate) struct Output {
    /// A program reads it.
    pub(crate) json: bool,
    colour: bool,
    out: BufWriter<Stdout>,
}

/// How a word is coloured on a terminal.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Colour {
    Green,
    Yellow,
    Red,
    Bold,
}

impl Output {
    pub(crate) fn new(json: bool, no_colour: bool) -> Self {
        let colour = !json && !no_colour && io::stdout().is_terminal();
        Self { json, colour, out: BufWriter::new(io::stdout()) }
    }

    /// Prints a JSON document on a line of its own.
    ///
    /// # Errors
    /// When it can't be written.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, value)?;
        writeln!(self.out)
    }

    /// Prints a document as the server gave it, on one line: what breaks a line is white space,
    /// as no string of JSON holds a break.
    ///
    /// # Errors
    /// When it can't be written.
    pub(crate) fn row(&mut self, row: &RawValue) -> io::Result<()> {
        self.line(&one_line(row.get()))
    }

    /// Prints a line for people.
    ///
    /// # Errors
    /// When it can't be written.
    pub(crate) fn line(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "{text}")
    }

    /// Prints bytes as they are.
    ///
    /// # Errors
    /// When they can't be written.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)
    }

    /// A word in colour, where there is a terminal.
    pub(crate) fn paint(&self, text: &str, colour: Colour) -> String {
        let code = match colour {
            Colour::Green => 32,
            Colour::Yellow => 33,
            Colour::Red => 31,
            Colour::Bold => 1,
        };
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// What was printed is seen from now on.
    ///
    /// # Errors
    /// When it can't be written.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Rows in columns that are as wide as their widest cell, those of all pages before included.
#[derive(Debug)]
pub(crate) struct Table {
    columns: &'static [&'static str],
    widths: Vec<usize>,
    rows: Vec<Vec<String>>,
    headed: bool,
}

impl Table {
    pub(crate) fn new(columns: &'static [&'static str]) -> Self {
        let widths = columns.iter().map(|column| column.len()).collect();
        Self { columns, widths, rows: Vec::new(), headed: false }
    }

    /// Adds a row, a cell a column.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells: Vec<String> = cells.into_iter().map(|cell| plain(&cell)).collect();
        for (width, cell) in self.widths.iter_mut().zip(&cells) {
            *width = (*width).max(cell.chars().count());
        }
        self.rows.push(cells);
    }

    /// Prints the rows since the last time, and before the first the names of the columns.
    ///
    /// # Errors
    /// When they can't be written.
    pub(crate) fn print(&mut self, out: &mut Output) -> io::Result<()> {
        if !self.headed && !self.rows.is_empty() {
            self.headed = true;
            let names: Vec<String> = self.columns.iter().map(|name| (*name).to_owned()).collect();
            let head = out.paint(&self.format(&names), Colour::Bold);
            out.line(&head)?;
        }
        for row in std::mem::take(&mut self.rows) {
            out.line(&self.format(&row))?;
        }
        Ok(())
    }

    fn format(&self, cells: &[String]) -> String {
        let padded = |(cell, width): (&String, &usize)| {
            let missing = width.saturating_sub(cell.chars().count());
            format!("{cell}{}", " ".repeat(missing))
        };
        let line: Vec<String> = cells.iter().zip(&self.widths).map(padded).collect();
        line.join("  ").trim_end().to_owned()
    }
}

/// JSON without line breaks.
pub(crate) fn one_line(json: &str) -> Cow<'_, str> {
    match json.contains(['\n', '\r']) {
        true => Cow::Owned(json.replace(['\n', '\r'], " ")),
        false => Cow::Borrowed(json),
    }
}

/// Text that can be shown: control characters could move the cursor, or worse.
pub(crate) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\t' | '\r' => out.push(' '),
            character if character.is_control() => out.extend(character.escape_unicode()),
            character => out.push(character),
        }
    }
    out
}

/// A number with its thousands parted.
pub(crate) fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A value as a person reads it.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Object(_) => pairs(value),
        other => other.to_string(),
    }
}

/// An object as `name=value`, without what is empty.
pub(crate) fn pairs(value: &Value) -> String {
    let pairs = value.as_object().into_iter().flatten();
    let pairs = pairs.filter(|(_, value)| !value.is_null());
    pairs.map(|(name, value)| format!("{name}={}", text(value))).collect::<Vec<_>>().join(" ")
}

/// Prints an object, a member a line; lists of objects a line each below their name.
///
/// # Errors
/// When it can't be written.
pub(crate) fn details(out: &mut Output, value: &Value) -> io::Result<()> {
    let members = || value.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    let width = members().map(|(name, _)| name.len()).max().unwrap_or_default();
    for (name, value) in members() {
        let name = plain(&name.replace('_', " "));
        match value.as_array() {
            Some(list) => {
                out.line(&format!("{name}:"))?;
                for entry in list {
                    out.line(&format!("  {}", plain(&text(entry))))?;
                }
            }
            None => out.line(&format!("{name:width$}  {}", plain(&text(value))))?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["a", "bb"]);
        table.row(["xü".to_owned(), "y".to_owned()]);
        table.row(["xyz".to_owned(), String::new()]);
        let lines: Vec<String> = table.rows.iter().map(|row| table.format(row)).collect();
        assert_eq!(lines, ["xü   y", "xyz"]);
    }

    #[test]
    fn what_others_have_sent_moves_no_cursor() {
        assert_eq!(plain("a\u{1b}[2Jb\nc\u{7f}ü"), "a\\u{1b}[2Jb c\\u{7f}ü");
    }

    #[test]
    fn thousands_are_parted() {
        let texts = [0, 999, 1_000, 12_345, 1_234_567].map(number);
        assert_eq!(texts, ["0", "999", "1,000", "12,345", "1,234,567"]);
    }
}
