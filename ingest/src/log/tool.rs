//! Looking at a log from outside: proving every frame, and printing every pulse. Takes no lock
//! and changes nothing, so it is safe on a running log; of that, the end may be cut off anywhere.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use crate::fs::{File, Fs, Open};
use crate::pulse::Shape;

use super::OpenError;
use super::frame::{Frame, Record};
use super::recovery::{Found, lay_out, read_headers, void};
use super::scan::{Window, used_end};
use super::segment::{HEADER_BYTES, Kind, Name, SEAL_BYTES, Seal};
use super::tail::Tail;

/// What [`verify`] found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The log's id, as its segments say.
    pub log: Option<String>,
    /// Each segment, oldest first.
    pub segments: Vec<SegmentReport>,
    /// Segments that were damaged, are no longer part of the log, and were kept.
    pub set_aside: Vec<String>,
    /// Pulses that can be read.
    pub pulses: u64,
    /// Numbers between the first and the last pulse that can't be read.
    pub missing: u64,
}

/// One segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SegmentReport {
    /// The file's name.
    pub name: String,
    /// Its format version; `None` if the header is damaged.
    pub version: Option<u32>,
    /// The first number that it may hold.
    pub first_seq: u64,
    /// The number behind its last pulse.
    pub end_seq: u64,
    /// Sound frames.
    pub frames: u64,
    /// Pulses in them.
    pub pulses: u64,
    /// Bytes that were synced once and hold no sound frame.
    pub damaged_bytes: u64,
    /// Bytes behind the end that belong to no acknowledged pulse.
    pub torn_bytes: u64,
    /// Whether its successor holds all that it holds.
    pub void: bool,
}

impl Report {
    /// Whether all that was ever acknowledged can be read, as far as can be told.
    pub fn is_sound(&self) -> bool {
        self.missing == 0
            && self.segments.iter().all(|segment| {
                segment.void || (segment.version.is_some() && segment.damaged_bytes == 0)
            })
    }
}

/// Which pulses [`dump`] prints.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DumpFilter {
    /// Only numbers from here on.
    pub from_seq: u64,
    /// Only numbers below.
    pub to_seq: Option<u64>,
    /// Only this tenant's.
    pub tenant: Option<String>,
    /// Only this service's.
    pub service: Option<String>,
}

impl DumpFilter {
    fn takes(&self, record: &Record<'_>) -> bool {
        let wanted = |filter: &Option<String>, found: &str| {
            filter.as_deref().is_none_or(|wanted| wanted == found)
        };
        record.seq >= self.from_seq
            && self.to_seq.is_none_or(|end| record.seq < end)
            && wanted(&self.tenant, record.envelope.tenant)
            && wanted(&self.service, record.entry.service)
    }
}

