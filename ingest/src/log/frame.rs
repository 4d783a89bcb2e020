//! Frames: how pulses are laid out as bytes, in the log and in the memory buffer alike.
//! Pure: bytes in, views out. A frame holds the pulses of one tenant from one request.
//!
//! ```text
//! header, 28 bytes, little endian
//!   0 u32 magic        4 u32 body length   8 u64 first sequence number
//!  16 u32 pulse count, top bit: first frame of a group
//!  20 u32 CRC32C of the body  24 u32 CRC32C of bytes 0..24
//! body
//!   i64 received at, µs since 1970   u8 shape   u8 flags (1: trace, 2: some are refused)
//!   u8 tenant length, tenant
//!   [16 bytes trace id, 8 bytes span id]
//!   per pulse: u32 entry length, then
//!     16 bytes id   i64 event time, ms since 1970   u16 shard
//!     u8 flags (1: key, 2: body hash, 4: refused)
//!     u8 service length, service   u8 kind length, kind
//!     [u8 key length, key]   [16 bytes body hash]   [u16 length, why it was refused]
//!     the original bytes
//! ```

use thiserror::Error;
use uuid::Uuid;

use crate::pulse::{EVENT_BYTES_MAX, KEY_BYTES_MAX, NAME_BYTES_MAX, Shape};

/// Marks the start of a frame; recovery looks for it behind damage.
pub const MAGIC: u32 = 0x464D_5001;
/// Bytes before a frame's body.
pub const HEADER_BYTES: usize = 28;
/// Body at which a request's pulses go on in a next frame: damage to one frame costs at most
/// this much, and one read of the drain always holds a whole frame.
pub const BODY_BYTES_SOFT: usize = 64 * 1024;
/// Largest body: the soft bound, and one event at its bound with its envelope.
pub const BODY_BYTES_MAX: usize = BODY_BYTES_SOFT + EVENT_BYTES_MAX + ENVELOPE_BYTES_MAX;
const ENVELOPE_BYTES_MAX: usize = 2 * NAME_BYTES_MAX + KEY_BYTES_MAX + REFUSED_BYTES_MAX + 66;
/// Longest reason for which a pulse was refused, in bytes; a longer one is cut.
pub const REFUSED_BYTES_MAX: usize = 1024;

/// Fewest bytes that one pulse takes in a frame: bounds how many pulses lost bytes can hold.
pub const ENTRY_BYTES_MIN: usize = 4 + 27 + 2;

/// Set in the pulse count of the first frame of a group. A group is appended only when all that
/// lies before it in its segment is synced, so this frame proves that they were.
const GROUP_FLAG: u32 = 1 << 31;
const BODY_FLAG_TRACE: u8 = 1;
/// Set where a pulse of the frame is refused, so that nobody need look at each for it.
const BODY_FLAG_REFUSED: u8 = 2;
/// Where in a frame the flags of its body are.
const BODY_FLAGS_AT: usize = HEADER_BYTES + 9;
const ENTRY_FLAG_KEY: u8 = 1;
const ENTRY_FLAG_BODY_HASH: u8 = 2;
const ENTRY_FLAG_REFUSED: u8 = 4;

/// Why bytes are no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FrameError {
    /// Fewer bytes than the frame needs; more may come.
    #[error("frame is cut short")]
    Short,
    /// No frame starts here: zeros (the log's unwritten end) or damage.
    #[error("frame header is damaged")]
    Header,
    /// The header is sound and the body is not; the frame is `HEADER_BYTES + body length` long.
    #[error("frame body is damaged")]
    Body,
}

/// Where a request came from in a distributed trace (W3C Trace Context).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    /// The trace id.
    pub trace_id: [u8; 16],
    /// The span that sent the request.
    pub span_id: [u8; 8],
}

/// What all pulses of a frame share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Envelope<'a> {
    /// Whose pulses they are; 1 to 255 bytes.
    pub tenant: &'a str,
    /// How the original bytes are to be read.
    pub shape: Shape,
    /// When the request was received, in microseconds since 1970 in UTC.
    pub received_at_us: i64,
    /// The trace that the request belongs to.
    pub trace: Option<Trace>,
}

/// One pulse as it is put into a frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Entry<'a> {
    /// Fixed before the log; every store's key is made from it.
    pub id: Uuid,
    /// In milliseconds since 1970 in UTC.
    pub event_time_ms: i64,
    /// Spreads a hot service over partitions; the upper byte is the number of the retention
    /// class. Fixed with the id.
    pub shard: u16,
    /// 1 to 255 bytes.
    pub service: &'a str,
    /// 1 to 255 bytes.
    pub kind: &'a str,
    /// The idempotency key that it was accepted under, if its client gave one.
    pub key: Option<&'a str>,
    /// Hash of the original bytes; present exactly when the pulse holds a reservation.
    pub body_hash: Option<u128>,
    /// Why it is no pulse for any sink: it was accepted to be a dead letter, whatever its
    /// tenant's schemas say by the time it is read.
    pub refused: Option<&'a str>,
    /// The original bytes.
    pub raw: &'a [u8],
}

