//! What a failing disk does to a log costs what it hit, is counted, and stops nothing.

use std::collections::BTreeMap;
use std::path::Path;

use crate::fs::fault::{Chance, SimFs};

use super::super::recovery::IDENTITY_NAME;
use super::super::segment::{HEADER_BYTES, Kind, SEAL_BYTES};
use super::{DIRECTORY, fill, of_kind, open, path, read_all, segments};

/// What a disk does.
#[derive(Debug, Clone, Copy)]
enum Damage {
    Flip,
    Zeros,
    Header,
    Lost,
    Cut,
    Identity,
}

const DAMAGES: [Damage; 6] =
    [Damage::Flip, Damage::Zeros, Damage::Header, Damage::Lost, Damage::Cut, Damage::Identity];

fn strike(fs: &SimFs, chance: &mut Chance, damage: Damage) {
    let names = segments(fs);
    // The last segment's end can't be told from a torn one.
    let victim = path(names[chance.below(names.len() as u64 - 1) as usize]);
    let length = fs.content(&victim).map_or(0, |content| content.len()).max(HEADER_BYTES + 1);
    let at = HEADER_BYTES + chance.below((length - HEADER_BYTES) as u64) as usize;
    let noise: Vec<u8> = (0..1 + chance.below(8)).map(|_| chance.next() as u8).collect();
    match damage {
        Damage::Flip => fs.damage(&victim, at, &noise),
        Damage::Zeros => fs.damage(&victim, at, &vec![0; 300.min(length - at)]),
        Damage::Header => fs.damage(&victim, at % HEADER_BYTES, &noise),
        Damage::Lost => fs.lose_file(&victim),
        Damage::Cut => fs.cut(&victim, at),
        Damage::Identity => fs.damage(&Path::new(DIRECTORY).join(IDENTITY_NAME), 3, &noise),
    }
}

#[test]
fn whatever_is_damaged_the_log_opens_and_read_and_damaged_add_up() {
    for seed in 0..600 {
        let fs = SimFs::new(seed);
        let mut chance = Chance::new(seed);
        let (chain, mut writer) = open(&fs, 1024);
        let id = chain.id;
        fill(&mut writer, 0..60);
        let damage = DAMAGES[(seed % 6) as usize];
        strike(&fs, &mut chance, damage);
        if chance.is(500) {
            strike(&fs, &mut chance, Damage::Flip);
        }
        let check = |found: Vec<(u64, u128)>, damaged: u64, end_seq: u64| {
            assert_eq!(found.len() as u64 + damaged, end_seq, "seed {seed}, {damage:?}");
            assert!(found.iter().all(|(seq, id)| u128::from(*seq) == *id), "seed {seed}");
            assert!(found.is_sorted(), "seed {seed}");
            assert!(damaged < 60, "seed {seed}, {damage:?}: lost all");
        };
        let (found, damaged) = read_all(&chain, 0);
        check(found, damaged, 60);
        fs.kill();
        let (chain, mut writer) = open(&fs, 1024);
        assert_eq!(chain.id, id);
        assert_eq!(writer.next_seq(), 60, "seed {seed}, {damage:?}");
        fill(&mut writer, 60..65);
        let (found, damaged) = read_all(&chain, 0);
        check(found, damaged, 65);
    }
}

#[test]
fn a_damaged_segment_is_set_aside_when_it_is_forgotten_and_counted_once() {
    let fs = SimFs::new(1);
    let (chain, mut writer) = open(&fs, 1024);
    fill(&mut writer, 0..40);
    let victim = segments(&fs)[2];
    fs.damage(&path(victim), HEADER_BYTES + 40, b"??");
    for _ in 0..2 {
        let (found, damaged) = read_all(&chain, 0);
        assert_eq!((found.len(), damaged), (39, 1));
    }
    assert_eq!(chain.metrics.segments_set_aside.get(), 1);
    assert_eq!(of_kind(&fs, Kind::LiveDamaged), 1);
    let content = fs.content(&path(victim.with(Kind::LiveDamaged)));
    chain.forget(40).expect("no faults");
    assert_eq!(segments(&fs).len(), 2, "the damaged one and the one that is written");
    assert!(content.is_some());
    assert_eq!(fs.content(&path(victim.with(Kind::SetAside))), content);
    // It is no longer part of the log.
    fs.power_loss();
    let (chain, writer) = open(&fs, 1024);
    assert_eq!(writer.next_seq(), 40);
    assert_eq!(fs.content(&path(victim.with(Kind::SetAside))), content);
    assert_eq!(read_all(&chain, 40), (vec![], 0));
}

