//! Opening the log: which segments it has, where it ends, and what must be written again. Reads
//! the headers and the last segment only, so a start takes as long with a backlog as without.
//! Damage never stops a start; a newer format or another log's segment does, before anything is
//! changed.

use std::io;
use std::path::Path;

use serde::Deserialize;
use uuid::Uuid;

use crate::fs::{Fs, Open, read_file, replace_file};
use crate::sink::progress::LogId;

use super::OpenError;
use super::chain::Segment;
use super::scan::read_salvaging;
use super::segment::{FORMAT_VERSION, HEADER_BYTES, Header, Kind, Link, Name};
use super::tail::Tail;
use super::writer::{NEXT_NAME, Start};

/// The name of the file that says which log a directory holds.
pub(crate) const IDENTITY_NAME: &str = "log.json";
const IDENTITY_BYTES_MAX: usize = 4096;

#[derive(Debug, Deserialize)]
struct Identity {
    format: u32,
    id: String,
}

/// What was found.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) id: LogId,
    pub(crate) segments: Vec<Segment>,
    /// The lowest number that may be read.
    pub(crate) start_seq: u64,
    pub(crate) start: Start,
    /// Ordinal of the last segment if damage was found in it.
    pub(crate) damaged: Option<u64>,
}

/// A segment file as it was found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    pub(crate) name: Name,
    pub(crate) length: u64,
    /// `None`: damaged.
    pub(crate) header: Option<Header>,
}

/// Opens the log in `directory`, making it if there is none.
pub(crate) fn recover(
    fs: &dyn Fs,
    directory: &Path,
    segment_bytes: u64,
) -> Result<Recovered, OpenError> {
    make_directory(fs, directory)?;
    let identity = read_identity(fs, directory)?;
    let names = fs.list(directory).map_err(|error| OpenError::io("list", directory, error))?;
    let names: Vec<_> = names.iter().filter_map(|name| Name::parse(name)).collect();
    let mut found = read_headers(fs, directory, &names)?;
    let id = settle_identity(identity, directory, &found)?;
    // From here on things are changed.
    if identity.is_none() {
        write_identity(fs, directory, id)?;
    }
    clean(fs, directory, &mut found)?;
    let next_ordinal = names.iter().map(|name| name.ordinal + 1).max().unwrap_or(0);
    let mut recovered = Recovered {
        id,
        segments: Vec::new(),
        start_seq: 0,
        start: Start { next_ordinal, ..Start::default() },
        damaged: None,
    };
    if let Some((last, before)) = found.split_last() {
        recovered.segments = lay_out(before, last);
        recovered.settle_tail(fs, directory, last, segment_bytes)?;
    }
    recovered.start_seq = match (recovered.segments.first(), &recovered.start) {
        (Some(first), _) => first.name.first_seq,
        (None, start) if !start.carry.frames.is_empty() => start.carry.first_seq,
        (None, start) => start.next_seq,
    };
    Ok(recovered)
}

fn make_directory(fs: &dyn Fs, directory: &Path) -> Result<(), OpenError> {
    let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty());
    fs.create_dir_all(directory)
        .and_then(|()| fs.sync_dir(parent.unwrap_or(Path::new("."))))
        .map_err(|error| OpenError::io("make", directory, error))?;
    // Parents further up may be new as well. One that this process may not open is not.
    for ancestor in directory.ancestors().skip(2).filter(|path| !path.as_os_str().is_empty()) {
        let _ = fs.sync_dir(ancestor);
    }
    Ok(())
}

/// What the directory says it is; `None` if it says nothing that can be read.
fn read_identity(fs: &dyn Fs, directory: &Path) -> Result<Option<LogId>, OpenError> {
    let path = directory.join(IDENTITY_NAME);
    let bytes = match read_file(fs, &path, IDENTITY_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(OpenError::io("read", &path, error)),
    };
    let Ok(identity) = serde_json::from_slice::<Identity>(&bytes) else {
        tracing::error!(path = %path.display(), "the log's identity is damaged; made anew");
        return Ok(None);
    };
    if identity.format > FORMAT_VERSION {
        return Err(OpenError::Newer { path, found: identity.format, known: FORMAT_VERSION });
    }
    Ok(Uuid::try_parse(&identity.id).ok().map(LogId))
}

fn write_identity(fs: &dyn Fs, directory: &Path, id: LogId) -> Result<(), OpenError> {
    let path = directory.join(IDENTITY_NAME);
    let text = format!("{{\"format\":{FORMAT_VERSION},\"id\":\"{id}\"}}\n");
    replace_file(fs, &path, text.as_bytes()).map_err(|error| OpenError::io("write", &path, error))
}