/// One pulse as it is read from a frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Record<'a> {
    /// Its number in the log (or in the memory buffer), never used twice.
    pub seq: u64,
    /// What it shares with its frame.
    pub envelope: Envelope<'a>,
    /// Its own part.
    pub entry: Entry<'a>,
}

/// Appends frames to a buffer. `finish` completes the last; dropping it without leaves the
/// buffer with an unfinished tail, so a caller that gives up truncates the buffer.
#[derive(Debug)]
pub struct FrameBuilder<'b> {
    buffer: &'b mut Vec<u8>,
    start: usize,
    count: u32,
    total: u64,
}

impl<'b> FrameBuilder<'b> {
    /// Starts a frame at the end of `buffer`.
    pub fn new(buffer: &'b mut Vec<u8>, envelope: &Envelope<'_>) -> Self {
        let start = buffer.len();
        put_envelope(buffer, envelope);
        Self { buffer, start, count: 0, total: 0 }
    }

    /// Completes the frame and starts a next one behind it.
    pub fn roll(&mut self, envelope: &Envelope<'_>) {
        self.complete();
        self.start = self.buffer.len();
        put_envelope(self.buffer, envelope);
    }

    /// Adds a pulse, to a next frame of this envelope where this one is full.
    pub fn push_in(&mut self, envelope: &Envelope<'_>, entry: &Entry<'_>) {
        if self.is_full() {
            self.roll(envelope);
        }
        self.push(entry);
    }

    /// Adds a pulse.
    pub fn push(&mut self, entry: &Entry<'_>) {
        let at = self.buffer.len();
        let mut head = [0; 31];
        let flags = if entry.key.is_some() { ENTRY_FLAG_KEY } else { 0 }
            | if entry.body_hash.is_some() { ENTRY_FLAG_BODY_HASH } else { 0 }
            | if entry.refused.is_some() { ENTRY_FLAG_REFUSED } else { 0 };
        head[4..20].copy_from_slice(entry.id.as_bytes());
        head[20..28].copy_from_slice(&entry.event_time_ms.to_le_bytes());
        head[28..30].copy_from_slice(&entry.shard.to_le_bytes());
        head[30] = flags;
        self.buffer.extend_from_slice(&head);
        put_text(self.buffer, entry.service);
        put_text(self.buffer, entry.kind);
        if let Some(key) = entry.key {
            put_text(self.buffer, key);
        }
        if let Some(hash) = entry.body_hash {
            self.buffer.extend_from_slice(&hash.to_le_bytes());
        }
        if let Some(why) = entry.refused {
            self.buffer[self.start + BODY_FLAGS_AT] |= BODY_FLAG_REFUSED;
            let why = &why[..why.floor_char_boundary(REFUSED_BYTES_MAX)];
            self.buffer.extend_from_slice(&(why.len() as u16).to_le_bytes());
            self.buffer.extend_from_slice(why.as_bytes());
        }
        self.buffer.extend_from_slice(entry.raw);
        let length = (self.buffer.len() - at - 4) as u32;
        self.buffer[at..at + 4].copy_from_slice(&length.to_le_bytes());
        self.count += 1;
    }

    /// Whether the next pulse belongs in a next frame.
    pub fn is_full(&self) -> bool {
        self.buffer.len() - self.start - HEADER_BYTES >= BODY_BYTES_SOFT
    }

    /// Completes the last frame, but for its sequence number, which [`seal`] sets; a frame
    /// without a pulse is taken back. Returns how many pulses all frames hold.
    pub fn finish(mut self) -> u64 {
        self.complete();
        self.total
    }

