//! The window against the simplest picture of it: a set of numbers.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::tests::rig::frames;
use super::window::{TakeLimits, Window};
use crate::log::frame::seal;
use crate::sink::batch::Batch;
use crate::sink::progress::SeqSet;
use crate::sink::shares::Shares;
use crate::sink::source::SourceChunk;

/// A chunk of frames of some tenants, numbered from `first_seq`; each id is its number.
fn chunk(first_seq: u64, parts: &[(u8, u64)]) -> SourceChunk {
    let (mut bytes, mut seq) = (Vec::new(), first_seq);
    for (tenant, pulses) in parts {
        let ids = u128::from(seq)..u128::from(seq + pulses);
        bytes.extend(frames(&format!("tenant-{tenant}"), ids));
        seq += pulses;
    }
    seal(&mut bytes, first_seq);
    SourceChunk { bytes: Bytes::from(bytes), first_seq, end_seq: seq }
}

fn take(window: &mut Window, rows_max: usize, bytes_max: usize) -> Batch {
    let taken = window.take(TakeLimits { rows_max, bytes_max });
    taken.parts.iter().for_each(|(share, bytes)| share.finish(0, *bytes));
    Batch::new(taken.chunks.into(), taken.rows, None, 0, taken.bytes)
}

#[test]
fn small_tenants_are_in_the_next_batch_whatever_is_queued_before_them() {
    let (shares, mut window) = (Shares::new(1), Window::new(0, SeqSet::default()));
    window.push(&chunk(0, &[(0, 10_000)]), &shares);
    window.push(&chunk(10_000, &[(1, 10), (2, 10), (3, 200)]), &shares);
    let batch = take(&mut window, 1_000, usize::MAX);
    let of =
        |batch: &Batch, name: &str| batch.rows().filter(|row| row.envelope.tenant == name).count();
    let counts = ["tenant-0", "tenant-1", "tenant-2", "tenant-3"].map(|name| of(&batch, name));
    assert_eq!(counts, [780, 10, 10, 200]);

    // A tenant of large rows ends its turn by bytes.
    window.push(&chunk(10_220, &[(4, 1)]), &shares);
    let row_bytes = batch.bytes() / 1_000;
    let batch = take(&mut window, 1_000, 200 * row_bytes);
    assert_eq!(of(&batch, "tenant-4"), 1);
}

proptest! {
    #[test]
    fn every_row_that_is_not_finished_is_taken_once_and_every_byte_is_counted(
        chunks in proptest::collection::vec(
            proptest::collection::vec((0..5u8, 1..300u64), 1..6), 1..6,
        ),
        finished in proptest::collection::vec((0..2_000u64, 1..200u64), 0..5),
        sizes in proptest::collection::vec((1..400usize, 100..100_000usize), 1..8),
    ) {
        let mut set = SeqSet::default();
        finished.iter().for_each(|(start, count)| set.insert(*start, start + count));
        let (shares, mut window) = (Arc::new(Shares::new(1)), Window::new(0, set.clone()));
        let (mut seq, mut got) = (0, Vec::new());
        let mut sizes = sizes.iter().cycle();
        let mut step = |window: &mut Window, got: &mut Vec<u64>| {
            let (rows_max, bytes_max) = *sizes.next().expect("endless");
            let batch = take(window, rows_max, bytes_max);
            assert!(batch.len() <= rows_max);
            // A row's id is its number, so each is found where its reference says.
            assert!(batch.rows().all(|row| row.entry.id.as_u128() == u128::from(row.seq)));
            assert_eq!(batch.rows().count(), batch.len());
            got.extend(batch.row_refs().iter().map(|row| row.seq));
            batch.is_empty()
        };
        for parts in &chunks {
            let chunk = chunk(seq, parts);
            seq = chunk.end_seq;
            for tenant in 0..5 {
                let of = parts.iter().filter(|part| part.0 == tenant);
                let bytes = of.map(|part| frames("tenant-0", 0..u128::from(part.1)).len() as u64);
                shares.add(&format!("tenant-{tenant}"), bytes.sum());
            }
            prop_assert!(window.push(&chunk, &shares).is_empty());
            step(&mut window, &mut got);
        }
        while window.queued_rows() > 0 {
            step(&mut window, &mut got);
        }
        prop_assert_eq!(window.used_bytes(), 0, "all chunks are let go of");
        prop_assert_eq!(shares.holders(), 0, "all bytes are finished");
        let wanted: Vec<_> = (0..seq).filter(|seq| !set.contains(*seq)).collect();
        prop_assert_eq!(got.len(), wanted.len());
        let got: BTreeSet<_> = got.into_iter().collect();
        prop_assert_eq!(got, wanted.into_iter().collect::<BTreeSet<_>>());
    }
}
