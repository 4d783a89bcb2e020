//! Takes events out of a file, one by one, whatever its size: an object a line, an array, or
//! objects one behind the other. Holds one event at a time, and judges nothing but where it ends.

use std::io::{self, BufRead, Chain, Cursor, Read};

use pulsemesh_ingest::pulse::EVENT_BYTES_MAX;

/// One event as it will be sent: without a line break.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    /// Where it begins in the file, from 1.
    pub(super) line: u64,
    pub(super) text: Vec<u8>,
}

/// What stands in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    Event(Event),
    /// Something that can't be sent, by code and message.
    Broken {
        event: Event,
        code: &'static str,
        message: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// A line is an event.
    Lines,
    /// Objects with any white space in them, in arrays or not.
    Documents,
}

/// The events of a file.
#[derive(Debug)]
pub(super) struct Source<R> {
    input: Chain<Cursor<Vec<u8>>, R>,
    layout: Layout,
    line: u64,
    /// Bytes that were taken.
    pub(super) bytes: u64,
}

impl<R: BufRead> Source<R> {
    /// Looks at the first line to see how the file is laid out.
    ///
    /// # Errors
    /// When it can't be read.
    pub(super) fn new(mut input: R) -> io::Result<Self> {
        let mut first = Vec::new();
        while first.iter().all(u8::is_ascii_whitespace) {
            let most = (EVENT_BYTES_MAX + 1).saturating_sub(first.len()) as u64;
            if (&mut input).take(most).read_until(b'\n', &mut first)? == 0 {
                break;
            }
        }
        let layout = layout(first.trim_ascii());
        Ok(Self { input: Cursor::new(first).chain(input), layout, line: 1, bytes: 0 })
    }

    /// The next event; `None` at the end.
    ///
    /// # Errors
    /// When the file can't be read.
    pub(super) fn next(&mut self) -> io::Result<Option<Item>> {
        match self.layout {
            Layout::Lines => self.next_line(),
            Layout::Documents => self.next_document(),
        }
    }

    fn next_line(&mut self) -> io::Result<Option<Item>> {
        loop {
            let line = self.line;
            let mut taken = Taken::default();
            let mut ended = true;
            while let Some(byte) = self.take()? {
                ended = false;
                if byte == b'\n' {
                    break;
                }
                taken.push(byte);
            }
            if ended {
                return Ok(None);
            }
            if !taken.text.trim_ascii().is_empty() {
                return Ok(Some(taken.item(line)));
            }
        }
    }

    fn next_document(&mut self) -> io::Result<Option<Item>> {
        let Some(first) = self.skip_between()? else { return Ok(None) };
        let line = self.line;
        let mut scan = Scan::default();
        let mut taken = Taken::default();
        let mut next = Some(first);
        while let Some(byte) = next {
            if scan.ends_before(byte) {
                return Ok(Some(taken.item(line)));
            }
            taken.push(scan.one_line(byte));
            if scan.step(byte) {
                return Ok(Some(taken.item(line)));
            }
            next = self.take()?;
        }
        if scan.depth == 0 && !scan.in_string {
            return Ok(Some(taken.item(line)));
        }
        let message = "the file ends before the event that begins here does".to_owned();
        Ok(Some(Item::Broken { event: taken.event(line), code: "invalid_json", message }))
    }

    /// The first byte of the next document: between them are white space, commas and the
    /// brackets of arrays.
    fn skip_between(&mut self) -> io::Result<Option<u8>> {
        while let Some(byte) = self.take()? {
            if !byte.is_ascii_whitespace() && !b",[]".contains(&byte) {
                return Ok(Some(byte));
            }
        }
        Ok(None)
    }

    fn take(&mut self) -> io::Result<Option<u8>> {
        let available = loop {
            match self.input.fill_buf() {
                Ok(available) => break available,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        };
        let Some(byte) = available.first().copied() else { return Ok(None) };
        self.input.consume(1);
        self.bytes += 1;
        self.line += u64::from(byte == b'\n');
        Ok(Some(byte))
    }
}

/// An array, or an object that goes on in the next line, can't be read line by line.
fn layout(first: &[u8]) -> Layout {
    if first.starts_with(b"[") {
        return Layout::Documents;
    }
    match serde_json::from_slice::<serde::de::IgnoredAny>(first) {
        Err(error) if error.is_eof() && first.starts_with(b"{") => Layout::Documents,
        _ => Layout::Lines,
    }
}

/// The text of an event, no longer than any event.
#[derive(Debug, Default)]
struct Taken {
    text: Vec<u8>,
    bytes: usize,
}

impl Taken {
    fn push(&mut self, byte: u8) {
        self.bytes += 1;
        if self.text.len() < EVENT_BYTES_MAX {
            self.text.push(byte);
        }
    }

    fn event(self, line: u64) -> Event {
        Event { line, text: self.text.trim_ascii().to_vec() }
    }

    fn item(self, line: u64) -> Item {
        let bytes = self.bytes;
        let event = self.event(line);
        if bytes > EVENT_BYTES_MAX {
            let message = format!("the event has {bytes} bytes; at most {EVENT_BYTES_MAX} fit");
            return Item::Broken { event, code: "event_too_large", message };
        }
        if event.text.contains(&b'\n') {
            let message = "a line breaks within a string; write \\n".to_owned();
            return Item::Broken { event, code: "invalid_json", message };
        }
        Item::Event(event)
    }
}

/// Where a document ends.
#[derive(Debug, Default)]
struct Scan {
    depth: u32,
    in_string: bool,
    escaped: bool,
    /// It is neither an object nor a string: it ends where something else begins.
    scalar: bool,
    begun: bool,
}

impl Scan {
    /// Whether the document ended in front of this byte.
    fn ends_before(&self, byte: u8) -> bool {
        self.scalar && (byte.is_ascii_whitespace() || b",[]{}\"".contains(&byte))
    }

    /// A line break outside of strings is a space.
    fn one_line(&self, byte: u8) -> u8 {
        if !self.in_string && byte == b'\n' { b' ' } else { byte }
    }

    /// Takes a byte; whether the document ends with it.
    fn step(&mut self, byte: u8) -> bool {
        if !self.begun {
            self.begun = true;
            self.scalar = !b"{\"}".contains(&byte);
        }
        if self.in_string {
            self.in_string = self.escaped || byte != b'"';
            self.escaped = !self.escaped && byte == b'\\';
            return !self.in_string && self.depth == 0;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                return self.depth == 0;
            }
            _ => {}
        }
        false
    }
}
