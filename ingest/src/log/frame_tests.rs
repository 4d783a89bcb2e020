//! That frames give back what was put in, and notice damage.

use uuid::Uuid;

use super::frame::*;
use crate::pulse::Shape;

fn entry(service: &'static str, raw: &'static [u8]) -> Entry<'static> {
    Entry {
        id: Uuid::from_u128(7),
        event_time_ms: 1_700_000_000_000,
        shard: 3,
        service,
        kind: "pulse",
        key: Some("key-1"),
        body_hash: Some(u128::MAX - 1),
        refused: None,
        raw,
    }
}

fn envelope() -> Envelope<'static> {
    Envelope {
        tenant: "default",
        shape: Shape::Events,
        received_at_us: 1_700_000_000_000_001,
        trace: Some(Trace { trace_id: [1; 16], span_id: [2; 8] }),
    }
}

fn two_frames() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut frame = FrameBuilder::new(&mut bytes, &envelope());
    frame.push(&entry("checkout", b"{}"));
    frame.push(&Entry { key: None, body_hash: None, ..entry("s", b"") });
    frame.roll(&Envelope { trace: None, ..envelope() });
    frame.push(&entry("b", b"{\"a\":1}"));
    frame.roll(&envelope());
    assert_eq!(frame.finish(), 3);
    assert_eq!(seal(&mut bytes, 41), 3);
    bytes
}

#[test]
fn frames_give_back_what_was_put_in_and_number_on() {
    let bytes = two_frames();
    let first = Frame::read(&bytes).expect("a sound frame");
    let records: Vec<_> = first.entries().map(|(_, record)| record).collect();
    assert_eq!(records[0].seq, 41);
    assert_eq!(records[0].envelope, envelope());
    assert_eq!(records[0].entry, entry("checkout", b"{}"));
    assert_eq!(records[1].entry.body_hash, None);
    let offsets: Vec<_> = first.entries().map(|(offset, _)| offset).collect();
    assert_eq!(offsets[0], first.first_offset());
    assert_eq!(Some(offsets[1]), first.offset_after(offsets[0]));
    assert_eq!(first.offset_after(offsets[1]), Some(first.header().frame_bytes()));
    assert_eq!(first.offset_after(first.header().frame_bytes()), None);
    let second = Frame::read(&bytes[first.header().frame_bytes()..]).expect("a sound frame");
    assert_eq!((second.header().first_seq, second.header().end_seq()), (43, 44));
    assert!(first.header().starts_group && !second.header().starts_group);
    let (offset, record) = second.entries().next().expect("one pulse");
    assert_eq!(second.entry(offset), Some(record.entry));
}

#[test]
fn a_refused_pulse_says_why_and_its_frame_says_that_it_has_one() {
    let mut bytes = Vec::new();
    let mut frame = FrameBuilder::new(&mut bytes, &envelope());
    frame.push(&entry("s", b"{}"));
    frame.roll(&envelope());
    let long = "é".repeat(REFUSED_BYTES_MAX);
    let why = ["`/user`: is missing", "", &long];
    frame.push(&entry("s", b"{}"));
    for why in why {
        frame.push(&Entry { refused: Some(why), key: None, ..entry("s", b"{\"a\":1}") });
    }
    frame.finish();
    seal(&mut bytes, 1);
    let first = Frame::read(&bytes).expect("sound");
    let second = Frame::read(&bytes[first.header().frame_bytes()..]).expect("sound");
    assert_eq!((first.holds_refused(), second.holds_refused()), (false, true));
    let entries: Vec<_> = second.entries().map(|(_, record)| record.entry).collect();
    assert_eq!(entries[0], entry("s", b"{}"));
    for (entry, why) in entries[1..].iter().zip(why) {
        let why = &why[..why.len().min(REFUSED_BYTES_MAX)];
        assert_eq!((entry.refused, entry.raw), (Some(why), &b"{\"a\":1}"[..]));
    }
    assert_eq!(second.envelope(), envelope());
}

#[test]
fn frames_can_be_numbered_anew() {
    let mut bytes = two_frames();
    assert_eq!(seal(&mut bytes, 7), 3);
    let first = Frame::read(&bytes).expect("sound").header();
    assert_eq!((first.first_seq, first.count, first.starts_group), (7, 2, true));
}

#[test]
fn every_flipped_bit_and_every_cut_is_noticed() {
    let bytes = two_frames();
    let length = Frame::read(&bytes).expect("sound").header().frame_bytes();
    for at in 0..length {
        let mut damaged = bytes[..length].to_vec();
        damaged[at] ^= 0x10;
        assert!(Frame::read(&damaged).is_err(), "flip at {at}");
        assert_eq!(Frame::read(&bytes[..at]).err(), Some(FrameError::Short), "cut at {at}");
    }
    assert_eq!(Frame::read(&[0; 64]).err(), Some(FrameError::Header));
}
