//! Dead letters as their users see them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

use super::*;
use crate::fs::OsFs;
use crate::fs::fault::{Faults, SimFs};
use crate::sink::drain::tests::rig::frames;

fn letter(seq: u64) -> Letter {
    let bytes = frames("a", u128::from(seq)..u128::from(seq) + 1);
    let frame = crate::log::frame::Frame::read_proven(&bytes).expect("a frame");
    let (_, record) = frame.entries().next().expect("a pulse");
    Letter {
        tenant: "a".to_owned(),
        sink: "main".to_owned(),
        log: LogId(Uuid::from_u128(1)),
        in_memory: false,
        seq,
        code: "bad_value".to_owned(),
        stage: "write".to_owned(),
        message: "no \"such\" value".to_owned(),
        attempts: 2,
        first_at_us: 10,
        last_at_us: 20,
        history: vec![Attempt { at_us: 10, rows: 5, message: "first".to_owned() }],
        frame: Letter::frame_of(&crate::log::frame::Record { seq, ..record }),
    }
}

fn open(dir: &Path) -> DeadLetters {
    DeadLetters::open(Arc::new(OsFs), dir.to_owned(), 1 << 30).expect("opens").0
}

fn seqs(letters: &DeadLetters) -> Vec<u64> {
    letters.iter().map(|letter| letter.expect("readable").seq).collect()
}

fn only_segment(dir: &Path) -> PathBuf {
    dir.join(open_name(0))
}

#[test]
fn letters_are_read_as_they_were_written_and_told_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let letters = open(dir.path());
    letters.append(&[letter(5), letter(6)]).expect("kept");
    letters.append(&[letter(9)]).expect("kept");
    let read: Vec<_> = letters.iter().map(|letter| letter.expect("readable")).collect();
    assert_eq!(read, [letter(5), letter(6), letter(9)]);
    assert_eq!(read[0].record().expect("a pulse").entry.raw, b"5");
    assert_eq!(letters.len(), 3);

    let letters = open(dir.path());
    letters.append(&[letter(6), letter(10)]).expect("kept");
    assert_eq!(seqs(&letters), [5, 6, 9, 10]);
    let (letters, known) =
        DeadLetters::open(Arc::new(OsFs), dir.path().to_owned(), 1 << 30).expect("opens");
    assert_eq!(letters.len(), 4);
    let found = &known[&("main".to_owned(), LogId(Uuid::from_u128(1)))];
    assert_eq!(found, &[5, 6, 9, 10].into_iter().collect::<SeqSet>());
    let on_disk: u64 = std::fs::read_dir(dir.path())
        .expect("a directory")
        .map(|entry| entry.expect("an entry").metadata().expect("metadata").len())
        .sum();
    assert_eq!(letters.bytes(), on_disk);
}

#[test]
fn every_cut_keeps_the_letters_before_it_and_every_flip_costs_one() {
    let dir = tempfile::tempdir().expect("a directory");
    open(dir.path()).append(&[letter(1), letter(2), letter(3)]).expect("kept");
    let path = only_segment(dir.path());
    let sound = std::fs::read(&path).expect("read");
    let size = (sound.len() - FILE_HEADER_BYTES) / 3;
    for at in (0..sound.len()).step_by(7) {
        std::fs::write(&path, &sound[..at]).expect("cut");
        let _earlier = std::fs::remove_file(dir.path().join(sealed_name(0)));
        let letters = open(dir.path());
        let whole = at.saturating_sub(FILE_HEADER_BYTES) / size;
        assert_eq!(seqs(&letters), [1, 2, 3][..whole], "cut at {at}");
        let sealed = std::fs::read(dir.path().join(sealed_name(0)));
        let kept = sealed.map_or(0, |bytes| bytes.len());
        assert_eq!(letters.bytes(), kept as u64);
        assert!(
            kept <= at
                && (kept <= FILE_HEADER_BYTES || (kept - FILE_HEADER_BYTES).is_multiple_of(size))
        );

        let mut flipped = sound.clone();
        flipped[at] ^= 4;
        std::fs::write(&path, &flipped).expect("flipped");
        let _earlier = std::fs::remove_file(dir.path().join(sealed_name(0)));
        let letters = open(dir.path());
        let hit = at.checked_sub(FILE_HEADER_BYTES).map(|at| at / size);
        let left: Vec<_> =
            (0..3).filter(|index| Some(*index) != hit).map(|n| n as u64 + 1).collect();
        assert_eq!(seqs(&letters), left, "flip at {at}");
    }
}

#[test]
fn a_newer_format_is_refused_untouched() {
    let dir = tempfile::tempdir().expect("a directory");
    open(dir.path()).append(&[letter(1)]).expect("kept");
    let path = only_segment(dir.path());
    let mut newer = std::fs::read(&path).expect("read");
    newer[4] = 2;
    let crc = crc32c::crc32c(&newer[..8]);
    newer[8..12].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(&path, &newer).expect("written");
    let opened = DeadLetters::open(Arc::new(OsFs), dir.path().to_owned(), 1 << 30);
    assert!(matches!(opened, Err(OpenError::Newer { version: 2, .. })));
    assert_eq!(std::fs::read(&path).expect("read"), newer);
}

#[test]
fn what_was_kept_survives_failing_writes_and_power_losses() {
    for seed in 0..200 {
        let fs = SimFs::new(seed);
        fs.create_dir_all(Path::new("/data")).expect("made");
        fs.sync_dir(Path::new("/")).expect("synced");
        let (mut kept, mut next) = (Vec::<u64>::new(), 0);
        for run in 0..5 {
            fs.set_faults(Faults::default());
            let opened = DeadLetters::open(Arc::new(fs.clone()), "/data/letters".into(), 1 << 20);
            let (letters, _) = opened.expect("opens");
            let mut told = seqs(&letters);
            told.sort_unstable();
            assert!(kept.iter().all(|seq| told.contains(seq)), "seed {seed}: {kept:?} {told:?}");
            assert_eq!(letters.len(), told.len() as u64);
            // What was told once is acted upon, so it must not go away either.
            kept = told;
            fs.set_faults(Faults { write: 100, sync: 200, sync_dir: 100, change: 50, read: 0 });
            for _append in 0..8 {
                let group = [letter(next), letter(next + 1)];
                if letters.append(&group).is_ok() {
                    kept.extend([next, next + 1]);
                }
                next += 2;
            }
            if (seed + run) % 2 == 0 { fs.kill() } else { fs.power_loss() }
        }
    }
}
