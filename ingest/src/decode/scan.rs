//! Walks JSON text a token at a time, over bytes and without recursion. Judges well-formedness
//! and depth alone; knows no field. Allocates nothing.

use super::number::{self, Number};

/// Deepest nesting through which the end of a refused value is still looked for: one bit each.
pub(super) const RECOVERY_DEPTH_MAX: usize = 128;

/// Why a value could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flaw {
    /// The text is no JSON at byte `at`, where `expected` would have been right.
    Syntax { at: usize, expected: &'static str },
    /// The literal `NaN`.
    NotANumber,
    /// The literal `Infinity` or `-Infinity`.
    Infinite,
    /// Nested deeper than was allowed.
    TooDeep,
}

pub(super) type Scan<T> = Result<T, Flaw>;

/// What kind of value stands somewhere, known from its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Object,
    Array,
    Text,
    Number,
    Bool,
    Null,
}

impl Kind {
    /// Its name in messages.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Object => "an object",
            Self::Array => "an array",
            Self::Text => "text",
            Self::Number => "a number",
            Self::Bool => "true or false",
            Self::Null => "null",
        }
    }
}

/// Text between its quotes, as bytes `start..end` of the whole.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token {
    pub(super) start: usize,
    pub(super) end: usize,
    /// Whether it holds escapes, which are sound.
    pub(super) escaped: bool,
}

/// A position in JSON text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Walks over what is no JSON but has a clear end: `NaN`, infinities, lone surrogates.
    /// Only to find where a refused value ends.
    lenient: bool,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at, lenient: false }
    }

    pub(super) fn lenient(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at, lenient: true }
    }

    /// The position, as an offset from the start of the bytes.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    #[inline]
    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[cold]
    pub(super) fn syntax(&self, expected: &'static str) -> Flaw {
        Flaw::Syntax { at: self.at, expected }
    }

    /// Steps over whitespace.
    #[inline]
    pub(super) fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    /// Steps over `byte` if it is next.
    #[inline]
    pub(super) fn take(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    /// Steps to the value of an object's next member and gives its key; `None` behind the end
    /// of the object. `first` is whether the object was only just opened.
    #[inline]
    pub(super) fn next_key(&mut self, first: bool) -> Scan<Option<Token>> {
        self.space();
        if self.take(b'}') {
            return Ok(None);
        }
        if !first {
            if !self.take(b',') {
                return Err(self.syntax("`,` or `}`"));
            }
            self.space();
        }
        if self.peek() != Some(b'"') {
            return Err(self.syntax(if first { "a key or `}`" } else { "a key" }));
        }
        self.key().map(Some)
    }

    #[inline]
    fn key(&mut self) -> Scan<Token> {
        let key = self.text()?;
        self.space();
        if !self.take(b':') {
            return Err(self.syntax("`:`"));
        }
        self.space();
        Ok(key)
    }

    /// What kind of value comes next. `NaN` and infinities are flaws here.
    #[inline]
    pub(super) fn kind(&self) -> Scan<Kind> {
        match self.peek() {
            Some(b'"') => Ok(Kind::Text),
            Some(b'0'..=b'9') => Ok(Kind::Number),
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::Array),
            Some(b't' | b'f') => Ok(Kind::Bool),
            Some(b'n') => Ok(Kind::Null),
            Some(b'-') if self.non_finite().is_none() => Ok(Kind::Number),
            _ => Err(self.no_value()),
        }
    }

    #[cold]
    fn no_value(&self) -> Flaw {
        self.non_finite().map_or_else(|| self.syntax("a value"), |(flaw, _)| flaw)
    }

    /// The flaw and the length of a literal that JSON has no number for.
    #[cold]
    fn non_finite(&self) -> Option<(Flaw, usize)> {
        let rest = self.bytes.get(self.at..)?;
        [
            (&b"NaN"[..], Flaw::NotANumber),
            (b"-NaN", Flaw::NotANumber),
            (b"Infinity", Flaw::Infinite),
            (b"-Infinity", Flaw::Infinite),
        ]
        .into_iter()
        .find_map(|(literal, flaw)| rest.starts_with(literal).then_some((flaw, literal.len())))
    }

    /// Steps over text; the position is at its opening quote.
    #[inline]
    pub(super) fn text(&mut self) -> Scan<Token> {
        let start = self.at + 1;
        let end = plain_end(self.bytes, start);
        if self.bytes.get(end) == Some(&b'"') {
            self.at = end + 1;
            return Ok(Token { start, end, escaped: false });
        }
        self.text_with_escapes(start, end)
    }

    #[cold]
    fn text_with_escapes(&mut self, start: usize, end: usize) -> Scan<Token> {
        self.at = end;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Token { start, end: self.at - 1, escaped: true });
                }
                Some(b'\\') => self.escape()?,
                Some(_) => return Err(self.syntax("control characters escaped in text")),
                None => return Err(self.syntax("the text's closing `\"`")),
            }
            self.at = plain_end(self.bytes, self.at);
        }
    }

    fn escape(&mut self) -> Scan<()> {
        let start = self.at;
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                let unit = self.unit()?;
                if self.lenient {
                    return Ok(());
                }
                if (0xD800..0xE000).contains(&unit) {
                    self.surrogate_pair(start, unit)?;
                }
            }
            _ => return Err(self.syntax("one of `\"\\/bfnrtu` behind `\\`")),
        }
        Ok(())
    }

    fn surrogate_pair(&mut self, start: usize, high: u16) -> Scan<()> {
        let lone = Flaw::Syntax { at: start, expected: "a pair of surrogates, not a lone one" };
        if high >= 0xDC00 || !self.take(b'\\') || self.peek() != Some(b'u') {
            return Err(lone);
        }
        if (0xDC00..0xE000).contains(&self.unit()?) { Ok(()) } else { Err(lone) }
    }

    /// Steps over `uXXXX`.
    fn unit(&mut self) -> Scan<u16> {
        let mut unit = 0;
        for _ in 0..4 {
            self.at += 1;
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            let Some(digit) = digit else { return Err(self.syntax("4 hex digits behind `\\u`")) };
            unit = unit << 4 | digit as u16;
        }
        self.at += 1;
        Ok(unit)
    }

    /// Steps over a number.
    #[inline]
    pub(super) fn number(&mut self) -> Scan<Number> {
        match number::scan(self.bytes, self.at) {
            Ok(number) => {
                self.at = number.end;
                Ok(number)
            }
            Err(at) => Err(Flaw::Syntax { at, expected: "a digit of a JSON number" }),
        }
    }

    /// Steps over `true`, `false` or `null`.
    pub(super) fn literal(&mut self) -> Scan<&'static str> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let literal = ["null", "true", "false"]
            .into_iter()
            .find(|literal| rest.starts_with(literal.as_bytes()))
            .ok_or_else(|| self.syntax("a value"))?;
        self.at += literal.len();
        Ok(literal)
    }

    /// Steps over a value of any kind, nested at most `depth_max` levels.
    pub(super) fn skip_value(&mut self, depth_max: usize) -> Scan<()> {
        let mut open = Open { objects: 0, depth: 0, depth_max: depth_max.min(RECOVERY_DEPTH_MAX) };
        loop {
            let opened = self.skip_or_open(&mut open)?;
            if !opened && self.close(&mut open)? {
                return Ok(());
            }
        }
    }

    /// Steps over a scalar or an empty container (`false`), or into a container (`true`).
    fn skip_or_open(&mut self, open: &mut Open) -> Scan<bool> {
        match self.kind() {
            Ok(Kind::Text) => self.text().map(|_| false),
            Ok(Kind::Number) => self.number().map(|_| false),
            Ok(Kind::Bool | Kind::Null) => self.literal().map(|_| false),
            Ok(Kind::Object) => {
                self.at += 1;
                open.push(true)?;
                let has_member = self.next_key(true)?.is_some();
                if !has_member {
                    open.pop();
                }
                Ok(has_member)
            }
            Ok(Kind::Array) => {
                self.at += 1;
                open.push(false)?;
                self.space();
                let is_empty = self.take(b']');
                if is_empty {
                    open.pop();
                }
                Ok(!is_empty)
            }
            Err(Flaw::NotANumber | Flaw::Infinite) if self.lenient => {
                self.at += self.non_finite().map_or(0, |(_, length)| length);
                Ok(false)
            }
            Err(flaw) => Err(flaw),
        }
    }

    /// Behind a value: closes containers up to the next value; true when all are closed.
    fn close(&mut self, open: &mut Open) -> Scan<bool> {
        while open.depth > 0 {
            if open.is_object() {
                if self.next_key(false)?.is_some() {
                    return Ok(false);
                }
            } else {
                self.space();
                if self.take(b',') {
                    self.space();
                    return Ok(false);
                }
                if !self.take(b']') {
                    return Err(self.syntax("`,` or `]`"));
                }
            }
            open.pop();
        }
        Ok(true)
    }
}

