//! The memory buffer as appends and drains see it.

use proptest::prelude::*;

use super::*;
use crate::log::frame::Frame;
use crate::sink::drain::tests::rig::frames;

fn read_all(reader: &mut dyn FrameReader) -> Vec<(u64, u64)> {
    let mut numbers = Vec::new();
    while let Some(chunk) = reader.read(1).expect("memory is read") {
        let mut at = 0;
        while let Ok(frame) = Frame::read(&chunk.bytes[at..]) {
            for (_, record) in frame.entries() {
                numbers.push((record.seq, record.entry.id.as_u128() as u64));
            }
            at += frame.header().frame_bytes();
        }
    }
    numbers
}

#[test]
fn it_refuses_what_it_has_no_room_for_and_takes_more_once_some_is_finished() {
    let one = frames("a", 0..1);
    for (pulses_max, bytes_max) in [(4, 1 << 20), (1_000, 4 * one.len() as u64)] {
        let buffer = MemoryBuffer::new(pulses_max, bytes_max);
        buffer.attach(1, 1, 0);
        for seq in 0..4 {
            assert_eq!(buffer.append(&one, 1), Ok(seq));
        }
        assert_eq!(buffer.append(&one, 1), Err(BufferFull));
        let mut reader = buffer.reader(0);
        assert_eq!(read_all(&mut *reader).len(), 4);
        buffer.finished(0, &[(1, 3)]);
        assert_eq!(buffer.pulses(), 2);
        buffer.finished(0, &[(0, 1), (3, 4)]);
        assert_eq!((buffer.pulses(), buffer.bytes()), (0, 0));
        assert_eq!(buffer.append(&one, 1), Ok(4));
        assert_eq!(read_all(&mut *reader), [(4, 0)]);
    }
}

#[test]
fn a_best_effort_sink_is_given_some_room_and_then_loses_the_oldest() {
    let buffer = MemoryBuffer::new(1_000, 1 << 20);
    let block = frames("a", 0..10);
    buffer.attach(1, 2, 2 * block.len() as u64);
    let (mut main, mut slow) = (buffer.reader(0), buffer.reader(0));
    for index in 0..5 {
        buffer.append(&block, 10).expect("room");
        read_all(&mut *main);
        buffer.finished(0, &[(index * 10, index * 10 + 10)]);
        assert_eq!((buffer.pulses(), buffer.bytes()), (0, 0));
    }
    let seqs: Vec<_> = read_all(&mut *slow).into_iter().map(|(seq, _)| seq).collect();
    assert_eq!(seqs, (30..50).collect::<Vec<_>>());
    buffer.finished(1, &[(30, 50)]);
    assert_eq!(buffer.bytes_from(0), 0);
}

proptest! {
    #[test]
    fn readers_get_every_pulse_once_in_order(
        appends in proptest::collection::vec((1..300u64, any::<bool>()), 1..60),
    ) {
        let buffer = MemoryBuffer::new(1 << 20, 1 << 30);
        buffer.attach(1, 1, 0);
        let mut reader = buffer.reader(0);
        let (mut next, mut seen) = (0, Vec::new());
        for (pulses, read) in appends {
            let ids = u128::from(next)..u128::from(next + pulses);
            prop_assert_eq!(buffer.append(&frames("a", ids), pulses), Ok(next));
            next += pulses;
            if read {
                let from = seen.len() as u64;
                seen.extend(read_all(&mut *reader));
                buffer.finished(0, &[(from, seen.len() as u64)]);
                prop_assert_eq!(buffer.pulses(), 0);
            }
        }
        seen.extend(read_all(&mut *reader));
        prop_assert_eq!(seen, (0..next).map(|seq| (seq, seq)).collect::<Vec<_>>());
    }
}