#[test]
fn damage_before_the_last_group_is_no_torn_tail() {
    let fs = SimFs::new(1);
    let (_, mut writer) = open(&fs, 1 << 20);
    fill(&mut writer, 0..20);
    let [only] = segments(&fs)[..] else { unreachable!("one segment") };
    fs.damage(&path(only), HEADER_BYTES + 150, b"????????");
    fs.kill();
    let (chain, mut writer) = open(&fs, 1 << 20);
    fill(&mut writer, 20..25);
    let (found, damaged) = read_all(&chain, 0);
    assert!((1..=2).contains(&damaged));
    assert_eq!(found.len() as u64 + damaged, 25);
    assert_eq!(of_kind(&fs, Kind::LiveDamaged), 1);
}

#[test]
fn a_torn_tail_costs_no_number() {
    let fs = SimFs::new(1);
    let (_, mut writer) = open(&fs, 1 << 20);
    fill(&mut writer, 0..20);
    let [only] = segments(&fs)[..] else { unreachable!("one segment") };
    let content = fs.content(&path(only)).expect("there");
    let end = content.iter().rposition(|byte| *byte != 0).expect("frames") + 1;
    fs.damage(&path(only), end - 30, &[0; 30]);
    fs.kill();
    let (chain, mut writer) = open(&fs, 1 << 20);
    fill(&mut writer, 19..25);
    let (found, damaged) = read_all(&chain, 0);
    assert_eq!((found.len(), damaged), (25, 0));
}

#[test]
fn numbers_of_a_lost_last_segment_are_not_given_out_again() {
    let fs = SimFs::new(1);
    let (_, mut writer) = open(&fs, 1024);
    fill(&mut writer, 0..40);
    let lost = *segments(&fs).last().expect("some");
    fs.lose_file(&path(lost));
    fs.kill();
    let (chain, mut writer) = open(&fs, 1024);
    assert!(writer.next_seq() >= 40, "{}", writer.next_seq());
    let first_seq = writer.next_seq();
    fill(&mut writer, first_seq..first_seq + 3);
    let (found, damaged) = read_all(&chain, 0);
    assert_eq!(found.len() as u64, lost.first_seq + 3);
    assert_eq!(damaged, first_seq - lost.first_seq);
}

#[test]
fn a_sink_beyond_the_end_moves_the_numbers_on() {
    let fs = SimFs::new(1);
    let (_, mut writer) = open(&fs, 1024);
    fill(&mut writer, 0..3);
    writer.skip_to(10);
    fill(&mut writer, 10..12);
    fs.kill();
    let (chain, mut writer) = open(&fs, 1024);
    fill(&mut writer, 12..14);
    let (found, damaged) = read_all(&chain, 0);
    assert_eq!(damaged, 7);
    assert_eq!(found.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [0, 1, 2, 10, 11, 12, 13]);
    assert_eq!(of_kind(&fs, Kind::LiveDamaged), 0, "nothing is damaged");
}

#[test]
fn a_failed_sync_closes_the_segment_and_its_group_is_there_once() {
    use crate::fs::fault::Faults;
    let fs = SimFs::new(3);
    let (chain, mut writer) = open(&fs, 1 << 20);
    fill(&mut writer, 0..5);
    let before = segments(&fs);
    // The first sync fails; the new segment's succeeds.
    let mut failed = 0;
    for number in 5..40 {
        fs.set_faults(Faults { sync: 300, ..Faults::default() });
        while writer.append(&mut frame_of(number)).is_err() {
            failed += 1;
            fs.set_faults(Faults::default());
            writer.check();
        }
    }
    fs.set_faults(Faults::default());
    assert!(segments(&fs).len() > before.len());
    assert!(chain.metrics.sync_failures.get() > failed);
    fs.power_loss();
    let (chain, _) = open(&fs, 1 << 20);
    let expected: BTreeMap<u64, u128> = (0..40).map(|seq| (seq, u128::from(seq))).collect();
    let (found, damaged) = read_all(&chain, 0);
    assert_eq!((found.len(), damaged), (40, 0));
    assert_eq!(found.into_iter().collect::<BTreeMap<_, _>>(), expected);
}

fn frame_of(number: u64) -> Vec<u8> {
    super::frame([u128::from(number)])
}

#[test]
fn a_seal_is_all_that_a_sealed_segment_has_behind_its_frames() {
    let fs = SimFs::new(1);
    let (_, mut writer) = open(&fs, 1024);
    fill(&mut writer, 0..40);
    let sealed = path(segments(&fs)[1]);
    let content = fs.content(&sealed).expect("there");
    assert!(content.len() < 1024 + SEAL_BYTES);
    assert!(super::super::segment::Seal::decode(&content[content.len() - SEAL_BYTES..]).is_some());
}
