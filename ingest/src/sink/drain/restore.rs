//! Where each sink goes on after a start: what its cursor, the sink itself and the dead letters
//! say together, and whether a sink has gone missing.

use std::collections::BTreeMap;
use std::path::Path;

use crate::fs::Fs;
use crate::sink::Sink;
use crate::sink::cursor::{cursor_path, read_cursor};
use crate::sink::dead_letter::Known;
use crate::sink::progress::{Progress, SeqSet};
use crate::sink::registry::{Registered, Registry};
use crate::sink::source::FrameSource;

use super::board::Place;
use super::{SinkRegistration, StartError};

/// The place of one sink in the log.
pub(crate) fn place_in_log(
    fs: &dyn Fs,
    sinks_dir: &Path,
    (name, sink): (&str, &dyn Sink),
    log: &dyn FrameSource,
    known: &Known,
) -> Result<Place, StartError> {
    let path = cursor_path(sinks_dir, name);
    let cursor = read_cursor(fs, &path)
        .map_err(|source| StartError::Cursor { sink: name.to_owned(), source: source.into() })?;
    let progress = sink.progress(log.id());
    let mut place = match cursor {
        Some(cursor) if cursor.log == log.id() => cursor.place,
        other => {
            if let Some(cursor) = other {
                let (was, is) = (cursor.log, log.id());
                tracing::warn!(sink = name, %was, %is, "cursor is of another log; starting anew");
            }
            // What a sink has committed itself reaches back to the first number.
            let committed = progress.as_ref().is_some_and(|own| *own != Progress::default());
            let first = if committed { 0 } else { log.start_seq() };
            Place { origin: first, finished: SeqSet::below(first), ..Place::default() }
        }
    };
    if let Some(dead) = known.get(&(name.to_owned(), log.id())) {
        place.totals.dead_lettered += place.finished.union(dead);
    }
    if let Some(progress) = progress {
        place.adopt(&progress);
    }
    if place.finished.end() > log.end_seq() {
        let (finished, end) = (place.finished.end(), log.end_seq());
        tracing::warn!(sink = name, finished, end, "log has lost its end; its numbers are skipped");
        // A new pulse under a number that is finished would never be written.
        log.skip_to(finished);
    }
    Ok(place)
}

/// Notes the sinks of this start. A required one of the last start that is gone must have
/// finished the log, or be named in `forget`.
pub(crate) fn register(
    fs: &dyn Fs,
    sinks_dir: &Path,
    sinks: &[SinkRegistration],
    forget: &[String],
    log: Option<&dyn FrameSource>,
) -> Result<(), StartError> {
    let before = Registry::read(fs, sinks_dir)
        .map_err(|source| StartError::Registry { source: source.into() })?;
    let now: BTreeMap<_, _> = sinks.iter().map(|sink| (&*sink.name, sink)).collect();
    let gone: Vec<_> = before.sinks.iter().filter(|sink| !now.contains_key(&*sink.name)).collect();
    for sink in &gone {
        let unfinished = log.map_or(Ok(0), |log| unfinished(fs, sinks_dir, &sink.name, log))?;
        if sink.required && unfinished > 0 && !forget.contains(&sink.name) {
            return Err(StartError::Vanished { sink: sink.name.clone(), unfinished });
        }
        tracing::info!(sink = &*sink.name, unfinished, "sink is no longer in the settings");
    }
    let registered = sinks.iter().map(|sink| Registered {
        name: sink.name.clone(),
        required: matches!(sink.need, super::Need::Required),
    });
    let io = |source| StartError::Io { path: sinks_dir.to_owned(), source };
    let registry = Registry::new(registered.collect());
    if registry != before {
        registry.write(fs, sinks_dir).map_err(io)?;
    }
    // Last: a cursor without an entry is nobody's, an entry without its cursor is a sink that
    // has finished nothing.
    for sink in gone {
        match fs.remove(&cursor_path(sinks_dir, &sink.name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(error)),
            _ => {}
        }
    }
    Ok(())
}

fn unfinished(
    fs: &dyn Fs,
    sinks_dir: &Path,
    name: &str,
    log: &dyn FrameSource,
) -> Result<u64, StartError> {
    let cursor = read_cursor(fs, &cursor_path(sinks_dir, name))
        .map_err(|source| StartError::Cursor { sink: name.to_owned(), source: source.into() })?;
    let (start, end) = (log.start_seq(), log.end_seq());
    Ok(match cursor {
        Some(cursor) if cursor.log == log.id() => cursor.place.unfinished(end),
        _ => end.saturating_sub(start),
    })
}
