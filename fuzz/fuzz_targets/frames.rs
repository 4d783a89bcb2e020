//! Any bytes as a log: reading frames ends, never panics, and never gives what lies outside
//! the frame. `cargo +nightly fuzz run frames -- -rss_limit_mb=512`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pulsemesh_ingest::log::frame::{Frame, seal};

fuzz_target!(|bytes: &[u8]| {
    // As it is: nearly always refused by a checksum. Read as proven: the layout alone decides.
    for frame in [Frame::read(bytes), Frame::read_proven(bytes)].into_iter().flatten() {
        for (offset, record) in frame.entries() {
            assert!(record.entry.raw.len() <= bytes.len());
            assert!(frame.entry(offset).is_some());
        }
    }
    seal(&mut bytes.to_vec(), 7);
});
