//! What the log must not touch, and when it must not take pulses.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;

use crate::fs::fault::{Faults, SimFs};
use crate::fs::{Fs, replace_file};

use super::super::recovery::IDENTITY_NAME;
use super::super::segment::{Header, Link};
use super::super::{AppendError, Log, LogSettings, OpenError, open_core};
use super::{DIRECTORY, fill, frame, no_metrics, open, path, segments, settings};

fn contents(fs: &SimFs) -> BTreeMap<String, Vec<u8>> {
    let names = fs.list(Path::new(DIRECTORY)).expect("no faults");
    let content = |name: &String| fs.content(&Path::new(DIRECTORY).join(name)).expect("there");
    names.iter().map(|name| (name.clone(), content(name))).collect()
}

fn refused(fs: &SimFs) -> OpenError {
    let before = contents(fs);
    let error = open_core(&settings(1024), Arc::new(fs.clone()), no_metrics())
        .map(|_| ())
        .expect_err("must be refused");
    assert_eq!(contents(fs), before, "nothing may be changed");
    error
}

#[test]
fn a_newer_format_and_another_logs_segment_are_refused_untouched() {
    let filled = || {
        let fs = SimFs::new(1);
        let (chain, mut writer) = open(&fs, 1024);
        fill(&mut writer, 0..40);
        (fs, chain.id)
    };
    let rewrite = |fs: &SimFs, change: fn(&mut Header)| {
        let victim = path(segments(fs)[1]);
        let content = fs.content(&victim).expect("there");
        let mut header = Header::decode(&content).expect("sound");
        change(&mut header);
        fs.damage(&victim, 0, &header.encode());
    };

    let (fs, _) = filled();
    rewrite(&fs, |header| header.version = 3);
    let error = refused(&fs);
    assert!(matches!(error, OpenError::Newer { found: 3, known: 2, .. }), "{error}");

    let (fs, _) = filled();
    rewrite(&fs, |header| header.version = 1);
    let opened = open_core(&settings(1024), Arc::new(fs.clone()), no_metrics());
    assert!(opened.is_ok(), "the version before is readable");

    let (fs, id) = filled();
    let newer = format!("{{\"format\":7,\"id\":\"{id}\",\"more\":true}}");
    replace_file(&fs, &Path::new(DIRECTORY).join(IDENTITY_NAME), newer.as_bytes())
        .expect("no faults");
    let error = refused(&fs);
    assert!(matches!(error, OpenError::Newer { found: 7, known: 2, .. }), "{error}");

    let (fs, _) = filled();
    rewrite(&fs, |header| header.log = crate::sink::LogId(uuid::Uuid::from_u128(9)));
    let error = refused(&fs);
    assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
    assert!(error.to_string().contains(".seg"), "{error}");
}

fn started(fs: &SimFs, settings: LogSettings) -> Log {
    Log::open(settings, Arc::new(fs.clone()), no_metrics()).expect("opens")
}

/// Appends one pulse and waits for its outcome, with a bound on how long that may take.
fn append_one(log: &Log, id: u128) -> Result<u64, AppendError> {
    let mut ticket = log.append(&frame([id]), 1)?;
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(outcome) = (&mut ticket).now_or_never() {
            return outcome;
        }
        assert!(Instant::now() < deadline, "a ticket was never answered");
        std::thread::yield_now();
    }
}

fn until<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(done) = attempt() {
            return done;
        }
        assert!(Instant::now() < deadline, "it never came to pass");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_full_disk_is_refused_and_taken_again_when_there_is_room() {
    let fs = SimFs::new(1);
    let log = started(&fs, settings(4096));
    assert_eq!(append_one(&log, 1), Ok(0));
    fs.set_capacity(fs.used_bytes());
    let mut accepted = 1;
    let refusal = until(|| match append_one(&log, 2) {
        Ok(_) => {
            accepted += 1;
            None
        }
        Err(error) => Some(error),
    });
    assert_eq!(refusal, AppendError::DiskFull);
    fs.set_capacity(1 << 30);
    let seq = until(|| append_one(&log, 3).ok());
    assert_eq!(seq, accepted, "no number was used up by what was refused");
}