/// Why a log could not be printed.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// The log could not be read.
    #[error("read the log failed")]
    Open(#[from] OpenError),
    /// The output took no more.
    #[error("write the output failed")]
    Output(#[from] io::Error),
}

/// Proves every frame of the log in `directory`.
///
/// # Errors
/// Where a file can't be opened, or has a newer format.
pub fn verify(fs: &dyn Fs, directory: &Path) -> Result<Report, OpenError> {
    let view = View::read(fs, directory)?;
    let mut report = Report {
        log: view.found.iter().find_map(|found| Some(found.header?.log.to_string())),
        segments: Vec::new(),
        set_aside: view.set_aside.iter().map(Name::to_string).collect(),
        pulses: 0,
        missing: 0,
    };
    let mut expected = None;
    for part in &view.parts {
        let Some(file) = part.open(fs, directory)? else { continue };
        let segment = part.prove(&*file, &mut |_| Ok(()));
        let segment = segment.unwrap_or_else(|_: io::Error| part.unread());
        if !segment.void {
            report.pulses += segment.pulses;
            let behind = expected.unwrap_or(segment.first_seq);
            report.missing += segment.first_seq.saturating_sub(behind);
            report.missing += segment.end_seq - segment.first_seq - segment.pulses;
            expected = Some(segment.end_seq);
        }
        report.segments.push(segment);
    }
    Ok(report)
}

/// Prints each pulse of the log in `directory` that `filter` takes as one line of JSON: what the
/// log adds, and the original bytes as text.
///
/// # Errors
/// Where a file can't be opened, has a newer format, or `output` takes no more.
pub fn dump(
    fs: &dyn Fs,
    directory: &Path,
    filter: &DumpFilter,
    output: &mut dyn Write,
) -> Result<(), DumpError> {
    let view = View::read(fs, directory)?;
    for part in view.parts.iter().filter(|part| !part.is_void) {
        let Some(file) = part.open(fs, directory)? else { continue };
        part.prove(&*file, &mut |frame| {
            for (_, record) in frame.entries().filter(|(_, record)| filter.takes(record)) {
                serde_json::to_writer(&mut *output, &Line::of(&record))?;
                output.write_all(b"\n")?;
            }
            Ok(())
        })?;
    }
    output.flush()?;
    Ok(())
}

/// The segments of a log, and how far each counts.
#[derive(Debug)]
struct View {
    found: Vec<Found>,
    set_aside: Vec<Name>,
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    name: Name,
    version: Option<u32>,
    /// Where its synced frames end; `None` for the last segment, which is still written.
    end: Option<u64>,
    limit_seq: u64,
    length: u64,
    is_void: bool,
}

impl View {
    fn read(fs: &dyn Fs, directory: &Path) -> Result<Self, OpenError> {
        let names = fs.list(directory).map_err(|error| OpenError::io("list", directory, error))?;
        let names: Vec<_> = names.iter().filter_map(|name| Name::parse(name)).collect();
        let found = read_headers(fs, directory, &names)?;
        let void = void(&found);
        let (voided, live): (Vec<_>, Vec<_>) =
            found.iter().copied().partition(|found| void.contains(&found.name));
        let mut parts: Vec<_> = voided.iter().map(|found| Part::new(found, true)).collect();
        if let Some((last, before)) = live.split_last() {
            parts.extend(lay_out(before, last).iter().zip(before).map(|(segment, found)| Part {
                end: Some(segment.bytes),
                limit_seq: segment.end_seq,
                ..Part::new(found, false)
            }));
            parts.push(Part::new(last, false));
        }
        parts.sort_by_key(|part| part.name);
        let set_aside =
            names.into_iter().filter(|name| name.kind == Kind::SetAside).collect::<Vec<_>>();
        Ok(Self { found, set_aside, parts })
    }
}

impl Part {
    fn new(found: &Found, is_void: bool) -> Self {
        Self {
            name: found.name,
            version: found.header.map(|header| header.version),
            end: None,
            limit_seq: u64::MAX,
            length: found.length,
            is_void,
        }
    }

    /// `None` if it was forgotten meanwhile.
    fn open(&self, fs: &dyn Fs, directory: &Path) -> Result<Option<Arc<dyn File>>, OpenError> {
        let path = directory.join(self.name.to_string());
        match fs.open(&path, Open::Read) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(OpenError::io("open", &path, error)),
        }
    }

    fn unread(&self) -> SegmentReport {
        SegmentReport {
            name: self.name.to_string(),
            version: self.version,
            first_seq: self.name.first_seq,
            end_seq: self.name.first_seq,
            frames: 0,
            pulses: 0,
            damaged_bytes: 0,
            torn_bytes: 0,
            void: self.is_void,
        }
    }

    /// Walks the sound frames, giving each to `each`.
    fn prove(
        &self,
        file: &dyn File,
        each: &mut dyn FnMut(&Frame<'_>) -> io::Result<()>,
    ) -> io::Result<SegmentReport> {
        let end = match self.end {
            Some(end) => end,
            None => Tail::scan(file, self.name.first_seq, self.length).end,
        };
        let mut report = self.unread();
        let mut window = Window::new(file, end);
        let mut at = HEADER_BYTES as u64;
        while at < end {
            let Some(header) = window.frame(at) else {
                let next = window.find(at + 1, end, |_| true).unwrap_or(end);
                report.damaged_bytes += next - at;
                at = next;
                continue;
            };
            if header.first_seq >= self.limit_seq {
                break;
            }
            if let Ok(frame) = Frame::read(window.at(at, header.frame_bytes())) {
                each(&frame)?;
            }
            report.frames += 1;
            report.pulses += u64::from(header.count);
            report.end_seq = header.end_seq();
            at += header.frame_bytes() as u64;
        }
        let mut behind = Window::new(file, self.length);
        if Seal::decode(behind.at(end, SEAL_BYTES)).is_none() {
            report.torn_bytes = used_end(file, end, self.length) - end;
        }
        Ok(report)
    }
}

/// One pulse as it is printed.
#[derive(Debug, Serialize)]
struct Line<'a> {
    seq: u64,
    id: String,
    tenant: &'a str,
    service: &'a str,
    kind: &'a str,
    event_time_ms: i64,
    received_at_us: i64,
    shard: u16,
    shape: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_hash: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
    raw: std::borrow::Cow<'a, str>,
}

impl<'a> Line<'a> {
    fn of(record: &Record<'a>) -> Self {
        let (envelope, entry) = (record.envelope, record.entry);
        Self {
            seq: record.seq,
            id: entry.id.to_string(),
            tenant: envelope.tenant,
            service: entry.service,
            kind: entry.kind,
            event_time_ms: entry.event_time_ms,
            received_at_us: envelope.received_at_us,
            shard: entry.shard,
            shape: match envelope.shape {
                Shape::Pulse => "pulse",
                Shape::Ingest => "ingest",
                Shape::Events => "events",
            },
            key: entry.key,
            body_hash: entry.body_hash.map(|hash| format!("{hash:032x}")),
            trace_id: envelope
                .trace
                .map(|trace| format!("{:032x}", u128::from_be_bytes(trace.trace_id))),
            raw: String::from_utf8_lossy(entry.raw),
        }
    }
}