    fn complete(&mut self) {
        if self.count == 0 {
            self.buffer.truncate(self.start);
            return;
        }
        let body = self.start + HEADER_BYTES;
        let length = (self.buffer.len() - body) as u32;
        let crc = crc32c::crc32c(&self.buffer[body..]);
        let header = &mut self.buffer[self.start..body];
        header[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        header[4..8].copy_from_slice(&length.to_le_bytes());
        header[16..20].copy_from_slice(&self.count.to_le_bytes());
        header[20..24].copy_from_slice(&crc.to_le_bytes());
        self.total += u64::from(self.count);
        self.count = 0;
    }
}

fn put_envelope(buffer: &mut Vec<u8>, envelope: &Envelope<'_>) {
    buffer.extend_from_slice(&[0; HEADER_BYTES]);
    buffer.extend_from_slice(&envelope.received_at_us.to_le_bytes());
    let flags = if envelope.trace.is_some() { BODY_FLAG_TRACE } else { 0 };
    buffer.extend_from_slice(&[envelope.shape as u8, flags]);
    put_text(buffer, envelope.tenant);
    if let Some(trace) = &envelope.trace {
        buffer.extend_from_slice(&trace.trace_id);
        buffer.extend_from_slice(&trace.span_id);
    }
}

/// Numbers the finished frames that fill `frames` from `first_seq` on, as one group; returns how
/// many pulses they hold. Sealing again numbers them anew.
pub fn seal(frames: &mut [u8], first_seq: u64) -> u64 {
    let mut seq = first_seq;
    let mut at = 0;
    while at + HEADER_BYTES <= frames.len() {
        let header = &mut frames[at..at + HEADER_BYTES];
        let count = u32_at(header, 16) & !GROUP_FLAG;
        let flag = if at == 0 { GROUP_FLAG } else { 0 };
        header[8..16].copy_from_slice(&seq.to_le_bytes());
        header[16..20].copy_from_slice(&(count | flag).to_le_bytes());
        let crc = crc32c::crc32c(&header[..24]);
        header[24..28].copy_from_slice(&crc.to_le_bytes());
        seq += u64::from(count);
        at += HEADER_BYTES + u32_at(header, 4) as usize;
    }
    seq - first_seq
}

/// A frame's header, its own checksum proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the body.
    pub body_bytes: usize,
    /// Sequence number of its first pulse.
    pub first_seq: u64,
    /// How many pulses it holds.
    pub count: u32,
    /// Whether it is the first of the frames that were appended together.
    pub starts_group: bool,
    body_crc: u32,
}

impl Header {
    /// Reads the header at the start of `bytes`.
    pub fn read(bytes: &[u8]) -> Result<Self, FrameError> {
        let header = bytes.get(..HEADER_BYTES).ok_or(FrameError::Short)?;
        let body_bytes = u32_at(header, 4) as usize;
        if u32_at(header, 0) != MAGIC
            || body_bytes > BODY_BYTES_MAX
            || u32_at(header, 24) != crc32c::crc32c(&header[..24])
        {
            return Err(FrameError::Header);
        }
        Ok(Self::read_fields(header))
    }

    fn read_fields(header: &[u8]) -> Self {
        let count = u32_at(header, 16);
        Self {
            body_bytes: u32_at(header, 4) as usize,
            first_seq: u64_at(header, 8),
            count: count & !GROUP_FLAG,
            starts_group: count & GROUP_FLAG != 0,
            body_crc: u32_at(header, 20),
        }
    }

    /// The number behind its last pulse's.
    pub fn end_seq(&self) -> u64 {
        self.first_seq.saturating_add(u64::from(self.count))
    }

    /// Bytes of the whole frame.
    pub fn frame_bytes(&self) -> usize {
        HEADER_BYTES + self.body_bytes
    }
}

/// A frame whose checksums and layout are proven.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    header: Header,
    envelope: Envelope<'a>,
    bytes: &'a [u8],
    entries_at: usize,
}

impl<'a> Frame<'a> {
    /// Reads and proves the frame at the start of `bytes`, which may be longer.
    pub fn read(bytes: &'a [u8]) -> Result<Self, FrameError> {
        let header = Header::read(bytes)?;
        let bytes = bytes.get(..header.frame_bytes()).ok_or(FrameError::Short)?;
        if crc32c::crc32c(&bytes[HEADER_BYTES..]) != header.body_crc {
            return Err(FrameError::Body);
        }
        Self::parse(bytes, header).ok_or(FrameError::Body)
    }

    /// Reads a frame that [`Frame::read`] has proven before, without its checksums.
    pub fn read_proven(bytes: &'a [u8]) -> Result<Self, FrameError> {
        let head = bytes.get(..HEADER_BYTES).ok_or(FrameError::Short)?;
        let header = Header::read_fields(head);
        let bytes = bytes.get(..header.frame_bytes()).ok_or(FrameError::Short)?;
        Self::parse(bytes, header).ok_or(FrameError::Body)
    }

