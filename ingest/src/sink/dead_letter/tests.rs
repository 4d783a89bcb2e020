//! Dead letters as their users see them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

use super::*;
use crate::fs::OsFs;
use crate::fs::fault::{Faults, SimFs};
use crate::sink::drain::tests::rig::frames;

pub(crate) fn letter(seq: u64) -> Letter {
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

fn bytes_on_disk(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).expect("a directory");
    entries.map(|entry| entry.expect("an entry").metadata().expect("metadata").len()).sum()
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
    let (letters, known) =
        DeadLetters::open(Arc::new(OsFs), dir.path().to_owned(), 1 << 30).expect("opens");
    assert_eq!((letters.len(), seqs(&letters)), (4, vec![5, 9, 6, 10]));
    let found = &known[&("main".to_owned(), LogId(Uuid::from_u128(1)))];
    assert_eq!(found, &[5, 6, 9, 10].into_iter().collect::<SeqSet>());
    assert_eq!(letters.bytes(), bytes_on_disk(dir.path()));
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
    newer[4] = 5;
    let crc = crc32c::crc32c(&newer[..8]);
    newer[8..12].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(&path, &newer).expect("written");
    let opened = DeadLetters::open(Arc::new(OsFs), dir.path().to_owned(), 1 << 30);
    assert!(matches!(opened, Err(OpenError::Newer { version: 5, .. })));
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

fn places(letters: &DeadLetters) -> Vec<Held> {
    letters.page(&Filter::of("a"), None, 1_000).expect("read").letters
}

fn leaves(held: &Held, leaving: Leaving) -> Settled {
    Settled::leaves(held, leaving)
}

fn fails(held: &Held, code: &str) -> Settled {
    let attempt = |n: i64| Attempt { at_us: 100 + n, rows: 1, message: format!("again {n}") };
    let history = vec![attempt(0), attempt(1)];
    let tried = Letter {
        code: code.to_owned(),
        stage: "replay".to_owned(),
        attempts: 2,
        last_at_us: 101,
        history,
        ..Letter::clone(&held.letter)
    };
    let letter = Letter::clone(&held.letter);
    let fate = Fate::Fails(Box::new(FailedAgain { letter, tried }));
    Settled { place: held.place, origin: Origin::of(&held.letter), fate }
}

/// All letters of a tenant and, where one is given, a reason, as a replay has them.
fn slips(letters: &DeadLetters, reason: Option<&str>) -> Vec<Slip> {
    let wanted = Wanted { letters_max: 1_000, letters_enough: 1_000, bytes_max: 1 << 20 };
    let filter = Filter { reason: reason.map(str::to_owned), ..Filter::of("a") };
    letters.forward(&filter, (None, letters.end()), wanted).expect("read").slips
}

#[test]
fn a_letter_that_fails_again_while_it_is_on_its_way_is_counted_out_of_its_new_group() {
    let dir = tempfile::tempdir().expect("a directory");
    let letters = open(dir.path());
    letters.append(&[letter(1), letter(2), letter(3)]).expect("kept");
    let (early, held) = (slips(&letters, None), places(&letters));
    letters.settle(&[fails(&held[1], "worse")]).expect("noted");
    let worse = slips(&letters, Some("worse"));
    assert_eq!(worse.iter().map(|slip| slip.seq).collect::<Vec<_>>(), [2]);
    assert_eq!((worse[0].later_code(), early[1].later_code()), (Some("worse"), None));
    let leave = |slip| Settled::of(slip, Fate::Leaves(Leaving::Replayed));
    letters.settle(&early[..2].iter().map(leave).collect::<Vec<_>>()).expect("noted");
    for letters in [letters, open(dir.path())] {
        let groups = letters.groups("a").expect("read");
        let groups: Vec<_> = groups.iter().map(|group| (&*group.reason, group.count)).collect();
        assert_eq!(groups, [("bad_value", 1)]);
        assert_eq!((letters.len(), letters.left("main", main_log()).replayed), (1, 2));
    }
}

fn main_log() -> LogId {
    LogId(Uuid::from_u128(1))
}

#[test]
fn what_becomes_of_letters_outlives_a_restart_and_ids_stay() {
    let dir = tempfile::tempdir().expect("a directory");
    let letters = open(dir.path());
    letters.append(&[letter(1), letter(2), letter(3), letter(4)]).expect("kept");
    let held = places(&letters);
    assert_eq!(held.iter().map(|held| held.letter.seq).collect::<Vec<_>>(), [4, 3, 2, 1]);
    let settled = [
        leaves(&held[3], Leaving::Replayed),
        fails(&held[2], "worse"),
        leaves(&held[1], Leaving::Discarded),
    ];
    assert_eq!(letters.settle(&settled).expect("noted"), 3);
    assert_eq!(letters.settle(&settled[..1]).expect("noted"), 0, "it is gone already");
    for letters in [letters, open(dir.path())] {
        assert_eq!((letters.len(), letters.len_of("a"), letters.len_of("b")), (2, 2, 0));
        let left = letters.left("main", main_log());
        assert_eq!(left, Left { replayed: 1, expired: 0, discarded: 1, handed_over: 0 });
        assert_eq!(
            places(&letters).iter().map(Held::id).collect::<Vec<_>>(),
            [held[0].id(), held[2].id()]
        );
        assert_eq!(letters.find("a", held[1].id()).expect("read"), None);
        assert_eq!(letters.find("b", held[0].id()).expect("read"), None);
        let again = letters.find("a", held[2].id()).expect("read").expect("there").letter;
        assert_eq!((&*again.code, &*again.stage, again.attempts), ("worse", "replay", 4));
        assert_eq!((again.first_at_us, again.last_at_us, again.history.len()), (10, 101, 3));
        assert_eq!(again.record().expect("a pulse").entry.raw, b"2");
        let groups = letters.groups("a").expect("read");
        let counts: Vec<_> = groups.iter().map(|group| (&*group.reason, group.count)).collect();
        assert_eq!(counts, [("bad_value", 1), ("worse", 1)]);
        assert!(groups.iter().all(|group| group.sample.is_some()));
        assert!(letters.groups("b").expect("read").is_empty());
        assert_eq!(letters.bytes(), bytes_on_disk(dir.path()));
    }
}

#[test]
fn an_id_of_another_directory_names_no_letter_here() {
    let (here, there) = (tempfile::tempdir().expect("one"), tempfile::tempdir().expect("other"));
    let (here, there) = (open(here.path()), open(there.path()));
    here.append(&[letter(1)]).expect("kept");
    there.append(&[Letter { log: LogId(Uuid::from_u128(2)), ..letter(1) }]).expect("kept");
    let (own, other) = (places(&here).remove(0), places(&there).remove(0));
    assert_eq!(own.place, other.place);
    assert_ne!(own.id(), other.id());
    assert_eq!(here.find("a", other.id()).expect("read"), None);
    for id in [Uuid::nil(), Uuid::max(), Uuid::now_v7()] {
        assert_eq!(here.find("a", id).expect("read"), None);
    }
}

#[test]
fn pages_and_pieces_come_in_order_without_gap_whatever_their_size() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut expected = Vec::new();
    for run in 0..5 {
        // Each run begins another segment.
        let letters = open(dir.path());
        let new: Vec<_> = (run * 10..run * 10 + 7).map(letter).collect();
        letters.append(&new).expect("kept");
        expected.extend(run * 10..run * 10 + 7);
    }
    let letters = open(dir.path());
    for limit in [1, 3, 7, 35, 100] {
        let (mut after, mut seqs) = (None, Vec::new());
        loop {
            let page = letters.page(&Filter::of("a"), after, limit).expect("read");
            assert!(page.letters.len() <= limit);
            seqs.extend(page.letters.iter().map(|held| held.letter.seq));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert!(seqs.iter().rev().eq(&expected), "pages of {limit}: {seqs:?}");

        let end = letters.end();
        let (mut after, mut seqs, mut looked_at) = (None, Vec::new(), 0);
        loop {
            let wanted = Wanted { letters_max: limit, letters_enough: limit, bytes_max: 1 << 20 };
            let page = letters.forward(&Filter::of("a"), (after, end), wanted).expect("read");
            seqs.extend(page.slips.iter().map(|slip| slip.seq));
            looked_at += page.looked_at;
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seqs, expected, "pieces of {limit}");
        assert_eq!(looked_at, expected.len() as u64);
    }
    letters.append(&[letter(99)]).expect("kept");
    let end = letters.end();
    letters.append(&[letter(100)]).expect("kept");
    let wanted = Wanted { letters_max: 100, letters_enough: 100, bytes_max: 1 << 20 };
    let page = letters.forward(&Filter::of("a"), (None, end), wanted).expect("read");
    assert_eq!(page.slips.last().map(|slip| slip.seq), Some(99), "the end is frozen");
}

#[test]
fn a_filter_means_what_it_says() {
    let fits = |filter: Filter| filter.fits(&letter(5));
    let of = || Filter::of("a");
    let some = |text: &str| Some(text.to_owned());
    let cases = [
        (of(), true),
        (Filter::of("b"), false),
        (Filter { reason: some("bad_value"), ..of() }, true),
        (Filter { reason: some("bad"), ..of() }, false),
        (Filter { service: some("checkout"), kind: some("pulse"), ..of() }, true),
        (Filter { service: some("check"), ..of() }, false),
        (Filter { kind: some("Pulse"), ..of() }, false),
        (Filter { text: some("such"), ..of() }, true),
        (Filter { text: some("5"), ..of() }, true),
        (Filter { text: some("6"), ..of() }, false),
        (Filter { from_ms: Some(0), to_ms: Some(1), ..of() }, true),
        (Filter { from_ms: Some(1), ..of() }, false),
        (Filter { to_ms: Some(0), ..of() }, false),
    ];
    for (filter, expected) in cases {
        assert_eq!(fits(filter.clone()), expected, "{filter:?}");
    }
}

#[test]
fn room_comes_back_once_no_start_needs_to_know_and_totals_stay() {
    let dir = tempfile::tempdir().expect("a directory");
    let letters = open(dir.path());
    letters.append(&[letter(1), letter(2), letter(3), letter(4)]).expect("kept");
    drop(letters);
    let letters = open(dir.path());
    letters.append(&[letter(5)]).expect("kept");
    let mut held = places(&letters);
    held.sort_by_key(|held| held.place);
    let ids: Vec<_> = held.iter().map(Held::id).collect();
    let gone: Vec<_> = held[..3].iter().map(|held| leaves(held, Leaving::Replayed)).collect();
    letters.settle(&gone).expect("noted");
    letters.settle(&[fails(&held[3], "worse")]).expect("noted");
    assert_eq!(letters.compact(&|_, _, seq| seq < 3).expect("looked"), 0, "3 may come again");
    assert!(letters.compact(&|_, _, _| true).expect("made smaller") > 0);
    for letters in [letters, open(dir.path())] {
        let seqs: Vec<_> = places(&letters).iter().map(|held| held.letter.seq).collect();
        assert_eq!((seqs, letters.len()), (vec![5, 4], 2));
        let fourth = letters.find("a", ids[3]).expect("read").expect("its id has stayed");
        assert_eq!((fourth.letter.attempts, &*fourth.letter.code), (4, "worse"));
        assert_eq!(letters.left("main", main_log()).replayed, 3);
        drop(letters);
    }
    let letters = open(dir.path());
    let rest: Vec<_> = [3, 4].map(|at| leaves(&held[at], Leaving::Discarded)).into();
    assert_eq!(letters.settle(&rest).expect("noted"), 2);
    letters.compact(&|_, _, _| true).expect("removed");
    for letters in [letters, open(dir.path())] {
        assert_eq!((letters.len(), letters.bytes()), (0, 0));
        let left = letters.left("main", main_log());
        assert_eq!(left, Left { replayed: 3, expired: 0, discarded: 2, handed_over: 0 });
        letters.append(&[letter(9)]).expect("kept");
        assert!(letters.settle(&rest).expect("noted") == 0, "no number is used twice");
        let nine = places(&letters).remove(0);
        letters.settle(&[leaves(&nine, Leaving::Expired)]).expect("noted");
        let open_name = dir.path().join(open_name(nine.place.segment));
        assert!(open_name.exists());
        // As if it had never been.
        std::fs::remove_file(open_name).expect("removed");
        std::fs::remove_file(marks::path(dir.path(), nine.place.segment)).expect("removed");
    }
}

#[test]
fn marks_survive_failing_writes_and_power_losses_and_no_letter_comes_back() {
    for seed in 0..100 {
        let fs = SimFs::new(seed);
        fs.create_dir_all(Path::new("/data")).expect("made");
        fs.sync_dir(Path::new("/")).expect("synced");
        let (mut gone, mut next) = (std::collections::BTreeSet::new(), 0);
        let mut kept = std::collections::BTreeSet::new();
        let mut unsure = std::collections::BTreeSet::new();
        for run in 0..6 {
            fs.set_faults(Faults::default());
            let opened = DeadLetters::open(Arc::new(fs.clone()), "/data/letters".into(), 1 << 20);
            let (letters, _) = opened.expect("opens");
            let there: std::collections::BTreeSet<_> = seqs(&letters).into_iter().collect();
            assert!(there.is_disjoint(&gone), "seed {seed}: {there:?} {gone:?}");
            let must = kept.iter().filter(|seq| !gone.contains(*seq) && !unsure.contains(*seq));
            assert!(must.clone().all(|seq| there.contains(seq)), "seed {seed}: {must:?}");
            // What is not here any more is gone for good.
            gone.extend(unsure.iter().filter(|seq| !there.contains(seq)));
            unsure.clear();
            assert_eq!(letters.left("main", main_log()).replayed, gone.len() as u64, "seed {seed}");
            assert_eq!(letters.len(), there.len() as u64, "seed {seed}");
            fs.set_faults(Faults { write: 60, sync: 100, sync_dir: 60, change: 40, read: 0 });
            for step in 0..10_u64 {
                let group = [letter(next), letter(next + 1)];
                if letters.append(&group).is_ok() {
                    kept.extend([next, next + 1]);
                }
                next += 2;
                let Ok(page) = letters.page(&Filter::of("a"), None, 100) else { continue };
                let mut chosen: Vec<_> = page
                    .letters
                    .into_iter()
                    .filter(|held| held.letter.seq % 3 == step % 3)
                    .collect();
                chosen.sort_by_key(|held| held.place);
                let settled: Vec<_> =
                    chosen.iter().map(|held| leaves(held, Leaving::Replayed)).collect();
                let chosen = chosen.iter().map(|held| held.letter.seq);
                match letters.settle(&settled) {
                    Ok(_) => gone.extend(chosen),
                    // They are here as they were; the next start may find them gone.
                    Err(_) => unsure.extend(chosen),
                }
                let here: std::collections::BTreeSet<_> = seqs(&letters).into_iter().collect();
                assert!(here.is_disjoint(&gone), "seed {seed}: {here:?} {gone:?}");
                assert_eq!(letters.len(), here.len() as u64, "seed {seed}");
                let _full_disk = letters.compact(&|_, _, _| true);
            }
            if (seed + run) % 2 == 0 { fs.kill() } else { fs.power_loss() }
        }
    }
}

/// A sealed segment as the first version wrote it, put together here from its description alone.
fn first_version(abouts: &[String], frame: &[u8]) -> Vec<u8> {
    let with_crc = |mut bytes: Vec<u8>| {
        let crc = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    };
    let word = |number: u32| number.to_le_bytes().to_vec();
    let mut bytes = with_crc([word(0x4C44_4D50), word(1)].concat());
    for about in abouts {
        let body = [word(about.len() as u32), about.clone().into_bytes(), frame.to_vec()].concat();
        let crc = crc32c::crc32c(&body);
        bytes.extend(with_crc([word(0x5244_4D50), word(body.len() as u32), word(crc)].concat()));
        bytes.extend(body);
    }
    bytes
}

#[test]
fn letters_of_the_first_version_are_read_moved_and_given_back() {
    let about = |seq: u64| {
        format!(
            r#"{{"tenant":"a","sink":"main","log":"{}","in_memory":false,"seq":{seq},"code":"bad",
            "stage":"write","message":"no","attempts":1,"first_at_us":5,"last_at_us":5,
            "history":[{{"at_us":5,"rows":1,"message":"no"}}]}}"#,
            Uuid::from_u128(1)
        )
    };
    let dir = tempfile::tempdir().expect("a directory");
    let abouts: Vec<_> = (0..4).map(about).collect();
    let bytes = first_version(&abouts, &letter(7).frame);
    std::fs::write(dir.path().join("letters-0000000000000003.pmdl"), &bytes).expect("written");
    let letters = open(dir.path());
    let mut held = places(&letters);
    held.sort_by_key(|held| held.place);
    assert_eq!(held.iter().map(|held| held.letter.seq).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!(held[0].letter.record().expect("a pulse").entry.raw, b"7");
    let slips = slips(&letters, Some("bad"));
    assert_eq!(slips.iter().filter_map(Slip::held).collect::<Vec<_>>(), held);
    assert!(slips.iter().all(|slip| slip.frame_bytes() == letter(7).frame));
    let gone: Vec<_> = held[..3].iter().map(|held| leaves(held, Leaving::Replayed)).collect();
    assert_eq!(letters.settle(&gone).expect("noted"), 3);
    assert_eq!(letters.compact(&|_, _, _| true).expect("looked"), 0, "more may go soon");
    assert!(letters.compact(&|_, _, _| true).expect("made smaller") > 0);
    let letters = open(dir.path());
    assert_eq!(places(&letters).iter().map(Held::id).collect::<Vec<_>>(), [held[3].id()]);
    letters.append(&[letter(9)]).expect("kept");
    assert_eq!(places(&letters)[0].place.segment, 4, "numbers go on");
}