#[test]
fn a_disk_below_its_reserve_is_refused_and_taken_again() {
    let fs = SimFs::new(1);
    let log = started(&fs, LogSettings { free_bytes_min: 1 << 20, ..settings(4096) });
    assert_eq!(append_one(&log, 1), Ok(0));
    fs.set_capacity(fs.used_bytes() + (1 << 19));
    assert_eq!(until(|| append_one(&log, 2).err()), AppendError::DiskFull);
    fs.set_capacity(1 << 30);
    until(|| append_one(&log, 3).ok());
}

#[test]
fn a_log_starts_on_a_full_disk_and_takes_pulses_when_there_is_room() {
    let fs = SimFs::new(1);
    let log = started(&fs, settings(4096));
    assert_eq!(append_one(&log, 1), Ok(0));
    log.close();
    fs.kill();
    fs.set_capacity(fs.used_bytes());
    let log = started(&fs, settings(4096));
    assert_eq!(append_one(&log, 2), Err(AppendError::DiskFull));
    fs.set_capacity(1 << 30);
    assert_eq!(until(|| append_one(&log, 2).ok()), 1);
    let chunk = log.reader(0).read(1 << 20).expect("no faults").expect("two pulses");
    assert_eq!((chunk.first_seq, chunk.damaged), (0, 0));
}

#[test]
fn a_broken_disk_is_refused_at_once_and_taken_again_when_it_works() {
    let fs = SimFs::new(1);
    let log = started(&fs, settings(4096));
    assert_eq!(append_one(&log, 1), Ok(0));
    fs.set_faults(Faults { sync: 1000, ..Faults::default() });
    assert_eq!(append_one(&log, 2), Err(AppendError::Failed));
    let refused = until(|| log.append(&frame([3]), 1).err());
    assert_eq!(refused, AppendError::Failed);
    assert_eq!(log.refusal(), Some(AppendError::Failed));
    fs.set_faults(Faults::default());
    assert_eq!(until(|| append_one(&log, 4).ok()), 1);
}

#[test]
fn the_budget_refuses_and_frees_by_what_is_finished() {
    let fs = SimFs::new(1);
    let bytes = frame([1]).len() as u64;
    let log = started(&fs, LogSettings { budget_bytes: 10 * bytes, ..settings(4096) });
    for seq in 0..10 {
        assert_eq!(append_one(&log, 1), Ok(seq));
    }
    assert_eq!(append_one(&log, 1), Err(AppendError::Full));
    assert_eq!(log.used_bytes(), 10 * bytes);
    log.release(4);
    assert_eq!(log.used_bytes(), 6 * bytes);
    for seq in 10..14 {
        assert_eq!(append_one(&log, 1), Ok(seq));
    }
    assert_eq!(append_one(&log, 1), Err(AppendError::Full));
    // What was not finished counts again after a restart.
    log.close();
    assert_eq!(append_one(&log, 1), Err(AppendError::Closed));
    fs.kill();
    let log = started(&fs, settings(4096));
    assert_eq!(log.used_bytes(), 14 * bytes);
    log.release(14);
    assert_eq!(log.used_bytes(), 0);
}

#[test]
fn a_link_names_a_predecessor_or_none() {
    let fs = SimFs::new(1);
    let (_, mut writer) = open(&fs, 1024);
    fill(&mut writer, 0..40);
    let headers: Vec<_> = segments(&fs)
        .into_iter()
        .filter_map(|name| Header::decode(&fs.content(&path(name))?))
        .collect();
    assert_eq!(headers[0].previous, None);
    for pair in headers.windows(2) {
        let Some(Link { ordinal, bytes }) = pair[1].previous else { unreachable!("not the first") };
        assert_eq!(ordinal, pair[0].ordinal);
        assert!(bytes <= 1024, "{bytes}");
    }
}

#[test]
fn a_directory_that_can_not_be_made_is_named() {
    let fs = SimFs::new(1);
    fs.set_faults(Faults { change: 1000, ..Faults::default() });
    let error = open_core(&settings(1024), Arc::new(fs), no_metrics())
        .map(|_| ())
        .expect_err("nothing can be made");
    let OpenError::Io { path, .. } = error else { unreachable!("{error}") };
    assert_eq!(path, PathBuf::from(DIRECTORY));
}