/// The containers around a position: a bit each, set for an object.
struct Open {
    objects: u128,
    depth: usize,
    depth_max: usize,
}

impl Open {
    fn push(&mut self, is_object: bool) -> Scan<()> {
        if self.depth >= self.depth_max {
            return Err(Flaw::TooDeep);
        }
        self.depth += 1;
        self.objects = self.objects << 1 | u128::from(is_object);
        Ok(())
    }

    fn pop(&mut self) {
        self.depth -= 1;
        self.objects >>= 1;
    }

    fn is_object(&self) -> bool {
        self.objects & 1 == 1
    }
}

/// Where text from `at` on has its next quote, backslash or control character, or ends.
#[inline]
fn plain_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let found = special_bytes(u64::from_le_bytes(*chunk));
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    while bytes.get(at).is_some_and(|&byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
        at += 1;
    }
    at
}

/// The top bit of each byte that ends plain text; exact up to the lowest one that is set.
/// From "Bit Twiddling Hacks", Sean Eron Anderson, "Determine if a word has a byte less than n".
#[inline]
fn special_bytes(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    const TOPS: u64 = ONES << 7;
    let below_space = word.wrapping_sub(ONES * 0x20);
    let quote = (word ^ (ONES * b'"' as u64)).wrapping_sub(ONES);
    let backslash = (word ^ (ONES * b'\\' as u64)).wrapping_sub(ONES);
    // A byte of 0x80 and above is never special; its own top bit masks the borrow out. For
    // `quote` and `backslash` the XOR keeps the top bit, so one mask serves all three.
    (below_space | quote | backslash) & !word & TOPS
}