    fn parse(bytes: &'a [u8], header: Header) -> Option<Self> {
        let received_at_us = i64::from_le_bytes(array_at(bytes, HEADER_BYTES)?);
        let shape = Shape::from_number(*bytes.get(HEADER_BYTES + 8)?)?;
        let flags = *bytes.get(BODY_FLAGS_AT)?;
        let mut at = HEADER_BYTES + 10;
        let tenant = take_text(bytes, &mut at)?;
        let mut trace = None;
        if flags & BODY_FLAG_TRACE != 0 {
            trace =
                Some(Trace { trace_id: array_at(bytes, at)?, span_id: array_at(bytes, at + 16)? });
            at += 24;
        }
        let envelope = Envelope { tenant, shape, received_at_us, trace };
        Some(Self { header, envelope, bytes, entries_at: at })
    }

    /// Its header.
    pub fn header(&self) -> Header {
        self.header
    }

    /// What its pulses share.
    pub fn envelope(&self) -> Envelope<'a> {
        self.envelope
    }

    /// Whether some of its pulses were refused.
    pub fn holds_refused(&self) -> bool {
        self.bytes.get(BODY_FLAGS_AT).is_some_and(|flags| flags & BODY_FLAG_REFUSED != 0)
    }

    /// Its pulses in order, each with the offset of its entry from the frame's start.
    /// Ends early where an entry is not laid out as it should be.
    pub fn entries(&self) -> impl Iterator<Item = (usize, Record<'a>)> + use<'a> {
        let Self { header, envelope, bytes, entries_at } = *self;
        let mut at = entries_at;
        (0..u64::from(header.count)).map_while(move |index| {
            let entry = read_entry(bytes, at)?;
            let offset = at;
            at += 4 + u32_at(bytes, at) as usize;
            Some((offset, Record { seq: header.first_seq.saturating_add(index), envelope, entry }))
        })
    }

    /// Offset of its first entry.
    pub fn first_offset(&self) -> usize {
        self.entries_at
    }

    /// Offset behind the entry at `offset`, which is not read but for its length; `None` where
    /// it would lie beyond the frame.
    pub fn offset_after(&self, offset: usize) -> Option<usize> {
        let length = u32::from_le_bytes(array_at(self.bytes, offset)?) as usize;
        let end = offset.checked_add(4)?.checked_add(length)?;
        (end <= self.bytes.len()).then_some(end)
    }

    /// The entry at `offset`, as [`Frame::entries`] gave it.
    pub fn entry(&self, offset: usize) -> Option<Entry<'a>> {
        read_entry(self.bytes, offset)
    }
}

fn read_entry(bytes: &[u8], at: usize) -> Option<Entry<'_>> {
    let length = u32::from_le_bytes(array_at(bytes, at)?) as usize;
    let entry = bytes.get(at + 4..at + 4 + length)?;
    let flags = *entry.get(26)?;
    let mut at = 27;
    let service = take_text(entry, &mut at)?;
    let kind = take_text(entry, &mut at)?;
    let key = if flags & ENTRY_FLAG_KEY != 0 { Some(take_text(entry, &mut at)?) } else { None };
    let mut body_hash = None;
    if flags & ENTRY_FLAG_BODY_HASH != 0 {
        body_hash = Some(u128::from_le_bytes(array_at(entry, at)?));
        at += 16;
    }
    let mut refused = None;
    if flags & ENTRY_FLAG_REFUSED != 0 {
        let length = usize::from(u16::from_le_bytes(array_at(entry, at)?));
        refused = Some(std::str::from_utf8(entry.get(at + 2..at + 2 + length)?).ok()?);
        at += 2 + length;
    }
    Some(Entry {
        id: Uuid::from_bytes(array_at(entry, 0)?),
        event_time_ms: i64::from_le_bytes(array_at(entry, 16)?),
        shard: u16::from_le_bytes(array_at(entry, 24)?),
        service,
        kind,
        key,
        body_hash,
        refused,
        raw: entry.get(at..)?,
    })
}

fn put_text(buffer: &mut Vec<u8>, text: &str) {
    debug_assert!(text.len() <= NAME_BYTES_MAX, "names are bounded where they are decoded");
    let mut length = text.len().min(NAME_BYTES_MAX);
    while !text.is_char_boundary(length) {
        length -= 1;
    }
    buffer.push(length as u8);
    buffer.extend_from_slice(&text.as_bytes()[..length]);
}

fn take_text<'a>(bytes: &'a [u8], at: &mut usize) -> Option<&'a str> {
    let length = usize::from(*bytes.get(*at)?);
    let text = bytes.get(*at + 1..*at + 1 + length)?;
    *at += 1 + length;
    std::str::from_utf8(text).ok()
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    array_at(bytes, at).map_or(0, u32::from_le_bytes)
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    array_at(bytes, at).map_or(0, u64::from_le_bytes)
}