/// Reads the header of each segment of the log, in their order.
pub(crate) fn read_headers(
    fs: &dyn Fs,
    directory: &Path,
    names: &[Name],
) -> Result<Vec<Found>, OpenError> {
    let mut found = Vec::with_capacity(names.len());
    for name in names.iter().filter(|name| name.kind != Kind::SetAside) {
        let path = directory.join(name.to_string());
        let file = match fs.open(&path, Open::Read) {
            Ok(file) => file,
            // Forgotten in this moment, by a process that is looked at from outside.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(OpenError::io("open", &path, error)),
        };
        let length = file.len().map_err(|error| OpenError::io("measure", &path, error))?;
        let mut bytes = [0; HEADER_BYTES];
        let read = read_salvaging(&*file, &mut bytes, 0);
        let header = Header::decode(&bytes[..read]);
        if let Some(header) = header
            && header.version > FORMAT_VERSION
        {
            return Err(OpenError::Newer { path, found: header.version, known: FORMAT_VERSION });
        }
        let header = header
            .filter(|header| header.ordinal == name.ordinal && header.first_seq == name.first_seq);
        found.push(Found { name: *name, length, header });
    }
    found.sort_by_key(|segment| segment.name);
    Ok(found)
}

fn settle_identity(
    identity: Option<LogId>,
    directory: &Path,
    found: &[Found],
) -> Result<LogId, OpenError> {
    let newest = found.iter().rev().find_map(|segment| segment.header).map(|header| header.log);
    let id = identity.or(newest).unwrap_or_else(|| LogId(Uuid::now_v7()));
    for segment in found {
        if let Some(header) = segment.header
            && header.log != id
        {
            let path = directory.join(segment.name.to_string());
            return Err(OpenError::Foreign { path, found: header.log, expected: id });
        }
    }
    Ok(id)
}

/// Takes away what a successor's header declares void, and the file that was to be the next.
fn clean(fs: &dyn Fs, directory: &Path, found: &mut Vec<Found>) -> Result<(), OpenError> {
    // What is seen here is on disk before anything is concluded from it.
    fs.sync_dir(directory).map_err(|error| OpenError::io("sync", directory, error))?;
    let void = void(found);
    found.retain(|segment| !void.contains(&segment.name));
    let void = void.iter().map(Name::to_string);
    for name in void.chain([NEXT_NAME.to_owned()]) {
        match fs.remove(&directory.join(&name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                // It stays void; the next start tries again.
                tracing::warn!(%error, name, "remove void segment of the log failed");
            }
            _ => {}
        }
    }
    Ok(())
}

/// Segments whose groups were all written again elsewhere, or never acknowledged.
pub(crate) fn void(found: &[Found]) -> Vec<Name> {
    let headers: Vec<_> = found.iter().filter_map(|segment| segment.header).collect();
    let is_void = |name: &Name| {
        headers.iter().any(|header| {
            let after = header.previous.is_none_or(|previous| previous.ordinal < name.ordinal);
            after && name.ordinal < header.ordinal
        })
    };
    found.iter().map(|segment| segment.name).filter(is_void).collect()
}

/// The segments before the last: each ends where its successor says.
pub(crate) fn lay_out(before: &[Found], last: &Found) -> Vec<Segment> {
    let mut base = 0;
    let successors = before.iter().skip(1).chain([last]);
    before
        .iter()
        .zip(successors)
        .map(|(segment, next)| {
            let link = next.header.and_then(|header| header.previous);
            // A successor that is lost or damaged says nothing: then all that is sound and
            // numbered below the next segment counts.
            let bytes = link
                .filter(|link| link.ordinal == segment.name.ordinal)
                .map_or(segment.length, |link| link.bytes.min(segment.length));
            let laid = Segment {
                name: segment.name,
                end_seq: next.name.first_seq,
                bytes,
                base,
                disk_bytes: segment.length,
            };
            base += bytes.saturating_sub(HEADER_BYTES as u64);
            laid
        })
        .collect()
}

impl Recovered {
    /// Finds the end of the last segment. All but its last group is proven to be synced; that
    /// one is carried over, to be written and synced again before anybody reads it.
    fn settle_tail(
        &mut self,
        fs: &dyn Fs,
        directory: &Path,
        last: &Found,
        segment_bytes: u64,
    ) -> Result<(), OpenError> {
        let path = directory.join(last.name.to_string());
        let file =
            fs.open(&path, Open::Read).map_err(|error| OpenError::io("open", &path, error))?;
        let mut tail = Tail::scan(&*file, last.name.first_seq, last.length);
        tail.damaged |= last.header.is_none();
        self.start.carry = tail.carry(&*file);
        self.start.next_seq = tail.end_seq + tail.unknown_pulses(segment_bytes);
        if tail.damaged {
            self.damaged = Some(last.name.ordinal);
        }
        let is_empty = tail.group_at == HEADER_BYTES as u64 && !tail.damaged;
        if let Some(header) = last.header
            && is_empty
            && last.name.kind == Kind::Live
        {
            self.start.previous = header.previous;
            self.start.replaced = Some(last.name);
            return Ok(());
        }
        let base = self
            .segments
            .last()
            .map_or(0, |before| before.base + before.bytes.saturating_sub(HEADER_BYTES as u64));
        self.start.previous = Some(Link { ordinal: last.name.ordinal, bytes: tail.group_at });
        self.segments.push(Segment {
            name: last.name,
            end_seq: tail.group_seq,
            bytes: tail.group_at,
            base,
            disk_bytes: last.length,
        });
        Ok(())
    }
}
